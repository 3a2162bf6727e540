/** The own history, as two devices of one account are shown it: what one has acknowledged, the other must be shown. */
import assert from "node:assert/strict";
import { ContactKeyVerification } from "../../client-plugin/index.ts";
import type { Warning } from "../../client-plugin/index.ts";
import { MemoryStorage } from "../../client-plugin/storage.ts";
import { MATRIX_NAMES } from "../../shared/messages.ts";
import type { Statement } from "../../shared/messages.ts";
import { TestLog } from "../support/test-log.ts";
import { TestUser, seedOf } from "../support/test-user.ts";
import { FakeClient, FakeServer, copyOf } from "./fake-client.ts";
import { FakeService, Status } from "./fake-service.ts";
import { ManualClock } from "./manual-clock.ts";
import { BOB, START_MS } from "./world.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

let count = 0;
const random = (length: number): Uint8Array => seedOf(`own history ${String((count += 1))}`).slice(0, length);

/** Bob's account: a phone that has turned everything on, and a laptop that starts when the test says so. */
class Account {
  readonly clock = new ManualClock(START_MS);
  readonly log = new TestLog({ startMs: START_MS - 60_000, mergeDelayMs: 5_000, settleMs: DAY_MS });
  readonly server = new FakeServer();
  readonly bob = new TestUser(BOB, "BPHONE", "BLAPTOP");
  readonly phone: Session;
  readonly laptop: Session;
  statement: Statement | undefined;

  constructor() {
    this.log.setEntry(BOB, this.bob.entry());
    this.log.closeEpoch(START_MS - 1_000);
    [this.phone, this.laptop] = [new Session(this, "BPHONE"), new Session(this, "BLAPTOP")];
    // Nothing but the account data tells one device of the other's heads and history.
    this.server.relay = (received) =>
      received.message.type === MATRIX_NAMES.head
        ? { ...received, message: { ...received.message, type: "lost" } }
        : received;
  }

  static async withPhone(): Promise<Account> {
    const account = new Account();
    await account.phone.ckv.start();
    await account.pass(2_000);
    await Promise.all([account.phone.ckv.turnOn(), account.pass(10_000)]);
    return account;
  }

  /** A version with the keys as they are now, and what the account says. */
  merge(): void {
    this.log.setEntry(BOB, this.bob.entry(...(this.statement === undefined ? [] : [this.statement])));
    this.epoch();
  }

  epoch(): void {
    this.log.closeEpoch(Math.max(this.clock.now(), this.log.newest.record.timestampMs + 1));
  }

  /** Time passes, and the log goes on with it. */
  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms, () => {
      if (this.clock.now() - this.log.newest.record.timestampMs > 4 * 60_000) this.epoch();
    });
  }

  codes(): string[] {
    return [this.phone, this.laptop].flatMap(({ warnings }) => warnings.map(({ code }) => code));
  }

  stop(): void {
    for (const { ckv, errors } of [this.phone, this.laptop]) {
      ckv.stop();
      assert.deepEqual(errors, []);
    }
  }
}

/** One of Bob's devices. */
class Session {
  readonly client: FakeClient;
  readonly service: FakeService;
  readonly ckv: ContactKeyVerification;
  readonly warnings: Warning[] = [];
  readonly errors: unknown[] = [];

  constructor(account: Account, deviceId: string) {
    this.client = new FakeClient(account.server, account.bob, deviceId);
    this.service = new FakeService(account.log);
    this.service.onRefresh = () => {
      const said = this.service.statements.pop();
      if (said === undefined) return;
      account.statement = said;
      account.merge();
    };
    this.ckv = new ContactKeyVerification({
      client: this.client,
      storage: new MemoryStorage(),
      clock: account.clock,
      fetch: this.service.fetch,
      random,
      log: (_, error) => this.errors.push(error),
    });
    this.ckv.on("warning", (warning) => this.warnings.push(warning));
  }
}

