import { GHOST } from "../support/attacks.ts";
import { forgedDevice } from "../support/forged-keys.ts";
import type { Parity } from "../support/lying-log.ts";
import { story, until } from "../support/story.ts";
import type { Person, Scene } from "../support/story.ts";

/** Alice is shown the even epochs, Bob the odd ones; only in these she has a ghost, which Bob has just written to. */
async function apart(scene: Scene, settlingIn: Parity): Promise<[Person, Person]> {
  const { log, people } = await scene.lyingLog("alice", "bob");
  const [alice, bob] = people;
  const chat = await scene.chat(bob, alice);
  const ghost = forgedDevice(alice.userId, GHOST);
  log.alternate(alice.userId, GHOST, ghost, { shownIn: 1, settlingIn });
  await scene.lies.ghostDevice(alice.account, [bob.userId], ghost);
  await bob.seesDevice(alice, GHOST);
  await bob.ckv.refresh(alice.userId);
  await bob.says("meet me at nine", chat);
  return [alice, bob];
}

/** Looks at Alice's history again and again until the two views are found to differ. */
async function findsOut(scene: Scene, person: Person, alice: Person): Promise<void> {
  await scene.advance(20_000);
  await until(
    async () => {
      await person.ckv.refresh(alice.userId);
      return person.hasBeenTold("settle-vanished");
    },
    () => `${person.name} finds out`,
  );
}

story(
  "two readers shown alternating epochs of one log: the settling epoch has no ghost, and Bob looks there",
  async (scene) => {
    const [alice, bob] = await apart(scene, 0);

    await findsOut(scene, bob, alice);
    return { bob: ["evidence settle-vanished about alice"] };
  },
);

story(
  "two readers shown alternating epochs of one log: the settling epoch has the ghost, and Alice looks there",
  async (scene) => {
    const [alice] = await apart(scene, 1);

    await findsOut(scene, alice, alice);
    return { alice: ["evidence settle-vanished about alice"] };
  },
);
