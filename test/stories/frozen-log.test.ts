import { DAY_MS, HEAD_WITHHELD_AFTER_MS } from "../../shared/parameters.ts";
import { story, until, verifyEachOther } from "../support/story.ts";

story("a log that stands still for everybody", async (scene) => {
  const { log, people } = await scene.lyingLog("alice", "bob");
  const [alice, bob] = people;
  await scene.chat(bob, alice);
  await verifyEachOther(bob, alice);

  log.standStill();
  await scene.advance(HEAD_WITHHELD_AFTER_MS);
  await bob.ckv.refresh(alice.userId);
  await alice.ckv.refresh(bob.userId);
  await bob.sees(alice, "unchecked stale");
  await alice.sees(bob, "unchecked stale");
  await scene.advance(DAY_MS);
  await bob.ckv.refresh(alice.userId);
  await alice.ckv.refresh(bob.userId);

  await bob.isWarned("stale-long");
  await alice.isWarned("stale-long");
  return { alice: ["notice stale-long about the log"], bob: ["notice stale-long about the log"] };
});

story("a log that stands still for Bob alone, who hears of newer heads from the room", async (scene) => {
  const [alice, bob] = await scene.people("alice", "bob");
  await scene.chat(bob, alice);

  const copy = await scene.copyOfTheLog();
  await copy.standStill();
  scene.show(copy, bob);
  await until(
    async () => {
      await scene.advance(HEAD_WITHHELD_AFTER_MS);
      await bob.ckv.refresh(alice.userId);
      return bob.hasBeenTold("head-withheld");
    },
    () => "Bob is told that heads are withheld",
  );
  await scene.advance(DAY_MS);
  await bob.ckv.refresh(alice.userId);

  await bob.isWarned("log-rolled-back");
  return { bob: ["notice head-withheld about the log", "warning log-rolled-back about the log"] };
});
