import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { watch } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Auditor } from "../../appservice/auditor.ts";
import { databaseOf } from "../../appservice/create-log.ts";
import { uploadDevice } from "../support/attacks.ts";
import { forgedDevice } from "../support/forged-keys.ts";
import type { Person } from "../support/story.ts";
import { story, until, verifyEachOther } from "../support/story.ts";
import type { World } from "../support/world.ts";

/** Resolves with the next change of a file in a directory whose name `matches`. */
async function nextChange(directory: string, matches: (name: string) => boolean): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const watcher = watch(directory, (_event, name) => {
      if (!matches(name ?? "")) return;
      watcher.close();
      resolve();
    });
    watcher.once("error", reject);
  });
}

/** The steps of an epoch, as they show from outside: when each is reached. */
const STEPS: readonly [string, (world: World, size: number) => Promise<void>][] = [
  [
    "the change is only marked",
    async () => {
      await Promise.resolve();
    },
  ],
  [
    "the database is being written",
    async ({ service }) => {
      await nextChange(databaseOf(service.files.data), (name) => name.endsWith(".log"));
    },
  ],
  [
    "the database is written, the anchor is not",
    async ({ service }) => {
      await nextChange(dirname(service.files.anchor), (name) => name.endsWith(".new"));
    },
  ],
  [
    "the anchor is replaced, the head not yet served",
    async ({ service }) => {
      await nextChange(dirname(service.files.anchor), (name) => !name.endsWith(".new"));
    },
  ],
  [
    "the head is served, the room not yet told",
    async (world, size) => {
      await until(
        async () => (await world.size()) > size,
        () => "the next head is served",
      );
    },
  ],
];
/** Each step is met twice: at once, and a few milliseconds later, where the next one may have begun. */
const DELAYS_MS = [0, 3];

story("the service killed between any two steps of an epoch", async (scene) => {
  const [alice, bob] = await scene.people("alice", "bob");
  await scene.chat(bob, alice);
  await verifyEachOther(bob, alice);

  for (const [step, reached] of STEPS) {
    for (const delayMs of DELAYS_MS) {
      const { synapse, service } = scene.world;
      const device = await synapse.logIn(alice.account);
      const size = await scene.world.size();
      const moment = reached(scene.world, size);
      await uploadDevice(synapse, device, forgedDevice(alice.userId, device.deviceId));
      await moment;
      await delay(delayMs);
      await service.kill("SIGKILL");
      await service.start();
      await isLogged(bob, alice, device.deviceId);
      scene.step(`killed when ${step}, ${String(delayMs)} ms later`);
    }
  }
  await auditAll(scene.world);
  return {};
});

/** Bob's client has the device, and finds it in the log: nothing that happened is lost, and no head is taken back. */
async function isLogged(bob: Person, alice: Person, deviceId: string): Promise<void> {
  await bob.seesDevice(alice, deviceId);
  await bob.ckv.refresh(alice.userId);
  await bob.sees(alice, "verified");
}

/** Replays the log from its first epoch, as an auditor does. */
async function auditAll({ service, logClock }: World): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "ckv-audit-"));
  const auditor = new Auditor({
    serviceUrl: service.url,
    logKey: service.wellKnown.log_key,
    stateFile: join(directory, "state.json"),
    cosigner: { name: "auditor.example", seed: randomBytes(32) },
    nowMs: () => logClock.now(),
  });
  assert.match(await auditor.advance(), /^— auditor\.example /m);
  await rm(directory, { recursive: true, force: true });
}
