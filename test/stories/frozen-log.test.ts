import { DAY_MS, HEAD_WITHHELD_AFTER_MS } from "../../shared/parameters.ts";
import { story, verifyEachOther } from "../support/story.ts";

story("a log that stands still for Bob", async (scene) => {
  const [alice, bob] = await scene.people("alice", "bob");
  await scene.chat(bob, alice);
  await verifyEachOther(bob, alice);

  // Bob has not seen anything newer than the copy.
  bob.online = false;
  await scene.logGrows();
  const copy = await scene.copyOfTheLog();
  await copy.standStill();
  scene.show(copy, bob);
  bob.online = true;
  await bob.ckv.refresh(alice.userId);
  await bob.sees(alice, "verified");

  await scene.advance(HEAD_WITHHELD_AFTER_MS);
  await bob.ckv.refresh(alice.userId);
  await bob.sees(alice, "unchecked stale");
  await scene.advance(DAY_MS);
  await bob.ckv.refresh(alice.userId);
  await bob.isWarned("stale-long");
  return { bob: ["notice stale-long about alice"] };
});
