import assert from "node:assert/strict";
import { verifyEvidence } from "../../shared/proofs/evidence.ts";
import { story, until } from "../support/story.ts";

story("a log that goes on in two branches, one of them for Bob", async (scene) => {
  const [alice, bob] = await scene.people("alice", "bob");
  await scene.chat(bob, alice);

  const branch = await scene.copyOfTheLog();
  await scene.logGrows();
  await bob.ckv.refresh(alice.userId);
  await branch.goOn();
  await until(
    async () => branch.size > (await scene.world.size()) - 2,
    () => "the other branch grows too",
  );
  scene.show(branch, bob);
  await bob.ckv.refresh(alice.userId);

  const { evidence } = await bob.isWarned("head-fork");
  await bob.sees(alice, "warning head-fork");
  assert.ok(evidence);
  assert.equal(verifyEvidence(evidence).code, "head-fork");
  return { bob: ["evidence head-fork about the log"] };
});
