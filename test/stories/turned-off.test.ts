import { story } from "../support/story.ts";

story("Alice turns Contact Key Verification off", async (scene) => {
  const [alice, bob] = await scene.people("alice", "bob");
  await scene.chat(bob, alice);

  await alice.ckv.turnOff();

  await bob.ckv.refresh(alice.userId);
  await bob.isWarned("statement-off");
  return { bob: ["notice statement-off about alice"] };
});

story("the server pretends that Alice had turned it off", async (scene) => {
  const { log, people } = await scene.lyingLog("alice", "bob");
  const [alice, bob] = people;
  await scene.chat(bob, alice);

  log.dropStatement(alice.userId);

  await bob.ckv.refresh(alice.userId);
  await bob.isWarned("statement-missing");
  await alice.ckv.refresh(alice.userId);
  await alice.isWarned("own-statement-changed");
  return { alice: ["warning own-statement-changed about alice"], bob: ["warning statement-missing about alice"] };
});
