/** All that answers at one epoch are made from: a snapshot of the database, the map, and the head, serialised once. */
import { parseEpochRecord } from "../shared/log/epoch-record.ts";
import type { EpochRecord } from "../shared/log/epoch-record.ts";
import { proveInclusion } from "../shared/merkle/inclusion.ts";
import { LOG_DOMAINS } from "../shared/merkle/tree.ts";
import type { HeadPart } from "../shared/messages.ts";
import { base64, pathBase64 } from "./base64.ts";
import { asciiJson } from "./lookup-text.ts";
import { logHashes } from "./store/log-nodes.ts";
import { readMap, readSettledMap, TileCache } from "./store/map-reader.ts";
import type { MapReader } from "./store/map-reader.ts";
import type { HeldTop } from "./store/map-top.ts";
import { epochKey, parseEpoch } from "./store/records.ts";
import { getReferenced } from "./store/store.ts";
import type { Reads, Snapshot, Store } from "./store/store.ts";

/** A committed epoch, as the thread of the sequencer names it. */
export interface CommittedHead {
  readonly epoch: number;
  readonly note: string;
  readonly configurationText: string;
}

/** Tiles are found by their hashes, so all epochs share one cache. */
const CACHED_TILES = 6_000;
const cache = new TileCache(CACHED_TILES);

/** A snapshot and the top of its map, with the number of those who use them: given back when nobody does. */
class SharedSnapshot {
  readonly snapshot: Snapshot;
  readonly held: HeldTop;
  #users = 1;

  constructor(snapshot: Snapshot, held: HeldTop) {
    this.snapshot = snapshot;
    this.held = held;
  }

  retain(): void {
    this.#users += 1;
  }

  release(): void {
    this.#users -= 1;
    if (this.#users !== 0) return;
    this.held.release();
    // Closing does not fail on a database that is open, and on one that is not there is nothing to close.
    this.snapshot.close().catch(() => undefined);
  }
}

export class Bundle {
  readonly epoch: number;
  readonly note: string;
  readonly configurationText: string;
  readonly recordBytes: Uint8Array;
  readonly record: EpochRecord;
  readonly settlingEpoch: number;
  readonly map: MapReader;
  readonly settledMap: MapReader;
  readonly head: HeadPart;
  /** The JSON text of `head`, in ASCII. */
  readonly headText: string;
  readonly #shared: SharedSnapshot;

  private constructor(shared: SharedSnapshot, head: CommittedHead) {
    this.#shared = shared;
    this.epoch = head.epoch;
    this.note = head.note;
    this.configurationText = head.configurationText;
    const stored = parseEpoch(getReferenced(this.reads, epochKey(head.epoch), "an epoch"));
    this.recordBytes = stored.record;
    this.record = parseEpochRecord(stored.record);
    this.settlingEpoch = stored.settlingEpoch;
    this.map = readMap(shared.held.top, this.record.mapRoot, this.reads, cache);
    this.settledMap = this.mapAt(stored.settlingEpoch);
    const path = proveInclusion(LOG_DOMAINS, logHashes(this.reads), head.epoch, head.epoch + 1);
    this.head = { checkpoint: head.note, record: base64(stored.record), record_proof: pathBase64(path) };
    this.headText = asciiJson(this.head);
  }

  /** Takes a snapshot, which must be of this epoch: the next is committed only later. `held` is released with it. */
  static take(store: Store, head: CommittedHead, held: HeldTop): Bundle {
    return new Bundle(new SharedSnapshot(store.snapshot(), held), head);
  }

  get reads(): Reads {
    return this.#shared.snapshot;
  }

  /** The map at a settling epoch up to this one. */
  mapAt(settlingEpoch: number): MapReader {
    if (settlingEpoch === this.epoch) return this.map;
    return readSettledMap(settlingEpoch, this.recordAt(settlingEpoch).mapRoot, this.reads, cache);
  }

  /** The record of an epoch up to this one. Throws `IntegrityError` if it is missing. */
  recordAt(epoch: number): EpochRecord {
    return parseEpochRecord(parseEpoch(getReferenced(this.reads, epochKey(epoch), "an epoch")).record);
  }

  /** The same epoch with the cosignatures it got; shares the snapshot, with a reference of its own. */
  withNote(note: string): Bundle {
    this.#shared.retain();
    return new Bundle(this.#shared, { epoch: this.epoch, note, configurationText: this.configurationText });
  }

  /** One more user; each calls `release` once. */
  retain(): this {
    this.#shared.retain();
    return this;
  }

  release(): void {
    this.#shared.release();
  }
}
