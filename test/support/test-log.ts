/**
 * A log in memory, made of nothing but shared/. Honest unless told otherwise: `fork` gives a second log with the same
 * keys, `forge`, `revert` and `forget` rewrite a user's past, `closeEpoch` signs whatever record it is told to. `checkLog` audits it
 * from the first epoch.
 */
import assert from "node:assert/strict";
import { commit } from "../../shared/crypto/commitment.ts";
import { publicKeyOf } from "../../shared/crypto/ed25519.ts";
import { sha256 } from "../../shared/crypto/hash.ts";
import type { Hash } from "../../shared/crypto/hash.ts";
import { ED25519_KEY, formatVkey, noteKeyOf } from "../../shared/crypto/signed-note.ts";
import type { NoteKey } from "../../shared/crypto/signed-note.ts";
import { proveVrf, vrfPublicKey } from "../../shared/crypto/vrf.ts";
import type { VrfProof } from "../../shared/crypto/vrf.ts";
import { configurationHash, formatConfiguration, parseConfiguration } from "../../shared/directory/configuration.ts";
import type { Configuration } from "../../shared/directory/configuration.ts";
import { compareBytes, encodeHex, encodeUnpadded, fromUtf8, utf8 } from "../../shared/encoding.ts";
import { appendVersion, historyLeaf } from "../../shared/history/history.ts";
import { changesHash, encodeChangeList } from "../../shared/log/change-list.ts";
import type { Change, EpochChanges } from "../../shared/log/change-list.ts";
import { originOf, signCheckpoint } from "../../shared/log/checkpoint.ts";
import { encodeEpochRecord, epochLeafHash } from "../../shared/log/epoch-record.ts";
import type { EpochRecord } from "../../shared/log/epoch-record.ts";
import { encodeMapProof } from "../../shared/map/map-proof.ts";
import { PrefixTree } from "../../shared/map/prefix-tree.ts";
import { proveConsistency } from "../../shared/merkle/consistency.ts";
import { proveInclusion } from "../../shared/merkle/inclusion.ts";
import { emptyFrontier, HISTORY_DOMAINS, LOG_DOMAINS, rootOf } from "../../shared/merkle/tree.ts";
import type { Frontier } from "../../shared/merkle/tree.ts";
import { encodePath } from "../../shared/messages.ts";
import type {
  HeadPart,
  LookupAnswer,
  LookupsAnswer,
  PromisePart,
  ProvenLeaf,
  SettledAnswer,
  SettlingRecords,
  UserPart,
  VersionsAnswer,
} from "../../shared/messages.ts";
import { MAX_VERSIONS_PER_EPOCH } from "../../shared/parameters.ts";
import { auditCheckpoint, auditEpoch, startAudit } from "../../shared/proofs/audit.ts";
import type { AuditState } from "../../shared/proofs/audit.ts";
import type { KnownLog } from "../../shared/proofs/head.ts";
import { promiseName, signPromise } from "../../shared/proofs/promise.ts";
import { settlingEpochOf } from "../../shared/proofs/settling.ts";
import { seedOf } from "./test-user.ts";
import { without } from "./without.ts";

export interface TestLogOptions {
  readonly serverName?: string;
  readonly number?: number;
  readonly startMs?: number;
  readonly settleMs?: number;
  readonly heartbeatMs?: number;
  readonly mergeDelayMs?: number;
}

/** One version of a user, as the log keeps it. */
export interface Version {
  readonly version: number;
  readonly epoch: number;
  readonly commitment: Hash;
  readonly opening: Uint8Array;
  readonly entry: Uint8Array;
}
interface Pending {
  readonly userId: string;
  readonly entry: Uint8Array;
  readonly opening: Uint8Array;
}
type Histories = ReadonlyMap<string, readonly Version[]>;

/** All that is kept of one epoch. */
interface Epoch {
  readonly record: EpochRecord;
  readonly bytes: Uint8Array;
  readonly note: string;
  readonly changes: EpochChanges;
  readonly map: PrefixTree;
  readonly histories: Histories;
  readonly configuration: string;
}

