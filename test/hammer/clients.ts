/**
 * Process of the honest clients. Readers follow contacts with the plugin's own view of a log, so every answer goes through
 * every check a client has; now and then two of them compare heads, ask for a promise, or read a history. The meter looks
 * at everybody whose keys changed, once a second, until a verified answer shows the new device.
 */
import { randomBytes, randomInt } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { systemClock } from "../../client-plugin/clock.ts";
import { consistencyPath, openHead } from "../../client-plugin/heads.ts";
import { LogClient, ServiceFailure } from "../../client-plugin/log-client.ts";
import { LogView } from "../../client-plugin/log-view.ts";
import type { Looked } from "../../client-plugin/log-view.ts";
import { MemoryStorage } from "../../client-plugin/storage.ts";
import { verifyCommitment } from "../../shared/crypto/commitment.ts";
import { parseVkey } from "../../shared/crypto/signed-note.ts";
import { configurationHash, parseConfiguration } from "../../shared/directory/configuration.ts";
import type { Configuration } from "../../shared/directory/configuration.ts";
import type { Hash } from "../../shared/crypto/hash.ts";
import { decodeUnpadded, encodeHex, utf8 } from "../../shared/encoding.ts";
import { VerificationError } from "../../shared/errors.ts";
import { parseLookupsAnswer, parseSessionAnswer } from "../../shared/messages.ts";
import type { HeadPart, LookupsAnswer, UserPart } from "../../shared/messages.ts";
import { MAX_LOOKUPS_PER_REQUEST } from "../../shared/parameters.ts";
import { verifyHead } from "../../shared/proofs/head.ts";
import type { VerifiedHead } from "../../shared/proofs/head.ts";
import { verifyUser } from "../../shared/proofs/lookup.ts";
import type { VerifiedLeaf } from "../../shared/proofs/lookup.ts";
import { verifyPromise } from "../../shared/proofs/promise.ts";
import type { AcceptedLeaf } from "../../shared/proofs/settling.ts";
import { VerdictError } from "../../shared/verdict-codes.ts";
import type { Change, ClientsStart, FromClients, Tally, ToClients } from "./messages.ts";

const CONTACTS = 10;
/** Every so many looks of a reader it does one thing more. */
const EXTRA_EVERY = 8;
const METER_EVERY_MS = 1_000;
/** The service counts questions by account: the meter asks by several in turn. */
const METER_ACCOUNTS = 50;
const TALLY_EVERY_MS = 1_000;
const MAX_KEPT_LEAVES = 100;
/** An answer that says "not now" is no error; asked again after this. */
const BUSY_PAUSE_MS = 1_000;

const start = JSON.parse(process.argv[2] ?? "") as ClientsStart;
const logKey = parseVkey(start.logKey);
const finish = new AbortController();
const outstanding = new Map<string, Change[]>();

class Counts {
  #verified: { [kind: string]: number } = {};
  #lookupMs: number[] = [];
  #mergeMs: number[] = [];
  #busy = 0;
  #failures: string[] = [];
  #errors: string[] = [];
  size = 0;

