import { existsSync } from "node:fs";
import { Level } from "level";
import { equalBytes } from "../../shared/encoding.ts";
import { checkJournals, namesIn } from "./level-files.ts";
import { CHECKSUM_OVERHEAD, openValue, sealValue } from "./checksums.ts";
import {
  ConflictError,
  IntegrityError,
  NoDataError,
  RANGE_BYTES,
  rangeBytes,
  StorageError,
  UnknownOutcomeError,
} from "./store.ts";
import type { Commit, KeyValue, Reads, Snapshot, Store } from "./store.ts";

type Database = Level<Uint8Array, Uint8Array>;
type LevelSnapshot = ReturnType<Database["snapshot"]>;

/**
 * Sizes that carried the load in measurement; compression is off because hashes and commitments do not compress. A large
 * write buffer, because what leaves it is written several times more, and disks are slower than this thread. Small tables,
 * because what new users add at random places makes LevelDB write again the tables around it; so there are many, of which a
 * thousand are mapped, and others take at most a fifth of the handles that the process may have. Larger blocks than the 4 KiB
 * that LevelDB has by itself are written sooner (16 KiB: 5 % more updates), but a lookup has to search them (a tenth fewer).
 */
const OPTIONS = {
  keyEncoding: "view",
  valueEncoding: "view",
  compression: false,
  cacheSize: 64 * 1024 * 1024,
  writeBufferSize: 128 * 1024 * 1024,
  maxFileSize: 4 * 1024 * 1024,
  maxOpenFiles: 4000,
  // The thread of the sequencer and the one that answers share the database.
  multithreading: true,
  errorIfExists: false,
} as const;

/** Makes an empty database. Throws if the directory holds one: only `init` and `restore` come here. */
export async function createLevelStore(directory: string): Promise<Store> {
  if (existsSync(`${directory}/CURRENT`)) throw new Error(`${directory} already holds a database`);
  return openLevel(directory, true);
}

/**
 * Opens an existing database. A lost or empty directory is an error, never a new log. Several threads may hold it open, but
 * the one that opened it first must close it last: classic-level 3.0 lets the first bring the block cache for all, and frees
 * it when that one closes. What LevelDB would drop from its journal in silence is found first. Throws `NoDataError`,
 * `IntegrityError`, `StorageError`.
 */
export async function openLevelStore(directory: string): Promise<Store> {
  if (!existsSync(`${directory}/CURRENT`)) throw new NoDataError(directory, holdsTables(directory));
  checkJournals(directory);
  return openLevel(directory, false);
}

function holdsTables(directory: string): boolean {
  return namesIn(directory).some((name) => /^MANIFEST-|\.ldb$/.test(name));
}

async function openLevel(directory: string, createIfMissing: boolean): Promise<Store> {
  const level: Database = new Level(directory, { ...OPTIONS, createIfMissing, errorIfExists: createIfMissing });
  try {
    await level.open();
  } catch (error) {
    const { cause = error } = error as { readonly cause?: unknown };
    throw (
      damageOf(cause, `the database in ${directory} can't be opened; never repair it, restore a backup`) ??
      new StorageError(`the database in ${directory}`, { cause })
    );
  }
  return new LevelStore(level);
}

/**
 * How LevelDB words that its files contradict each other: one is damaged, lost, or shorter than another says (not every
 * error has a code). Out of handles or of space, and a disk that fails, are none of these.
 */
const DAMAGE = /^Corruption|^IO error.*(No such file|Invalid argument)/s;

/** What LevelDB finds wrong with its files; undefined for any other failure. */
function damageOf(error: unknown, message: string): IntegrityError | undefined {
  const isDamage = error instanceof Error && DAMAGE.test(error.message);
  return isDamage ? new IntegrityError(message, { cause: error }) : undefined;
}

/** Values with checksums on LevelDB. */
class LevelStore implements Store {
  readonly #level: Database;
  /** The write whose outcome is not known. Written by `commit`. */
  #failure: UnknownOutcomeError | undefined;

