import assert from "node:assert/strict";
import { story, verifyEachOther } from "../support/story.ts";

story("a contact adds a device: silence", async (scene) => {
  const [alice, bob] = await scene.people("alice", "bob");
  const chat = await scene.chat(alice, bob);
  await verifyEachOther(alice, bob);

  const tablet = await scene.anotherDevice(bob);
  await alice.seesDevice(bob, tablet.account.deviceId);
  await alice.says("for all your devices", chat);
  await tablet.hears("for all your devices", chat);
  await scene.settle();
  await alice.sees(bob, "verified");

  const shown = alice.verdicts.get(bob.userId) ?? [];
  assert.ok(!shown.some((verdict) => verdict.startsWith("warning")), `nothing but grey and green: ${shown.join(", ")}`);
  return {};
});
