import type { Clock } from "./clock.ts";

export interface EpochTimes {
  /** How long after the first pending change an epoch closes. */
  readonly delayMs: number;
  /** How long after the last epoch one closes without changes. */
  readonly heartbeatMs: number;
}

/** An epoch that could not close (the time did not advance, no space) is tried again after this. */
const RETRY_MS = 20;

/** Closes epochs when they are due. */
export class EpochTimer {
  readonly #clock: Clock;
  readonly #times: EpochTimes;
  /** Closes an epoch; returns how many changes already wait for the next, or undefined if it did not close. */
  readonly #close: (nowMs: number) => Promise<number | undefined>;
  #dueMs: number;
  #wake = new AbortController();

  constructor(clock: Clock, times: EpochTimes, close: (nowMs: number) => Promise<number | undefined>) {
    this.#clock = clock;
    this.#times = times;
    this.#close = close;
    this.#dueMs = clock.now();
  }

  /** Something waits for an epoch, since now. */
  expect(): void {
    this.#hasten(this.#clock.now() + this.#times.delayMs);
  }

  /** The next epoch closes at once. */
  closeNow(): void {
    this.#hasten(this.#clock.now());
  }

  /** Closes epochs until `signal` is aborted; the first at once. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const waitMs = this.#dueMs - this.#clock.now();
      if (waitMs > 0) await this.#sleep(waitMs, signal);
      else await this.#closeEpoch(signal);
    }
  }

  #hasten(dueMs: number): void {
    if (dueMs >= this.#dueMs) return;
    this.#dueMs = dueMs;
    this.#wake.abort();
  }

  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    this.#wake = new AbortController();
    await this.#clock.sleep(ms, AbortSignal.any([this.#wake.signal, signal]));
  }

  async #closeEpoch(signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.now();
    // Set first, so that what is submitted while the epoch closes can bring it forward.
    this.#dueMs = nowMs + this.#times.heartbeatMs;
    const waiting = await this.#close(nowMs);
    if (waiting === undefined) {
      this.closeNow();
      await this.#clock.sleep(RETRY_MS, signal);
    } else if (waiting > 0) this.expect();
  }
}
