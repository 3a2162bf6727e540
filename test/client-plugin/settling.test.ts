/** Settling as a client keeps book of it: over the time of one log, and over its move to another. */
import assert from "node:assert/strict";
import { verifyEvidence } from "../../shared/proofs/evidence.ts";
import { TestLog } from "../support/test-log.ts";
import { Status } from "./fake-service.ts";
import { ALICE, BOB, World } from "./world.ts";

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

describe("settling epochs that an owner missed", () => {
  for (const [name, isHonest] of [
    ["say nothing where a history only grew", true],
    ["are held against each other: a later one lacks what an earlier one shows", false],
  ] as const)
    it(name, async () => {
      const world = new World();
      await world.start();
      await world.pass(HOUR_MS);
      world.service.lies.set("/v1/lookup", () => {
        throw new Status(503);
      });
      const before = world.log.versionsAt(BOB, world.log.size - 1);
      world.bob.devices.set("BLAPTOP", {});
      world.client.update(world.bob);
      world.log.setEntry(BOB, world.bob.entry());
      await world.pass(2 * HOUR_MS);
      const grown = world.log.versionsAt(BOB, world.log.size - 1);
      world.log.swapPast(BOB, isHonest ? grown : before);
      await world.pass(2 * HOUR_MS);
      world.log.swapPast(BOB, grown);
      await world.pass(2 * HOUR_MS);
      world.service.lies.clear();
      await world.ckv.refresh(BOB);
      const told = world.warnings.filter(({ code }) => code !== "changed-unchecked");
      assert.deepEqual(
        told.map(({ code, userId }) => `${code} ${userId}`),
        isHonest ? [] : [`settle-vanished ${BOB}`],
      );
      for (const { evidence } of told) assert.equal(verifyEvidence(evidence ?? "").kind, "E3");
      world.stop();
    });
});

describe("settling epochs after a log has moved", () => {
  /** A log that has run for long closes for another one, which has its histories and begins at epoch 0. */
  async function moved(world: World): Promise<TestLog> {
    await world.pass(24 * HOUR_MS);
    const next = new TestLog({ number: 2, startMs: world.clock.now(), settleMs: HOUR_MS, mergeDelayMs: 5_000 });
    next.reconfigure({ service_url: world.log.configuration.service_url });
    world.log.reconfigure({ successor: { origin: next.origin, log_key: next.vkey } });
    world.epoch();
    await world.ckv.refresh(ALICE);
    await world.ckv.refresh(BOB);
    for (const userId of [ALICE, BOB]) next.swapPast(userId, world.log.versionsAt(userId, world.log.size - 1));
    next.closeEpoch(world.clock.now() + 1);
    world.service.log = next;
    return next;
  }

  const pass = async (world: World, next: TestLog, ms: number): Promise<void> => {
    await world.clock.advance(ms, () => {
      if (world.clock.now() - next.newest.record.timestampMs > 240_000) next.closeEpoch(world.clock.now());
    });
  };

  it("go on being checked by the owner", async () => {
    const world = new World();
    await world.start();
    const next = await moved(world);
    await pass(world, next, 2 * HOUR_MS);
    world.service.lies.set("/v1/lookup", () => {
      throw new Status(503);
    });
    await pass(world, next, 4 * HOUR_MS);
    world.service.lies.clear();
    world.service.requests.length = 0;
    await world.ckv.refresh(BOB);
    const asked = world.service.requests.filter((path) => path === "/v1/settled").length;
    assert.ok(asked >= 3, String(asked));
    world.stop();
  });

  it("must hold what a contact was seen with in the new log", async () => {
    const world = new World();
    await world.start();
    const next = await moved(world);
    await pass(world, next, 2 * HOUR_MS);
    assert.equal(world.ckv.statusOf(ALICE).verdict.kind, "consistent");
    const past = next.versionsAt(ALICE, next.size - 1);
    next.forget(ALICE);
    const nextHourMs = (Math.floor(world.clock.now() / HOUR_MS) + 1) * HOUR_MS;
    next.closeEpoch(nextHourMs);
    next.swapPast(ALICE, past);
    next.closeEpoch(nextHourMs + 1_000);
    await world.clock.advance(nextHourMs + 2_000 - world.clock.now());
    await world.ckv.refresh(ALICE);
    assert.ok(world.codes().includes("settle-vanished evidence"), world.codes().join());
    world.stop();
  });
});
