/** What a hostile server can make the plugin do with one answer: the longest block of its thread, and memory. In Node. */
import { LogClient, VERSIONS_PER_PAGE } from "../../../client-plugin/log-client.ts";
import { LogView } from "../../../client-plugin/log-view.ts";
import { MemoryStorage } from "../../../client-plugin/storage.ts";
import { systemClock } from "../../../client-plugin/clock.ts";
import { VerificationError } from "../../../shared/errors.ts";
import { utf8 } from "../../../shared/encoding.ts";
import { MAX_DEVICES, MAX_ENTRY_BYTES } from "../../../shared/parameters.ts";
import { FakeService } from "../../client-plugin/fake-service.ts";
import { TestLog } from "../../support/test-log.ts";
import { TestUser } from "../../support/test-user.ts";
import type { Figure } from "../table.ts";

const ALICE = "@alice:example.org";
const MEGABYTE = 1_000_000;
const CHUNK_BYTES = 65_536;

interface Cost {
  readonly blockMs: number;
  readonly megabytes: number;
}

/** A log whose one user has as many devices as an entry holds, other ones in each version. */
function crowdedLog(): TestLog {
  const log = new TestLog({ startMs: Date.now() - 60_000 });
  for (let version = 1; version <= VERSIONS_PER_PAGE; version += 1) {
    const user = new TestUser(ALICE);
    for (let at = 0; at < MAX_DEVICES; at += 1) user.devices.set(`V${String(version)}D${String(at)}`, {});
    while (user.entry().length > MAX_ENTRY_BYTES) {
      const [first = ""] = user.devices.keys();
      user.devices.delete(first);
    }
    log.setEntry(ALICE, user.entry());
  }
  log.closeEpoch(Date.now() - 1_000);
  return log;
}

/** Bytes that are ready before the measurement, chunk by chunk as from a network. */
function streamOf(bytes: Uint8Array, times = 1): Response {
  let [at, left] = [0, times];
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => {
      controller.enqueue(bytes.slice(at, at + CHUNK_BYTES));
      at += CHUNK_BYTES;
      if (at < bytes.length) return;
      [at, left] = [0, left - 1];
      if (left === 0) controller.close();
    },
  });
  return new Response(body);
}

function viewOf({ log }: FakeService, fetch: FakeService["fetch"]): LogView {
  const wellKnown = { service_url: log.configuration.service_url, log_key: log.vkey, room: "#ckv:example.org" };
  const transport = { fetch, clock: systemClock };
  return new LogView({
    serverName: "example.org",
    client: new LogClient(wellKnown.service_url, transport, async () => await Promise.resolve({})),
    memory: { wellKnown, configurations: {}, pending: [] },
    storage: new MemoryStorage(),
    clock: systemClock,
    policy: undefined,
    onHead: () => undefined,
    onDoubt: () => undefined,
  });
}

/** What a task costs while others wait for their turn. */
async function costOf(task: () => Promise<unknown>): Promise<Cost> {
  let running = true;
  let [blockMs, bytes] = [0, 0];
  const used = (): number => process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers;
  const before = used();
  const watch = async (): Promise<void> => {
    let last = performance.now();
    while (running) {
      await new Promise((resolve) => setImmediate(resolve));
      const now = performance.now();
      blockMs = Math.max(blockMs, now - last);
      bytes = Math.max(bytes, used() - before);
      last = performance.now();
    }
  };
  const watched = watch();
  await task();
  running = false;
  await watched;
  return { blockMs, megabytes: bytes / MEGABYTE };
}

async function refused(task: () => Promise<unknown>): Promise<void> {
  try {
    await task();
  } catch (error) {
    if (error instanceof VerificationError) return;
    throw error;
  }
  throw new Error("nonsense was taken");
}

export async function measureBounds(): Promise<Figure[]> {
  const service = new FakeService(crowdedLog());
  const { log } = service;
  const looked = await viewOf(service, service.fetch).lookup(ALICE);
  const page = VERSIONS_PER_PAGE * 140_000;
  const versions = utf8(JSON.stringify(log.versions(ALICE, 1, VERSIONS_PER_PAGE, log.size)));
  const answers: readonly (readonly [string, () => Response])[] = [
    ["8 versions of all the devices an entry holds", () => streamOf(versions)],
    ["a million numbers", () => streamOf(utf8(`[${"0,".repeat(page / 2)}0]`))],
    ["one endless string", () => streamOf(utf8(`"${String.raw`\u0061`.repeat(page / 6)}"`))],
    ["endless nesting", () => streamOf(utf8("[".repeat(page)))],
    ["a gigabyte of nothing", () => streamOf(new Uint8Array(MEGABYTE), 1_000)],
  ];
  const figures: Figure[] = [];
  for (const [name, answer] of answers) {
    const response = answer();
    const view = viewOf(service, async (url, init) =>
      url.endsWith("/versions") ? response : await service.fetch(url, init),
    );
    await view.lookup(ALICE);
    const isHonest = answer === answers[0]?.[1];
    const ask = async (): Promise<unknown> => await view.versions(looked, 1, VERSIONS_PER_PAGE);
    const { blockMs, megabytes } = await costOf(
      isHonest
        ? ask
        : async () => {
            await refused(ask);
          },
    );
    figures.push({ name: `one answer, ${name}: longest block`, measured: blockMs, unit: "ms", atMost: true, must: 50 });
    figures.push({ name: `one answer, ${name}: memory`, measured: megabytes, unit: "MB", atMost: true, must: 16 });
  }
  return figures;
}
