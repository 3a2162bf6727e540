/**
 * One log as this account sees it: its pinned key, the newest head, accepted configurations, settling epochs. Every answer
 * goes through the proofs of shared/ here, and nothing unproven leaves.
 */
import type { Cosignature } from "../shared/crypto/cosignature.ts";
import { openCosignatures } from "../shared/crypto/cosignature.ts";
import { parseNote, parseVkey } from "../shared/crypto/signed-note.ts";
import type { NoteKey } from "../shared/crypto/signed-note.ts";
import { parseConfiguration } from "../shared/directory/configuration.ts";
import type { Configuration, LogReference } from "../shared/directory/configuration.ts";
import type { Entry } from "../shared/directory/entry.ts";
import { decodeUnpadded, encodeHex, encodeUnpadded } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import { verifyVersion } from "../shared/history/history.ts";
import type { HistoryHead } from "../shared/history/history.ts";
import { parseCheckpoint } from "../shared/log/checkpoint.ts";
import type { EpochRecord } from "../shared/log/epoch-record.ts";
import { parseEpochRecord, verifyRecord } from "../shared/log/epoch-record.ts";
import { checkPolicy } from "../shared/log/policy.ts";
import type { Policy } from "../shared/log/policy.ts";
import { entryTile, parseEntryBundle, tilePath, tilesForConsistency, tilesForInclusion } from "../shared/log/tiles.ts";
import { proveInclusion } from "../shared/merkle/inclusion.ts";
import { LOG_DOMAINS } from "../shared/merkle/tree.ts";
import { decodePath, encodePath } from "../shared/messages.ts";
import type { HeadPart, SettledAnswer, VersionPart, WellKnown } from "../shared/messages.ts";
import {
  DAY_MS,
  ERASABLE_AFTER_MS,
  HEAD_ROLLED_BACK_AFTER_MS,
  HEAD_WITHHELD_AFTER_MS,
  STALE_EXTRA_MS,
  STALE_HEARTBEATS,
} from "../shared/parameters.ts";
import type { VersionProof } from "../shared/proofs/evidence.ts";
import { acceptConfiguration, verifyHead } from "../shared/proofs/head.ts";
import type { VerifiedHead } from "../shared/proofs/head.ts";
import { checkAuthority, verifyContent, verifyIndex, verifyUser } from "../shared/proofs/lookup.ts";
import type { VerifiedLeaf, VerifiedLookup } from "../shared/proofs/lookup.ts";
import { checkOneSettling, settlingInterval, verifySettled, verifySettlingRecords } from "../shared/proofs/settling.ts";
import type { AcceptedLeaf, VerifiedSettled, VerifiedSettling } from "../shared/proofs/settling.ts";
import { inStep } from "../shared/proofs/step.ts";
import { VerdictError } from "../shared/verdict-codes.ts";
import type { VerdictCode } from "../shared/verdict-codes.ts";
import type { Clock } from "./clock.ts";
import { consistencyPath, readTile, readerFor, openHead } from "./heads.ts";
import type { SignedHead } from "./heads.ts";
import { ServiceFailure } from "./log-client.ts";
import type { LogClient } from "./log-client.ts";
import { checkSignaturesAhead } from "./slices.ts";
import type { Storage } from "./storage.ts";
import type { Finding } from "./verdict.ts";

/** What this device keeps about a log. Stored as JSON. */
export interface LogMemory {
  wellKnown: WellKnown;
  newest?: HeadPart;
  /** Texts of accepted configurations by hash, and the head that proved the newest of them. */
  configurations: Record<string, string>;
  configured?: { readonly hash: string; readonly proven: HeadPart };
  /** Heads from elsewhere that are not yet tied to ours. */
  pending: SignedHead[];
  /** Since when the service shows less than is known. */
  behindSinceMs?: number;
  /** How far the newest fresh head lay behind the clock here. */
  lagMs?: number;
  /** The first head that was not fresh: its time, and from how far behind a day more is told. */
  stale?: { readonly sinceMs: number; readonly lagMs: number };
  /** Most cosignatures of the policy ever met. */
  quorum?: number;
  /** It took the place of another log, properly; told once. */
  moved?: boolean;
}

