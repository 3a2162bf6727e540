import { hash } from "node:crypto";

/** Numbers that depend on nothing but the seed, so that a case can be run again. */
export class Random {
  readonly #seed: string;
  #block: Buffer = Buffer.alloc(0);
  #blocks = 0;
  #used = 0;

  constructor(...seed: readonly (string | number)[]) {
    this.#seed = seed.join("|");
  }

  /** A whole number from 0 up to, not including, `limit` (at most 2^32). */
  below(limit: number): number {
    if (this.#used + 4 > this.#block.length) {
      this.#block = hash("sha256", `${this.#seed}|${this.#blocks++}`, "buffer");
      this.#used = 0;
    }
    this.#used += 4;
    return Math.floor((this.#block.readUInt32BE(this.#used - 4) / 2 ** 32) * limit);
  }

  pick<T>(values: readonly T[]): T {
    const value = values[this.below(values.length)];
    if (value === undefined) throw new RangeError("nothing to pick from");
    return value;
  }

  /** True once in `times`. */
  oneIn(times: number): boolean {
    return this.below(times) === 0;
  }
}