const EMPTY_LIST: Uint8Array = new Uint8Array();

export class TestLog {
  readonly serverName: string;
  readonly origin: string;
  readonly logSeed: Uint8Array;
  readonly vrfSeed: Uint8Array;
  readonly promiseSeed: Uint8Array;
  /** Canonical text; a test that changes it calls `reconfigure`. */
  configurationText: string;
  /** In order from epoch 0. Written by `closeEpoch`. */
  readonly epochs: Epoch[] = [];
  /** Entries waiting for the next epoch, with the opening a promise has fixed. Emptied by `closeEpoch`. */
  #pending: readonly Pending[] = [];
  #histories: Histories = new Map();
  #openings = 0;
  /** Proofs made so far, by user. */
  readonly #vrf = new Map<string, VrfProof>();

  constructor(options: TestLogOptions = {}) {
    this.serverName = options.serverName ?? "example.org";
    this.origin = originOf(this.serverName, options.number ?? 1);
    this.logSeed = seedOf(`${this.origin} log`);
    this.vrfSeed = seedOf(`${this.origin} vrf`);
    this.promiseSeed = seedOf(`${this.origin} promise`);
    this.configurationText = formatConfiguration({
      format_version: 1,
      origin: this.origin,
      log_key: this.vkey,
      vrf_key: encodeUnpadded(vrfPublicKey(this.vrfSeed)),
      vrf_suite: "ECVRF-EDWARDS25519-SHA512-TAI",
      settle_ms: options.settleMs ?? 10_000,
      merge_delay_ms: options.mergeDelayMs ?? 60_000,
      heartbeat_ms: options.heartbeatMs ?? 60_000,
      promise_key: formatVkey(this.promiseKey),
      service_url: `https://${this.serverName}/ckv`,
      rooms: { epochs: `#ckv:${this.serverName}`, members: `#ckv-members:${this.serverName}` },
      witnesses: [],
      auditors: [],
    });
    this.closeEpoch(options.startMs ?? 1_000_000);
  }

  get logKey(): NoteKey {
    return noteKeyOf({ name: this.origin, type: ED25519_KEY, publicKey: publicKeyOf(this.logSeed) });
  }

  get promiseKey(): NoteKey {
    return noteKeyOf({
      name: promiseName(this.origin),
      type: ED25519_KEY,
      publicKey: publicKeyOf(this.promiseSeed),
    });
  }

  get vkey(): string {
    return formatVkey(this.logKey);
  }

  get configuration(): Configuration {
    return parseConfiguration(this.configurationText);
  }

  get size(): number {
    return this.epochs.length;
  }

  get newest(): Epoch {
    return this.epoch(this.size - 1);
  }

  epoch(number: number): Epoch {
    const epoch = this.epochs[number];
    assert(epoch !== undefined, `no epoch ${number}`);
    return epoch;
  }

  /** What a client knows that trusts this log and has seen `newest`. */
  known(nowMs: number, newest?: HeadPart): KnownLog {
    const texts = new Set([...this.epochs.map(({ configuration }) => configuration), this.configurationText]);
    return {
      logKey: this.logKey,
      configurations: new Map(
        [...texts].map((text) => [encodeHex(configurationHash(text)), parseConfiguration(text)] as const),
      ),
      ...(newest === undefined ? {} : { newest }),
      cosignatures: () => [],
      nowMs,
    };
  }

  // ------------------------------------------------------------------------------------------------------------ writing

  /** A new version of a user, merged by the next epoch. */
  setEntry(userId: string, entry: Uint8Array): void {
    this.#pending = [...this.#pending, { userId, entry, opening: this.#newOpening() }];
  }

