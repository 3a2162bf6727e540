import assert from "node:assert/strict";
import { StuckError, Watchdog } from "../../appservice/watchdog.ts";

const HEARTBEAT_MS = 60_000;

describe("watchdog", () => {
  let nowMs: number;
  let dog: Watchdog;
  beforeEach(() => {
    nowMs = 1_000_000;
    dog = new Watchdog(HEARTBEAT_MS, () => nowMs);
  });

  /** Looks once a second for some time. */
  function pass(seconds: number, timestampMs: number, signing = true): void {
    for (let second = 0; second < seconds; second++) {
      dog.look({ timestampMs, signing });
      nowMs += 1_000;
    }
  }

  it("is content while epochs come, at whatever time they say it is", () => {
    for (const timestampMs of [5, 6, 1_000, 7_000_000]) pass(60, timestampMs);
    assert.equal(dog.problem, undefined);
  });

  it("says so after two epochs that did not come, and ends the process after more", () => {
    pass(125, 5);
    assert.equal(dog.problem, undefined);
    pass(3, 5);
    assert.match(String(dog.problem), /^no epoch was closed for 12\d s$/);
    assert.throws(() => {
      pass(200, 5);
    }, StuckError);
    assert.equal(new StuckError("").exitCode, 75);
  });

  it("forgets it once an epoch comes", () => {
    pass(200, 5);
    assert.ok(dog.problem);
    pass(1, 6);
    assert.deepEqual([dog.problem, dog.stillMs], [undefined, 0]);
  });

  it("has nothing to say of a log that may not sign, whose reason is told by itself", () => {
    pass(1_000, 5, false);
    assert.equal(dog.problem, undefined);
    pass(100, 5);
    assert.equal(dog.problem, undefined);
  });

  it("does not count the time in which the machine slept", () => {
    pass(10, 5);
    nowMs += 8 * 3_600_000;
    pass(10, 5);
    assert.equal(dog.problem, undefined);
  });
});