describe("a history that is not the one own devices have acknowledged", () => {
  /** The laptop is shown other epochs of the log than the phone: in these Bob has a ghost, and as many versions. */
  async function alternating(more: number): Promise<Account> {
    const account = await Account.withPhone();
    const { log, phone, laptop, bob } = account;
    phone.service.size = log.size;
    const ghost = copyOf(bob);
    const shown = log.versionsAt(BOB, log.size - 1).map(({ entry }) => entry);
    ghost.devices.set("GHOST", {});
    log.forge(BOB, [...shown.slice(0, -1), ghost.entry()]);
    account.epoch();
    for (let version = 0; version < more; version += 1) account.merge();
    laptop.service.size = log.size;
    await laptop.ckv.start();
    await account.pass(30_000);
    await laptop.ckv.refresh(BOB);
    return account;
  }

  it("1: is told where it has as many versions", async () => {
    const account = await alternating(0);
    assert.deepEqual(account.phone.warnings, []);
    assert.deepEqual(account.codes(), ["own-unknown-version"]);
    assert.equal(account.laptop.ckv.ownStatus().reason, "own-unknown-version");
    account.stop();
  });

  it("1: is grey where it has grown, and told after a day", async () => {
    const account = await alternating(3);
    assert.equal(account.laptop.ckv.ownStatus().reason, "history-unproven");
    assert.deepEqual(account.codes(), []);
    await account.pass(25 * HOUR_MS);
    assert.ok(account.laptop.warnings.some(({ code }) => code === "history-unproven"));
    account.stop();
  });
});

describe("a history that is the one own devices have acknowledged", () => {
  const CHANGES: readonly (readonly [name: string, change: (account: Account) => Promise<void> | void])[] = [
    [
      "a device that the user adds",
      ({ bob }) => {
        bob.devices.set("BTABLET", {});
      },
    ],
    [
      "a reset by the user",
      ({ bob }) => {
        bob.reset("own doing");
      },
    ],
    [
      "a statement turned off, and on again",
      async (account) => {
        const { ckv } = account.phone;
        await Promise.all([ckv.turnOff(), account.pass(10_000)]);
        await Promise.all([ckv.turnOn(), account.pass(10_000)]);
      },
    ],
  ];

  for (const [name, change] of CHANGES)
    for (const when of ["before", "while"] as const)
      it(`raises nothing: ${name}, ${when} the other device is there`, async () => {
        const account = await Account.withPhone();
        const { laptop } = account;
        if (when === "while") await laptop.ckv.start();
        await account.pass(2_000);
        for (let time = 0; time < 3; time += 1) {
          await change(account);
          if (name.startsWith("a reset")) account.statement = undefined;
          account.merge();
          for (const { client } of [account.phone, laptop]) client.emit("crossSigning.keysChanged", {});
          await account.pass(5_000);
        }
        await laptop.ckv.start();
        await account.pass(2 * HOUR_MS);
        assert.deepEqual(account.codes(), []);
        for (const { ckv } of [account.phone, laptop]) assert.equal(ckv.ownStatus().reason, undefined);
        account.stop();
      });

  it("raises nothing on a device that was just given the account state, though the log refuses older history", async () => {
    const account = await Account.withPhone();
    account.laptop.service.lies.set("/v1/history/consistency", () => {
      throw new Status(503);
    });
    await account.laptop.ckv.start();
    await account.pass(HOUR_MS);
    assert.ok(account.phone.service.acknowledged.length > 0);
    assert.deepEqual(account.codes(), []);
    assert.equal(account.laptop.ckv.ownStatus().reason, undefined);
    account.stop();
  });

  it("raises nothing where the log shows this device less than another one has seen", async () => {
    const account = await Account.withPhone();
    account.laptop.service.size = account.log.size - 1;
    account.bob.devices.set("BTABLET", {});
    account.merge();
    account.phone.client.emit("crossSigning.keysChanged", {});
    await account.pass(2_000);
    await account.laptop.ckv.start();
    await account.pass(60_000);
    assert.ok(!account.codes().includes("own-unknown-version"), account.codes().join());
    account.laptop.service.size = undefined;
    await Promise.all([account.laptop.ckv.refresh(BOB), account.pass(10_000)]);
    assert.equal(account.laptop.ckv.ownStatus().reason, undefined);
    assert.deepEqual(account.codes(), []);
    account.stop();
  });
});
