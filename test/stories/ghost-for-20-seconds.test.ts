import { GHOST } from "../support/attacks.ts";
import { story } from "../support/story.ts";

story("a ghost device of Alice that stays 20 seconds, while Bob writes", async (scene) => {
  const [alice, bob] = await scene.people("alice", "bob");
  const chat = await scene.chat(bob, alice);

  const ghost = await scene.lies.ghostDevice(alice.account, [bob.userId]);
  await bob.sees(alice, "unchecked key-pending");
  await bob.says("meet me at nine", chat);
  await ghost.stop();
  await bob.seesNoDevice(alice, GHOST);
  await scene.advance(20_000);

  await bob.isWarned("key-never-logged");
  return { bob: ["warning key-never-logged about alice"] };
});

story("a ghost device of Alice that stays 20 seconds, while Bob is silent", async (scene) => {
  const [alice, bob] = await scene.people("alice", "bob");
  await scene.chat(bob, alice);

  const ghost = await scene.lies.ghostDevice(alice.account, [bob.userId]);
  await bob.sees(alice, "unchecked key-pending");
  await ghost.stop();
  await bob.seesNoDevice(alice, GHOST);
  await scene.advance(20_000);

  await bob.isWarned("key-never-logged");
  return { bob: ["notice key-never-logged about alice"] };
});
