import assert from "node:assert/strict";
import { story } from "../support/story.ts";

story("two readers shown alternating epochs of one log", async (scene) => {
  // A log of its own, for a lie that no honest sequencer could be brought to tell.
  const log = await scene.alternatingLog();
  const [alice, bob] = await scene.peopleOf(log, "alice", "bob");
  await scene.chat(bob, alice);

  log.alternate({ victim: alice.userId, reader: bob.userId });
  await bob.ckv.refresh(alice.userId);
  await scene.settle();

  const told = [...bob.warnings, ...alice.warnings].map(({ code }) => code);
  assert.ok(told.length > 0);
  return { alice: ["warning own-unknown-version about alice"], bob: ["evidence settle-vanished about alice"] };
});
