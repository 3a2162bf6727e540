/**
 * What a hostile server can make the plugin do with one answer: the longest block of its thread, the time of it in all, and
 * memory. In Node.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { LogClient, USERS_PER_LOOKUP, VERSIONS_PER_PAGE } from "../../../client-plugin/log-client.ts";
import { LogView } from "../../../client-plugin/log-view.ts";
import type { Looked } from "../../../client-plugin/log-view.ts";
import type { ClientLike } from "../../../client-plugin/matrix.ts";
import { checkRoomHeads } from "../../../client-plugin/room-heads.ts";
import { MemoryStorage } from "../../../client-plugin/storage.ts";
import { randomBytes } from "node:crypto";
import { systemClock } from "../../../client-plugin/clock.ts";
import { VerificationError } from "../../../shared/errors.ts";
import { configurationHash, parseConfiguration } from "../../../shared/directory/configuration.ts";
import { encodeHex, utf8 } from "../../../shared/encoding.ts";
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
/** The right answer to the question that has the longest one. */
const PAGE = `${String(VERSIONS_PER_PAGE)} versions of all the devices an entry holds`;
/** Users with such an entry of whom one answer about many has room, and those it then still has room for. */
const CROWDED_TOGETHER = 6;
const SETTLE_MS = 10_000;

/** As many devices as an entry holds, which no other call with these names has. */
function crowd(userId: string, name: string): Uint8Array {
  const user = new TestUser(userId);
  for (let at = 0; at < MAX_DEVICES; at += 1) user.devices.set(`${name}D${String(at)}`, {});
  while (user.entry().length > MAX_ENTRY_BYTES) {
    const [first = ""] = user.devices.keys();
    user.devices.delete(first);
  }
  return user.entry();
}

const userName = (at: number): string => `@user${String(at)}:example.org`;

/**
 * A log in which Alice has had as many devices as an entry holds, other ones in each version; of a hundred others some have,
 * too. Its settling epoch is the one before the newest.
 */
function crowdedLog(name: string): TestLog {
  const nowMs = Date.now();
  const log = new TestLog({ startMs: nowMs - 60_000, settleMs: SETTLE_MS });
  for (let version = 1; version <= VERSIONS_PER_PAGE; version += 1)
    log.setEntry(ALICE, crowd(ALICE, `${name}${String(version)}`));
  for (let at = 0; at < USERS_PER_LOOKUP; at += 1) {
    const user = new TestUser(userName(at), `${name}D`);
    log.setEntry(user.userId, at < CROWDED_TOGETHER ? crowd(user.userId, name) : user.entry());
  }
  for (const agoMs of [3 * SETTLE_MS, 2 * SETTLE_MS, 1_000]) log.closeEpoch(nowMs - agoMs);
  return log;
}

/** Called before each chunk is handed out: a body is read without any turn of others. Written by `taken`. */
let onChunk = (): void => undefined;

