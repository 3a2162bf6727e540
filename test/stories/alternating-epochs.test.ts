import { HOUR_MS } from "../../shared/parameters.ts";
import { GHOST } from "../support/attacks.ts";
import { forgedDevice } from "../support/forged-keys.ts";
import { story } from "../support/story.ts";

story(
  "two readers shown alternating epochs of one log: Bob has been shown a ghost of Alice, and the settling epoch has none",
  async (scene) => {
    const { log, people } = await scene.lyingLog("alice", "bob");
    const [alice, bob] = people;
    await scene.chat(bob, alice);

    const ghost = forgedDevice(alice.userId, GHOST);
    log.alternate(alice.userId, GHOST, ghost, { shownIn: 1, settlingIn: 0 });
    await scene.lies.ghostDevice(alice.account, [bob.userId], ghost);
    await bob.seesDevice(alice, GHOST);
    await bob.ckv.refresh(alice.userId);
    await scene.advance(20_000);
    await scene.advance(20_000);
    await bob.ckv.refresh(alice.userId);

    await bob.isWarned("settle-vanished");
    return { bob: ["evidence settle-vanished about alice"] };
  },
);

story(
  "two readers shown alternating epochs of one log: the settling epoch has the ghost, and Alice looks there",
  async (scene) => {
    const { log, people } = await scene.lyingLog("alice", "bob");
    const [alice, bob] = people;
    await scene.chat(bob, alice);

    const ghost = forgedDevice(alice.userId, GHOST);
    log.alternate(alice.userId, GHOST, ghost, { shownIn: 1, settlingIn: 1 });
    await scene.lies.ghostDevice(alice.account, [bob.userId], ghost);
    await bob.seesDevice(alice, GHOST);
    await bob.ckv.refresh(alice.userId);
    await scene.advance(HOUR_MS);

    await alice.isWarned("settle-vanished");
    return { alice: ["evidence settle-vanished about alice"], bob: ["notice device-unsigned about alice"] };
  },
);
