import type { Bundle } from "./bundle.ts";

/**
 * The head that answers are made at. Several threads answer, and a client whose questions reach different ones must never
 * see the log go back: so each thread first gets ready what is to be shown, under a number, and they all turn to it in the
 * moment in which the main thread writes that number into memory that they share.
 */
export class ShownHead {
  readonly #number: Int32Array;
  /** What is ready and not shown yet, in the order of its numbers. */
  readonly #ready: { readonly number: number; readonly bundle: Bundle }[] = [];
  #bundle: Bundle | undefined;
  #at = 0;

  /** `number`: 4 bytes shared by all threads, 0 at first. */
  constructor(number: SharedArrayBuffer) {
    this.#number = new Int32Array(number);
  }

  /** What every thread turns to; undefined before anything was shown. */
  get bundle(): Bundle | undefined {
    if (Atomics.load(this.#number, 0) !== this.#at) this.#turn();
    return this.#bundle;
  }

  /** Gets a bundle ready, with a reference of its own. Numbers grow. What nobody asked for meanwhile is let go. */
  prepare(number: number, bundle: Bundle): void {
    this.#ready.push({ number, bundle: bundle.retain() });
    this.#turn();
  }

  /** From now on all threads show what they got ready under this number. By the main thread alone. */
  show(number: number): void {
    Atomics.store(this.#number, 0, number);
    this.#turn();
  }

  close(): void {
    for (const { bundle } of this.#ready) bundle.release();
    this.#ready.length = 0;
    this.#bundle?.release();
    this.#bundle = undefined;
  }

  #turn(): void {
    const shown = Atomics.load(this.#number, 0);
    for (let next = this.#ready[0]; next !== undefined && next.number <= shown; next = this.#ready[0]) {
      this.#ready.shift();
      this.#bundle?.release();
      this.#bundle = next.bundle;
    }
    this.#at = shown;
  }
}
