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

/** Shortest pause between looks at something that is awaited. */
const SHORTEST_PAUSE_MS = 1_000;

/** When to look again at what has been awaited since then: each pause is half the time waited so far. */
export function nextLookMs(sinceMs: number, nowMs: number, shortestMs: number = SHORTEST_PAUSE_MS): number {
  return nowMs + Math.max(shortestMs, Math.ceil((nowMs - sinceMs) / 2));
}

/**
 * Things to do later, one per key; doing again under a key moves it. Owned by the plugin, which stops it. A task that
 * throws reports to `onError` and never stops the rest.
 */
export class Schedule {
  readonly #clock: Clock;
  readonly #onError: (error: unknown) => void;
  readonly #pending = new Map<string, AbortController>();

  constructor(clock: Clock, onError: (error: unknown) => void) {
    this.#clock = clock;
    this.#onError = onError;
  }

  /** Runs `task` at `atMs`. */
  at(key: string, atMs: number, task: () => Promise<void> | void): void {
    this.cancel(key);
    const controller = new AbortController();
    this.#pending.set(key, controller);
    void this.#run(key, atMs, controller.signal, task);
  }

  async #run(key: string, atMs: number, signal: AbortSignal, task: () => Promise<void> | void): Promise<void> {
    try {
      await this.#clock.sleep(Math.max(0, atMs - this.#clock.now()), signal);
      if (signal.aborted) return;
      this.#pending.delete(key);
      await task();
    } catch (error) {
      this.#onError(error);
    }
  }

  cancel(key: string): void {
    this.#pending.get(key)?.abort();
    this.#pending.delete(key);
  }

  stop(): void {
    for (const key of [...this.#pending.keys()]) this.cancel(key);
  }
}
