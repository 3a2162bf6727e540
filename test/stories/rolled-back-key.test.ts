import { story, verifyEachOther } from "../support/story.ts";

story("Alice's earlier master key, shown again to Bob after he has verified the new one", async (scene) => {
  const [alice, bob] = await scene.people("alice", "bob");
  await scene.chat(bob, alice);
  const earlier = await scene.lies.shownKeys(alice.account);

  await alice.client.resetIdentity();
  await bob.isWarned("reset-unsigned");
  await verifyEachOther(bob, alice);
  await scene.lies.rolledBackKey(alice.account, [bob.userId], earlier);

  await bob.sees(alice, "warning pin-mismatch");
  return { bob: ["notice reset-unsigned about alice", "warning pin-mismatch about alice"] };
});
