import { HOUR_MS } from "../../shared/parameters.ts";
import { story, verifyEachOther } from "../support/story.ts";

story("Bob's network is down: grey, and no alarm", async (scene) => {
  const [alice, bob] = await scene.people("alice", "bob");
  await scene.chat(bob, alice);
  await verifyEachOther(bob, alice);

  bob.online = false;
  await scene.advance(HOUR_MS);
  await bob.ckv.refresh(alice.userId);
  await bob.sees(alice, "unchecked offline");

  bob.online = true;
  await bob.ckv.refresh(alice.userId);
  await bob.sees(alice, "verified");
  return {};
});
