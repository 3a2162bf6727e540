/** From pending changes to one epoch: what it signs, and everything its commit writes. No I/O but reads. */
import type { Hash } from "../shared/crypto/hash.ts";
import { compareBytes } from "../shared/encoding.ts";
import { changesHash } from "../shared/log/change-list.ts";
import { encodeEpochRecord, epochLeafHash, parseEpochRecord } from "../shared/log/epoch-record.ts";
import type { EpochRecord } from "../shared/log/epoch-record.ts";
import { frontierRoot, LOG_DOMAINS } from "../shared/merkle/tree.ts";
import type { Frontier } from "../shared/merkle/tree.ts";
import { dayOf } from "./pending.ts";
import type { Merge, MergedState } from "./pending.ts";
import type { MergedChanges } from "./sequencer-messages.ts";
import { encodeChanges } from "./store/change-lists.ts";
import { appendToTip, rootOfTip } from "./store/histories.ts";
import { appendLeaf, readFrontier } from "./store/log-nodes.ts";
import type { StoredLeaf } from "./store/map-tiles.ts";
import type { TopChanges } from "./store/map-top.ts";
import { MapWriter } from "./store/map-writer.ts";
import {
  encodeEpoch,
  encodeUser,
  encodeVersion,
  epochKey,
  parseChunk,
  parseEpoch,
  positionOf,
  promiseKey,
  proofKey,
  userKey,
  versionKey,
} from "./store/records.ts";
import type { ChangeRow, Tip } from "./store/records.ts";
import { differs, getReferenced } from "./store/store.ts";
import type { KeyValue, Reads } from "./store/store.ts";

/** An epoch that is computed but neither signed nor written. */
export interface BuiltEpoch {
  readonly epoch: number;
  readonly record: Uint8Array;
  readonly timestampMs: number;
  readonly root: Hash;
  readonly puts: readonly KeyValue[];
  readonly deletes: readonly Uint8Array[];
  readonly changedTop: TopChanges;
  readonly settlingEpoch: number;
  /** What the log now has of each user whose changes it merges. */
  readonly merged: readonly MergedState[];
  readonly mergedChanges: MergedChanges;
}

/** The log after the newest epoch built. Written only by `build`; if that throws, the process must end. */
export class EpochBuilder {
  readonly #settleMs: number;
  readonly #map: MapWriter;
  #last: EpochRecord;
  #settlingEpoch: number;
  #log: Frontier;

  private constructor(settleMs: number, map: MapWriter, last: EpochRecord, settlingEpoch: number, log: Frontier) {
    this.#settleMs = settleMs;
    this.#map = map;
    this.#last = last;
    this.#settlingEpoch = settlingEpoch;
    this.#log = log;
  }

  /** The log as it is stored up to `epoch`. Throws `IntegrityError` if its map is not the one in the record. */
  static async open(reads: Reads, epoch: number, settleMs: number): Promise<EpochBuilder> {
    const stored = parseEpoch(getReferenced(reads, epochKey(epoch), "the newest epoch"));
    const last = parseEpochRecord(stored.record);
    const map = await MapWriter.open(reads, epoch, last.mapRoot);
    return new EpochBuilder(settleMs, map, last, stored.settlingEpoch, readFrontier(reads, epoch + 1));
  }

  get map(): MapWriter {
    return this.#map;
  }

  get last(): EpochRecord {
    return this.#last;
  }

  get settlingEpoch(): number {
    return this.#settlingEpoch;
  }

