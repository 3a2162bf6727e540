import { DAY_MS, HEAD_WITHHELD_AFTER_MS } from "../../shared/parameters.ts";
import { story } from "../support/story.ts";

story("a log taken back by one epoch after Bob saw it", async (scene) => {
  const [alice, bob] = await scene.people("alice", "bob");
  await scene.chat(bob, alice);

  const backup = await scene.copyOfTheLog();
  await scene.logGrows();
  await bob.ckv.refresh(alice.userId);
  await backup.standStill();
  scene.show(backup, bob);
  await bob.ckv.refresh(alice.userId);
  await scene.advance(HEAD_WITHHELD_AFTER_MS);
  await bob.ckv.refresh(alice.userId);
  await bob.isWarned("head-withheld");

  await scene.advance(DAY_MS);
  await bob.ckv.refresh(alice.userId);
  await bob.isWarned("log-rolled-back");
  return { bob: ["notice head-withheld about the log", "warning log-rolled-back about the log"] };
});
