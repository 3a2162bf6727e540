import { existsSync } from "node:fs";
import { Level } from "level";
import { equalBytes } from "../../shared/encoding.ts";
import { openValue, sealValue } from "./checksums.ts";
import { ConflictError, UnknownOutcomeError } from "./store.ts";
import type { Commit, KeyValue, Reads, Snapshot, Store } from "./store.ts";

type Database = Level<Uint8Array, Uint8Array>;
type LevelSnapshot = ReturnType<Database["snapshot"]>;

/** Sizes that carried the load in measurement; compression is off because hashes and commitments do not compress. */
const OPTIONS = {
  keyEncoding: "view",
  valueEncoding: "view",
  compression: false,
  cacheSize: 64 * 1024 * 1024,
  writeBufferSize: 32 * 1024 * 1024,
  maxFileSize: 16 * 1024 * 1024,
  maxOpenFiles: 1000,
  // The thread of the sequencer and the one that answers share the database.
  multithreading: true,
  errorIfExists: false,
} as const;

/** Makes an empty database. Throws if the directory holds one: only `init` comes here. */
export async function createLevelStore(directory: string): Promise<Store> {
  if (existsSync(`${directory}/CURRENT`)) throw new Error(`${directory} already holds a database`);
  return openLevel(directory, true);
}

/**
 * Opens an existing database. A lost or empty directory is an error, never a new log. Several threads may hold it open, but
 * the one that opened it first must close it last: classic-level 3.0 lets the first bring the block cache for all, and frees
 * it when that one closes.
 */
export async function openLevelStore(directory: string): Promise<Store> {
  if (!existsSync(`${directory}/CURRENT`)) throw new Error(`${directory} holds no database; matrix-ckv init makes one`);
  return openLevel(directory, false);
}

async function openLevel(directory: string, createIfMissing: boolean): Promise<Store> {
  const level: Database = new Level(directory, { ...OPTIONS, createIfMissing, errorIfExists: createIfMissing });
  await level.open();
  return new LevelStore(level);
}

/** Values with checksums on LevelDB. */
class LevelStore implements Store {
  readonly #level: Database;

  constructor(level: Database) {
    this.#level = level;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    const sealed = this.#level.getSync(key);
    return sealed === undefined ? undefined : openValue(key, sealed);
  }

  range(from: Uint8Array, to: Uint8Array, limit: number): Promise<readonly KeyValue[]> {
    return readRange(this.#level, from, to, limit, undefined);
  }

  snapshot(): Snapshot {
    return new LevelSnapshotReads(this.#level, this.#level.snapshot());
  }

  async commit({ expect = [], puts = [], deletes = [] }: Commit): Promise<void> {
    for (const { key, value } of expect) this.#check(key, value);
    const operations = [
      ...puts.map(({ key, value }) => ({ type: "put" as const, key, value: sealValue(key, value) })),
      ...deletes.map((key) => ({ type: "del" as const, key })),
    ];
    try {
      await this.#level.batch(operations, { sync: true });
    } catch (cause) {
      throw new UnknownOutcomeError("the database did not confirm a write", { cause });
    }
  }

  async close(): Promise<void> {
    await this.#level.close();
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
    const sealed = this.#level.getSync(key, { snapshot: this.#snapshot });
    return sealed === undefined ? undefined : openValue(key, sealed);
  }

  range(from: Uint8Array, to: Uint8Array, limit: number): Promise<readonly KeyValue[]> {
    return readRange(this.#level, from, to, limit, this.#snapshot);
  }

  async close(): Promise<void> {
    await this.#snapshot.close();
  }
}

async function readRange(
  level: Database,
  from: Uint8Array,
  to: Uint8Array,
  limit: number,
  snapshot: LevelSnapshot | undefined,
): Promise<readonly KeyValue[]> {
  const options = { gte: from, lt: to, limit, ...(snapshot === undefined ? {} : { snapshot }) };
  const pairs = await level.iterator(options).all();
  return pairs.map(([key, sealed]) => ({ key, value: openValue(key, sealed) }));
}

/** Pages through all pairs with `from <= key < to`. */
export async function* eachInRange(reads: Reads, from: Uint8Array, to: Uint8Array): AsyncGenerator<KeyValue> {
  const page = 1_000;
  for (let start = from; ;) {
    const pairs = await reads.range(start, to, page);
    yield* pairs;
    const last = pairs.at(-1);
    if (last === undefined || pairs.length < page) return;
    start = new Uint8Array([...last.key, 0]);
  }
}
