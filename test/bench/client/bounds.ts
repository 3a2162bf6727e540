/** What a hostile server can make the plugin do with one answer: the longest block of its thread, and memory. In Node. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { LogClient, VERSIONS_PER_PAGE } from "../../../client-plugin/log-client.ts";
import { LogView } from "../../../client-plugin/log-view.ts";
import { MemoryStorage } from "../../../client-plugin/storage.ts";
import { randomBytes } from "node:crypto";
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

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

const CHUNK_BYTES = 65_536;
/** The only one of the answers below that is right. */
const HONEST = `${String(VERSIONS_PER_PAGE)} versions of all the devices an entry holds`;

/** A log whose one user has as many devices as an entry holds, other ones in each version. */
function crowdedLog(name: string): TestLog {
  const log = new TestLog({ startMs: Date.now() - 60_000 });
  for (let version = 1; version <= VERSIONS_PER_PAGE; version += 1) {
    const user = new TestUser(ALICE);
    for (let at = 0; at < MAX_DEVICES; at += 1) user.devices.set(`${name}${String(version)}D${String(at)}`, {});
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
    random: randomBytes,
    policy: undefined,
    onHead: () => undefined,
    onDoubt: () => undefined,
  });
}

/** Processor time of this thread, so that a loaded machine changes nothing. */
function busyMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}

function heldMb(): number {
  for (let time = 0; time < 3; time += 1) collectGarbage();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return (heapUsed + arrayBuffers) / MEGABYTE;
}

/** The largest step that a reading makes between two turns of others, or in all, while a task runs. */
async function largest(task: () => Promise<unknown>, read: () => number, isBetweenTurns: boolean): Promise<number> {
  let running = true;
  let most = 0;
  const watch = async (): Promise<void> => {
    let from = read();
    while (running) {
      await new Promise((resolve) => setImmediate(resolve));
      const now = read();
      most = Math.max(most, now - from);
      if (isBetweenTurns) from = now;
    }
  };
  const watched = watch();
  await task();
  running = false;
  await watched;
  return most;
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

/** The answers of a log that knows no measure, by what they are. */
function answersOf(log: TestLog): readonly (readonly [string, Response])[] {
  const page = VERSIONS_PER_PAGE * 140_000;
  const versions = utf8(JSON.stringify(log.versions(ALICE, 1, VERSIONS_PER_PAGE, log.size)));
  return [
    [HONEST, streamOf(versions)],
    ["a million numbers", streamOf(utf8(`[${"0,".repeat(page / 2)}0]`))],
    ["one endless string", streamOf(utf8(`"${String.raw`\u0061`.repeat(page / 6)}"`))],
    ["endless nesting", streamOf(utf8("[".repeat(page)))],
    ["a gigabyte of nothing", streamOf(new Uint8Array(MEGABYTE), 1_000)],
  ];
}

/** Each answer once, read by a client that has seen nothing of it. */
async function measured(log: TestLog, read: () => number, isBetweenTurns: boolean): Promise<Map<string, number>> {
  const service = new FakeService(log);
  const looked = await viewOf(service, service.fetch).lookup(ALICE);
  const figures = new Map<string, number>();
  for (const [name, response] of answersOf(log)) {
    const view = viewOf(service, async (url, init) =>
      url.endsWith("/versions") ? response : await service.fetch(url, init),
    );
    const ask = async (): Promise<unknown> => await view.versions(looked, 1, VERSIONS_PER_PAGE);
    const task = async (): Promise<void> => {
      if (name === HONEST) await ask();
      else await refused(ask);
    };
    figures.set(name, await largest(task, read, isBetweenTurns));
  }
  return figures;
}

export async function measureBounds(): Promise<Figure[]> {
  const blocks = await measured(crowdedLog("A"), busyMs, true);
  const memory = await measured(crowdedLog("B"), heldMb, false);
  return [...blocks].flatMap(([name, blockMs]) => [
    { name: `one answer, ${name}: longest block`, measured: blockMs, unit: "ms", atMost: true, must: 50 },
    { name: `one answer, ${name}: memory`, measured: memory.get(name) ?? 0, unit: "MB", atMost: true, must: 16 },
  ]);
}
