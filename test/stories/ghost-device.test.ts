import assert from "node:assert/strict";
import { GHOST } from "../support/attacks.ts";
import { story, until, verifyEachOther } from "../support/story.ts";

story("a ghost device of Alice, shown to Bob only", async (scene) => {
  const [alice, bob, carol] = await scene.people("alice", "bob", "carol");
  const chat = await scene.chat(bob, alice);
  await scene.chat(carol, alice);
  await verifyEachOther(bob, alice);

  await scene.lies.ghostDevice(alice.account, [bob.userId]);
  await bob.sees(alice, "unchecked key-pending");
  await bob.says("meet me at nine", chat);
  await scene.advance(20_000);

  const warning = await bob.isWarned("key-never-logged");
  assert.match(warning.text, new RegExp(GHOST));
  await bob.sees(alice, "warning key-never-logged");
  // One notice in the chat, in words alone.
  await alice.hears(`${warning.title}. ${warning.text} ${warning.action}`, chat);
  await until(
    () => alice.client.notices(chat).length === 1,
    () => "there is one notice",
  );
  return { bob: ["warning key-never-logged about alice"] };
});
