/** One client and what it sees of one contact: a fake client, a log in memory, and time that moves when the test says so. */
import assert from "node:assert/strict";
import { ContactKeyVerification } from "../../client-plugin/index.ts";
import type { ContactKeyVerificationOptions, Warning } from "../../client-plugin/index.ts";
import { MemoryStorage } from "../../client-plugin/storage.ts";
import { TestLog } from "../support/test-log.ts";
import { TestUser, seedOf } from "../support/test-user.ts";
import { FakeClient, FakeRoom, FakeServer, copyOf } from "./fake-client.ts";
import { FakeService } from "./fake-service.ts";
import { ManualClock } from "./manual-clock.ts";

export const START_MS = 1_700_000_000_000;
export const ALICE = "@alice:example.org";
export const BOB = "@bob:example.org";
export const ROOM = "!dm:example.org";

let count = 0;
const random = (length: number): Uint8Array => seedOf(`random ${String((count += 1))}`).slice(0, length);

/** Bob's client and what he sees of Alice. */
export class World {
  readonly clock: ManualClock = new ManualClock(START_MS);
  readonly log: TestLog = new TestLog({
    startMs: START_MS - 60_000,
    mergeDelayMs: 5_000,
    heartbeatMs: 60_000,
    settleMs: 3_600_000,
  });
  readonly service: FakeService = new FakeService(this.log);
  readonly server: FakeServer = new FakeServer();
  readonly alice: TestUser = new TestUser(ALICE, "APHONE");
  readonly bob: TestUser = new TestUser(BOB, "BPHONE");
  readonly client: FakeClient = new FakeClient(this.server, this.bob, "BPHONE");
  storage: MemoryStorage = new MemoryStorage();
  readonly warnings: Warning[] = [];
  readonly errors: unknown[] = [];
  ckv: ContactKeyVerification;
  readonly #options: Partial<ContactKeyVerificationOptions>;
  /** A test's own net; undefined: the one service. */
  otherwise: FakeService["fetch"] | undefined;
  #lastEpochMs = START_MS - 60_000;

  constructor(options: Partial<ContactKeyVerificationOptions> = {}) {
    this.client.rooms.push(new FakeRoom(ROOM, ALICE, BOB));
    this.client.store.set(ALICE, copyOf(this.alice));
    this.log.setEntry(ALICE, this.alice.entry());
    this.log.setEntry(BOB, this.bob.entry());
    this.epoch();
    this.#options = options;
    this.ckv = this.#open();
  }

  #open(): ContactKeyVerification {
    const ckv = new ContactKeyVerification({
      client: this.client,
      storage: this.storage,
      clock: this.clock,
      fetch: async (url, init) => await (this.otherwise ?? this.service.fetch)(url, init),
      random,
      policy: { slackMs: 5_000 },
      log: (_, error) => this.errors.push(error),
      ...this.#options,
    });
    ckv.on("warning", (warning) => this.warnings.push(warning));
    return ckv;
  }

  /** The client stops, and nothing is left of what it stored, here and at the server. */
  loseState(): void {
    this.ckv.stop();
    this.storage = new MemoryStorage();
    this.server.accountData.clear();
    this.ckv = this.#open();
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