/** A lookup that passed steps 1 to 7 and settling. */
export interface Looked extends VerifiedLookup {
  readonly configurationText: string;
  /** A reason to confirm nothing new, given by the head. */
  readonly headReason: VerdictCode | undefined;
  /** The client's policy is met by cosignatures. */
  readonly quorumMet: boolean;
  /** The settling epoch that was looked at. */
  readonly settledEpoch: number;
  /** What the log itself gave to tell. */
  readonly findings: readonly Finding[];
}

/** What the caller accepted before about a user. */
export interface KnownOfUser {
  readonly accepted?: AcceptedLeaf | undefined;
  /** The newest leaf accepted at or before an epoch. */
  readonly acceptedBy?: (epoch: number) => AcceptedLeaf | undefined;
}

/** A version of a history, proven under the lookup it was asked with. `entry` is absent once erased. */
export interface VerifiedVersion {
  readonly version: number;
  readonly epoch: number;
  readonly commitment: Uint8Array;
  readonly entry?: Entry;
  readonly part: VersionProof;
}

interface NewConfiguration {
  readonly hash: string;
  readonly text: string;
  readonly configuration: Configuration;
  /** Another one was accepted before. */
  readonly isChange: boolean;
}

/** Where logs are found by server name. Undefined: the server has none. Throws `ServiceFailure`, `VerdictError`. */
export interface LogViews {
  of(serverName: string): Promise<LogView | undefined>;
}

export interface LogViewOptions {
  readonly serverName: string;
  readonly client: LogClient;
  readonly memory: LogMemory;
  readonly storage: Storage;
  readonly clock: Clock;
  readonly random: (length: number) => Uint8Array;
  /** The client's own; undefined: it demands nothing. */
  readonly policy: Policy | undefined;
  /** Called with each head that became the newest. */
  readonly onHead: (serverName: string, head: HeadPart, logKey: string) => void;
  /** Called when the log may be elsewhere by now: it was closed, or a lookup fails. */
  readonly onDoubt: (serverName: string) => void;
}

const MAX_PENDING_HEADS = 16;
const MAX_KEPT_TILES = 64;
/** A replica may be this much behind another one: asked again once. */
const REPLICA_PAUSE_MS = 2_000;

export class LogView {
  readonly #options: LogViewOptions;
  readonly #key: NoteKey;
  readonly #configurations = new Map<string, Configuration>();
  readonly #indices = new Map<string, Uint8Array>();
  readonly #tiles = new Map<string, Uint8Array>();
  readonly #settlings = new Map<number, VerifiedSettling>();
  /** What the log itself gave to tell, each fact once. */
  readonly #findings = new Map<string, Finding>();
  /** The largest head a poll has shown, and when it was new. */
  #polled: { readonly size: number; readonly atMs: number } | undefined;
  /** Heads are judged one after the other. */
  #tail: Promise<unknown> = Promise.resolve();

  constructor(options: LogViewOptions) {
    this.#options = options;
    this.#key = parseVkey(options.memory.wellKnown.log_key);
    for (const [hash, text] of Object.entries(options.memory.configurations)) {
      this.#configurations.set(hash, parseConfiguration(text));
    }
  }

