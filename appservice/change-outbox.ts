import type { SubmittedChanges } from "./sequencer-messages.ts";

const FIRST_BYTES = 4_096;

/** Changes of one turn, packed for another thread as they come: a message and a buffer for each would cost more than the work. */
export class ChangeOutbox {
  #first = 0;
  #userIds: string[] = [];
  #entries = new Uint8Array(FIRST_BYTES);
  #ends: number[] = [];
  #observedMs: number[] = [];

  get isEmpty(): boolean {
    return this.#userIds.length === 0;
  }

  /** `change`: one more than that of the change before. */
  add(change: number, userId: string, entry: Uint8Array, observedMs: number): void {
    if (this.isEmpty) this.#first = change;
    const start = this.#ends.at(-1) ?? 0;
    const end = start + entry.length;
    if (end > this.#entries.length) this.#grow(end);
    this.#entries.set(entry, start);
    this.#userIds.push(userId);
    this.#ends.push(end);
    this.#observedMs.push(observedMs);
  }

  /** Everything that was added since the last time. The buffer of the entries is the receiver's. */
  take(): SubmittedChanges {
    const taken = {
      first: this.#first,
      userIds: this.#userIds,
      entries: this.#entries.subarray(0, this.#ends.at(-1)),
      ends: Uint32Array.from(this.#ends),
      observedMs: Float64Array.from(this.#observedMs),
    };
    [this.#userIds, this.#entries, this.#ends, this.#observedMs] = [[], new Uint8Array(FIRST_BYTES), [], []];
    return taken;
  }

  #grow(length: number): void {
    const entries = new Uint8Array(2 * length);
    entries.set(this.#entries);
    this.#entries = entries;
  }
}