  /** As `setEntry`, with the log's promise for it. */
  promise(userId: string, entry: Uint8Array, receivedMs: number): PromisePart {
    this.setEntry(userId, entry);
    const { opening } = this.#pending.at(-1) ?? { opening: EMPTY_LIST };
    const before = this.#pending.filter((pending) => pending.userId === userId).length;
    const version = (this.#histories.get(userId)?.length ?? 0) + before;
    const note = signPromise(
      {
        index: this.indexOf(userId),
        version,
        commitment: commit({ userId, version, entry, opening }),
        receivedMs,
        mergeByMs: receivedMs + this.configuration.merge_delay_ms,
      },
      { origin: this.origin, seed: this.promiseSeed },
    );
    return { note, opening: encodeUnpadded(opening), entry: fromUtf8(entry) };
  }

  /** Merges what is pending. `lie`: members of the record that are not what they should be. */
  closeEpoch(timestampMs: number, lie: Partial<EpochRecord> = {}): HeadPart {
    const epoch = this.epochs.length;
    const before = this.epochs.at(-1)?.map ?? new PrefixTree();
    const { histories, changes } = this.#merge(epoch);
    const indices = changes.map(({ index }) => index);
    const map = mapOf(histories, (userId) => this.indexOf(userId));
    const list = encodeChangeList(changes);
    const record: EpochRecord = {
      epoch,
      timestampMs,
      labels: histories.size,
      mapRoot: map.root,
      changesHash: changesHash(list),
      configurationHash: configurationHash(this.configurationText),
      ...lie,
    };
    const bytes = encodeEpochRecord(record);
    const leaves = [...this.epochs.map((each) => epochLeafHash(each.bytes)), epochLeafHash(bytes)];
    this.epochs.push({
      record,
      bytes,
      note: signCheckpoint(
        { origin: this.origin, size: epoch + 1, root: rootOf(LOG_DOMAINS, leaves) },
        { seed: this.logSeed },
      ),
      changes: { list, proof: before.proveBatch(indices) },
      map,
      histories,
      configuration: this.configurationText,
    });
    this.#histories = histories;
    return this.head();
  }

  /** Another configuration from the next epoch on. */
  reconfigure(change: Partial<Configuration>): void {
    this.configurationText = formatConfiguration({ ...this.configuration, ...change });
  }

  /** A log with the same keys and past, that goes its own way from here. */
  fork(): TestLog {
    const fork = new TestLog({ serverName: this.serverName, number: Number(this.origin.split("/").at(-1)) });
    fork.epochs.splice(0, fork.epochs.length, ...this.epochs);
    fork.configurationText = this.configurationText;
    fork.#pending = this.#pending;
    fork.#histories = this.#histories;
    fork.#openings = this.#openings + 1_000_000;
    return fork;
  }

  /** A lie: from the next epoch on the user's history is this one. */
  forge(userId: string, entries: readonly Uint8Array[]): void {
    const epoch = this.epochs.length;
    const versions = entries.map((entry, i) => {
      const opening = this.#newOpening();
      const version = i + 1;
      return { version, epoch, commitment: commit({ userId, version, entry, opening }), opening, entry };
    });
    this.#histories = new Map([...this.#histories, [userId, versions]]);
  }

  /** A lie: from the next epoch on the user's history is again what it was at this one. */
  revert(userId: string, epoch: number): void {
    this.#histories = new Map([...this.#histories, [userId, this.versionsAt(userId, epoch)]]);
  }

  /** A lie: from the next epoch on the user was never there. */
  forget(userId: string): void {
    this.#histories = new Map([...this.#histories].filter(([each]) => each !== userId));
  }

  /** A lie: from the next epoch on the user has this past. Returns the one so far. */
  swapPast(userId: string, past: readonly Version[]): readonly Version[] {
    const before = this.#histories.get(userId) ?? [];
    this.#histories = new Map([...this.#histories, [userId, past]]);
    return before;
  }

  #newOpening(): Uint8Array {
    return sha256(utf8(`opening ${this.#openings++}`));
  }