  /** Verifier key of the log. */
  get logKey(): string {
    return this.#options.memory.wellKnown.log_key;
  }
  /**
   * Whether a key is this log's, or that of the log before or after it; neither true nor false while that can't be known.
   * Goes to the service where no such log is known yet.
   */
  async names(logKey: string): Promise<boolean | "silent" | undefined> {
    const isBefore = [...this.#configurations.values()].some(({ predecessor }) => predecessor?.log_key === logKey);
    return logKey === this.logKey || isBefore || (await this.leadsTo(logKey));
  }
  /** The log's service, for what changes something or is no proof. */
  get service(): LogClient {
    return this.#options.client;
  }
  get newest(): HeadPart | undefined {
    return this.#options.memory.newest;
  }

  /** A complete lookup of one user. `known` is left out where it is not the one that follows a user's history. */
  async lookup(userId: string, known?: KnownOfUser): Promise<Looked> {
    const { onDoubt, serverName } = this.#options;
    try {
      const looked = await this.#lookup(userId, known);
      if (looked.head.configuration.successor !== undefined) onDoubt(serverName);
      return looked;
    } catch (error) {
      onDoubt(serverName);
      throw error;
    }
  }

  async #lookup(userId: string, known: KnownOfUser | undefined): Promise<Looked> {
    const { client } = this.#options;
    checkAuthority(this.#key, userId);
    const first = await client.lookup(userId);
    const isBehind = this.#sizeOf(first.head) < this.#knownSize();
    if (isBehind) await this.#options.clock.sleep(REPLICA_PAUSE_MS, new AbortController().signal);
    const answer = isBehind ? await client.lookup(userId) : first;
    const head = await this.#inOrder(async () => await this.#head(answer.head));
    const settling = await this.#settling(head, answer.user.settling.epoch);
    const accepted = this.#carried(known?.accepted);
    const n = answer.user.leaf?.n ?? 0;
    // Only who follows nobody's history yet could be told from others by what it does not ask.
    const from = accepted?.n ?? (known === undefined ? n : this.#earlierThan(n));
    const path = await this.historyPath(userId, from, n);
    const acceptedBySettling = this.#carried(known?.acceptedBy?.(settling.record.epoch));
    const index = this.#indices.get(userId);
    await checkSignaturesAhead(answer.user.leaf?.entry);
    const looked = verifyUser(head, { path, settling, index, accepted, acceptedBySettling }, userId, answer.user);
    this.#indices.set(userId, looked.index);
    const findings = [...this.#findings.values()];
    return { ...looked, findings, settledEpoch: settling.record.epoch, ...this.#standing(head) };
  }

  /** What was accepted in the log that this one took the place of lies before its first epoch. */
  #carried(leaf: AcceptedLeaf | undefined): AcceptedLeaf | undefined {
    if (leaf === undefined) return undefined;
    const { origin } = parseCheckpoint(parseNote(leaf.proven.checkpoint).text);
    return origin === this.#key.name ? leaf : { ...leaf, epoch: -1 };
  }

  #standing(head: VerifiedHead): Pick<Looked, "configurationText" | "headReason" | "quorumMet"> {
    const { memory, policy } = this.#options;
    const hash = encodeHex(head.record.configurationHash);
    const configurationText = memory.configurations[hash] ?? "";
    return { configurationText, headReason: head.stale ? "stale" : undefined, quorumMet: policy?.quorum !== undefined };
  }

  /** Versions `from` to `to` of the history that a lookup proved. */
  async versions(looked: Looked, from: number, to: number): Promise<VerifiedVersion[]> {
    const { leaf, userId } = looked;
    if (leaf === undefined) return [];
    const answer = await this.#options.client.historyVersions(userId, from, to);
    if (answer.n !== leaf.n) throw new ServiceFailure("busy", "the history grew while it was read");
    const versions: VerifiedVersion[] = [];
    for (const part of answer.versions) {
      await checkSignaturesAhead(part.entry);
      versions.push(this.#version(looked, part));
    }
    if (versions.some(({ version }, at) => version !== from + at) || versions.length !== to - from + 1) {
      throw new VerificationError("malformed", "other versions than asked for");
    }
    return versions;
  }

  #version({ leaf, userId }: Looked, part: VersionPart): VerifiedVersion {
    const { version, epoch, proof } = part;
    const commitment = inStep("history-leaf", () => decodeUnpadded(part.commitment));
    inStep("history-leaf", () => {
      verifyVersion({ version, epoch, commitment }, decodePath(proof), leaf ?? { n: 0, root: commitment });
    });
    const content = verifyContent(undefined, userId, version, commitment, part);
    const proven: VersionProof = { version, epoch, commitment: part.commitment, proof };
    return { version, epoch, commitment, part: proven, ...(content === undefined ? {} : { entry: content.entry }) };
  }

  /** The newest settling epoch at or before `epoch`: the first one in the interval of its record. */
  async settlingEpochBefore({ head }: Looked, epoch: number): Promise<number> {
    const { settle_ms: settleMs } = head.configuration;
    const intervalOf = async (at: number): Promise<number> =>
      settlingInterval(await this.#recordAt(head, at), settleMs);
    const interval = await intervalOf(epoch);
    let [outside, inside] = [-1, epoch];
    while (inside - outside > 1) {
      const middle = Math.floor((outside + inside) / 2);
      if ((await intervalOf(middle)) === interval) inside = middle;
      else outside = middle;
    }
    return inside;
  }

  /**
   * The own leaf at a settling epoch, as verified as a lookup's settling part. `later` is what a later settling epoch
   * shows, if one was looked at: the leaf must lead to that one, so that no two of them are out of order.
   */
  async settledAt(
    looked: Looked,
    epoch: number,
    later: VerifiedSettled | undefined,
    acceptedBy: (epoch: number) => AcceptedLeaf | undefined,
  ): Promise<VerifiedSettled> {
    const { head, userId, index } = looked;
    const { leaf: headLeaf, proven: headProven } = later ?? looked;
    const answer = await this.#options.client.settled(userId, epoch);
    const settling = await this.#settling(head, answer.epoch);
    if (answer.epoch !== epoch) throw new VerdictError("settle-overdue", "another settling epoch than asked for");
    inStep("index-proof", () => verifyIndex(head.configuration, index, userId, answer.vrf_proof));
    const context = { index, headLeaf, headProven, accepted: acceptedBy(answer.epoch) };
    return verifySettled(head, settling, context, await this.#leadingTo(userId, headLeaf, answer));
  }

  /** The service's path leads to the history as it is by now, which may have grown since. */
  async #leadingTo(userId: string, shown: HistoryHead | undefined, part: SettledAnswer): Promise<SettledAnswer> {
    const { leaf } = part;
    if (leaf === undefined || shown === undefined) return part;
    const { proof: consistency } =
      leaf.n < shown.n ? await this.#options.client.historyConsistency(userId, leaf.n, shown.n) : { proof: "" };
    return { ...part, leaf: { ...leaf, consistency } };
  }

  /** The newest version does not open, and is too young to be erased. Of one that another log merged nobody knows. */
  async isWithheld({ head }: Looked, { content, mergedIn }: VerifiedLeaf): Promise<boolean> {
    if (content !== undefined || head.configuration.predecessor !== undefined) return false;
    const { timestampMs } = await this.#recordAt(head, mergedIn);
    return head.record.timestampMs - timestampMs < ERASABLE_AFTER_MS;
  }

  /** When the epochs of a history were closed: records proven under the head of a lookup. */
  async recordsAt({ head }: Looked, epochs: readonly number[]): Promise<Map<number, EpochRecord>> {
    const records = new Map<number, EpochRecord>();
    for (const epoch of new Set(epochs)) records.set(epoch, await this.#recordAt(head, epoch));
    return records;
  }

  async #recordAt({ checkpoint }: VerifiedHead, epoch: number): Promise<EpochRecord> {
    const { bytes, path } = await this.#recordPart(checkpoint.size, epoch);
    verifyRecord(bytes, epoch, checkpoint, path);
    return parseEpochRecord(bytes);
  }

  /** The record of an epoch and its path in a log of this size, as the tiles have them. Proves nothing. */
  async #recordPart(size: number, epoch: number): Promise<{ bytes: Uint8Array; path: readonly Uint8Array[] }> {
    const tiles = async (path: string): Promise<Uint8Array> => await this.#tile(path);
    const bundle = entryTile(epoch, size);
    const entries = parseEntryBundle(await tiles(tilePath(bundle)), bundle.width);
    const bytes = entries[epoch % 256];
    if (bytes === undefined) throw new VerificationError("malformed", "an entry is missing in its tile");
    const read = await readerFor(tiles, tilesForInclusion(epoch, size), size);
    return { bytes, path: proveInclusion(LOG_DOMAINS, read, epoch, size) };
  }

  /**
   * Whether this log has closed with an epoch that names the log of this key; `silent` where nobody answers, undefined
   * where the answer does not hold, which lookups tell. Where no log after this one is known, the newest head is asked
   * for and goes through all steps: the final epoch may have closed meanwhile.
   */
  async leadsTo(logKey: string): Promise<boolean | "silent" | undefined> {
    const { memory, client } = this.#options;
    const next = (): LogReference | undefined => this.#configurations.get(memory.configured?.hash ?? "")?.successor;
    if (memory.newest === undefined) return "silent";
    try {
      if (next() === undefined) {
        const checkpoint = await client.checkpoint();
        const { size } = this.#open(checkpoint);
        const { bytes, path } = await this.#recordPart(size, size - 1);
        const part = { checkpoint, record: encodeUnpadded(bytes), record_proof: encodePath(path) };
        await this.#inOrder(async () => await this.#head(part));
      }
      return next()?.log_key === logKey;
    } catch (error) {
      if (error instanceof ServiceFailure) return "silent";
      if (error instanceof VerdictError || error instanceof VerificationError) return undefined;
      throw error;
    }
  }

  /**
   * A head somebody else holds. It must be signed by the pinned key, and is tied to ours now or when ours has grown.
   * Throws `head-signature`, `head-fork`, `heads-unreconciled`.
   */
  async takeHead(note: string): Promise<void> {
    const head = this.#open(note);
    await this.#inOrder(async () => {
      const { memory } = this.#options;
      const others = memory.pending.filter(({ checkpoint }) => checkpoint !== note);
      memory.pending = [...others, head].slice(-MAX_PENDING_HEADS);
      const newest = this.#newest();
      if (newest !== undefined) await this.#reconcilePending(newest);
      await this.#store();
    });
  }

