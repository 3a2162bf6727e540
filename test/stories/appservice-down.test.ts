import { story, verifyEachOther } from "../support/story.ts";

story("the appservice is down for a while, and nothing is missed", async (scene) => {
  const [alice, bob, carol] = await scene.people("alice", "bob", "carol");
  const chat = await scene.chat(alice, bob);
  await scene.chat(alice, carol);
  await verifyEachOther(alice, bob);

  const { service } = scene.world;
  await service.kill("SIGKILL");
  const tablet = await scene.anotherDevice(bob);
  await carol.client.resetIdentity();
  await alice.seesDevice(bob, tablet.account.deviceId);
  await service.start();

  await alice.isWarned("reset-unsigned");
  await alice.says("for all your devices", chat);
  await tablet.hears("for all your devices", chat);
  await alice.sees(bob, "verified");
  return { alice: ["notice reset-unsigned about carol"] };
});
