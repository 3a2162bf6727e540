import { ApiError } from "./api-error.ts";
import { steadyMs } from "./clock.ts";

const MINUTE_S = 60;
/** When the minute began, in seconds of the steady clock, and the questions in it. */
const WORDS = 2;

/** Memory for the counts of so many who ask, for all threads. */
export function questionCounts(places: number): SharedArrayBuffer {
  return new SharedArrayBuffer(4 * WORDS * places);
}

/**
 * How much each may ask in a minute, whichever thread is asked. A minute begins with the first question after the one before
 * has ended. What is asked of another thread in that very moment may go uncounted.
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
    const [begun, used] = [WORDS * place, WORDS * place + 1];
    const nowS = Math.floor(this.#now() / 1_000);
    const last = Atomics.load(this.#counts, begun);
    // Only one thread begins the minute.
    if (nowS >= last + MINUTE_S && Atomics.compareExchange(this.#counts, begun, last, nowS) === last)
      Atomics.store(this.#counts, used, 0);
    if (Atomics.add(this.#counts, used, points) + points <= this.#perMinute) return;
    // What was refused does not count: no number of refusals leaves what the memory can hold.
    Atomics.sub(this.#counts, used, points);
    const nextS = Atomics.load(this.#counts, begun) + MINUTE_S;
    throw new ApiError("rate-limited", "too many requests", Math.max(1, nextS - nowS));
  }
}