  #merge(epoch: number): { readonly histories: Histories; readonly changes: readonly Change[] } {
    const histories = new Map(this.#histories);
    const later: Pending[] = [];
    const changed = new Map<string, Change>();
    for (const pending of this.#pending) {
      const { userId, entry, opening } = pending;
      const versions = histories.get(userId) ?? [];
      const change = changed.get(userId) ?? { index: this.indexOf(userId), old: frontierOf(versions), commitments: [] };
      if (change.commitments.length === MAX_VERSIONS_PER_EPOCH) {
        later.push(pending);
        continue;
      }
      const version = versions.length + 1;
      const commitment = commit({ userId, version, entry, opening });
      histories.set(userId, [...versions, { version, epoch, commitment, opening, entry }]);
      changed.set(userId, { ...change, commitments: [...change.commitments, commitment] });
    }
    this.#pending = later;
    const changes = [...changed.values()].sort((a, b) => compareBytes(a.index, b.index));
    return { histories, changes };
  }

  // ------------------------------------------------------------------------------------------------------------ reading

  indexOf(userId: string): Hash {
    return this.vrf(userId).index;
  }

  vrf(userId: string): VrfProof {
    const proof = this.#vrf.get(userId) ?? proveVrf(this.vrfSeed, utf8(userId));
    this.#vrf.set(userId, proof);
    return proof;
  }

  /** The head of this size (default: the newest). */
  head(size: number = this.size): HeadPart {
    const { note, bytes } = this.epoch(size - 1);
    return { checkpoint: note, record: encodeUnpadded(bytes), record_proof: this.#recordProof(size - 1, size) };
  }

  #leaves(): Hash[] {
    return this.epochs.map(({ bytes }) => epochLeafHash(bytes));
  }

