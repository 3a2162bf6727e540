import assert from "node:assert/strict";
import { readCodes, story, until, verifyEachOther } from "../support/story.ts";

story("two people verify each other by code", async (scene) => {
  const [alice, bob] = await scene.people("alice", "bob");
  await scene.chat(alice, bob);
  assert.match(bob.verdictOn(alice), /^(unchecked first-look|consistent contact)$/);

  await verifyEachOther(alice, bob);

  // The native shields turn green too.
  for (const [person, other] of [
    [alice, bob],
    [bob, alice],
  ] as const) {
    await until(
      () => person.client.isVerified(other.userId),
      () => `${person.name}'s client shows ${other.name} as verified`,
    );
  }
  return {};
});

story("a comparison asked for by a device that Bob's client was never told of", async (scene) => {
  const [alice, bob] = await scene.people("alice", "bob");
  await scene.chat(alice, bob);
  bob.client.loseDeviceChanges();

  const tablet = await scene.anotherDevice(alice);
  await verifyEachOther(tablet, bob);
  return {};
});

story("a comparison in which one says that the codes differ", async (scene) => {
  const [alice, bob] = await scene.people("alice", "bob");
  await scene.chat(alice, bob);

  const [asked, answered] = await readCodes(alice, bob);
  asked.differ();
  await until(
    () => answered.state === "ended",
    () => `the session is ${answered.state}`,
  );

  assert.equal(asked.endedWith, "compare-codes-differ");
  assert.equal(answered.endedWith, "compare-codes-differ");
  return { alice: ["warning compare-codes-differ about bob"], bob: ["warning compare-codes-differ about alice"] };
});
