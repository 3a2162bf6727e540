/** A clock that is wrong dates nothing. */
import assert from "node:assert/strict";
import { ClockGuard } from "../../appservice/clock-guard.ts";
import { CLOCK_AHEAD_MAX_MS, DAY_MS, HOUR_MS } from "../../shared/parameters.ts";
import { START_MS } from "../support/own-log.ts";

const TEN_YEARS_MS = 3_652 * DAY_MS;

describe("clock guard", () => {
  let nowMs: number;
  let steadyMs: number;
  let guard: ClockGuard;
  const problem = (): string | undefined => guard.problem(nowMs);
  /** Time goes by; `jumpMs` of it only on the clock that can be set. */
  const pass = (ms: number, jumpMs = 0): void => {
    steadyMs += ms;
    nowMs += ms + jumpMs;
  };

  beforeEach(() => {
    [nowMs, steadyMs] = [START_MS, 5_000];
    guard = new ClockGuard({ now: () => nowMs, steady: () => steadyMs });
  });

  it("holds nothing up while the clocks agree, or nobody tells the time", () => {
    assert.equal(problem(), undefined);
    guard.hold(undefined);
    pass(HOUR_MS);
    assert.equal(problem(), undefined);
    guard.hold(nowMs - CLOCK_AHEAD_MAX_MS);
    pass(30 * DAY_MS);
    assert.equal(problem(), undefined);
  });

  it("refuses a clock that is ahead of the homeserver's, until it is set right", () => {
    nowMs += TEN_YEARS_MS;
    guard.hold(START_MS);
    assert.match(problem() ?? "", /315532800 s ahead of the homeserver's.*Next: .*NTP/);
    nowMs -= TEN_YEARS_MS;
    guard.hold(START_MS);
    assert.equal(problem(), undefined);
  });

  it("refuses a clock that jumps, until the homeserver's agrees", () => {
    guard.hold(START_MS);
    pass(HOUR_MS, CLOCK_AHEAD_MAX_MS);
    assert.equal(problem(), undefined);
    pass(HOUR_MS, 1);
    assert.match(problem() ?? "", /jumped 60 s ahead.*Next: .*NTP/);
    guard.hold(nowMs);
    assert.equal(problem(), undefined);
  });

  it("a homeserver that does not tell the time is no agreement with a jump", () => {
    guard.hold(START_MS);
    pass(1_000, TEN_YEARS_MS);
    guard.hold(undefined);
    assert.match(problem() ?? "", /jumped/);
    guard.hold(nowMs);
    assert.equal(problem(), undefined);
  });
});
