import { SETTLED_TILE_KIND } from "./store/map-tiles.ts";
import type { KeyValue, Reads, Store } from "./store/store.ts";

const MAX_FETCHED = 50_000;

/**
 * Reads that already see what built epochs will write, so that one epoch is built while the one before is on its way to
 * disk. If that write fails the process ends, and with it everything built on it.
 */
export class InFlightReads implements Reads {
  readonly #reads: Reads & Pick<Store, "getMany">;
  /** Written by `add`; the newest value of a key wins. */
  readonly #values = new Map<string, Uint8Array>();
  /** Values for the next `get`. Written by `fetch`. */
  readonly #fetched = new Map<string, Uint8Array>();

  constructor(reads: Reads & Pick<Store, "getMany">) {
    this.#reads = reads;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    const name = nameOf(key);
    return this.#values.get(name) ?? this.#takeFetched(name) ?? this.#reads.get(key);
  }

  /**
   * Reads keys beside this thread, for the next `get` of each. They must be keys whose value never changes once it is
   * there. Resolves with the values.
   */
  async fetch(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    if (this.#reads.getMany === undefined) return keys.map(() => undefined);
    const values = await this.#reads.getMany(keys);
    // What was fetched for a change that was refused is never asked for.
    if (this.#fetched.size > MAX_FETCHED) this.#fetched.clear();
    values.forEach((value, i) => {
      if (value !== undefined) this.#fetched.set(nameOf(keys[i] as Uint8Array), value);
    });
    return values;
  }

  #takeFetched(name: string): Uint8Array | undefined {
    const value = this.#fetched.get(name);
    if (value !== undefined) this.#fetched.delete(name);
    return value;
  }

  range(from: Uint8Array, to: Uint8Array, limit: number): Promise<readonly KeyValue[]> {
    if (this.#values.size > 0) throw new RangeError("no ranges while writes are in flight");
    return this.#reads.range(from, to, limit);
  }

  /** Returns what is to be called once these are on disk; a newer value of the same key stays. */
  add(puts: readonly KeyValue[]): () => void {
    const added: (readonly [string, Uint8Array])[] = [];
    for (const { key, value } of puts) {
      // Only readers of published epochs go back to a settling epoch.
      if (key[0] === SETTLED_TILE_KIND) continue;
      const name = nameOf(key);
      this.#values.set(name, value);
      added.push([name, value]);
    }
    return () => {
      for (const [name, value] of added) if (this.#values.get(name) === value) this.#values.delete(name);
    };
  }
}

function nameOf(key: Uint8Array): string {
  const buffer = key instanceof Buffer ? key : Buffer.from(key.buffer, key.byteOffset, key.length);
  return buffer.toString("latin1");
}