  #recordProof(epoch: number, size: number): string {
    return encodePath(proveInclusion(LOG_DOMAINS, this.#leaves(), epoch, size));
  }

  /** Consistency proof between two sizes, empty for the same. */
  logConsistency(from: number, to: number): Hash[] {
    return from === to ? [] : proveConsistency(LOG_DOMAINS, this.#leaves(), Math.min(from, to), Math.max(from, to));
  }

  settlingEpoch(size: number = this.size): number {
    const records = this.epochs.slice(0, size).map(({ record }) => record);
    const epoch = settlingEpochOf(records, this.configuration.settle_ms);
    assert(epoch !== undefined);
    return epoch;
  }

  settlingRecords(epoch: number = this.settlingEpoch(), size: number = this.size): SettlingRecords {
    const { bytes } = this.epoch(epoch);
    const record = { record: encodeUnpadded(bytes), record_proof: this.#recordProof(epoch, size) };
    if (epoch === 0) return record;
    return {
      ...record,
      previous_record: encodeUnpadded(this.epoch(epoch - 1).bytes),
      previous_proof: this.#recordProof(epoch - 1, size),
    };
  }

  versionsAt(userId: string, epoch: number): readonly Version[] {
    return this.epoch(epoch).histories.get(userId) ?? [];
  }

  lookup(userId: string, size: number = this.size): LookupAnswer {
    return { head: this.head(size), user: this.user(userId, size) };
  }

  lookups(userIds: readonly string[], size: number = this.size): LookupsAnswer {
    const users = Object.fromEntries(userIds.map((userId) => [userId, this.user(userId, size)] as const));
    return { head: this.head(size), settling_epoch: this.settlingEpoch(size), users };
  }

  user(userId: string, size: number = this.size): UserPart {
    const epoch = this.epoch(size - 1);
    const { proof, index } = this.vrf(userId);
    const settling = without(this.settled(userId, this.settlingEpoch(size), size), "vrf_proof");
    const part = {
      vrf_proof: encodeUnpadded(proof),
      map_proof: encodeUnpadded(encodeMapProof(epoch.map.prove(index))),
      settling,
    };
    const versions = this.versionsAt(userId, size - 1);
    const last = versions.at(-1);
    if (last === undefined) return part;
    return {
      ...part,
      leaf: {
        n: versions.length,
        history_root: encodeUnpadded(historyRoot(versions)),
        last_leaf_proof: encodePath(provePlace(versions, last.version)),
        epoch: last.epoch,
        commitment: encodeUnpadded(last.commitment),
        opening: encodeUnpadded(last.opening),
        entry: fromUtf8(last.entry),
      },
    };
  }

  settled(userId: string, epoch: number, size: number = this.size): SettledAnswer {
    const { proof, index } = this.vrf(userId);
    const versions = this.versionsAt(userId, epoch);
    const part = {
      vrf_proof: encodeUnpadded(proof),
      epoch,
      map_proof: encodeUnpadded(encodeMapProof(this.epoch(epoch).map.prove(index))),
    };
    if (versions.length === 0) return part;
    const now = this.versionsAt(userId, size - 1);
    const consistency = encodePath(proveGrowth(now, versions.length, now.length));
    const leaf = { n: versions.length, history_root: encodeUnpadded(historyRoot(versions)), consistency };
    return { ...part, leaf };
  }

  /** History path between two lengths of the user's history at the head of `size`. */
  historyConsistency(userId: string, from: number, to: number, size: number = this.size): Hash[] {
    return proveGrowth(this.versionsAt(userId, size - 1), from, to);
  }

  versions(userId: string, from: number, to: number, size: number = this.size): VersionsAnswer {
    const all = this.versionsAt(userId, size - 1);
    return {
      n: all.length,
      versions: all.slice(from - 1, to).map(({ version, epoch, commitment, opening, entry }) => ({
        version,
        epoch,
        commitment: encodeUnpadded(commitment),
        opening: encodeUnpadded(opening),
        entry: fromUtf8(entry),
        proof: encodePath(provePlace(all, version)),
      })),
    };
  }

  /** The leaf of a user at an epoch, tied to the head of `size`. */
  provenLeaf(userId: string, epoch: number, size: number = this.size): ProvenLeaf {
    const index = this.indexOf(userId);
    const versions = this.versionsAt(userId, epoch);
    return {
      checkpoint: this.epoch(size - 1).note,
      record: encodeUnpadded(this.epoch(epoch).bytes),
      record_proof: this.#recordProof(epoch, size),
      index: encodeUnpadded(index),
      map_proof: encodeUnpadded(encodeMapProof(this.epoch(epoch).map.prove(index))),
      ...(versions.length === 0
        ? {}
        : { leaf: { n: versions.length, history_root: encodeUnpadded(historyRoot(versions)) } }),
    };
  }

  /** The record of an epoch, tied to the head of `size`. */
  provenRecord(epoch: number, size: number = this.size): HeadPart {
    return {
      checkpoint: this.epoch(size - 1).note,
      record: encodeUnpadded(this.epoch(epoch).bytes),
      record_proof: this.#recordProof(epoch, size),
    };
  }

  /** Audits every epoch from the first, as an auditor would, each signed head included. */
  checkLog(): AuditState {
    const first = this.epoch(0).configuration;
    return this.epochs.reduce((state, { bytes, changes, configuration, note, record }) => {
      const next = auditEpoch(state, { record: bytes, changes, configuration }, record.timestampMs);
      auditCheckpoint(next, note);
      return next;
    }, startAudit(first));
  }
}

function mapOf(histories: Histories, indexOf: (userId: string) => Hash): PrefixTree {
  const map = new PrefixTree();
  for (const [userId, versions] of histories) map.set(indexOf(userId), versions.length, historyRoot(versions));
  return map;
}

function frontierOf(versions: readonly Version[]): Frontier {
  return versions.reduce<Frontier>((frontier, version) => appendVersion(frontier, version), emptyFrontier);
}

function historyRoot(versions: readonly Version[]): Hash {
  return rootOf(HISTORY_DOMAINS, versions.map(historyLeaf));
}

function provePlace(versions: readonly Version[], version: number): Hash[] {
  return proveInclusion(HISTORY_DOMAINS, versions.map(historyLeaf), version - 1, versions.length);
}

function proveGrowth(versions: readonly Version[], from: number, to: number): Hash[] {
  const leaves = versions.slice(0, to).map(historyLeaf);
  return from >= to || to > versions.length ? [] : proveConsistency(HISTORY_DOMAINS, leaves, from, to);
}