  verified(kind: string, count = 1): void {
    this.#verified[kind] = (this.#verified[kind] ?? 0) + count;
  }
  lookedUp(ms: number): void {
    this.#lookupMs.push(ms);
  }
  merged(ms: number): void {
    this.#mergeMs.push(ms);
  }
  /** Says which of the three kinds a failure is. */
  failed(where: string, error: unknown): void {
    const text = `${where}: ${error instanceof Error ? `${error.name} ${error.message}` : String(error)}`;
    if (error instanceof ServiceFailure && error.reason === "busy") this.#busy += 1;
    else if (error instanceof VerdictError || error instanceof VerificationError) this.#failures.push(text);
    else this.#errors.push(text);
  }
  take(): Tally {
    const tally: Tally = {
      kind: "tally",
      verified: this.#verified,
      lookupMs: this.#lookupMs,
      mergeMs: this.#mergeMs,
      busy: this.#busy,
      failures: this.#failures,
      errors: this.#errors,
      outstanding: [...outstanding.values()].reduce((sum, changes) => sum + changes.length, 0),
      size: this.size,
    };
    [this.#verified, this.#lookupMs, this.#mergeMs] = [{}, [], []];
    [this.#busy, this.#failures, this.#errors] = [0, [], []];
    return tally;
  }
}
const counts = new Counts();

const userNamed = (i: number): string => `@u${String(i)}:${start.serverName}`;

async function openIdToken(userId: string): Promise<object> {
  const path = `/_matrix/client/v3/user/${encodeURIComponent(userId)}/openid/request_token`;
  const response = await fetch(start.homeserverUrl + path, { method: "POST" });
  return (await response.json()) as object;
}

/** Each client has an address of its own, as behind a reverse proxy. */
function fetchFrom(address: string): typeof fetch {
  return async (url, init) => {
    const headers = new Headers(init?.headers);
    headers.set("x-forwarded-for", address);
    return await fetch(url, { ...init, headers });
  };
}

class Reader {
  readonly #name: string;
  readonly #view: LogView;
  readonly #contacts: readonly string[];
  /** Leaves accepted of each contact, oldest first. */
  readonly #accepted = new Map<string, AcceptedLeaf[]>();
  #looks = 0;

  constructor(number: number) {
    this.#name = `reader ${String(number)}`;
    const address = `10.0.${String(number >> 8)}.${String(number & 255)}`;
    const userId = userNamed(number);
    const transport = { fetch: fetchFrom(address), clock: systemClock };
    const client = new LogClient(start.serviceUrl, transport, async () => await openIdToken(userId));
    const wellKnown = { service_url: start.serviceUrl, room: `#ckv:${start.serverName}`, log_key: start.logKey };
    this.#view = new LogView({
      serverName: start.serverName,
      client,
      memory: { wellKnown, configurations: {}, pending: [] },
      storage: new MemoryStorage(),
      clock: systemClock,
      random: randomBytes,
      policy: undefined,
      onHead: () => undefined,
      onDoubt: () => undefined,
    });
    const known = Array.from({ length: CONTACTS }, () => userNamed(randomInt(start.users)));
    this.#contacts = [...known, `@nobody${String(number)}:${start.serverName}`];
  }

  get newest(): HeadPart | undefined {
    return this.#view.newest;
  }

  /** Looks at a contact, thinks, and so on, until it is told to finish. */
  async read(readers: readonly Reader[]): Promise<void> {
    await delay(randomInt(start.thinkMs));
    while (!finish.signal.aborted) {
      try {
        await this.#look();
        if (++this.#looks % EXTRA_EVERY === 0) await this.#more(readers);
      } catch (error) {
        counts.failed(this.#name, error);
        await delay(BUSY_PAUSE_MS);
      }
      // From half to one and a half times the think time, so that readers don't ask in step.
      await delay(start.thinkMs / 2 + randomInt(start.thinkMs));
    }
  }

  async #look(): Promise<Looked> {
    const userId = this.#contacts[randomInt(this.#contacts.length)] ?? userNamed(0);
    const accepted = this.#accepted.get(userId) ?? [];
    const startedMs = performance.now();
    const looked = await this.#view.lookup(userId, {
      accepted: accepted.at(-1),
      acceptedBy: (epoch) => accepted.findLast((leaf) => leaf.epoch <= epoch),
    });
    counts.lookedUp(performance.now() - startedMs);
    counts.verified("lookup");
    if (looked.leaf !== undefined) this.#accepted.set(userId, [...accepted, looked.leaf].slice(-MAX_KEPT_LEAVES));
    counts.size = Math.max(counts.size, looked.head.checkpoint.size);
    return looked;
  }

  async #more(readers: readonly Reader[]): Promise<void> {
    const turn = (this.#looks / EXTRA_EVERY) % 4;
    if (turn === 0) await this.#compareHeads(readers);
    else if (turn === 1) await this.#askForPromise();
    else if (turn === 2) await this.#readHistory();
    else await this.#lookBack();
  }

  /** Another reader's newest head must be of the same log. */
  async #compareHeads(readers: readonly Reader[]): Promise<void> {
    const head = readers[randomInt(readers.length)]?.newest;
    if (head === undefined) return;
    await this.#view.takeHead(head.checkpoint);
    counts.verified("head of another reader");
  }

  /** Of somebody whose keys have just changed. */
  async #askForPromise(): Promise<void> {
    const [userId] = [...outstanding.keys()].slice(-1);
    if (userId === undefined) return;
    const part = await this.#view.service.refresh(userId);
    if (part === undefined) return;
    const looked = await this.#view.lookup(userId);
    const { configuration } = looked.head;
    verifyPromise({ configuration, userId, index: looked.index, newestN: 0, nowMs: Date.now() }, part);
    counts.verified("promise");
  }

  async #readHistory(): Promise<void> {
    const looked = await this.#look();
    if (looked.leaf === undefined) return;
    const { n } = looked.leaf;
    try {
      const versions = await this.#view.versions(looked, Math.max(1, n - 4), n);
      counts.verified("version", versions.length);
    } catch (error) {
      // It may grow between the two questions, which says nothing about the log.
      if (!(error instanceof ServiceFailure && error.reason === "busy")) throw error;
    }
  }

  /** The leaf at the settling epoch that the lookup showed, asked for by itself. */
  async #lookBack(): Promise<void> {
    const looked = await this.#look();
    await this.#view.settledAt(looked, looked.settledEpoch, undefined, () => undefined);
    counts.verified("settled leaf");
  }
}

