import { story, verifyEachOther } from "../support/story.ts";

story("Alice's master key swapped for Bob, who has verified her, and for Carol, who has not", async (scene) => {
  const [alice, bob, carol] = await scene.people("alice", "bob", "carol");
  const bobsChat = await scene.chat(bob, alice);
  const carolsChat = await scene.chat(carol, alice);
  await verifyEachOther(bob, alice);

  await scene.lies.swappedMasterKey(alice.account, [bob.userId, carol.userId]);
  await carol.sees(alice, "unchecked key-pending");
  await carol.says("meet me at nine", carolsChat);
  await bob.sees(alice, "unchecked key-pending");
  await scene.advance(20_000);

  await bob.sees(alice, "warning pin-mismatch");
  await carol.sees(alice, "warning key-never-logged");
  await bob.hears("hello", bobsChat);
  return {
    bob: ["warning pin-mismatch about alice"],
    carol: ["warning key-never-logged about alice"],
  };
});
