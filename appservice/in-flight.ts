import type { KeyValue, Reads } from "./store/store.ts";

/**
 * Reads that already see what built epochs will write, so that one epoch is built while the one before is on its way to
 * disk. If that write fails the process ends, and with it everything built on it.
 */
export class InFlightReads implements Reads {
  readonly #reads: Reads;
  /** What each epoch on its way writes, oldest first. */
  readonly #writes: ReadonlyMap<string, Uint8Array>[] = [];

  constructor(reads: Reads) {
    this.#reads = reads;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    if (this.#writes.length === 0) return this.#reads.get(key);
    const name = nameOf(key);
    return this.#writes.findLast((values) => values.has(name))?.get(name) ?? this.#reads.get(key);
  }

  range(from: Uint8Array, to: Uint8Array, limit: number): Promise<readonly KeyValue[]> {
    if (this.#writes.length > 0) throw new RangeError("no ranges while writes are in flight");
    return this.#reads.range(from, to, limit);
  }

  /** Returns what is to be called once these are on disk. */
  add(puts: readonly KeyValue[]): () => void {
    const values = new Map(puts.map(({ key, value }) => [nameOf(key), value]));
    this.#writes.push(values);
    return () => {
      this.#writes.splice(this.#writes.indexOf(values), 1);
    };
  }
}

function nameOf(key: Uint8Array): string {
  const buffer = key instanceof Buffer ? key : Buffer.from(key.buffer, key.byteOffset, key.length);
  return buffer.toString("latin1");
}
