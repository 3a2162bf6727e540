import assert from "node:assert/strict";
import { readCodes, story, until } from "../support/story.ts";

story("Alice's key swapped for Bob between code and confirmation", async (scene) => {
  const [alice, bob] = await scene.people("alice", "bob");
  await scene.chat(bob, alice);

  const [asked, answered] = await readCodes(bob, alice);
  await scene.lies.swappedMasterKey(alice.account, [bob.userId]);
  await bob.sees(alice, "unchecked key-pending");
  await asked.confirm();
  await until(
    () => answered.state === "ended",
    () => `the session is ${answered.state}`,
  );

  assert.equal(asked.endedWith, "compare-key-changed");
  assert.equal(answered.endedWith, "compare-key-changed");
  assert.equal(await bob.client.isVerified(alice.userId), false);
  return {
    alice: ["warning compare-key-changed about bob"],
    bob: ["warning compare-key-changed about alice", "notice key-never-logged about alice"],
  };
});