/** Measures how long a change takes to be shown: whole batches, each user verified under one verified head. */
class Meter {
  readonly #sessions: { readonly token: string; readonly fetch: typeof fetch }[] = [];
  readonly #indices = new Map<string, Hash>();
  readonly #configurations = new Map<string, Configuration>();
  /** Newest version seen of each user: it never falls. */
  readonly #versions = new Map<string, number>();
  #newest: HeadPart | undefined;
  #turn = 0;

  async open(): Promise<void> {
    for (let i = 0; i < METER_ACCOUNTS; i++) {
      const from = fetchFrom(`10.1.0.${String(i)}`);
      const openid_token = await openIdToken(userNamed(i));
      const response = await from(`${start.serviceUrl}/v1/session`, {
        method: "POST",
        body: JSON.stringify({ openid_token }),
      });
      this.#sessions.push({ token: parseSessionAnswer(await response.json()).session, fetch: from });
    }
    const text = await this.#text("/v1/configuration");
    this.#configurations.set(encodeHex(configurationHash(text)), parseConfiguration(text));
  }

  /** Looks at everybody with outstanding changes, until told to finish and none is left. */
  async measure(): Promise<void> {
    while (!finish.signal.aborted || outstanding.size > 0) {
      const startedMs = performance.now();
      try {
        await this.#lookAtAll([...outstanding.keys()]);
      } catch (error) {
        counts.failed("meter", error);
      }
      await delay(Math.max(50, METER_EVERY_MS - (performance.now() - startedMs)));
    }
  }

  /** How many of these users are in the log. */
  async present(userIds: readonly string[]): Promise<number> {
    await this.#lookAtAll(userIds.filter((userId) => !this.#versions.has(userId)));
    return this.#versions.size;
  }

