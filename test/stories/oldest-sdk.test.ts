import assert from "node:assert/strict";
import { GHOST } from "../support/attacks.ts";
import { story, verifyEachOther } from "../support/story.ts";

story(
  "the oldest SDK that the plugin takes: Alice's client verifies Bob's, sees a ghost of his, and warns",
  async (scene) => {
    const [alice, bob] = await scene.peopleWith({ alice: "oldest" }, "alice", "bob");
    const chat = await scene.chat(alice, bob);
    await verifyEachOther(alice, bob);

    await scene.lies.ghostDevice(bob.account, [alice.userId]);
    await alice.sees(bob, "unchecked key-pending");
    await alice.says("meet me at nine", chat);
    await scene.advance(20_000);

    const warning = await alice.isWarned("key-never-logged");
    assert.match(warning.text, new RegExp(GHOST));
    await bob.hears(`${warning.title}. ${warning.text} ${warning.action}`, chat);
    return { alice: ["warning key-never-logged about bob"] };
  },
);
