/** Settling as a client keeps book of it: over the time of one log, and over its move to another. */
import assert from "node:assert/strict";
import { verifyEvidence } from "../../shared/proofs/evidence.ts";
import { ALICE, World } from "./world.ts";

const HOUR_MS = 3_600_000;

describe("settling epochs as a client keeps book of them", () => {
  it("convicts a log that lets time dip, so that an interval has two", async () => {
    const world = new World();
    await world.start();
    await world.pass(HOUR_MS);
    await world.ckv.refresh(ALICE);
    assert.deepEqual(world.codes(), []);
    world.log.closeEpoch(world.clock.now() - HOUR_MS);
    world.epoch();
    const second = world.log.size - 1;
    world.log.settlingEpoch = () => second;
    await world.ckv.refresh(ALICE);
    const told = world.warnings.find(({ code }) => code === "time-backwards");
    assert.equal(verifyEvidence(told?.evidence ?? "").kind, "E7", world.codes().join());
    world.stop();
  });
});