  async #lookAtAll(userIds: readonly string[]): Promise<void> {
    for (let from = 0; from < userIds.length; from += MAX_LOOKUPS_PER_REQUEST) {
      const asked = userIds.slice(from, from + MAX_LOOKUPS_PER_REQUEST);
      const answer = await this.#ask(asked);
      const head = await this.#verifyHead(answer.head);
      const readMs = Date.now();
      for (const [at, userId] of asked.entries()) {
        this.#take(head, userId, answer, readMs);
        if (at % 20 === 19) await delay(0);
      }
      counts.verified("lookup in a batch", asked.length);
    }
  }

  async #ask(user_ids: readonly string[]): Promise<LookupsAnswer> {
    const session = this.#sessions[this.#turn++ % this.#sessions.length];
    if (session === undefined) throw new Error("the meter has no session");
    const response = await session.fetch(`${start.serviceUrl}/v1/lookups`, {
      method: "POST",
      headers: { authorization: `Bearer ${session.token}` },
      body: JSON.stringify({ user_ids }),
    });
    if (response.status === 429 || response.status === 503) throw new ServiceFailure("busy", "/v1/lookups");
    if (!response.ok) throw new Error(`/v1/lookups: ${String(response.status)}`);
    return parseLookupsAnswer(await response.json());
  }

  async #verifyHead(part: HeadPart): Promise<VerifiedHead> {
    const [older, newer] = [this.#newest ?? part, part].map(({ checkpoint }) => openHead(checkpoint, logKey));
    if (older === undefined || newer === undefined) throw new Error("two heads");
    const path = await consistencyPath(async (tile) => await this.#tile(tile), start.logKey, older, newer);
    const known = {
      logKey,
      configurations: this.#configurations,
      cosignatures: () => [],
      nowMs: Date.now(),
      ...(this.#newest === undefined ? {} : { newest: this.#newest }),
    };
    const head = verifyHead(known, part, path);
    this.#newest = part;
    counts.size = Math.max(counts.size, head.checkpoint.size);
    return head;
  }

  #take(head: VerifiedHead, userId: string, answer: LookupsAnswer, readMs: number): void {
    const part = answer.users[userId];
    if (part === undefined) throw new VerdictError("bad-answer", `${userId} is missing in the answer`);
    const index = this.#indices.get(userId);
    const { leaf, index: found } = verifyUser(head, index === undefined ? {} : { index }, userId, withoutContent(part));
    this.#indices.set(userId, found);
    if (leaf === undefined) return;
    if (leaf.n < (this.#versions.get(userId) ?? 0)) throw new VerdictError("history-shorter", userId);
    this.#versions.set(userId, leaf.n);
    const changes = outstanding.get(userId);
    if (changes === undefined) return;
    const devices = devicesOf(userId, leaf, part);
    // Devices come in order: with a later one shown, the earlier ones have been merged before it, or left with it.
    const shown = changes.findLastIndex(({ deviceId }) => devices.has(deviceId));
    for (const { atMs } of changes.slice(0, shown + 1)) counts.merged(readMs - atMs);
    if (shown + 1 === changes.length) outstanding.delete(userId);
    else outstanding.set(userId, changes.slice(shown + 1));
  }

  async #tile(path: string): Promise<Uint8Array> {
    const response = await fetch(`${start.serviceUrl}/log/${path}`);
    if (!response.ok) throw new ServiceFailure("refused-by-service", path, response.status);
    return new Uint8Array(await response.arrayBuffer());
  }

  async #text(path: string): Promise<string> {
    return await (await fetch(start.serviceUrl + path)).text();
  }
}

/** The signatures of devices are left to the readers: the meter is after the log's proofs, for a hundred users a second. */
function withoutContent(part: UserPart): UserPart {
  if (part.leaf === undefined) return part;
  const { n, history_root, last_leaf_proof, epoch, commitment } = part.leaf;
  return { ...part, leaf: { n, history_root, last_leaf_proof, epoch, commitment } };
}

/** Ids of the devices in the entry that the proven commitment opens to. */
function devicesOf(userId: string, { n, commitment }: VerifiedLeaf, part: UserPart): ReadonlySet<string> {
  const { opening = "", entry = "" } = part.leaf ?? {};
  const opened = { userId, version: n, entry: utf8(entry), opening: decodeUnpadded(opening) };
  verifyCommitment(commitment, opened);
  return new Set(Object.keys((JSON.parse(entry) as { readonly devices: object }).devices));
}

const tell = (message: FromClients): void => {
  process.send?.(message);
};

process.on("message", (message: ToClients) => {
  if (message.kind === "finish") {
    finish.abort();
    return;
  }
  for (const change of message.changes) {
    outstanding.set(change.userId, [...(outstanding.get(change.userId) ?? []), change]);
  }
});
process.once("disconnect", () => process.exit());

const meter = new Meter();
await meter.open();
const all = Array.from({ length: start.users }, (_, i) => userNamed(i));
let present = 0;
while (present < all.length) {
  await delay(METER_EVERY_MS);
  present = await meter.present(all);
  tell({ kind: "preparing", present });
}
tell({ kind: "ready" });
const tallies = setInterval(() => {
  tell(counts.take());
}, TALLY_EVERY_MS);
const readers = Array.from({ length: start.readers }, (_, i) => new Reader(i));
await Promise.all([
  ...readers.map(async (reader) => {
    await reader.read(readers);
  }),
  meter.measure(),
]);
clearInterval(tallies);
tell(counts.take());
tell({ kind: "finished" });