  /** The next epoch, at `timestampMs`, which is later than the last one's. */
  build(merges: readonly Merge[], timestampMs: number, configurationHash: Hash): BuiltEpoch {
    const epoch = this.#last.epoch + 1;
    if (timestampMs <= this.#last.timestampMs) throw new RangeError("the time of an epoch does not advance");
    const isSettling = this.#intervalOf(timestampMs) > this.#intervalOf(this.#last.timestampMs);
    const sorted = [...merges].sort((a, b) => compareBytes(a.before.index, b.before.index));
    const grown = sorted.map((merge, row) => growHistory(merge, positionOf(epoch, row), timestampMs));
    const changes = encodeChanges(
      epoch,
      grown.map(({ row }) => row),
    );
    const leaves = grown.map(({ leaf }) => leaf);
    checkHistories(leaves, epoch, changes.puts);
    const map = this.#map.apply(leaves, { epoch, isSettling, settledBefore: this.#settlingEpoch });
    const next: EpochRecord = {
      epoch,
      timestampMs,
      labels: this.#last.labels + map.added,
      mapRoot: map.root,
      changesHash: changesHash(changes.list),
      configurationHash,
    };
    const record = encodeEpochRecord(next);
    const log = appendLeaf(this.#log, epochLeafHash(record));
    this.#last = next;
    this.#log = log.frontier;
    if (isSettling) this.#settlingEpoch = epoch;
    return {
      epoch,
      record,
      timestampMs,
      root: frontierRoot(LOG_DOMAINS, log.frontier),
      puts: [
        ...grown.flatMap(({ puts }) => puts),
        ...changes.puts,
        ...map.puts,
        { key: proofKey(epoch), value: map.proof },
        ...log.puts,
        { key: epochKey(epoch), value: encodeEpoch({ record, settlingEpoch: this.#settlingEpoch }) },
      ],
      deletes: [
        ...sorted.flatMap(({ before, versions }) =>
          versions.filter(({ durable }) => durable).map(({ version }) => promiseKey(before.userId, version)),
        ),
        ...map.deletes,
      ],
      changedTop: map.changedTop,
      settlingEpoch: this.#settlingEpoch,
      merged: grown.map(({ merged }) => merged),
      mergedChanges: mergedChangesOf(sorted),
    };
  }

  #intervalOf(timestampMs: number): number {
    return Math.floor(timestampMs / this.#settleMs);
  }
}

function mergedChangesOf(merges: readonly Merge[]): MergedChanges {
  const [changes, versions]: [number[], number[]] = [[], []];
  for (const merge of merges) {
    for (const { changes: numbers, version } of merge.versions) {
      for (const number of numbers) {
        changes.push(number);
        versions.push(version);
      }
    }
  }
  return { changes: Float64Array.from(changes), versions: Float64Array.from(versions) };
}

/** The second path of the histories: from the change list as it is stored, the same leaves come out. */
function checkHistories(leaves: readonly StoredLeaf[], epoch: number, puts: readonly KeyValue[]): void {
  let row = 0;
  for (const { value } of puts) {
    for (const { index, before, commitments } of parseChunk(value)) {
      const [leaf, position] = [leaves[row], positionOf(epoch, row)];
      const tip = commitments.reduce((history, commitment) => appendToTip(history, commitment, position), before);
      const same =
        leaf !== undefined &&
        tip.size === leaf.n &&
        Buffer.compare(index, leaf.index) === 0 &&
        Buffer.compare(rootOfTip(tip), leaf.historyRoot) === 0;
      if (!same) throw differs("a history");
      row += 1;
    }
  }
  if (row !== leaves.length) throw differs("the list of changes");
}

interface GrownHistory {
  readonly leaf: StoredLeaf;
  readonly row: ChangeRow;
  readonly puts: readonly KeyValue[];
  readonly merged: MergedState;
}

/** The history of one user with the versions that the epoch merges at `position`. */
function growHistory({ before, versions }: Merge, position: number, timestampMs: number): GrownHistory {
  const { userId, index, vrfProof } = before;
  const day = dayOf(timestampMs);
  const puts: KeyValue[] = [];
  let tip: Tip = before.tip;
  let dayCount = before.day === day ? before.dayCount : 0;
  if (tip.size === 0) puts.push({ key: userKey(userId), value: encodeUser({ index, vrfProof }) });
  for (const { version, entry, opening, commitment, observedMs } of versions) {
    dayCount += 1;
    const content = { version, observedMs, day, dayCount, commitment, opening, userId, entry, before: tip };
    puts.push({ key: versionKey(position, version), value: encodeVersion(content) });
    tip = appendToTip(tip, commitment, position);
  }
  return {
    leaf: { index, n: tip.size, historyRoot: rootOfTip(tip), position },
    row: { index, before: before.tip, commitments: versions.map(({ commitment }) => commitment) },
    puts,
    merged: { userId, index, vrfProof, tip, day, dayCount, entry: versions.at(-1)?.entry },
  };
}