/** Bytes that are ready before the measurement, chunk by chunk as from a network. */
function streamOf(bytes: Uint8Array, times = 1): Response {
  let [at, left] = [0, times];
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => {
      onChunk();
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

/** Processor time of this thread, so that a loaded machine changes nothing; the kernel counts it in steps of up to 4 ms. */
function busyMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}

function heldMb(): number {
  for (let time = 0; time < 3; time += 1) collectGarbage();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return (heapUsed + arrayBuffers) / MEGABYTE;
}

/** What a task takes by a reading: the largest step between two turns of others, and the most above where it began. */
interface Taken {
  readonly step: number;
  readonly most: number;
}

async function taken(task: () => Promise<unknown>, read: () => number): Promise<Taken> {
  let running = true;
  const start = read();
  let [step, most] = [0, 0];
  onChunk = (): void => {
    most = Math.max(most, read() - start);
  };
  const watch = async (): Promise<void> => {
    let from = start;
    while (running) {
      await new Promise((resolve) => setImmediate(resolve));
      const now = read();
      [step, most, from] = [Math.max(step, now - from), Math.max(most, now - start), now];
    }
  };
  const watched = watch();
  await task();
  running = false;
  await watched;
  onChunk = (): void => undefined;
  return { step, most };
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

/** Bytes that no service has sent, by what they are. */
function nonsense(): readonly (readonly [string, () => Response])[] {
  const page = VERSIONS_PER_PAGE * 140_000;
  return [
    ["a million numbers", (): Response => streamOf(utf8(`[${"0,".repeat(page / 2)}0]`))],
    ["one endless string", (): Response => streamOf(utf8(`"${String.raw`\u0061`.repeat(page / 6)}"`))],
    ["endless nesting", (): Response => streamOf(utf8("[".repeat(page)))],
    ["a gigabyte of nothing", (): Response => streamOf(new Uint8Array(MEGABYTE), 1_000)],
  ];
}

/** The right answer to a question, ready before anything is measured. */
async function answerTo({ log, fetch }: FakeService, path: string, body?: object): Promise<Uint8Array> {
  const init = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  return new Uint8Array(await (await fetch(log.configuration.service_url + path, init)).arrayBuffer());
}

/** A question that is asked when everything else is known, and its answer by the end of the path. */
interface Question {
  readonly name: string;
  readonly path: string;
  readonly answer: Uint8Array;
  /** Another answer that is needed first. */
  readonly before?: { readonly path: string; readonly answer: Uint8Array };
  readonly ask: (view: LogView, looked: Looked) => Promise<unknown>;
}

/** One of every kind that the plugin reads, as long as it may be. */
async function questions(service: FakeService): Promise<readonly Question[]> {
  const { log } = service;
  const others = Array.from({ length: USERS_PER_LOOKUP }, (_, at) => userName(at));
  const hash = encodeHex(configurationHash(log.configurationText));
  const history = { user_id: ALICE, from: 1, to: VERSIONS_PER_PAGE };
  const settling = log.size - 2;
  return [
    {
      name: "a lookup of all the devices an entry holds",
      path: "/v1/lookup",
      answer: await answerTo(service, "/v1/lookup", { user_id: userName(0) }),
      ask: async (view) => await view.lookup(userName(0)),
    },
    {
      name: `a lookup of ${String(USERS_PER_LOOKUP)} users, ${String(CROWDED_TOGETHER)} with all the devices`,
      path: "/v1/lookups",
      answer: await answerTo(service, "/v1/lookups", { user_ids: others }),
      // The first goes alone; what comes meanwhile goes together.
      before: { path: "/v1/lookup", answer: await answerTo(service, "/v1/lookup", { user_id: ALICE }) },
      ask: async (view) => await Promise.all([ALICE, ...others].map(async (userId) => await view.lookup(userId))),
    },
    {
      name: PAGE,
      path: "/v1/history/versions",
      answer: await answerTo(service, "/v1/history/versions", history),
      ask: async (view, looked) => await view.versions(looked, 1, VERSIONS_PER_PAGE),
    },
    {
      name: "a leaf at a settling epoch",
      path: "/v1/settled",
      answer: await answerTo(service, "/v1/settled", { user_id: ALICE, epoch: settling }),
      ask: async ({ service: client }) => await client.settled(ALICE, settling),
    },
    {
      name: "settling records",
      path: `/v1/settling/${String(settling)}?size=${String(log.size)}`,
      answer: await answerTo(service, `/v1/settling/${String(settling)}?size=${String(log.size)}`),
      ask: async (view, looked) => await view.settlingEpochBefore(looked, settling + 1),
    },
    {
      name: "a configuration",
      path: `/v1/configuration/${hash}`,
      answer: await answerTo(service, `/v1/configuration/${hash}`),
      ask: async ({ service: client }) => parseConfiguration(await client.configuration(hash)),
    },
  ];
}

/** What the events of a room cost, of which the homeserver sends as many as it likes. */
async function roomEvents(service: FakeService, view: LogView, read: () => number): Promise<Taken> {
  const { checkpoint, record } = service.log.head(service.log.size);
  const content = { checkpoint, record, epoch: service.log.size - 1 };
  const chunk = Array.from({ length: 100_000 }, () => ({ content }));
  const client = {
    getRoomIdForAlias: async () => await Promise.resolve({ room_id: "!ckv:example.org" }),
    http: { authedRequest: async () => await Promise.resolve({ chunk }) },
  } as unknown as ClientLike;
  return await taken(async () => {
    await checkRoomHeads(client, "example.org", view);
  }, read);
}

/** Each answer once, read by a client that has seen nothing of it. */
async function measured(log: TestLog, read: () => number): Promise<Map<string, Taken>> {
  const service = new FakeService(log);
  const figures = new Map<string, Taken>();
  const measure = async (
    name: string,
    { path, before, ask }: Question,
    response: Response,
    isRight: boolean,
  ): Promise<void> => {
    const ready = new Map([
      ...(before === undefined ? [] : [[before.path, streamOf(before.answer)] as const]),
      [path, response] as const,
    ]);
    const view = viewOf(service, async (url, init) => {
      const found = [...ready].find(([end]) => url.endsWith(end));
      return found?.[1] ?? (await service.fetch(url, init));
    });
    const looked = await viewOf(service, service.fetch).lookup(ALICE);
    const run = async (): Promise<unknown> => await ask(view, looked);
    figures.set(
      name,
      await taken(
        isRight
          ? run
          : async () => {
              await refused(run);
            },
        read,
      ),
    );
  };
  const asked = await questions(service);
  for (const question of asked) await measure(question.name, question, streamOf(question.answer), true);
  const longest = asked.find(({ name }) => name === PAGE);
  if (longest === undefined) throw new Error("no question has a longest answer");
  for (const [name, response] of nonsense()) await measure(name, longest, response(), false);
  const view = viewOf(service, service.fetch);
  await view.lookup(ALICE);
  figures.set("100,000 events of the epochs room", await roomEvents(service, view, read));
  return figures;
}

export async function measureBounds(): Promise<Figure[]> {
  const times = await measured(crowdedLog("A"), busyMs);
  const memory = await measured(crowdedLog("B"), heldMb);
  return [...times].flatMap(([name, { step, most }]) => [
    { name: `one answer, ${name}: longest block`, measured: step, unit: "ms", atMost: true, must: 50 },
    { name: `one answer, ${name}: in all`, measured: most, unit: "ms", atMost: true },
    {
      name: `one answer, ${name}: memory`,
      measured: memory.get(name)?.most ?? NaN,
      unit: "MB",
      atMost: true,
      must: 16,
    },
  ]);
}