  /**
   * Asks for the newest head without naming a user, and ties it to ours. Returns whether the log stands still. Throws
   * `head-fork`, `heads-unreconciled`, or what `#behind` says.
   */
  async poll(): Promise<{ stale: boolean }> {
    const note = await this.#options.client.checkpoint();
    return await this.#inOrder(async () => {
      const { memory, clock } = this.#options;
      const head = this.#open(note);
      const newest = this.#newest();
      if (newest === undefined) return { stale: false };
      try {
        await this.#pathBetween(newest, head);
        if (head.size < newest.size) throw this.#behind();
        await this.#reconcilePending(head);
      } catch (error) {
        if (error instanceof VerdictError && error.code === "head-fork") memory.pending.push(head);
        throw error;
      }
      if (head.size > newest.size && this.#polled?.size !== head.size)
        this.#polled = { size: head.size, atMs: clock.now() };
      if (head.size > newest.size) memory.pending = [...memory.pending, head].slice(-MAX_PENDING_HEADS);
      return { stale: this.#isOld() };
    });
  }

  /** Neither a record nor a poll has shown anything new for too long. */
  #isOld(): boolean {
    const { memory, clock } = this.#options;
    if (memory.newest === undefined) return false;
    const record = parseEpochRecord(decodeUnpadded(memory.newest.record));
    const heartbeatMs = this.#configurations.get(encodeHex(record.configurationHash))?.heartbeat_ms ?? 0;
    const lastMs = Math.max(record.timestampMs, this.#polled?.atMs ?? 0);
    return clock.now() - lastMs > STALE_HEARTBEATS * heartbeatMs + STALE_EXTRA_MS;
  }

