import assert from "node:assert/strict";
import { followClock, startClock } from "./clock.ts";

const HOUR_MS = 3_600_000;

describe("support/clock", () => {
  it("wakes sleepers here and in followers when it jumps past their time", async () => {
    const clock = await startClock();
    const controller = new AbortController();
    const follower = await followClock(clock.url, controller.signal);
    const before = clock.now();
    const sleeping = [clock.sleep(HOUR_MS, controller.signal), follower.sleep(HOUR_MS, controller.signal)];
    clock.advance(HOUR_MS / 2);
    clock.advance(HOUR_MS / 2);
    await Promise.all(sleeping);
    assert.ok(clock.now() >= before + HOUR_MS);
    assert.ok(Math.abs(follower.now() - clock.now()) < 1_000);
    controller.abort();
    await clock.close();
  });

  it("shows a follower that comes later the time as it is", async () => {
    const clock = await startClock();
    clock.advance(HOUR_MS);
    const controller = new AbortController();
    const follower = await followClock(clock.url, controller.signal);
    assert.ok(Math.abs(follower.now() - clock.now()) < 1_000);
    controller.abort();
    await clock.close();
  });

  it("ends a sleep when it is aborted", async () => {
    const clock = await startClock();
    const controller = new AbortController();
    const sleeping = clock.sleep(HOUR_MS, controller.signal);
    controller.abort();
    await sleeping;
    await clock.sleep(HOUR_MS, controller.signal);
    await clock.close();
  });
});
