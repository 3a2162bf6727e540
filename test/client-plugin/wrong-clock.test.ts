/** A client whose clock is wrong, against an honest log: it confirms nothing new meanwhile, and accuses nobody. */
import assert from "node:assert/strict";
import { ALICE, BOB, ROOM, World } from "./world.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const STEP_HOURS = 4;

/** A world whose log keeps the right time, whatever the client's clock says. */
class WrongClock extends World {
  /** How much the client's clock is ahead. */
  offMs = 0;

  #epochIsDue(everyMs: number): void {
    const logMs = this.clock.now() - this.offMs;
    if (logMs - this.log.newest.record.timestampMs >= everyMs) this.log.closeEpoch(logMs);
  }

  override async pass(ms: number): Promise<void> {
    await this.clock.advance(ms, () => {
      this.#epochIsDue(ms > MINUTE_MS ? 4 * MINUTE_MS : 1_000);
    });
  }

  /** The client's clock is set to be ahead by so much. */
  async set(offMs: number): Promise<void> {
    this.ckv.stop();
    this.clock.jump(offMs - this.offMs);
    this.offMs = offMs;
    await this.start();
  }

  /** Hours in which people do what they do: new devices, messages, and looking at each other. */
  async live(hours: number): Promise<void> {
    for (let hour = 0; hour < hours; hour += STEP_HOURS) {
      for (const user of [this.alice, this.bob]) {
        user.devices.set(String(this.clock.now()), {});
        this.log.setEntry(user.userId, user.entry());
      }
      await this.pass(2_000);
      for (const user of [this.alice, this.bob]) this.client.update(user);
      this.client.write(ROOM);
      await this.pass(STEP_HOURS * HOUR_MS);
      for (const userId of [ALICE, BOB]) await this.ckv.refresh(userId);
    }
  }
}

describe("a clock that is wrong", () => {
  it("22: by less than a minute is none", async () => {
    for (const offMs of [-50_000, 50_000]) {
      const world = new WrongClock();
      await world.set(offMs);
      await world.live(4);
      assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "first-look" });
      assert.deepEqual(world.codes(), []);
      world.stop();
    }
  });

  for (const [name, offMs, reason] of [
    ["a day behind", -DAY_MS, "clock"],
    ["a day ahead", DAY_MS, "stale"],
  ] as const) {
    it(`22: ${name} from the first look on: nobody is accused, also when it is set right`, async function () {
      this.timeout(120_000);
      const world = new WrongClock();
      world.clock.jump(offMs);
      world.offMs = offMs;
      await world.start();
      await world.live(28);
      assert.deepEqual(world.verdict(), { kind: "unchecked", reason });
      assert.deepEqual(world.codes(), []);
      await world.set(0);
      await world.live(4);
      assert.notDeepEqual(world.verdict(), { kind: "unchecked", reason });
      assert.deepEqual(world.codes(), []);
      world.stop();
    });

    it(`22: ${name} after a time in which it was right: nobody is accused, also when it is set right`, async function () {
      this.timeout(120_000);
      const world = new WrongClock();
      await world.start();
      await world.live(4);
      await world.set(offMs);
      await world.live(28);
      assert.deepEqual(world.verdict(), { kind: "unchecked", reason });
      // A record from a time that is yet to come confirms nothing: what changes meanwhile is told as unchecked.
      assert.deepEqual([...new Set(world.codes())], reason === "clock" ? ["changed-unchecked notice"] : []);
      world.warnings.length = 0;
      await world.set(0);
      await world.live(4);
      assert.deepEqual(world.verdict(), { kind: "consistent", ground: "own-history" });
      assert.deepEqual(world.codes(), []);
      world.stop();
    });
  }

  it("21: is no excuse for a log that stood still while the device slept", async () => {
    const world = new WrongClock();
    await world.start();
    await world.live(4);
    world.ckv.stop();
    world.clock.jump(2 * DAY_MS);
    await world.ckv.start();
    await world.ckv.refresh(ALICE);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "stale" });
    await world.clock.advance(HOUR_MS);
    assert.deepEqual(world.codes(), ["stale-long notice"]);
    world.stop();
  });
});
