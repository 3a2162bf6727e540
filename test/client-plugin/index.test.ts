/** The plugin as a host uses it: a fake client, a log in memory, and time that moves when the test says so. */
import assert from "node:assert/strict";
import { ContactKeyVerification } from "../../client-plugin/index.ts";
import type { ContactKeyVerificationOptions, Warning } from "../../client-plugin/index.ts";
import { MemoryStorage } from "../../client-plugin/storage.ts";
import { TestLog } from "../support/test-log.ts";
import { TestUser, seedOf } from "../support/test-user.ts";
import { FakeClient, FakeRoom, FakeServer, copyOf } from "./fake-client.ts";
import { FakeService } from "./fake-service.ts";
import { ManualClock } from "./manual-clock.ts";

const START_MS = 1_700_000_000_000;
const ALICE = "@alice:example.org";
const BOB = "@bob:example.org";
const ROOM = "!dm:example.org";

let count = 0;
const random = (length: number): Uint8Array => seedOf(`random ${String((count += 1))}`).slice(0, length);

/** Bob's client and what he sees of Alice. */
class World {
  readonly clock = new ManualClock(START_MS);
  readonly log = new TestLog({ startMs: START_MS - 60_000, mergeDelayMs: 5_000, heartbeatMs: 60_000, settleMs: 3_600_000 });
  readonly service = new FakeService(this.log);
  readonly server = new FakeServer();
  readonly alice = new TestUser(ALICE, "APHONE");
  readonly bob = new TestUser(BOB, "BPHONE");
  readonly client = new FakeClient(this.server, this.bob, "BPHONE");
  readonly storage = new MemoryStorage();
  readonly warnings: Warning[] = [];
  readonly errors: unknown[] = [];
  readonly ckv: ContactKeyVerification;
  #lastEpochMs = START_MS - 60_000;

  constructor(options: Partial<ContactKeyVerificationOptions> = {}) {
    this.client.rooms.push(new FakeRoom(ROOM, ALICE, BOB));
    this.client.store.set(ALICE, copyOf(this.alice));
    this.log.setEntry(ALICE, this.alice.entry());
    this.log.setEntry(BOB, this.bob.entry());
    this.epoch();
    this.ckv = new ContactKeyVerification({
      client: this.client,
      storage: this.storage,
      clock: this.clock,
      fetch: this.service.fetch,
      random,
      policy: { slackMs: 5_000 },
      log: (_, error) => this.errors.push(error),
      ...options,
    });
    this.ckv.on("warning", (warning) => this.warnings.push(warning));
  }

  /** The log closes an epoch now. */
  epoch(): void {
    this.#lastEpochMs = Math.max(this.#lastEpochMs + 1, this.clock.now());
    this.service.log.closeEpoch(this.#lastEpochMs);
  }

  /** Time passes; the log makes an epoch wherever the clock stops. */
  async pass(ms: number): Promise<void> {
    const everyMs = ms > 60_000 ? 240_000 : 1_000;
    await this.clock.advance(ms, () => {
      if (this.clock.now() - this.#lastEpochMs >= everyMs) this.epoch();
    });
  }

  async start(): Promise<void> {
    await this.ckv.start();
    await this.pass(100);
  }

  codes(): string[] {
    return this.warnings.map(({ code, class: weight }) => `${code} ${weight}`);
  }

  verdict(): object {
    return this.ckv.statusOf(ALICE).verdict;
  }

  stop(): void {
    this.ckv.stop();
    assert.deepEqual(this.errors, []);
  }
}

describe("ContactKeyVerification", () => {
  it("sees a contact for the first time, and after a day on the ground of its own history", async () => {
    const world = new World();
    await world.start();
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "first-look" });
    assert.equal(world.ckv.statusOf(ALICE).enrolled, true);
    await world.pass(25 * 3_600_000);
    assert.deepEqual(world.verdict(), { kind: "consistent", ground: "own-history" });
    assert.deepEqual(world.codes(), []);
    world.stop();
  });

  it("stays silent when a contact adds and removes a device", async () => {
    const world = new World();
    await world.start();
    world.alice.devices.set("ALAPTOP", {});
    world.client.update(world.alice);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "first-look" });
    await world.pass(500);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "key-pending" });
    world.client.write(ROOM);
    world.log.setEntry(ALICE, world.alice.entry());
    await world.pass(4_000);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "first-look" });
    world.alice.devices.delete("ALAPTOP");
    world.log.setEntry(ALICE, world.alice.entry());
    world.client.update(world.alice);
    await world.pass(60_000);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "first-look" });
    assert.deepEqual(world.codes(), []);
    world.stop();
  });

  it("warns of a ghost once a message was sent, posts one notice, and says so once", async () => {
    const world = new World();
    await world.start();
    const ghost = copyOf(world.alice);
    ghost.devices.set("GHOST", { signedByOwner: false });
    world.client.update(ghost);
    await world.pass(1_000);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "key-pending" });
    world.client.write(ROOM);
    await world.pass(12_000);
    assert.deepEqual(world.codes(), ["key-never-logged warning"]);
    assert.equal(world.ckv.statusOf(ALICE).verdict.kind, "warning");
    assert.deepEqual(world.client.sent.map(({ content }) => content["msgtype"]), ["m.notice"]);
    assert.match(String(world.client.sent[0]?.content["body"]), /GHOST/);
    await world.pass(3_600_000);
    assert.deepEqual(world.codes(), ["key-never-logged warning"]);
    assert.equal(world.client.sent.length, 1);
    world.stop();
  });

  it("gives a notice for a ghost nobody wrote to, and warns with the next message", async () => {
    const world = new World();
    await world.start();
    const ghost = copyOf(world.alice);
    ghost.devices.set("GHOST", { signedByOwner: false });
    world.client.update(ghost);
    await world.pass(15_000);
    assert.deepEqual(world.codes(), ["key-never-logged notice"]);
    assert.equal(world.client.sent.length, 0);
    world.client.write(ROOM);
    await world.pass(2_000);
    assert.deepEqual(world.codes(), ["key-never-logged notice", "key-never-logged warning"]);
    assert.equal(world.client.sent.length, 1);
    world.stop();
  });
});
