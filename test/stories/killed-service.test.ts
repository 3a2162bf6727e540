import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { watch } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { AuditSource } from "../../appservice/audit-source.ts";
import { Auditor } from "../../appservice/auditor.ts";
import { databaseOf } from "../../appservice/create-log.ts";
import { uploadDevice } from "../support/attacks.ts";
import { forgedDevice } from "../support/forged-keys.ts";
import type { Person, Scene } from "../support/story.ts";
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

interface Step {
  readonly name: string;
  /** Resolves when the step is reached, as it shows from outside. `size` is that of the log before. */
  readonly reached: (world: World, size: number) => Promise<void>;
  /** How long after it the service is killed: at once, and where the next step is near, also within that. */
  readonly delaysMs: readonly number[];
}

const STEPS: readonly Step[] = [
  { name: "the change is only marked", reached: () => Promise.resolve(), delaysMs: [0] },
  {
    name: "the database is being written",
    reached: async ({ service }) => {
      await nextChange(databaseOf(service.files.data), (name) => name.endsWith(".log"));
    },
    delaysMs: [0, 2],
  },
  {
    name: "the database is written, the anchor is not",
    reached: async ({ service }) => {
      await nextChange(dirname(service.files.anchor), (name) => name.endsWith(".new"));
    },
    delaysMs: [0],
  },
  {
    name: "the anchor is replaced, the head not yet served",
    reached: async ({ service }) => {
      await nextChange(dirname(service.files.anchor), (name) => !name.endsWith(".new"));
    },
    delaysMs: [0, 2],
  },
  {
    name: "the head is served, the room not yet told",
    reached: async (world, size) => {
      await until(
        async () => (await world.size()) > size,
        () => "the next head is served",
      );
    },
    delaysMs: [0],
  },
];

story("the service killed between any two steps of an epoch", async (scene) => {
  const [alice, bob] = await scene.people("alice", "bob");
  await scene.chat(bob, alice);
  await verifyEachOther(bob, alice);

  for (const { name, reached, delaysMs } of STEPS) {
    for (const delayMs of delaysMs) {
      await killedAt(scene, alice, bob, async (size) => {
        await reached(scene.world, size);
        await delay(delayMs);
      });
      scene.step(`killed when ${name}, ${String(delayMs)} ms later`);
    }
  }
  await auditAll(scene.world);
  return {};
});

/**
 * Alice's account gets a device, and the service is killed at a moment of that. Started again, it has lost nothing and takes
 * no head back: Bob's client has the device and finds it in the log. His app is closed meanwhile, or it would tell him, as
 * it should, that keys change while nobody can be asked.
 */
async function killedAt(
  { world }: Scene,
  alice: Person,
  bob: Person,
  moment: (size: number) => Promise<void>,
): Promise<void> {
  const device = await world.synapse.logIn(alice.account);
  bob.ckv.stop();
  const size = await world.size();
  await uploadDevice(world.synapse, device, forgedDevice(alice.userId, device.deviceId));
  await moment(size);
  await world.service.kill("SIGKILL");
  await world.service.start();
  await bob.ckv.start();
  await bob.seesDevice(alice, device.deviceId);
  await bob.ckv.refresh(alice.userId);
  await bob.sees(alice, "verified");
}

/** Replays the log from its first epoch, as an auditor does. */
async function auditAll({ service, logClock }: World): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "ckv-audit-"));
  const auditor = new Auditor({
    source: new AuditSource({ urls: [service.url] }),
    logKey: service.wellKnown.log_key,
    stateFile: join(directory, "state.json"),
    cosigner: { name: "auditor.example", seed: randomBytes(32) },
    nowMs: () => logClock.now(),
  });
  assert.match(await auditor.advance(), /^— auditor\.example /m);
  await rm(directory, { recursive: true, force: true });
}
