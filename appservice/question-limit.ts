import { ApiError } from "./api-error.ts";
import { steadyMs } from "./clock.ts";

const MINUTE_MS = 60_000;
/** The minute, and the questions in it. */
const WORDS = 2;

/** Memory for the counts of so many who ask, for all threads. */
export function questionCounts(places: number): SharedArrayBuffer {
  return new SharedArrayBuffer(4 * WORDS * places);
}

/**
 * How much each may ask in a minute, whichever thread is asked. Minutes are those of the machine's steady clock. Who asks
 * in the very moment in which a minute begins may go uncounted.
 */
export class QuestionLimit {
  readonly #counts: Int32Array;
  readonly #perMinute: number;
  readonly #now: () => number;

  constructor(counts: SharedArrayBuffer, perMinute: number, now: () => number = steadyMs) {
    this.#counts = new Int32Array(counts);
    this.#perMinute = perMinute;
    this.#now = now;
  }

  /** Counts `points` questions of the one at this place. Throws ApiError `rate-limited`. */
  count(place: number, points: number): void {
    const [minute, used] = [WORDS * place, WORDS * place + 1];
    const nowMs = this.#now();
    const current = Math.floor(nowMs / MINUTE_MS);
    const last = Atomics.load(this.#counts, minute);
    // Only one thread begins the minute.
    if (last !== current && Atomics.compareExchange(this.#counts, minute, last, current) === last)
      Atomics.store(this.#counts, used, 0);
    if (Atomics.add(this.#counts, used, points) + points <= this.#perMinute) return;
    // What was refused does not count: no number of refusals leaves what the memory can hold.
    Atomics.sub(this.#counts, used, points);
    const nextMs = (current + 1) * MINUTE_MS - nowMs;
    throw new ApiError("rate-limited", "too many requests", Math.ceil(nextMs / 1_000));
  }
}
