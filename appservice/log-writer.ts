/**
 * The single writer of a log: changes in, signed epochs out, strictly one after another. Runs in a thread of its own and
 * knows no clock: times come with the calls.
 */
import { checkConfigurationChange, configurationHash, formatConfiguration } from "../shared/directory/configuration.ts";
import { closedEntry } from "../shared/directory/entry.ts";
import { encodeUnpadded, equalBytes, utf8 } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import { parseEpochRecord } from "../shared/log/epoch-record.ts";
import type { EpochRecord } from "../shared/log/epoch-record.ts";
import { ERASABLE_AFTER_MS } from "../shared/parameters.ts";
import { openCheckpoint } from "../shared/log/checkpoint.ts";
import { signPromise } from "../shared/proofs/promise.ts";
import type { Hash } from "../shared/crypto/hash.ts";
import type { VrfProof } from "../shared/crypto/vrf.ts";
import { checkpointSigner } from "./checkpoint-signer.ts";
import type { CheckpointSigner } from "./checkpoint-signer.ts";
import { EpochBuilder } from "./epoch-builder.ts";
import type { BuiltEpoch } from "./epoch-builder.ts";
import { InFlightReads } from "./in-flight.ts";
import { readSettings } from "./log-settings.ts";
import type { LogKeys, LogSettings } from "./log-settings.ts";
import { commitNatively } from "./native-commitment.ts";
import type { IndexProver } from "./native-vrf.ts";
import { PendingChanges } from "./pending.ts";
import type { MergedState, PendingVersion } from "./pending.ts";
import { encodePending, parsePending } from "./promises.ts";
import { NOTHING_READ } from "./read-ahead.ts";
import type { ReadBefore } from "./read-ahead.ts";
import { check, secondRoot } from "./second-path.ts";
import type { Anchor } from "./store/anchor.ts";
import { eachInRange } from "./store/level-store.ts";
import { appendToTip, EMPTY_TIP, HistoryReader, rootOfTip } from "./store/histories.ts";
import type { EpochsBelowTop, TopChanges } from "./store/map-top.ts";
import {
  acknowledgementKey,
  afterKind,
  configurationKey,
  encodeAcknowledgement,
  encodeHead,
  epochKey,
  ownEpochOf,
  ERASED_VERSION,
  HEAD_KEY,
  kindKey,
  parseAcknowledgement,
  parseEpoch,
  parseUser,
  parseVersion,
  userKey,
  versionKey,
} from "./store/records.ts";
import type { StoredHead } from "./store/records.ts";
import { getReferenced, IntegrityError } from "./store/store.ts";
import type { KeyValue, Reads, Store } from "./store/store.ts";
import type { ConfigurationSettings, MergedChanges } from "./sequencer-messages.ts";

/** An epoch that is on disk and in the anchor. */
export interface CommittedEpoch {
  readonly epoch: number;
  readonly note: string;
  readonly record: Uint8Array;
  readonly configurationText: string;
  readonly settlingEpoch: number;
  readonly changedTop: TopChanges;
  readonly merged: MergedChanges;
}

/** A change as it comes in. `number`: what tells it from others when it is merged. */
export interface NumberedChange {
  readonly number: number | undefined;
  readonly userId: string;
  readonly entry: Uint8Array;
  readonly observedMs: number;
}

/** The version that a change has become, and the epoch that has merged it, if one has. */
export interface TakenChange {
  readonly version: number;
  readonly mergedIn: number | undefined;
}

/** A change that a promise was given for, with what opens its commitment. */
export interface PromisedChange {
  readonly note: string;
  readonly version: number;
  readonly opening: Uint8Array;
  readonly entry: Uint8Array;
}

export interface LogWriterParts {
  readonly store: Store;
  readonly anchor: Anchor;
  readonly keys: LogKeys;
  readonly settings: LogSettings;
  readonly head: StoredHead;
  readonly proveIndex: IndexProver;
  /** Changes in one epoch, at most `MAX_CHANGES_PER_EPOCH`. */
  readonly maxChanges: number;
  /** Gives a committed epoch to the readers. The next is committed only after it resolves. */
  readonly handOver: (epoch: CommittedEpoch) => Promise<void>;
}

