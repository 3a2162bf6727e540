import { OWN_UNSIGNED_DEVICE_AFTER_MS } from "../../shared/parameters.ts";
import { replaceIdentity, uploadDevice } from "../support/attacks.ts";
import { forgedDevice } from "../support/forged-keys.ts";
import { story } from "../support/story.ts";

story("somebody else adds a device to Bob's account", async (scene) => {
  const [alice, bob] = await scene.people("alice", "bob");
  await scene.chat(bob, alice);

  const { synapse } = scene.world;
  const burglar = await synapse.logIn(bob.account);
  await uploadDevice(synapse, burglar, forgedDevice(bob.userId, burglar.deviceId));
  await alice.seesDevice(bob, burglar.deviceId);
  await alice.sees(bob, /^(unchecked first-look|consistent contact)$/);
  await scene.advance(OWN_UNSIGNED_DEVICE_AFTER_MS);

  await bob.isWarned("own-unknown-device");
  await alice.isWarned("device-unsigned");
  return { alice: ["notice device-unsigned about bob"], bob: ["warning own-unknown-device about bob"] };
});

story("somebody else replaces Bob's digital identity", async (scene) => {
  const [alice, bob] = await scene.people("alice", "bob");
  await scene.chat(bob, alice);

  await replaceIdentity(scene.world.synapse, bob.account);
  await bob.isWarned("own-identity-replaced");
  await alice.isWarned("reset-unsigned");
  return { alice: ["notice reset-unsigned about bob"], bob: ["warning own-identity-replaced about bob"] };
});
