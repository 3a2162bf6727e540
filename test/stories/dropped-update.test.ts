import assert from "node:assert/strict";
import { verifyEvidence } from "../../shared/proofs/evidence.ts";
import { GHOST } from "../support/attacks.ts";
import { forgedDevice } from "../support/forged-keys.ts";
import { story } from "../support/story.ts";

story("an update that the log promises to Bob and drops", async (scene) => {
  const [alice, bob] = await scene.people("alice", "bob");
  await scene.chat(bob, alice);

  // A second service with the log's keys promises to merge the ghost; the one that everybody sees never hears of it.
  const ghost = forgedDevice(alice.userId, GHOST);
  const liar = await scene.copyOfTheLog();
  await liar.goOn();
  await liar.record(alice.userId, GHOST, ghost);
  scene.show(liar, bob, /^\/v1\/refresh$/);
  await scene.lies.ghostDevice(alice.account, [bob.userId], ghost);
  await bob.sees(alice, "unchecked promise-pending");
  await scene.advance(20_000);

  const { evidence } = await bob.isWarned("promise-broken");
  await bob.sees(alice, "warning promise-broken");
  assert.ok(evidence);
  assert.equal(verifyEvidence(evidence).code, "promise-broken");
  return { bob: ["evidence promise-broken about alice", "notice key-never-logged about alice"] };
});
