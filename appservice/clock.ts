import { setTimeout as delay } from "node:timers/promises";

/** Time as the service sees it. Tests pass another one, so that hours go by in seconds. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  readonly now: () => number;
  /** Resolves after `ms` milliseconds, or as soon as `signal` is aborted; it never rejects. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** The clock of the machine. */
export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: async (ms, signal) => {
    // `delay` rejects only when the signal is aborted, which here is an ordinary end of the sleep.
    await delay(ms, undefined, { signal }).catch(() => undefined);
  },
};

/** Milliseconds since some moment in the past: the same one for all threads, and nobody can set this clock. */
export function steadyMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1_000 + nanoseconds / 1_000_000;
}

/** Whether `signal` is aborted by now. The compiler takes the property for constant between two looks at it. */
export function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
