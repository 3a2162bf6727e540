import { NOBODY } from "../support/switch.ts";
import { story, verifyEachOther } from "../support/story.ts";

story(
  "the service blocked, then Alice's key swapped, for Bob, who has verified her, and Carol, who has not",
  async (scene) => {
    const [alice, bob, carol] = await scene.people("alice", "bob", "carol");
    await scene.chat(bob, alice);
    const chat = await scene.chat(carol, alice);
    await verifyEachOther(bob, alice);

    for (const person of [bob, carol]) scene.world.switchboard.route(person.userId, { to: NOBODY });
    await scene.lies.swappedMasterKey(alice.account, [bob.userId, carol.userId]);

    await bob.sees(alice, "unchecked offline");
    await carol.sees(alice, "unchecked offline");
    await carol.says("meet me at nine", chat);
    await scene.advance(20_000);

    await bob.sees(alice, "warning changed-unchecked");
    await carol.isWarned("changed-unchecked");
    return { bob: ["warning changed-unchecked about alice"], carol: ["notice changed-unchecked about alice"] };
  },
);