export class LogWriter {
  readonly #parts: LogWriterParts;
  readonly #builder: EpochBuilder;
  readonly #reads: InFlightReads;
  readonly #pending = new PendingChanges();
  readonly #sign: CheckpointSigner;
  /** Proofs made for users before their first change is taken. */
  readonly #prepared = new Map<string, VrfProof>();
  #settings: LogSettings;
  #configurationHash: Hash;
  /** The newest epoch on disk. Written by `#seal`. */
  #head: StoredHead;
  /** Promised changes on their way to disk. No promise is returned before. */
  #promising: Promise<unknown> = Promise.resolve();
  /** The last epoch on its way to disk; the next queues behind it. */
  #tail: Promise<void> = Promise.resolve();
  /** The epoch before that one. */
  #before: Promise<void> = Promise.resolve();

  private constructor(parts: LogWriterParts, builder: EpochBuilder, reads: InFlightReads) {
    this.#parts = parts;
    this.#builder = builder;
    this.#reads = reads;
    this.#head = parts.head;
    this.#settings = parts.settings;
    this.#configurationHash = configurationHash(parts.settings.configurationText);
    this.#sign = checkpointSigner(parts.settings.logKey, parts.keys.logSeed);
  }

  /** A writer at the stored head, promised changes pending again. Throws `IntegrityError`. */
  static async open(parts: LogWriterParts): Promise<LogWriter> {
    const reads = new InFlightReads(parts.store);
    const builder = await EpochBuilder.open(reads, parts.head.epoch, parts.settings.configuration.settle_ms);
    const writer = new LogWriter(parts, builder, reads);
    await writer.#restorePending();
    return writer;
  }

  get pendingUsers(): number {
    return this.#pending.users;
  }

  get lastTimestampMs(): number {
    return this.#builder.last.timestampMs;
  }

  get settlingEpoch(): number {
    return this.#builder.settlingEpoch;
  }

  /** The top of the map, for readers at start. */
  packedTop(): TopChanges {
    return this.#builder.map.packedTop();
  }

  /** Where the newest tiles below the top are, for who reads ahead. */
  get epochsBelowTop(): EpochsBelowTop {
    return this.#builder.map.epochsBelowTop;
  }

  /** Users of whom an epoch at `nowMs` could merge something. */
  mergeableUsers(nowMs: number): number {
    return this.#pending.mergeableUsers(nowMs);
  }

  /** Whether nothing is known of a user, so that `prepare` should bring the proof of its index. */
  isUnknown(userId: string): boolean {
    return (
      this.#pending.merged(userId) === undefined &&
      !this.#prepared.has(userId) &&
      this.#reads.get(userKey(userId)) === undefined
    );
  }

  /** Takes a proof for the first change of a user. */
  prepare(userId: string, proof: VrfProof): void {
    this.#prepared.set(userId, proof);
  }

  /**
   * Takes a change; returns its version, and the epoch that merged it if the newest version has this very entry. A change
   * is merged by one of the next epochs, and lost if the process ends before. Throws `OverloadedError`.
   */
  submit(userId: string, entry: Uint8Array, observedMs: number): TakenChange {
    return this.#take(this.#merged(userId) ?? this.#proveNew(userId), { number: undefined, userId, entry, observedMs });
  }

  /** Takes what was read for changes that come next, as far as it is what the log has now. What can't be read is left to `take`. */
  load(reads: readonly ReadBefore[]): void {
    try {
      const paths = reads.flatMap(({ user, tiles }) =>
        user === undefined || tiles.length === 0 ? [] : [{ index: parseUser(user).index, forms: tiles }],
      );
      this.#builder.map.load(paths);
    } catch (error) {
      if (!(error instanceof IntegrityError)) throw error;
    }
  }

  /**
   * As `submit`, for a change with a number; undefined if the user is new and `prepare` has not brought its proof yet.
   * `read`: what was read for it before, and given to `load`.
   */
  take(change: NumberedChange, read: ReadBefore): TakenChange | undefined {
    const merged = this.#merged(change.userId, read);
    return merged === undefined ? undefined : this.#take(merged, change);
  }

