import { story, until, verifyEachOther } from "../support/story.ts";

story("the appservice is down for a while, and nothing is missed", async (scene) => {
  const [alice, bob, carol] = await scene.people("alice", "bob", "carol");
  const chat = await scene.chat(alice, bob);
  await scene.chat(alice, carol);
  await verifyEachOther(alice, bob);

  // Alice's app is closed, so that nobody asks the service for what it has not noticed by itself.
  const { service } = scene.world;
  alice.ckv.stop();
  await service.kill("SIGKILL");
  const tablet = await bob.client.anotherDevice();
  await carol.client.resetIdentity();
  await service.start();
  const size = await scene.world.size();
  await until(
    async () => (await scene.world.changesSince(size)) >= 2,
    () => "the log has what happened meanwhile",
  );
  await alice.ckv.start();

  await alice.isWarned("reset-unsigned");
  await alice.seesDevice(bob, tablet.account.deviceId);
  await alice.says("for all your devices", chat);
  await alice.sees(bob, "verified");
  await tablet.close();
  return { alice: ["notice reset-unsigned about carol"] };
});
