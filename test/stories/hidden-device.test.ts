import { DAY_MS } from "../../shared/parameters.ts";
import { story } from "../support/story.ts";

story("a device of Alice hidden from Bob", async (scene) => {
  const [alice, bob] = await scene.people("alice", "bob");
  await scene.chat(bob, alice);

  const tablet = await scene.anotherDevice(alice);
  await bob.seesDevice(alice, tablet.account.deviceId);
  await scene.lies.hiddenDevice(alice.account, [bob.userId], tablet.account.deviceId);
  await bob.sees(alice, "unchecked store-behind");
  await scene.advance(DAY_MS);

  await bob.sees(alice, "warning store-behind-long");
  return { bob: ["warning store-behind-long about alice"] };
});