  /** How often the log makes an epoch at least; undefined until a head is known. */
  get heartbeatMs(): number | undefined {
    const hash = this.#options.memory.configured?.hash;
    return hash === undefined ? undefined : this.#configurations.get(hash)?.heartbeat_ms;
  }

  async #inOrder<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(task);
    this.#tail = result.catch(() => undefined);
    return await result;
  }

  #open(note: string): SignedHead {
    return openHead(note, this.#key);
  }

  #newest(): SignedHead | undefined {
    const { newest } = this.#options.memory;
    return newest && this.#open(newest.checkpoint);
  }

  #sizeOf(part: HeadPart | undefined): number {
    return part === undefined ? 0 : this.#open(part.checkpoint).size;
  }

  #knownSize(): number {
    const { newest, pending } = this.#options.memory;
    return Math.max(this.#sizeOf(newest), ...pending.map(({ size }) => size));
  }

  /** Steps 1 to 3 for the head of an answer. */
  async #head(part: HeadPart): Promise<VerifiedHead> {
    const { memory, clock } = this.#options;
    const head = this.#open(part.checkpoint);
    const newest = this.#newest();
    const path = newest === undefined ? await this.#cover(head) : await this.#pathBetween(newest, head);
    const next = await this.#newConfiguration(part);
    const known = {
      logKey: this.#key,
      configurations: next === undefined ? this.#configurations : new Map([[next.hash, next.configuration]]),
      cosignatures: (note: string) => this.#cosignatures(note),
      nowMs: clock.now(),
      ...(memory.newest === undefined ? {} : { newest: memory.newest }),
    };
    const verified = verifyHead(known, part, path);
    if (verified.behind) throw this.#behind();
    await this.#reconcilePending(head);
    if (next !== undefined) this.#keepConfiguration(next, part);
    if (memory.pending.length > 0) throw this.#behind();
    delete memory.behindSinceMs;
    if (memory.moved === true) this.#find("log-moved", "");
    memory.moved = false;
    memory.quorum = Math.max(memory.quorum ?? 0, verified.cosignatures.length);
    const weaker = verified.cosignatures.length < memory.quorum;
    if (weaker) this.#find("quorum-weaker", String(verified.cosignatures.length));
    const advanced = newest === undefined || head.size > newest.size;
    memory.newest = part;
    this.#noteStaleness(verified);
    await this.#store();
    if (advanced) this.#options.onHead(this.#options.serverName, part, this.logKey);
    return verified;
  }

  #cosignatures(note: string): readonly Cosignature[] {
    const { policy } = this.#options;
    if (policy === undefined) return [];
    const found = openCosignatures(note, policy.witnesses);
    checkPolicy(
      policy,
      found.map(({ key }) => key),
    );
    return found;
  }

  /** Heads that fall behind by one day more are told while they go on to; those that only lie behind show a wrong clock. */
  #noteStaleness({ stale, record: { timestampMs } }: VerifiedHead): void {
    const { memory, clock } = this.#options;
    const lagMs = clock.now() - timestampMs;
    if (!stale) {
      delete memory.stale;
      memory.lagMs = lagMs;
      return;
    }
    // A day more than before, and some of it seen from here: a clock that jumps ahead does the first alone.
    const fromMs = Math.max(memory.lagMs ?? lagMs, lagMs + STALE_EXTRA_MS - DAY_MS);
    const { sinceMs, lagMs: firstLagMs } = (memory.stale ??= { sinceMs: timestampMs, lagMs: fromMs });
    if (lagMs - firstLagMs >= DAY_MS) this.#find("stale-long", String(sinceMs), sinceMs);
  }

  /** Goes along with every lookup from now on: the one at hand may yet fail for another reason. */
  #find(code: Finding["code"], key: string, sinceMs: number = this.#options.clock.now()): void {
    const id = `${code} ${key}`;
    if (this.#findings.has(id)) return;
    const about = { code, key: `${this.#key.name} ${key}`, sinceMs };
    this.#findings.set(id, { ...about, class: code === "quorum-weaker" ? "warning" : "notice" });
  }

  /** The path between the newest known head and this one, whichever is larger; forks are found here. */
  async #pathBetween(newest: SignedHead, head: SignedHead): Promise<readonly Uint8Array[]> {
    const [older, newer] = head.size < newest.size ? [head, newest] : [newest, head];
    try {
      return await consistencyPath((path) => this.#tile(path), this.logKey, older, newer);
    } catch (error) {
      const unproven = error instanceof VerdictError && error.code === "heads-unreconciled";
      if (head.size < newest.size && (unproven || (error instanceof ServiceFailure && error.status !== undefined))) {
        throw this.#behind();
      }
      if (error instanceof ServiceFailure && error.reason === "refused-by-service") {
        throw new VerdictError("heads-unreconciled", "no consistency path between two signed heads", {
          cause: error,
        });
      }
      throw error;
    }
  }

  /** Asks for the tiles that somebody with an earlier head would need, whatever comes back: no head is known here yet. */
  async #cover({ size }: SignedHead): Promise<readonly Uint8Array[]> {
    const earlier = this.#earlierThan(size);
    const tiles = earlier < size ? tilesForConsistency(earlier, size) : [];
    await Promise.allSettled(tiles.map((tile) => readTile((path) => this.#tile(path), tile)));
    return [];
  }

  /** Full tiles never change: those read last are kept. */
  async #tile(path: string): Promise<Uint8Array> {
    const kept = this.#tiles.get(path);
    if (kept !== undefined) return kept;
    const tile = await this.#options.client.tile(path);
    if (path.includes(".p/")) return tile;
    this.#tiles.set(path, tile);
    const [oldest] = this.#tiles.keys();
    if (this.#tiles.size > MAX_KEPT_TILES && oldest !== undefined) this.#tiles.delete(oldest);
    return tile;
  }

  /** The service shows less than is known to exist: grey, then a notice, then a warning. */
  #behind(): VerdictError {
    const { memory, clock } = this.#options;
    memory.behindSinceMs ??= clock.now();
    const forMs = clock.now() - memory.behindSinceMs;
    if (forMs >= HEAD_ROLLED_BACK_AFTER_MS) return new VerdictError("log-rolled-back", "a larger head is known");
    const code = forMs >= HEAD_WITHHELD_AFTER_MS ? "head-withheld" : "stale";
    return new VerdictError(code, "a larger head is known");
  }

  /** Ties heads from elsewhere to `head`: those that are not larger now, the others when it is their turn. */
  async #reconcilePending(head: SignedHead): Promise<void> {
    const { memory } = this.#options;
    const later: SignedHead[] = [];
    for (const other of memory.pending) {
      if (other.size <= head.size) await consistencyPath((path) => this.#tile(path), this.logKey, other, head);
      else later.push(other);
    }
    memory.pending = later;
  }

  /** The configuration a head names, if it is not known yet: acceptable, and kept once the head has passed. */
  async #newConfiguration(part: HeadPart): Promise<NewConfiguration | undefined> {
    const { memory, client } = this.#options;
    const record = inStep("record-invalid", () => parseEpochRecord(decodeUnpadded(part.record)), "record-invalid");
    const hash = encodeHex(record.configurationHash);
    if (this.#configurations.has(hash)) return undefined;
    const text = await this.#configurationText(client, hash);
    const before = memory.configured;
    const previousText = before === undefined ? undefined : memory.configurations[before.hash];
    const previous =
      before === undefined || previousText === undefined ? undefined : { text: previousText, proven: before.proven };
    const configuration = acceptConfiguration(this.#key, previous, { text, proven: part });
    return { hash, text, configuration, isChange: previous !== undefined };
  }

  #keepConfiguration({ hash, text, configuration, isChange }: NewConfiguration, proven: HeadPart): void {
    const { memory } = this.#options;
    this.#configurations.set(hash, configuration);
    memory.configurations[hash] = text;
    memory.configured = { hash, proven };
    if (isChange) this.#find("config-changed", hash);
  }

  async #configurationText(client: LogClient, hash: string): Promise<string> {
    try {
      return await client.configuration(hash);
    } catch (error) {
      if (!(error instanceof ServiceFailure) || error.reason !== "refused-by-service") throw error;
      throw new VerdictError("config-unknown", "the configuration is withheld", { cause: error });
    }
  }

  /** A settling epoch, proven once; it is good under every later head. */
  async #settling(head: VerifiedHead, epoch: number): Promise<VerifiedSettling> {
    const known = this.#settlings.get(epoch);
    if (known !== undefined) return known;
    try {
      const records = await this.#options.client.settlingRecords(epoch, head.checkpoint.size);
      const settling = verifySettlingRecords(head, epoch, records);
      for (const other of this.#settlings.values()) checkOneSettling(head, other, settling);
      this.#settlings.set(epoch, settling);
      return settling;
    } catch (error) {
      if (!(error instanceof ServiceFailure) || error.status === undefined) throw error;
      throw new VerdictError("settle-overdue", "the settling epoch is withheld", { cause: error });
    }
  }

  /** A point in a row of so many before its end, likelier near to it than far: for who knows none, and won't let on. */
  #earlierThan(size: number): number {
    const [byte = 0] = this.#options.random(1);
    return size < 2 ? size : size - Math.floor((size - 1) ** (byte / 256));
  }

  /** The history path between two versions, either way round. Proves nothing by itself. */
  async historyPath(userId: string, one: number, other: number): Promise<Uint8Array[]> {
    const [from, to] = one < other ? [one, other] : [other, one];
    if (from === to || from === 0) return [];
    try {
      const { proof } = await this.#options.client.historyConsistency(userId, from, to);
      return inStep("history-unproven", () => decodePath(proof));
    } catch (error) {
      if (!(error instanceof ServiceFailure) || error.status === undefined) throw error;
      return [];
    }
  }

  async #store(): Promise<void> {
    const { storage, serverName, memory } = this.#options;
    await storage.set(`log:${serverName}`, JSON.stringify(memory));
  }
}
