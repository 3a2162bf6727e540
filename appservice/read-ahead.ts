/**
 * What taking changes needs of the database, read in a thread of its own before they are taken: the thread of the sequencer
 * is the one that limits how many changes a second become durable.
 */
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import type { Hash } from "../shared/crypto/hash.ts";
import { leafInStored, prefixOf, TILE_HEIGHT, tileKey, TOP_DEPTH } from "./store/map-tiles.ts";
import type { StoredLeaf } from "./store/map-tiles.ts";
import { parseUser, userKey, versionKey } from "./store/records.ts";
import type { Store } from "./store/store.ts";

const THREAD = new URL(`./read-ahead-thread${extname(import.meta.url)}`, import.meta.url);

/** Fewer are read sooner by who takes them than asked for here. */
const FEWEST = 8;
/** Records of each change in a `RecordsRead`. */
const RECORDS = 4;
const NOTHING: Uint8Array = new Uint8Array();

/**
 * What was read for changes, four records for each: of its user, the tile below the top of the map towards the user's leaf,
 * the tile below that one if the leaf is deeper, and the newest version. A record is empty where it was not read.
 */
export interface RecordsRead {
  /** All records, one after another, and where each ends. */
  readonly bytes: Uint8Array;
  readonly ends: Uint32Array;
  /** Position and number of each newest version. */
  readonly places: Float64Array;
}

/** What the thread is asked: to read, or, by `undefined`, to close the database and to end. */
export type ToReader = { readonly id: number; readonly userIds: readonly string[] } | undefined;

export interface FromReader {
  readonly id: number;
  readonly records: RecordsRead | undefined;
}

/** The thread that reads, which starts when there is much to read. */
export class ReadAhead {
  readonly #database: string;
  readonly #waiting = new Map<number, (records: RecordsRead | undefined) => void>();
  #worker: Worker | undefined;
  #next = 0;
  #hasEnded = false;

  constructor(database: string) {
    this.#database = database;
  }

  /**
   * What taking changes of these users needs. Never rejects; undefined where nothing was read: then they are taken all the
   * same, and whatever is wrong with what is stored comes up there.
   */
  read(userIds: readonly string[]): Promise<RecordsRead | undefined> {
    if (this.#hasEnded || userIds.length < FEWEST) return Promise.resolve(undefined);
    this.#worker ??= this.#start();
    const { promise, resolve } = Promise.withResolvers<RecordsRead | undefined>();
    const id = this.#next++;
    this.#waiting.set(id, resolve);
    this.#worker.postMessage({ id, userIds } satisfies ToReader);
    return promise;
  }

  /** Resolves when the thread has closed the database. */
  async close(): Promise<void> {
    const worker = this.#worker;
    if (worker === undefined || this.#hasEnded) return;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    worker.once("exit", () => {
      resolve(undefined);
    });
    worker.postMessage(undefined satisfies ToReader);
    await promise;
  }

  #start(): Worker {
    const worker = new Worker(THREAD, { workerData: this.#database });
    worker.on("message", ({ id, records }: FromReader) => {
      this.#waiting.get(id)?.(records);
      this.#waiting.delete(id);
    });
    worker.on("error", this.#end.bind(this));
    worker.on("exit", this.#end.bind(this));
    return worker;
  }

  /** Without the thread the log is slower, and nothing else. */
  #end(): void {
    this.#hasEnded = true;
    for (const resolve of this.#waiting.values()) resolve(undefined);
    this.#waiting.clear();
  }
}

/**
 * Of each user the record, the tiles below the top of the map on the way to its leaf, and the newest version, as they stand in
 * the database now. Leaves that are deeper than two tiles, of which a log of ten million users has one in a hundred, and their
 * versions are left out. Throws as `Store.getMany`; resolves to undefined where a store has none.
 */
export async function readAhead(store: Store, userIds: readonly string[]): Promise<RecordsRead | undefined> {
  const getMany = store.getMany?.bind(store);
  if (getMany === undefined) return undefined;
  const users = await getMany(userIds.map(userKey));
  const indices = users.map((user) => user && parseUser(user).index);
  const tiles = await getSome(
    getMany,
    indices.map((index) => index && tileKeyTowards(index, TOP_DEPTH)),
  );
  const above = indices.map((index, i) => index && tiles[i] && leafInStored(tiles[i], index));
  const deeper = await getSome(
    getMany,
    indices.map((index, i) =>
      index && tiles[i] && above[i] === undefined ? tileKeyTowards(index, TOP_DEPTH + TILE_HEIGHT) : undefined,
    ),
  );
  const leaves = indices.map((index, i) => above[i] ?? (index && deeper[i] && leafInStored(deeper[i], index)));
  const versions = await getSome(
    getMany,
    leaves.map((leaf) => leaf && versionKey(leaf.position, leaf.n)),
  );
  return pack(
    users.flatMap((user, i) => [user, tiles[i], deeper[i], versions[i]].map((record) => record ?? NOTHING)),
    leaves,
  );
}

function tileKeyTowards(index: Hash, depth: number): Uint8Array {
  return tileKey({ prefix: prefixOf(index, depth), depth });
}

/** The values of those keys that there are, each in the place of its key. */
async function getSome(
  getMany: Required<Store>["getMany"],
  keys: readonly (Uint8Array | undefined)[],
): Promise<readonly (Uint8Array | undefined)[]> {
  const values = await getMany(keys.filter((key) => key !== undefined));
  let next = 0;
  return keys.map((key) => (key === undefined ? undefined : values[next++]));
}

function pack(records: readonly Uint8Array[], leaves: readonly (StoredLeaf | undefined)[]): RecordsRead {
  const ends = new Uint32Array(records.length);
  let length = 0;
  records.forEach((record, i) => (ends[i] = length += record.length));
  const bytes = new Uint8Array(length);
  records.forEach((record, i) => {
    bytes.set(record, (ends[i] ?? 0) - record.length);
  });
  const places = new Float64Array(2 * leaves.length);
  leaves.forEach((leaf, i) => {
    places[2 * i] = leaf?.position ?? 0;
    places[2 * i + 1] = leaf?.n ?? 0;
  });
  return { bytes, ends, places };
}

/** What was read for one change; each undefined where it was not. It may be old by now. */
export interface ReadBefore {
  readonly user?: Uint8Array;
  readonly tile?: Uint8Array;
  /** The one below that one. */
  readonly deeper?: Uint8Array;
  /** The newest version, and the leaf that says so. */
  readonly version?: { readonly position: number; readonly n: number; readonly bytes: Uint8Array };
}

/** What was read for the change at a place, in memory of its own: a change may wait for long. */
export function readBefore({ bytes, ends, places }: RecordsRead, change: number): ReadBefore {
  const at = RECORDS * change;
  const start = at === 0 ? 0 : (ends[at - 1] as number);
  const own = Buffer.from(bytes.subarray(start, ends[at + RECORDS - 1]));
  let from = start;
  const next = (record: number): Uint8Array | undefined => {
    const to = ends[at + record] as number;
    const read = to === from ? undefined : new Uint8Array(own.buffer, own.byteOffset + from - start, to - from);
    from = to;
    return read;
  };
  const [user, tile, deeper, version] = [next(0), next(1), next(2), next(3)];
  const [position, n] = [places[2 * change] as number, places[2 * change + 1] as number];
  return {
    ...(user === undefined ? {} : { user }),
    ...(tile === undefined ? {} : { tile }),
    ...(deeper === undefined ? {} : { deeper }),
    ...(version === undefined ? {} : { version: { position, n, bytes: version } }),
  };
}
