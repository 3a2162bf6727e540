/** Time as the plugin sees it. Tests bring their own. */
export interface Clock {
  /** Unix time in milliseconds. */
  now(): number;
  /** Resolves after `ms` milliseconds, or at once when the signal is aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

/** Longest delay a host timer takes (2^31 - 1 milliseconds). */
const LONGEST_TIMER_MS = 2_147_483_647;

/** The host's clock and timers. */
export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: async (ms, signal) => {
    await new Promise<void>((resolve) => {
      if (signal.aborted) {
        resolve();
        return;
      }
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, Math.min(Math.max(ms, 0), LONGEST_TIMER_MS));
      signal.addEventListener("abort", done);
    });
  },
};

/**
 * Things to do later, one per key; doing again under a key moves it. Owned by the plugin, which stops it. A task that
 * throws reports to `onError` and never stops the rest.
 */
export class Schedule {
  readonly #clock: Clock;
  readonly #onError: (error: unknown) => void;
  readonly #pending = new Map<string, AbortController>();
  readonly #dueMs = new Map<string, number>();

  constructor(clock: Clock, onError: (error: unknown) => void) {
    this.#clock = clock;
    this.#onError = onError;
  }

  /** Runs `task` at `atMs`. An earlier appointment under the same key is kept when `keepEarlier`. */
  at(key: string, atMs: number, task: () => Promise<void> | void, keepEarlier = false): void {
    const current = this.#dueMs.get(key);
    if (keepEarlier && current !== undefined && current <= atMs) return;
    this.cancel(key);
    const controller = new AbortController();
    this.#pending.set(key, controller);
    this.#dueMs.set(key, atMs);
    void this.#run(key, atMs, controller.signal, task);
  }

  async #run(key: string, atMs: number, signal: AbortSignal, task: () => Promise<void> | void): Promise<void> {
    try {
      await this.#clock.sleep(Math.max(0, atMs - this.#clock.now()), signal);
      if (signal.aborted) return;
      this.#pending.delete(key);
      this.#dueMs.delete(key);
      await task();
    } catch (error) {
      this.#onError(error);
    }
  }

  cancel(key: string): void {
    this.#pending.get(key)?.abort();
    this.#pending.delete(key);
    this.#dueMs.delete(key);
  }

  stop(): void {
    for (const key of [...this.#pending.keys()]) this.cancel(key);
  }
}
