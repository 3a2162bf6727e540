import type { Merged } from "./sequencer.ts";
import type { MergedChanges } from "./sequencer-messages.ts";

interface Waiting {
  readonly resolve: (merged: Merged) => void;
  readonly reject: (error: Error) => void;
}

/** Told at once; then others have their turn, for each of those who are told may have much to do. */
const AT_ONCE = 64;

/** Who waits until a change is merged. */
export class WaitingChanges {
  /** By number of the change. Written by `add`, `resolve`, `reject`, `abandon`. */
  readonly #waiting = new Map<number, Waiting>();
  /** Merged changes whose callers are still to be told, oldest first. */
  readonly #telling: { readonly merged: MergedChanges; readonly epoch: number; told: number }[] = [];
  #next = 0;

  /** Changes that nobody was told of yet. */
  get size(): number {
    return this.#waiting.size;
  }

  /** A number for a change, and the promise for its caller. */
  add(): { readonly change: number; readonly merged: Promise<Merged> } {
    const { promise, resolve, reject } = Promise.withResolvers<Merged>();
    const change = this.#next++;
    this.#waiting.set(change, { resolve, reject });
    return { change, merged: promise };
  }

  /** These changes were merged by an epoch that is published. */
  merged(merged: MergedChanges, epoch: number): void {
    if (this.#telling.length === 0) setImmediate(this.#tellSome.bind(this));
    this.#telling.push({ merged, epoch, told: 0 });
  }

  /** One change was merged. */
  resolve(change: number, version: number, epoch: number): void {
    this.#take(change)?.resolve({ version, epoch });
  }

  reject(change: number, error: Error): void {
    this.#take(change)?.reject(error);
  }

  /** Nothing more is merged: whoever waits for that is rejected. */
  abandon(error: Error): void {
    while (this.#telling.length > 0) this.#tell();
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  #tellSome(): void {
    this.#tell();
    if (this.#telling.length > 0) setImmediate(this.#tellSome.bind(this));
  }

  #tell(): void {
    const [first] = this.#telling;
    if (first === undefined) return;
    const { changes, versions } = first.merged;
    const end = Math.min(first.told + AT_ONCE, changes.length);
    for (; first.told < end; first.told++) {
      this.resolve(changes[first.told] as number, versions[first.told] as number, first.epoch);
    }
    if (end === changes.length) this.#telling.shift();
  }

  #take(change: number): Waiting | undefined {
    const waiting = this.#waiting.get(change);
    this.#waiting.delete(change);
    return waiting;
  }
}
