/**
 * Holds the clock of this machine against the homeserver's. A head that is dated years ahead can't be taken back: no later
 * head may be dated before it, so the log would stand still until that time has come.
 */
import { CLOCK_AHEAD_MAX_MS } from "../shared/parameters.ts";

/** How often the homeserver's time is asked for. */
export const CLOCK_ASKED_EVERY_MS = 30_000;

export interface Clocks {
  /** Milliseconds since the Unix epoch, as this machine has it. */
  readonly now: () => number;
  /** Milliseconds of a clock that nobody sets. */
  readonly steady: () => number;
}

export class ClockGuard {
  readonly #clocks: Clocks;
  /** Both clocks when the homeserver last agreed. Written by `hold`. */
  #agreed: { readonly nowMs: number; readonly steadyMs: number } | undefined;
  /** How far the clock was ahead when the homeserver last disagreed. Written by `hold`. */
  #aheadMs: number | undefined;

  constructor(clocks: Clocks) {
    this.#clocks = clocks;
  }

  /** Takes the homeserver's time of now. Where it does not tell it, what was known before goes on to hold. */
  hold(homeserverMs: number | undefined): void {
    if (homeserverMs === undefined) return;
    const nowMs = this.#clocks.now();
    const aheadMs = nowMs - homeserverMs;
    this.#aheadMs = aheadMs > CLOCK_AHEAD_MAX_MS ? aheadMs : undefined;
    if (this.#aheadMs === undefined) this.#agreed = { nowMs, steadyMs: this.#clocks.steady() };
  }

  /** Why no epoch may be dated `nowMs`; undefined if one may, or nothing was held against it yet. */
  problem(nowMs: number): string | undefined {
    if (this.#aheadMs !== undefined) {
      const ahead = `${Math.round(this.#aheadMs / 1000)} s ahead of the homeserver's`;
      return `the clock is ${ahead}, nothing is signed. Next: set the clocks of both machines by NTP`;
    }
    if (this.#agreed === undefined) return undefined;
    const jumpMs = nowMs - this.#agreed.nowMs - (this.#clocks.steady() - this.#agreed.steadyMs);
    if (jumpMs <= CLOCK_AHEAD_MAX_MS) return undefined;
    const jump = `the clock has jumped ${Math.round(jumpMs / 1000)} s ahead`;
    return `${jump}, nothing is signed until the homeserver's clock agrees. Next: set the clock of this machine by NTP`;
  }
}
