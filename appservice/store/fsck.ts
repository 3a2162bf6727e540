/** Checks a whole stored log, from every record up to the signed root, without changing anything. */
import { commit } from "../../shared/crypto/commitment.ts";
import type { Hash } from "../../shared/crypto/hash.ts";
import { configurationHash } from "../../shared/directory/configuration.ts";
import { encodeHex, equalBytes, fromUtf8 } from "../../shared/encoding.ts";
import { changesHash } from "../../shared/log/change-list.ts";
import { epochLeafHash, parseEpochRecord } from "../../shared/log/epoch-record.ts";
import type { EpochRecord } from "../../shared/log/epoch-record.ts";
import { emptyFrontier } from "../../shared/merkle/tree.ts";
import { readChanges } from "./change-lists.ts";
import { appendToTip, readRow, rootOfTip } from "./histories.ts";
import { appendLeaf } from "./log-nodes.ts";
import { eachInRange } from "./level-store.ts";
import { readMap, readSettledMap, TileCache } from "./map-reader.ts";
import type { MapNode, MapReader } from "./map-reader.ts";
import { parseLeaf } from "./map-tiles.ts";
import { MapWriter } from "./map-writer.ts";
import type { StoredLeaf } from "./map-tiles.ts";
import {
  afterKind,
  carriedChunks,
  chunkKey,
  configurationKey,
  epochKey,
  epochOf,
  isBefore,
  kindKey,
  numbersOfKey,
  parseChunk,
  parseEpoch,
  parseUser,
  parseVersion,
  positionOf,
  ROWS_PER_CHUNK,
  SUPERSEDED_KIND,
  textOfKey,
  USER_KIND,
  VERSION_KIND,
  versionKey,
} from "./records.ts";
import type { StoredUser, ChangeRow, Tip, VersionContent } from "./records.ts";
import { getReferenced, IntegrityError } from "./store.ts";
import { parseSuperseded } from "./superseded-tiles.ts";
import type { KeyValue, Reads } from "./store.ts";

/** What the check tells while it runs. */
export type CheckReport =
  | { readonly kind: "progress"; readonly what: string; readonly done: number }
  | { readonly kind: "problem"; readonly message: string };

/** Which users' indices are proven again from their ids, which takes longer than all else together. */
export interface IndexCheck {
  /** At most this many users, spread evenly over all. */
  readonly sample: number;
  /** Throws `IntegrityError` unless the stored index and proof are those of the user id. */
  readonly check: (userId: string, stored: StoredUser) => void;
  /** Told at the end. */
  readonly onChecked: (users: number, of: number) => void;
}

const PROGRESS_EVERY = 10_000;

/**
 * Checks everything that the log up to `head` stores and reports each kind's first problem; true if there is none. The
 * caller has checked the signature of the head and that the log's root is the signed one.
 */
export async function checkStore(
  reads: Reads,
  head: number,
  settleMs: number,
  report: (report: CheckReport) => void,
  indices?: IndexCheck,
): Promise<boolean> {
  const check = new StoreCheck(reads, head, settleMs, report, indices);
  const steps = [
    (): Promise<void> => check.checksums(),
    (): Promise<void> => check.epochs(),
    (): Promise<void> => check.changes(),
    (): Promise<void> => check.versions(),
    (): Promise<void> => check.map(),
    (): Promise<void> => check.users(),
  ];
  let sound = true;
  for (const step of steps) {
    await step().catch((error: unknown) => {
      if (!(error instanceof IntegrityError)) throw error;
      sound = false;
      const cause = error.cause instanceof Error ? `: ${error.cause.message}` : "";
      report({ kind: "problem", message: error.finding + cause });
    });
  }
  return sound;
}

class StoreCheck {
  readonly #reads: Reads;
  readonly #head: number;
  readonly #settleMs: number;
  readonly #report: (report: CheckReport) => void;
  readonly #indices: IndexCheck | undefined;
  #done = 0;

  constructor(
    reads: Reads,
    head: number,
    settleMs: number,
    report: (report: CheckReport) => void,
    indices: IndexCheck | undefined,
  ) {
    this.#indices = indices;
    this.#reads = reads;
    this.#head = head;
    this.#settleMs = settleMs;
    this.#report = report;
  }

