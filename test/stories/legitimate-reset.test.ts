import { story, verifyEachOther } from "../support/story.ts";

story("Alice loses all her keys and starts again", async (scene) => {
  const [alice, bob, carol] = await scene.people("alice", "bob", "carol");
  await scene.chat(bob, alice);
  await scene.chat(carol, alice);
  await verifyEachOther(bob, alice);

  // Her phone is gone, and so is the recovery key.
  await alice.leave();
  const phone = await scene.join("alice", await alice.client.startAgain());

  await bob.isWarned("reset-unsigned");
  await carol.isWarned("reset-unsigned");
  await bob.sees(alice, "warning reset-unsigned");
  await phone.sees(bob, /^(unchecked first-look|consistent contact)$/);

  await phone.seesDevice(bob, bob.account.deviceId);

  // Comparing codes again is the way out.
  await verifyEachOther(bob, phone);
  return { bob: ["warning reset-unsigned about alice"], carol: ["notice reset-unsigned about alice"] };
});
