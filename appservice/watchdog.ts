/** Notices a sequencer that stands still although nothing keeps it from signing: a hung disk, a thread in a loop. */

/** An epoch that is this much later than a second one would be due makes the service say so. */
const LATE_EXTRA_MS = 5_000;
/** Missing this many, and this much more, only another start helps. */
const STUCK_HEARTBEATS = 4;
const STUCK_EXTRA_MS = 60_000;
/** More than this between two looks is time in which this process did not run either: a machine that slept. */
const LONGEST_LOOK_MS = 5_000;

/** The sequencer stands still. A new process may find the disk well again. */
export class StuckError extends Error {
  override readonly name = "StuckError";
  /** sysexits.h: EX_TEMPFAIL. */
  readonly exitCode = 75;
}

export interface Progress {
  /** Time of the newest committed epoch. */
  readonly timestampMs: number;
  /** Whether epochs may close. */
  readonly signing: boolean;
}

export class Watchdog {
  readonly #heartbeatMs: number;
  readonly #steady: () => number;
  /** Time of the newest epoch at the last look, when that was, and how long it has been the newest. Written by `look`. */
  #last: { readonly timestampMs: number; readonly atMs: number; readonly forMs: number } | undefined;

  /** `steady`: milliseconds of a clock that nobody sets. */
  constructor(heartbeatMs: number, steady: () => number) {
    this.#heartbeatMs = heartbeatMs;
    this.#steady = steady;
  }

  /** To be told of the state about once a second. Throws StuckError when it stands still for too long. */
  look({ timestampMs, signing }: Progress): void {
    const atMs = this.#steady();
    const last = this.#last;
    const goesOn = last === undefined || !signing || last.timestampMs !== timestampMs;
    const forMs = goesOn ? 0 : last.forMs + Math.min(atMs - last.atMs, LONGEST_LOOK_MS);
    this.#last = { timestampMs, atMs, forMs };
    if (forMs <= STUCK_HEARTBEATS * this.#heartbeatMs + STUCK_EXTRA_MS) return;
    const seconds = Math.round(forMs / 1_000);
    throw new StuckError(`no epoch was closed for ${seconds} s: the sequencer stands still. Next: look at the disk`);
  }

  /** For how many milliseconds there was no new epoch although one may close. */
  get stillMs(): number {
    return this.#last?.forMs ?? 0;
  }

  /** Why the log is not ready; undefined while epochs come as they should. */
  get problem(): string | undefined {
    if (this.stillMs <= 2 * this.#heartbeatMs + LATE_EXTRA_MS) return undefined;
    return `no epoch was closed for ${Math.round(this.stillMs / 1_000)} s`;
  }
}
