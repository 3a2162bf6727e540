import { story, until, verifyEachOther } from "../support/story.ts";

story("the appservice is down for a while, and nothing is missed", async (scene) => {
  const [alice, bob, carol] = await scene.people("alice", "bob", "carol");
  const chat = await scene.chat(alice, bob);
  await scene.chat(alice, carol);
  await verifyEachOther(alice, bob);

  // Alice's app is closed, so that nobody asks the service for what it has not noticed by itself.
  const { service } = scene.world;
  alice.ckv.stop();
  // Before it ends: once it says that it is ready again, it may have merged all that it had missed.
  const size = await scene.world.size();
  await service.kill("SIGKILL");
  const tablet = await bob.client.anotherDevice();
  await carol.client.resetIdentity();
  await service.start();
  await until(
    () => scene.world.haveChangedSince(size, [bob.userId, carol.userId]),
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