  /** Reading a record checks its checksum. */
  async checksums(): Promise<void> {
    for await (const { key } of eachInRange(this.#reads, Uint8Array.of(0), Uint8Array.of(0xff))) {
      this.#progress(`records of kind ${String.fromCharCode(key[0] ?? 0)}`);
    }
  }

  /** Records in order, each with its configuration, and every hash of the log. */
  async epochs(): Promise<void> {
    let log = emptyFrontier;
    let previous: EpochRecord | undefined;
    let settling = 0;
    for (let epoch = 0; epoch <= this.#head; epoch++) {
      const stored = parseEpoch(getReferenced(this.#reads, epochKey(epoch), `epoch ${epoch}`));
      const record = parseEpochRecord(stored.record);
      if (record.epoch !== epoch) throw new IntegrityError(`the record of epoch ${epoch} is of another`);
      if (previous === undefined || this.#interval(previous) < this.#interval(record)) settling = epoch;
      if (stored.settlingEpoch !== settling) throw new IntegrityError(`epoch ${epoch} has another settling epoch`);
      if (previous !== undefined) checkOrder(previous, record);
      if (previous === undefined || !equalBytes(previous.configurationHash, record.configurationHash)) {
        this.#checkConfiguration(record);
      }
      const { frontier, puts } = appendLeaf(log, epochLeafHash(stored.record));
      for (const put of puts) this.#checkStored(put, `a hash of the log at epoch ${epoch}`);
      [log, previous] = [frontier, record];
      this.#progress("epochs");
    }
    await this.#nothingAfter();
  }

  /** Each change list has the hash that its record says, and each row goes on from rows of the same index. */
  async changes(): Promise<void> {
    for (let epoch = 0; epoch <= this.#head; epoch++) {
      const { changesHash: expected } = this.#record(epoch);
      if (!equalBytes(changesHash(await readChanges(this.#reads, epoch)), expected)) {
        throw new IntegrityError(`the change list of epoch ${epoch} has another hash`);
      }
      for await (const { key, value } of eachInRange(this.#reads, chunkKey(epoch, 0), chunkKey(epoch + 1, 0))) {
        const [, chunk = 0] = numbersOfKey(key);
        parseChunk(value).forEach((row, i) => {
          this.#checkRow(row, positionOf(epoch, chunk * ROWS_PER_CHUNK + i));
        });
      }
    }
    await this.#carriedChanges();
  }

  /** Rows that were taken over from the log before, and the new place of each of its users. */
  async #carriedChanges(): Promise<void> {
    for await (const { key, value } of eachInRange(this.#reads, carriedChunks(), afterKind("c"))) {
      const [place = 0, chunk = 0] = numbersOfKey(key);
      parseChunk(value).forEach((row, i) => {
        this.#checkRow(row, positionOf(place, chunk * ROWS_PER_CHUNK + i));
      });
    }
    let users = 0;
    for await (const { value } of eachInRange(this.#reads, kindKey("x"), afterKind("x"))) {
      if (value.length !== 32)
        throw new IntegrityError("the new index of a user that was taken over has another length");
      users += 1;
    }
    const { labels } = this.#record(0);
    if (users !== labels) throw new IntegrityError(`${users} users were taken over, but epoch 0 has ${labels} leaves`);
  }

  /** The content of a version opens its commitment, and has the history before it as the change lists have it. */
  async versions(): Promise<void> {
    for await (const { key, value } of eachInRange(this.#reads, kindKey(VERSION_KIND), afterKind(VERSION_KIND))) {
      const [position = 0, version = 0] = numbersOfKey(key);
      const row = readRow(this.#reads, position);
      const earlier = row.commitments.slice(0, version - row.before.size - 1);
      const commitment = row.commitments[earlier.length];
      if (commitment === undefined) throw new IntegrityError(`a version of epoch ${epochOf(position)} is in no list`);
      const before = earlier.reduce((tip, each) => appendToTip(tip, each, position), row.before);
      checkContent(parseVersion(value), version, commitment, before);
      this.#progress("versions");
    }
  }

  /** Every tile of the maps at the head and at the newest settling epoch; those that earlier ones need are there, too. */
  async map(): Promise<void> {
    this.#checkMap(this.#head, await this.#headMap());
    const { settlingEpoch } = parseEpoch(getReferenced(this.#reads, epochKey(this.#head), "the newest epoch"));
    const { mapRoot } = this.#record(settlingEpoch);
    this.#checkMap(settlingEpoch, readSettledMap(settlingEpoch, mapRoot, this.#reads, new TileCache(64)));
    for await (const { value } of eachInRange(this.#reads, kindKey(SUPERSEDED_KIND), afterKind(SUPERSEDED_KIND))) {
      for (const key of parseSuperseded(value)) {
        getReferenced(this.#reads, key, "a tile of a settled map");
        this.#progress("tiles of settled maps");
      }
    }
  }

  /** As many users as the newest record counts, each with a leaf. */
  async users(): Promise<void> {
    const map = await this.#headMap();
    const { labels } = this.#record(this.#head);
    const sample = Math.min(this.#indices?.sample ?? 0, labels);
    let [users, proven] = [0, 0];
    for await (const { key, value } of eachInRange(this.#reads, kindKey(USER_KIND), afterKind(USER_KIND))) {
      const stored = parseUser(value);
      if (map.find(stored.index) === undefined) {
        throw new IntegrityError(`the map has no leaf for the user record ${encodeHex(key)}`);
      }
      users += 1;
      if (proven * labels < users * sample) {
        this.#indices?.check(textOfKey(key), stored);
        proven += 1;
      }
      this.#progress("users");
    }
    this.#indices?.onChecked(proven, users);
    if (users !== labels) throw new IntegrityError(`there are ${users} user records, but ${labels} leaves`);
  }

  async #headMap(): Promise<MapReader> {
    const { mapRoot } = this.#record(this.#head);
    const writer = await MapWriter.open(this.#reads, this.#head, mapRoot);
    return readMap(writer.top, mapRoot, this.#reads, new TileCache(64));
  }

  #checkMap(epoch: number, map: MapReader): void {
    let leaves = 0;
    for (const leaf of leavesBelow(map, map.top)) {
      this.#checkLeaf(leaf);
      leaves += 1;
      this.#progress("leaves");
    }
    const { labels } = this.#record(epoch);
    if (leaves !== labels) throw new IntegrityError(`the map of epoch ${epoch} has ${leaves} leaves, not ${labels}`);
  }

  #checkRow(row: ChangeRow, position: number): void {
    for (const earlier of row.before.positions) {
      const before = isBefore(earlier, position) ? readRow(this.#reads, earlier) : undefined;
      if (before === undefined || !equalBytes(before.index, row.index)) {
        throw new IntegrityError(`a row of epoch ${epochOf(position)} goes on from another history`);
      }
    }
    row.commitments.forEach((_, i) => {
      getReferenced(this.#reads, versionKey(position, row.before.size + i + 1), "a version");
    });
    this.#progress("changes");
  }

  #checkLeaf(leaf: StoredLeaf): void {
    const row = readRow(this.#reads, leaf.position);
    const tip = row.commitments.reduce((each, commitment) => appendToTip(each, commitment, leaf.position), row.before);
    const same =
      equalBytes(row.index, leaf.index) && tip.size === leaf.n && equalBytes(rootOfTip(tip), leaf.historyRoot);
    if (!same) throw new IntegrityError(`the leaf of index ${encodeHex(leaf.index)} is not what its history gives`);
  }

  #checkStored({ key, value }: KeyValue, what: string): void {
    if (!equalBytes(getReferenced(this.#reads, key, what), value)) throw new IntegrityError(`${what} is wrong`);
  }

  async #nothingAfter(): Promise<void> {
    const [next] = await this.#reads.range(epochKey(this.#head + 1), afterKind("e"), 1);
    if (next !== undefined) throw new IntegrityError("there are epochs after the head");
  }

  #record(epoch: number): EpochRecord {
    return parseEpochRecord(parseEpoch(getReferenced(this.#reads, epochKey(epoch), `epoch ${epoch}`)).record);
  }

  #checkConfiguration({ epoch, configurationHash: expected }: EpochRecord): void {
    const text = getReferenced(this.#reads, configurationKey(expected), `the configuration of epoch ${epoch}`);
    if (equalBytes(configurationHash(fromUtf8(text)), expected)) return;
    throw new IntegrityError(`the configuration of epoch ${epoch} has another hash`);
  }

  #interval({ timestampMs }: EpochRecord): number {
    return Math.floor(timestampMs / this.#settleMs);
  }

  #progress(what: string): void {
    this.#done += 1;
    if (this.#done % PROGRESS_EVERY === 0) this.#report({ kind: "progress", what, done: this.#done });
  }
}

function checkContent(content: VersionContent | undefined, version: number, commitment: Hash, before: Tip): void {
  if (content === undefined) return;
  const same =
    content.version === version &&
    equalBytes(content.commitment, commitment) &&
    before.hashes.length === content.before.hashes.length &&
    before.hashes.every((hash, i) => equalBytes(hash, content.before.hashes[i] ?? new Uint8Array())) &&
    before.positions.every((position, i) => position === content.before.positions[i]);
  if (!same) throw new IntegrityError("a version does not fit its change list");
  if (!equalBytes(commit(content), commitment)) throw new IntegrityError("a version does not open its commitment");
}

function checkOrder(previous: EpochRecord, record: EpochRecord): void {
  if (record.timestampMs > previous.timestampMs && record.labels >= previous.labels) return;
  throw new IntegrityError(`time or labels of epoch ${record.epoch} go backwards`);
}

/** All leaves of a map, each in the place that its index gives it. */
function* leavesBelow(map: MapReader, node: MapNode, prefix: readonly number[] = []): Generator<StoredLeaf> {
  const seen = map.look(node);
  if (seen.kind === "inner") {
    yield* leavesBelow(map, seen.left, [...prefix, 0]);
    yield* leavesBelow(map, seen.right, [...prefix, 1]);
  } else if (seen.kind === "leaf") {
    checkPlace(seen.leaf.index, prefix);
    yield parseLeaf(node.tile.leafAt(node.slot));
  }
}

function checkPlace(index: Hash, prefix: readonly number[]): void {
  const misplaced = prefix.some((bit, depth) => (((index[depth >> 3] ?? 0) >> (7 - (depth & 7))) & 1) !== bit);
  if (misplaced) throw new IntegrityError("a leaf of the map stands in the wrong place");
}
