import assert from "node:assert/strict";
import { story, verifyEachOther } from "../support/story.ts";

story("Alice resets her digital identity through the plugin, with the old key at hand", async (scene) => {
  const [alice, bob, carol] = await scene.people("alice", "bob", "carol");
  await scene.chat(bob, alice);
  await scene.chat(carol, alice);
  await verifyEachOther(bob, alice);

  assert.equal(await alice.ckv.resetIdentity(() => alice.client.resetIdentity()), true);

  await bob.isWarned("reset-signed");
  await carol.isWarned("reset-signed");
  await bob.sees(alice, /^consistent /);
  assert.deepEqual(alice.ckv.ownStatus().state, "on");

  await verifyEachOther(bob, alice);
  return { bob: ["notice reset-signed about alice"], carol: ["notice reset-signed about alice"] };
});
