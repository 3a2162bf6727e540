/**
 * What taking changes needs of the database, read in a thread of its own before they are taken: the thread of the sequencer
 * is the one that limits how many changes a second become durable.
 */
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import type { Hash } from "../shared/crypto/hash.ts";
import { findInStored, TILE_HEIGHT, tileKey, TOP_DEPTH } from "./store/map-tiles.ts";
import type { StoredLeaf } from "./store/map-tiles.ts";
import { bitsOf } from "./store/map-top.ts";
import type { EpochsBelowTop } from "./store/map-top.ts";
import type { StoredForm } from "./store/map-writer.ts";
import { parseUser, userKey, versionKey } from "./store/records.ts";
import type { Store } from "./store/store.ts";

const THREAD = new URL(`./read-ahead-thread${extname(import.meta.url)}`, import.meta.url);

/** Fewer are read sooner by who takes them than asked for here. */
const FEWEST = 8;
/** Records of each change in a `RecordsRead`, and numbers that say which they are. */
const RECORDS = 4;
const NUMBERS = 4;
const NOTHING: Uint8Array = new Uint8Array();

/**
 * What was read for changes, four records for each: of its user, the tile below the top of the map towards the user's leaf,
 * the tile below that one if the leaf is deeper, and the newest version. A record is empty where it was not read.
 */
export interface RecordsRead {
  /** All records, one after another, and where each ends. */
  readonly bytes: Uint8Array;
  readonly ends: Uint32Array;
  /** For each change the epochs that wrote the two tiles, and position and number of the newest version. */
  readonly numbers: Float64Array;
}

/** What the thread needs. */
export interface ReaderStart {
  readonly database: string;
  readonly epochsBelowTop: EpochsBelowTop;
}

/** What the thread is asked: to read, or, by `undefined`, to close the database and to end. */
export type ToReader = { readonly id: number; readonly userIds: readonly string[] } | undefined;

export interface FromReader {
  readonly id: number;
  readonly records: RecordsRead | undefined;
}

/** The thread that reads, which starts when there is much to read. */
export class ReadAhead {
  readonly #start: ReaderStart;
  readonly #waiting = new Map<number, (records: RecordsRead | undefined) => void>();
  #worker: Worker | undefined;
  #next = 0;
  #hasEnded = false;

  constructor(start: ReaderStart) {
    this.#start = start;
  }

  /**
   * What taking changes of these users needs. Never rejects; undefined where nothing was read: then they are taken all the
   * same, and whatever is wrong with what is stored comes up there.
   */
  read(userIds: readonly string[]): Promise<RecordsRead | undefined> {
    if (this.#hasEnded || userIds.length < FEWEST) return Promise.resolve(undefined);
    this.#worker ??= this.#begin();
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

  #begin(): Worker {
    const worker = new Worker(THREAD, { workerData: this.#start });
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
export async function readAhead(
  store: Store,
  epochsBelowTop: EpochsBelowTop,
  userIds: readonly string[],
): Promise<RecordsRead | undefined> {
  const getMany = store.getMany?.bind(store);
  if (getMany === undefined) return undefined;
  const users = await getMany(userIds.map(userKey));
  const paths = users.map((user) => (user === undefined ? undefined : new Path(parseUser(user).index, epochsBelowTop)));
  for (let tile = 0; tile < TILES; tile++) {
    const forms = await getSome(
      getMany,
      paths.map((path) => path?.nextKey()),
    );
    forms.forEach((form, i) => {
      if (form !== undefined) paths[i]?.add(form);
    });
  }
  const leaves = paths.map((path) => path?.leaf);
  const versions = await getSome(
    getMany,
    leaves.map((leaf) => leaf && versionKey(leaf.position, leaf.n)),
  );
  return pack(users, paths, versions);
}

/** Tiles below the top that are read on the way to a leaf. */
const TILES = 2;

/** The way below the top towards an index, as far as it was read. */
class Path {
  readonly #index: Hash;
  readonly forms: StoredForm[] = [];
  /** The leaf where the way ends, or the epoch that wrote the next tile; undefined where it ends without the leaf. */
  #end: StoredLeaf | number | undefined;

  constructor(index: Hash, epochsBelowTop: EpochsBelowTop) {
    this.#index = index;
    this.#end = epochsBelowTop[bitsOf(index, TOP_DEPTH)];
  }

  get leaf(): StoredLeaf | undefined {
    return typeof this.#end === "number" ? undefined : this.#end;
  }

  nextKey(): Uint8Array | undefined {
    return typeof this.#end === "number" ? tileKey(this.#end, { prefix: this.#index, depth: this.#depth }) : undefined;
  }

  /** The form that `nextKey` leads to. */
  add(bytes: Uint8Array): void {
    const end = findInStored(bytes, this.#depth, this.#index);
    this.forms.push({ writtenIn: this.#end as number, bytes });
    this.#end = end;
  }

  get #depth(): number {
    return TOP_DEPTH + TILE_HEIGHT * this.forms.length;
  }
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

function pack(
  users: readonly (Uint8Array | undefined)[],
  paths: readonly (Path | undefined)[],
  versions: readonly (Uint8Array | undefined)[],
): RecordsRead {
  const records = users.flatMap((user, i) => {
    const [tile, deeper] = paths[i]?.forms ?? [];
    return [user, tile?.bytes, deeper?.bytes, versions[i]].map((record) => record ?? NOTHING);
  });
  const ends = new Uint32Array(records.length);
  let length = 0;
  records.forEach((record, i) => (ends[i] = length += record.length));
  const bytes = new Uint8Array(length);
  records.forEach((record, i) => {
    bytes.set(record, (ends[i] ?? 0) - record.length);
  });
  const numbers = new Float64Array(NUMBERS * paths.length);
  paths.forEach((path, i) => {
    const [tile, deeper] = path?.forms ?? [];
    const { position = 0, n = 0 } = path?.leaf ?? {};
    numbers.set([tile?.writtenIn ?? 0, deeper?.writtenIn ?? 0, position, n], NUMBERS * i);
  });
  return { bytes, ends, numbers };
}

/** What was read for one change, as far as it was. It may be old by now. */
export interface ReadBefore {
  readonly user: Uint8Array | undefined;
  /** The tiles below the top towards its leaf, the uppermost first. */
  readonly tiles: readonly StoredForm[];
  /** The newest version, and the leaf that says so. */
  readonly version: { readonly position: number; readonly n: number; readonly bytes: Uint8Array } | undefined;
}

export const NOTHING_READ: ReadBefore = { user: undefined, tiles: [], version: undefined };

/** What was read for the change at a place, in memory of its own: a change may wait for long. */
export function readBefore({ bytes, ends, numbers }: RecordsRead, change: number): ReadBefore {
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
  const number = (i: number): number => numbers[NUMBERS * change + i] as number;
  const tiles: StoredForm[] = [];
  if (tile !== undefined) tiles.push({ writtenIn: number(0), bytes: tile });
  if (deeper !== undefined) tiles.push({ writtenIn: number(1), bytes: deeper });
  return { user, tiles, version: version && { position: number(2), n: number(3), bytes: version } };
}