  constructor(level: Database) {
    this.#level = level;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    this.#checkUsable();
    return readValue(this.#level, key, undefined);
  }

  async getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    this.#checkUsable();
    const sealed: readonly (Uint8Array | undefined)[] = await this.#level.getMany([...keys]);
    return sealed.map((value, i) => (value === undefined ? undefined : openValue(keys[i] as Uint8Array, value)));
  }

  async range(from: Uint8Array, to: Uint8Array, limit: number): Promise<readonly KeyValue[]> {
    this.#checkUsable();
    return await readRange(this.#level, from, to, limit, undefined);
  }

  snapshot(): Snapshot {
    this.#checkUsable();
    return new LevelSnapshotReads(this.#level, this.#level.snapshot());
  }

  async commit({ expect = [], puts = [], deletes = [] }: Commit): Promise<void> {
    this.#checkUsable();
    for (const { key, value } of expect) this.#check(key, value);
    // Takes its own copy of each key and value at once.
    const batch = this.#level.batch();
    for (const { key, value } of puts) batch.put(key, sealValue(key, value));
    for (const key of deletes) batch.del(key);
    try {
      await batch.write({ sync: true });
    } catch (cause) {
      this.#failure ??= new UnknownOutcomeError("the database did not confirm a write", { cause });
    }
    // Also after a write that succeeded behind one that failed: nobody may build on it.
    this.#checkUsable();
  }

  async close(): Promise<void> {
    await this.#level.close();
  }

  #checkUsable(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  #check(key: Uint8Array, expected: Uint8Array | undefined): void {
    const found = this.get(key);
    const same = found === undefined || expected === undefined ? found === expected : equalBytes(found, expected);
    if (!same) throw new ConflictError(`the record ${Buffer.from(key).toString("hex")} is not as expected`);
  }
}

class LevelSnapshotReads implements Snapshot {
  readonly #level: Database;
  readonly #snapshot: LevelSnapshot;

  constructor(level: Database, snapshot: LevelSnapshot) {
    this.#level = level;
    this.#snapshot = snapshot;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return readValue(this.#level, key, this.#snapshot);
  }

  range(from: Uint8Array, to: Uint8Array, limit: number): Promise<readonly KeyValue[]> {
    return readRange(this.#level, from, to, limit, this.#snapshot);
  }

  async close(): Promise<void> {
    await this.#snapshot.close();
  }
}

function readValue(level: Database, key: Uint8Array, snapshot: LevelSnapshot | undefined): Uint8Array | undefined {
  let sealed: Uint8Array | undefined;
  try {
    sealed = snapshot === undefined ? level.getSync(key) : level.getSync(key, { snapshot });
  } catch (error) {
    throw damageOf(error, `the record ${Buffer.from(key).toString("hex")} can't be read`) ?? error;
  }
  return sealed === undefined ? undefined : openValue(key, sealed);
}

async function readRange(
  level: Database,
  from: Uint8Array,
  to: Uint8Array,
  limit: number,
  snapshot: LevelSnapshot | undefined,
): Promise<readonly KeyValue[]> {
  const iterator = level.iterator({
    ...{ gte: from, lt: to, limit, highWaterMarkBytes: RANGE_BYTES + limit * CHECKSUM_OVERHEAD },
    ...(snapshot === undefined ? {} : { snapshot }),
  });
  try {
    const pairs = await iterator.nextv(limit);
    return pairs.map(([key, sealed]) => ({ key, value: openValue(key, sealed) }));
  } catch (error) {
    throw damageOf(error, `the records from ${Buffer.from(from).toString("hex")} on can't be read`) ?? error;
  } finally {
    await iterator.close();
  }
}

/** Pages through all pairs with `from <= key < to`. */
export async function* eachInRange(reads: Reads, from: Uint8Array, to: Uint8Array): AsyncGenerator<KeyValue> {
  const page = 1_000;
  for (let start = from; ;) {
    const pairs = await reads.range(start, to, page);
    yield* pairs;
    const last = pairs.at(-1);
    if (last === undefined || (pairs.length < page && rangeBytes(pairs) < RANGE_BYTES)) return;
    start = new Uint8Array([...last.key, 0]);
  }
}