  #take(merged: MergedState, change: NumberedChange): TakenChange {
    const version = this.#pending.add(merged, change);
    this.#prepared.delete(change.userId);
    const position = version <= merged.tip.size ? merged.tip.positions.at(-1) : undefined;
    return { version, mergedIn: position === undefined ? undefined : ownEpochOf(position) };
  }

  newestEntry(userId: string): { version: number; entry: Uint8Array; pending: boolean } | undefined {
    const pending = this.#pending.newest(userId);
    if (pending !== undefined) return { version: pending.version, entry: pending.entry, pending: true };
    const merged = this.#merged(userId) ?? this.#proveNew(userId);
    if (merged.tip.size === 0 || merged.entry === undefined) return undefined;
    return { version: merged.tip.size, entry: merged.entry, pending: false };
  }

  /**
   * Makes the pending versions of a user durable and promises the newest; a promise given before is repeated. Undefined
   * if nothing is pending, more than the limits of an epoch and a day let the next epoch merge, or that is the final one.
   */
  async promise(userId: string, nowMs: number): Promise<PromisedChange | undefined> {
    const versions = this.#pending.of(userId);
    const newest = versions.find(({ promise }) => promise !== undefined) ?? versions.at(-1);
    const merged = this.#pending.merged(userId);
    if (newest === undefined || merged === undefined) return undefined;
    if (newest.promise === undefined) {
      const isEnding = this.#settings.configuration.successor !== undefined;
      if (isEnding || versions.length > this.#pending.mergeable(userId, nowMs)) return undefined;
      for (const each of versions) check("a commitment", each.commitment, commitNatively({ userId, ...each }));
      newest.promise = this.#signPromise(newest, merged.index, nowMs);
      for (const each of versions) each.durable = true;
      const puts = versions.map((each) => encodePending(userId, each));
      // Versions of the same user that an epoch on its way to disk merges come first: these would follow on nothing without.
      const [newestMerged] = merged.tip.positions.slice(-1);
      const isOnItsWay = newestMerged !== undefined && ownEpochOf(newestMerged) > this.#head.epoch;
      const written = (isOnItsWay ? this.#tail : Promise.resolve()).then(() => this.#parts.store.commit({ puts }));
      this.#promising = Promise.all([this.#promising, written]);
    }
    const { promise: note, version, opening, entry } = newest;
    await this.#promising;
    return { note, version, opening, entry };
  }

  #signPromise({ version, commitment }: PendingVersion, index: Hash, receivedMs: number): string {
    const { origin, merge_delay_ms } = this.#settings.configuration;
    const mergeByMs = receivedMs + merge_delay_ms;
    const seed = this.#parts.keys.promiseSeed;
    return signPromise({ index, version, commitment, receivedMs, mergeByMs }, { origin, seed });
  }

  /** Further epochs carry the newest configuration with these members. Throws as `configure`. */
  adjust(settings: ConfigurationSettings): void {
    const text = formatConfiguration({ ...this.#settings.configuration, ...settings });
    if (text !== this.#settings.configurationText) this.configure(text);
  }

  /**
   * Keeps that the account knows its history up to a version: `historyRoot` is its root at that version. The caller has
   * checked the signature. Throws `VerificationError` if the history never had that root.
   */
  async acknowledge(userId: string, version: number, historyRoot: Hash, signature: Uint8Array): Promise<void> {
    const root = this.historyRoot(userId, version);
    if (root === undefined || !equalBytes(root, historyRoot)) {
      throw new VerificationError("bad-consistency", "the history never had the acknowledged root");
    }
    const key = acknowledgementKey(userId);
    const stored = this.#parts.store.get(key);
    if (stored !== undefined && parseAcknowledgement(stored).version >= version) return;
    const value = encodeAcknowledgement({ version, historyRoot, signature });
    await this.#parts.store.commit({ puts: [{ key, value }] });
  }

  /**
   * Erases entry and opening of versions; every proof stays valid. Throws `RangeError` for a version that is neither
   * acknowledged nor of a closed account, or younger than 30 days. Protocol, "Entry and commitment".
   */
  async erase(userId: string, versions: readonly number[], nowMs: number): Promise<void> {
    await this.#tail;
    const history = this.#history(userId);
    if (history === undefined) throw new RangeError("the account has no versions");
    const newest = this.newestEntry(userId);
    const closed = newest === undefined || equalBytes(newest.entry, closedEntry(userId));
    const acknowledged = this.#parts.store.get(acknowledgementKey(userId));
    const known = acknowledged === undefined ? 0 : parseAcknowledgement(acknowledged).version;
    // Whoever looks knows the time of the newest head, and takes for withheld what was younger then.
    const atMs = Math.min(nowMs, this.lastTimestampMs);
    const puts = versions.map((version) => {
      if (!closed && version > known) throw new RangeError(`version ${version} is not acknowledged`);
      const { position } = history.version(version);
      const { timestampMs } = readRecord(this.#reads, ownEpochOf(position));
      if (atMs - timestampMs < ERASABLE_AFTER_MS) throw new RangeError(`version ${version} is younger than 30 days`);
      return { key: versionKey(position, version), value: ERASED_VERSION };
    });
    await this.#parts.store.commit({ puts });
  }

  /** The root of a user's history when it had this many versions; undefined if it never had. */
  historyRoot(userId: string, version: number): Hash | undefined {
    return this.#history(userId)?.rootAt(version);
  }

  #history(userId: string): HistoryReader | undefined {
    const stored = this.#reads.get(userKey(userId));
    const leaf = stored === undefined ? undefined : this.#builder.map.find(parseUser(stored).index);
    return leaf === undefined ? undefined : new HistoryReader(this.#reads, leaf.position);
  }

  /** Further epochs carry this configuration. Throws `VerificationError` if the log can't go over to it. */
  configure(configurationText: string): void {
    const next = readSettings(configurationText);
    checkConfigurationChange(this.#settings.configuration, next.configuration);
    this.#settings = next;
    this.#configurationHash = configurationHash(configurationText);
  }

  /**
   * Closes an epoch at `nowMs` with what is pending, or an empty one. Resolves once no more than one epoch before it is
   * still being written, so that the next is built meanwhile; `flush` waits for the rest. False if the time does not
   * advance.
   */
  async closeEpoch(nowMs: number): Promise<boolean> {
    if (nowMs <= this.#builder.last.timestampMs) return false;
    const built = this.#builder.build(
      this.#pending.take(this.#parts.maxChanges, nowMs),
      nowMs,
      this.#configurationHash,
    );
    for (const merged of built.merged) this.#pending.advance(merged);
    const settle = this.#reads.add(built.puts);
    const [before, tail, settings] = [this.#before, this.#tail, this.#settings];
    this.#before = tail;
    this.#tail = tail.then(() => this.#seal(built, settings, settle));
    // Reported by whoever waits for the tail.
    this.#tail.catch(() => undefined);
    await before;
    return true;
  }

  /** Resolves when every epoch closed so far is with the readers. Rejects if one failed. */
  flush(): Promise<void> {
    return this.#tail;
  }

  /** Signs, writes and hands over. The order of these steps is what makes two heads of one size impossible. */
  async #seal(built: BuiltEpoch, settings: LogSettings, settle: () => void): Promise<void> {
    const { configuration, configurationText, logKey } = settings;
    const { store, anchor, handOver } = this.#parts;
    const before = this.#head;
    if (built.epoch !== before.epoch + 1) throw new IntegrityError("an epoch does not follow the one before");
    const root = secondRoot(store, before, built, configurationText);
    check("the root of the log", built.root, root);
    const note = this.#sign({ origin: configuration.origin, size: built.epoch + 1, root: built.root });
    check("the signed root", openCheckpoint(note, logKey).root, root);
    const head = { epoch: built.epoch, note };
    await store.commit({
      expect: [{ key: HEAD_KEY, value: encodeHead(before) }],
      puts: [...built.puts, ...this.#configurationPut(configurationText), { key: HEAD_KEY, value: encodeHead(head) }],
      deletes: built.deletes,
    });
    anchor.replace(before.note, note);
    this.#head = head;
    settle();
    await handOver({
      epoch: built.epoch,
      note,
      record: built.record,
      configurationText,
      settlingEpoch: built.settlingEpoch,
      changedTop: built.changedTop,
      merged: built.mergedChanges,
    });
  }

  #configurationPut(text: string): readonly KeyValue[] {
    const key = configurationKey(configurationHash(text));
    return this.#parts.store.get(key) === undefined ? [{ key, value: utf8(text) }] : [];
  }

  /**
   * What the log has of a user after the newest epoch built; undefined if it is new and its proof not there. Of what was
   * `read` before, a user's record never changes, a tile is taken by its epoch, and a version by the leaf that names it.
   */
  #merged(userId: string, read: ReadBefore = NOTHING_READ): MergedState | undefined {
    const waiting = this.#pending.merged(userId);
    if (waiting !== undefined) return waiting;
    const prepared = this.#prepared.get(userId);
    if (prepared !== undefined) return this.#newState(userId, prepared);
    const stored = read.user ?? this.#reads.get(userKey(userId));
    if (stored === undefined) return undefined;
    const { index, vrfProof } = parseUser(stored);
    const { map } = this.#builder;
    const leaf = map.find(index);
    if (leaf === undefined) throw new IntegrityError(`the map has no leaf for index ${encodeUnpadded(index)}`);
    const isNewest = read.version?.position === leaf.position && read.version.n === leaf.n;
    const version = parseVersion(
      isNewest ? read.version.bytes : getReferenced(this.#reads, versionKey(leaf.position, leaf.n), "a version"),
    );
    if (version === undefined) return this.#mergedWithoutContent(userId, index, vrfProof, leaf);
    const tip = appendToTip(version.before, version.commitment, leaf.position);
    checkRoot(rootOfTip(tip), leaf.historyRoot);
    return { userId, index, vrfProof, tip, day: version.day, dayCount: version.dayCount, entry: version.entry };
  }

  #proveNew(userId: string): MergedState {
    return this.#newState(userId, this.#parts.proveIndex(userId));
  }

  #newState(userId: string, { index, proof }: VrfProof): MergedState {
    if (this.#builder.map.find(index) !== undefined) throw new IntegrityError("the record of a user has vanished");
    return { userId, index, vrfProof: proof, tip: EMPTY_TIP, day: 0, dayCount: 0, entry: undefined };
  }

  /** The newest version is erased, so older than any day that still counts. */
  #mergedWithoutContent(
    userId: string,
    index: Hash,
    vrfProof: Uint8Array,
    leaf: { readonly n: number; readonly position: number; readonly historyRoot: Hash },
  ): MergedState {
    const history = new HistoryReader(this.#reads, leaf.position);
    const tip = appendToTip(history.before(leaf.n), history.version(leaf.n).commitment, leaf.position);
    checkRoot(rootOfTip(tip), leaf.historyRoot);
    return { userId, index, vrfProof, tip, day: 0, dayCount: 0, entry: undefined };
  }

  async #restorePending(): Promise<void> {
    for await (const record of eachInRange(this.#parts.store, kindKey("p"), afterKind("p"))) {
      const { userId, pending } = parsePending(record);
      const merged = this.#merged(userId) ?? this.#proveNew(userId);
      // Merged by an epoch whose commit raced with the one of the promise.
      if (pending.version <= merged.tip.size) await this.#parts.store.commit({ deletes: [record.key] });
      else this.#pending.restore(merged, pending);
    }
  }
}

function readRecord(reads: Reads, epoch: number): EpochRecord {
  return parseEpochRecord(parseEpoch(getReferenced(reads, epochKey(epoch), "an epoch")).record);
}

function checkRoot(root: Hash, expected: Hash): void {
  if (Buffer.compare(root, expected) !== 0)
    throw new IntegrityError("a history does not have the root that the map says");
}
