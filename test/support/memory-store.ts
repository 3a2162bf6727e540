/** A store in memory that keeps the contract: for tests that need no disk, and as the second to run the store suite. */
import { equalBytes } from "../../shared/encoding.ts";
import { ConflictError, RANGE_BYTES } from "../../appservice/store/store.ts";
import type { Commit, KeyValue, Reads, Snapshot, Store } from "../../appservice/store/store.ts";

/** Pairs in bytewise order of their keys. Never changed: a commit makes the next. */
type Pairs = readonly KeyValue[];

export class MemoryStore implements Store {
  /** Written by `commit`. */
  #pairs: Pairs = [];

  get(key: Uint8Array): Uint8Array | undefined {
    return readsOf(this.#pairs).get(key);
  }

  range(from: Uint8Array, to: Uint8Array, limit: number): Promise<readonly KeyValue[]> {
    return readsOf(this.#pairs).range(from, to, limit);
  }

  snapshot(): Snapshot {
    return { ...readsOf(this.#pairs), close: () => Promise.resolve() };
  }

  async commit({ expect = [], puts = [], deletes = [] }: Commit): Promise<void> {
    for (const { key, value } of expect) {
      const found = this.get(key);
      const same = found === undefined || value === undefined ? found === value : equalBytes(found, value);
      if (!same) throw new ConflictError(`the record ${Buffer.from(key).toString("hex")} is not as expected`);
    }
    const next = new Map(this.#pairs.map((pair) => [nameOf(pair.key), pair]));
    for (const { key, value } of puts)
      next.set(nameOf(key), { key: Uint8Array.from(key), value: Uint8Array.from(value) });
    for (const key of deletes) next.delete(nameOf(key));
    this.#pairs = [...next.values()].sort((a, b) => Buffer.compare(a.key, b.key));
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

function readsOf(pairs: Pairs): Reads {
  return {
    get: (key) => pairs.find((pair) => equalBytes(pair.key, key))?.value,
    range(from, to, limit) {
      const start = pairs.findIndex(({ key }) => Buffer.compare(key, from) >= 0);
      const found: KeyValue[] = [];
      let bytes = 0;
      for (const pair of start < 0 ? [] : pairs.slice(start)) {
        if (found.length === limit || bytes >= RANGE_BYTES || Buffer.compare(pair.key, to) >= 0) break;
        found.push(pair);
        bytes += pair.key.length + pair.value.length;
      }
      return Promise.resolve(found);
    },
  };
}

function nameOf(key: Uint8Array): string {
  return Buffer.from(key).toString("latin1");
}
