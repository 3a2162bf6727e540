/** Two people, or two devices of one, who run the plugin: contact codes, gossip, shared state. */
import assert from "node:assert/strict";
import { ContactKeyVerification } from "../../client-plugin/index.ts";
import type { CompareSession, Storage, Warning } from "../../client-plugin/index.ts";
import { MemoryStorage } from "../../client-plugin/storage.ts";
import { reasonOf } from "../../client-plugin/wording.ts";
import { encodeUnpadded } from "../../shared/encoding.ts";
import { verifyEvidence } from "../../shared/proofs/evidence.ts";
import { TestLog } from "../support/test-log.ts";
import { TestUser, seedOf } from "../support/test-user.ts";
import { FakeClient, FakeRoom, FakeServer, copyOf, keysOf } from "./fake-client.ts";
import { FakeService } from "./fake-service.ts";
import { ManualClock } from "./manual-clock.ts";

const START_MS = 1_700_000_000_000;
const ALICE = "@alice:example.org";
const BOB = "@bob:example.org";
const ROOM = "!dm:example.org";

let count = 0;
const random = (length: number): Uint8Array => seedOf(`pair ${String((count += 1))}`).slice(0, length);

interface Person {
  readonly client: FakeClient;
  readonly service: FakeService;
  readonly ckv: ContactKeyVerification;
  readonly warnings: Warning[];
  readonly errors: unknown[];
}

class Pair {
  readonly clock = new ManualClock(START_MS);
  readonly log = new TestLog({ startMs: START_MS - 60_000, mergeDelayMs: 5_000, settleMs: 86_400_000 });
  readonly server = new FakeServer();
  readonly people: Person[] = [];

  /** Without `storage` the plugin takes its own: IndexedDB, which there is not in Node. */
  person(
    user: TestUser,
    deviceId: string,
    other: TestUser,
    kept: { readonly storage?: Storage } = { storage: new MemoryStorage() },
  ): Person {
    const client = new FakeClient(this.server, user, deviceId);
    client.rooms.push(new FakeRoom(ROOM, ALICE, BOB));
    client.store.set(other.userId, copyOf(other));
    const service = new FakeService(this.log);
    const [warnings, errors]: [Warning[], unknown[]] = [[], []];
    const ckv = new ContactKeyVerification({
      client,
      ...kept,
      clock: this.clock,
      fetch: service.fetch,
      random,
      log: (_, error) => errors.push(error),
    });
    ckv.on("warning", (warning) => warnings.push(warning));
    const person = { client, service, ckv, warnings, errors };
    this.people.push(person);
    return person;
  }

  async start(): Promise<void> {
    for (const { ckv } of this.people) await ckv.start();
    await this.clock.advance(3_000);
  }

  stop(): void {
    for (const { ckv, errors } of this.people) {
      ckv.stop();
      assert.deepEqual(errors, []);
    }
  }
}

function setUp(): { pair: Pair; alice: TestUser; bob: TestUser } {
  const pair = new Pair();
  const [alice, bob] = [new TestUser(ALICE, "APHONE"), new TestUser(BOB, "BPHONE", "BLAPTOP")];
  pair.log.setEntry(ALICE, alice.entry());
  pair.log.setEntry(BOB, bob.entry());
  pair.log.closeEpoch(START_MS - 1_000);
  return { pair, alice, bob };
}

describe("two people", () => {
  it("compare a code, and each holds the other as verified", async () => {
    const { pair, alice, bob } = setUp();
    const [a, b] = [pair.person(alice, "APHONE", bob), pair.person(bob, "BPHONE", alice)];
    await pair.start();
    let incoming: CompareSession | undefined;
    b.ckv.on("compare", (session) => (incoming = session));
    const session = await a.ckv.compare(BOB);
    await pair.clock.advance(500);
    assert.ok(incoming !== undefined);
    await incoming.accept();
    await pair.clock.advance(500);
    assert.match(session.code ?? "", /^\d{8}$/);
    assert.equal(session.code, incoming.code);
    await session.confirm();
    await incoming.confirm();
    await pair.clock.advance(500);
    assert.equal(a.ckv.statusOf(BOB).verdict.kind, "verified");
    assert.equal(b.ckv.statusOf(ALICE).verdict.kind, "verified");
    assert.deepEqual([...a.warnings, ...b.warnings], []);
    pair.stop();
  });

  it("hear from each other that both see one log", async () => {
    const { pair, alice, bob } = setUp();
    const [a, b] = [pair.person(alice, "APHONE", bob), pair.person(bob, "BPHONE", alice)];
    await pair.start();
    assert.deepEqual(a.ckv.statusOf(BOB).verdict, { kind: "consistent", ground: "contact" });
    assert.deepEqual(b.ckv.statusOf(ALICE).verdict, { kind: "consistent", ground: "contact" });
    pair.stop();
  });

  it("prove to each other that they are shown two branches", async () => {
    const { pair, alice, bob } = setUp();
    const [a, b] = [pair.person(alice, "APHONE", bob), pair.person(bob, "BPHONE", alice)];
    const branch = pair.log.fork();
    branch.closeEpoch(START_MS - 500);
    pair.log.closeEpoch(START_MS - 400);
    b.service.log = branch;
    await pair.start();
    await pair.clock.advance(10_000);
    const codes = [...a.warnings, ...b.warnings].map(({ code }) => code);
    assert.ok(codes.includes("head-fork"), codes.join());
    assert.equal(new Set(codes).size, 1);
    for (const { evidence } of [...a.warnings, ...b.warnings])
      assert.equal(verifyEvidence(evidence ?? "").code, "head-fork");
    pair.stop();
  });

  it("prove to each other that they are shown two pasts of one person", async () => {
    const { pair, alice, bob } = setUp();
    const [a, b] = [pair.person(alice, "APHONE", bob), pair.person(bob, "BPHONE", alice)];
    const honest = pair.log.versionsAt(ALICE, pair.log.size - 1);
    a.service.size = pair.log.size;
    const ghost = copyOf(alice);
    ghost.devices.set("GHOST", { signedByOwner: false });
    b.client.store.set(ALICE, ghost);
    pair.log.setEntry(ALICE, ghost.entry());
    pair.log.closeEpoch(START_MS - 900);
    b.service.size = pair.log.size;
    pair.log.swapPast(ALICE, honest);
    pair.log.closeEpoch(START_MS - 800);
    await a.ckv.start();
    await pair.clock.advance(1_000);
    a.service.size = pair.log.size;
    await b.ckv.start();
    await pair.clock.advance(10_000);
    assert.deepEqual(
      a.warnings.map(({ code, class: weight }) => `${code} ${weight}`),
      ["view-split evidence"],
    );
    assert.equal(verifyEvidence(a.warnings[0]?.evidence ?? "").kind, "E3");
    pair.stop();
  });

  for (const [n, weight] of [
    [3, "evidence"],
    // The path from a complete tree leaves its root out, so that it shows that they part, and proves it to nobody else.
    [2, "warning"],
  ] as const)
    it(`tell of two pasts of one person, though one of them has grown since version ${String(n)}`, async () => {
      const { pair, alice, bob } = setUp();
      const [a, b] = [pair.person(alice, "APHONE", bob), pair.person(bob, "BPHONE", alice)];
      const honest = pair.log.versionsAt(ALICE, pair.log.size - 1);
      const ghost = copyOf(alice);
      ghost.devices.set("GHOST", { signedByOwner: false });
      b.client.store.set(ALICE, ghost);
      for (let version = 2; version <= n; version += 1) {
        ghost.devices.set(`GHOST${String(version)}`, { signedByOwner: false });
        pair.log.setEntry(ALICE, ghost.entry());
      }
      pair.log.closeEpoch(START_MS - 900);
      b.service.size = pair.log.size;
      pair.log.swapPast(ALICE, honest);
      for (const deviceId of ["ATABLET", "AWATCH", "ACAR", "ATV"]) {
        alice.devices.set(deviceId, {});
        pair.log.setEntry(ALICE, alice.entry());
      }
      pair.log.closeEpoch(START_MS - 800);
      await a.ckv.start();
      await pair.clock.advance(1_000);
      await b.ckv.start();
      await pair.clock.advance(3_000);
      assert.deepEqual(
        a.warnings.map(({ code, class: shown }) => `${code} ${shown}`),
        [`view-split ${weight}`],
      );
      const [{ evidence } = {}] = a.warnings;
      assert.equal(
        evidence === undefined ? undefined : verifyEvidence(evidence).kind,
        weight === "evidence" ? "E4" : undefined,
      );
      pair.stop();
    });

  it("say nothing of a claim without proof", async () => {
    const { pair, alice, bob } = setUp();
    const [a, b] = [pair.person(alice, "APHONE", bob), pair.person(bob, "BPHONE", alice)];
    await pair.start();
    const about = { size: 2, n: 7, history_root: encodeUnpadded(seedOf("any")), enrolled: true, on: true };
    const payload = { heads: [], about };
    const batch = [{ userId: ALICE, deviceId: "APHONE", payload }];
    await b.client.queueToDevice({ eventType: "org.matrix-ckv.head", batch });
    await pair.clock.advance(60_000);
    assert.deepEqual([...a.warnings, ...b.warnings], []);
    pair.stop();
  });

  it("say nothing when all gossip is lost", async () => {
    const { pair, alice, bob } = setUp();
    pair.server.dropsToDevice = true;
    const [a, b] = [pair.person(alice, "APHONE", bob), pair.person(bob, "BPHONE", alice)];
    await pair.start();
    await pair.clock.advance(60_000);
    assert.deepEqual([...a.warnings, ...b.warnings], []);
    pair.stop();
  });
});

describe("two people with somebody in the middle", () => {
  /** Alice is shown a Bob made by the server, and Bob an Alice, each in a branch of the log of their own. */
  function between(rewrites: boolean): { pair: Pair; a: Person; b: Person } {
    const pair = new Pair();
    const [alice, bob] = [new TestUser(ALICE, "APHONE"), new TestUser(BOB, "BPHONE")];
    const [notAlice, notBob] = [alice, bob].map((user) => {
      const other = copyOf(user);
      other.reset("mallory");
      for (const deviceId of user.devices.keys()) other.devices.set(deviceId, { keyName: "mallory" });
      return other;
    }) as [TestUser, TestUser];
    const [forAlice, forBob] = [pair.log, pair.log.fork()];
    for (const [log, shown] of [
      [forAlice, [alice, notBob]],
      [forBob, [notAlice, bob]],
    ] as const) {
      for (const user of shown) log.setEntry(user.userId, user.entry());
      log.closeEpoch(START_MS - 1_000);
    }
    const [a, b] = [pair.person(alice, "APHONE", notBob), pair.person(bob, "BPHONE", notAlice)];
    b.service.log = forBob;
    pair.server.relay = ({ message, encryptionInfo }, to) => {
      const isToAlice = to.me === alice;
      const [sender, log] = isToAlice ? [notBob, forAlice] : [notAlice, forBob];
      const deviceId = encryptionInfo?.senderDevice ?? "";
      const senderCurve25519KeyBase64 = keysOf(sender, deviceId)[`curve25519:${deviceId}`] ?? "";
      const leaf = log.lookup(to.me.userId).user.leaf;
      const heads = [{ origin: log.origin, log_key: log.vkey, checkpoint: log.head().checkpoint }];
      const about = { size: log.size, n: leaf?.n ?? 0, history_root: leaf?.history_root, enrolled: true, on: false };
      const isHead = message.type === "org.matrix-ckv.head";
      return {
        message: rewrites && isHead ? { ...message, content: { heads, about } } : message,
        encryptionInfo: {
          sender: message.sender,
          senderDevice: deviceId,
          senderCurve25519KeyBase64,
          senderVerified: false,
        },
      };
    };
    return { pair, a, b };
  }

  it("83: who rewrites gossip both ways brings about no warning, and nobody is held as verified", async () => {
    const { pair, a, b } = between(true);
    await pair.start();
    await pair.clock.advance(60_000);
    assert.deepEqual([...a.warnings, ...b.warnings], []);
    // Word from a contact is worth what the contact's keys are: it never gives more than this.
    for (const { verdict } of [a.ckv.statusOf(BOB), b.ckv.statusOf(ALICE)])
      assert.deepEqual(verdict, { kind: "consistent", ground: "contact" });
    pair.stop();
  });

  it("83, 70: the contact code finds it", async () => {
    const { pair, a, b } = between(true);
    await pair.start();
    let incoming: CompareSession | undefined;
    b.ckv.on("compare", (session) => (incoming = session));
    await a.ckv.compare(BOB);
    await pair.clock.advance(500);
    await incoming?.accept();
    await pair.clock.advance(500);
    assert.deepEqual(
      [incoming?.state, incoming?.endedWith, incoming?.code],
      ["ended", "compare-keys-differ", undefined],
    );
    assert.deepEqual(
      b.warnings.map(({ code }) => code),
      ["compare-keys-differ"],
    );
    pair.stop();
  });

  it("83: who passes gossip on as it is gives both branches away", async () => {
    const { pair, a, b } = between(false);
    await pair.start();
    await pair.clock.advance(60_000);
    const codes = new Set([...a.warnings, ...b.warnings].map(({ code }) => code));
    assert.deepEqual([...codes], ["head-fork"]);
    pair.stop();
  });
});

describe("a device that the receiver's crypto store has not heard of", () => {
  /** Alice's new tablet writes to Bob, whose store holds her phone alone. */
  async function tabletAndBob(): Promise<{ pair: Pair; tablet: Person; b: Person; alice: TestUser }> {
    const { pair, alice, bob } = setUp();
    const b = pair.person(bob, "BPHONE", copyOf(alice));
    alice.devices.set("ATABLET", { signedByOwner: true });
    const tablet = pair.person(alice, "ATABLET", bob);
    pair.log.setEntry(ALICE, alice.entry());
    pair.log.closeEpoch(START_MS - 500);
    await b.ckv.start();
    await tablet.ckv.start();
    return { pair, tablet, b, alice };
  }

  it("is heard once the store has asked for its owner's keys", async () => {
    const { pair, tablet, b, alice } = await tabletAndBob();
    b.client.served.set(ALICE, copyOf(alice));
    const asked: CompareSession[] = [];
    b.ckv.on("compare", (session) => asked.push(session));
    await tablet.ckv.compare(BOB);
    await pair.clock.advance(1_000);
    assert.deepEqual(
      asked.map(({ userId, state }) => `${userId} ${state}`),
      [`${ALICE} incoming`],
    );
    assert.deepEqual(b.client.queried, [ALICE]);
    pair.stop();
  });

  it("makes the store ask once a minute, however much it writes", async () => {
    const { pair, tablet, b } = await tabletAndBob();
    const batch = Array.from({ length: 50 }, () => ({ userId: BOB, deviceId: "BPHONE", payload: { heads: [] } }));
    const write = async (): Promise<void> => {
      await tablet.client.queueToDevice({ eventType: "org.matrix-ckv.head", batch });
      await pair.clock.advance(20_000);
    };
    const before = b.client.queried.length;
    for (let time = 0; time < 6; time += 1) await write();
    assert.ok(b.client.queried.length - before <= 2, b.client.queried.join());
    assert.ok(b.client.queried.length > 0);
    pair.stop();
  });

  it("makes it ask for nobody with whom no encrypted room is shared", async () => {
    const { pair, tablet, b } = await tabletAndBob();
    await pair.clock.advance(120_000);
    for (const room of b.client.rooms) room.encrypted = false;
    const before = b.client.queried.length;
    await tablet.ckv.compare(BOB);
    await pair.clock.advance(1_000);
    assert.equal(b.client.queried.length, before);
    pair.stop();
  });
});

describe("two devices of one person", () => {
  /** Bob's phone and laptop; nothing reaches one from the other but what they say to each other over Olm. */
  function apart(): { pair: Pair; phone: Person; laptop: Person; bob: TestUser } {
    const { pair, alice, bob } = setUp();
    pair.server.withholdsAccountData = true;
    const [phone, laptop] = [pair.person(bob, "BPHONE", alice), pair.person(bob, "BLAPTOP", alice)];
    return { pair, phone, laptop, bob };
  }

  for (const [name, more] of [
    ["of one size", 0],
    ["one of which has grown", 3],
  ] as const)
    it(`85: on two forks, ${name}, without account data: prove it to each other`, async () => {
      const { pair, phone, laptop } = apart();
      const branch = pair.log.fork();
      branch.closeEpoch(START_MS - 500);
      pair.log.closeEpoch(START_MS - 400);
      for (let at = 0; at < more; at += 1) pair.log.closeEpoch(START_MS - 300 + at);
      laptop.service.log = branch;
      await pair.start();
      await pair.clock.advance(10_000);
      const warnings = [...phone.warnings, ...laptop.warnings];
      assert.ok(warnings.length > 0);
      for (const { code, evidence } of warnings) {
        assert.equal(code, "head-fork");
        assert.equal(verifyEvidence(evidence ?? "").code, "head-fork");
      }
      pair.stop();
    });

  it("85: shown two pasts of their own account in one log: prove it to each other", async () => {
    const { pair, phone, laptop, bob } = apart();
    const honest = pair.log.versionsAt(BOB, pair.log.size - 1);
    phone.service.size = pair.log.size;
    const ghost = copyOf(bob);
    ghost.devices.set("GHOST", { signedByOwner: false });
    pair.log.setEntry(BOB, ghost.entry());
    pair.log.closeEpoch(START_MS - 900);
    laptop.service.size = pair.log.size;
    pair.log.swapPast(BOB, honest);
    pair.log.closeEpoch(START_MS - 800);
    await phone.ckv.start();
    await pair.clock.advance(1_000);
    phone.service.size = pair.log.size;
    await laptop.ckv.start();
    await pair.clock.advance(10_000);
    const proven = [...phone.warnings, ...laptop.warnings];
    assert.ok(proven.length > 0);
    for (const { code, evidence } of proven) {
      assert.equal(code, "own-unknown-version");
      assert.equal(verifyEvidence(evidence ?? "").kind, "E3");
    }
    pair.stop();
  });

  it("85: on one log say nothing of it, though one of them knows more of the own account", async () => {
    const { pair, phone, laptop, bob } = apart();
    await phone.ckv.start();
    await pair.clock.advance(1_000);
    phone.service.size = pair.log.size;
    bob.devices.set("BTABLET", {});
    pair.log.setEntry(BOB, bob.entry());
    pair.log.closeEpoch(START_MS + 500);
    await laptop.ckv.start();
    await pair.clock.advance(60_000);
    assert.deepEqual([...phone.warnings, ...laptop.warnings], []);
    pair.stop();
  });

  it("notice that they follow the log of one server under two keys", async () => {
    const { pair, alice, bob } = setUp();
    const phone = pair.person(bob, "BPHONE", alice);
    await pair.start();
    await Promise.all([phone.ckv.turnOn().catch(() => undefined), pair.clock.advance(130_000)]);
    const other = new TestLog({ startMs: START_MS - 60_000 });
    other.logSeed.set(seedOf("another log key"));
    other.reconfigure({ log_key: other.vkey });
    for (const user of [alice, bob]) other.setEntry(user.userId, user.entry());
    other.closeEpoch(START_MS);
    const laptop = pair.person(bob, "BLAPTOP", alice);
    laptop.service.log = other;
    await laptop.ckv.start();
    await pair.clock.advance(60_000);
    const codes = [...phone.warnings, ...laptop.warnings].map(({ code }) => code);
    assert.ok(codes.includes("log-key-differs"), codes.join());
    pair.stop();
  });

  /** Bob's phone on a log that closes; his laptop is new, and follows at once the log that took its place. */
  async function moved(isProper: boolean): Promise<{ pair: Pair; phone: Person; laptop: Person }> {
    const { pair, alice, bob } = setUp();
    const phone = pair.person(bob, "BPHONE", alice);
    await pair.start();
    await Promise.all([phone.ckv.turnOn().catch(() => undefined), pair.clock.advance(130_000)]);
    const next = new TestLog({ number: 2, startMs: pair.clock.now() });
    const [before, after] = [pair.log, next].map(({ origin, vkey }) => ({ origin, log_key: vkey }));
    assert.ok(before !== undefined && after !== undefined);
    next.reconfigure({ predecessor: before });
    if (isProper) pair.log.reconfigure({ successor: after });
    pair.log.closeEpoch(pair.clock.now() + 1);
    for (const userId of [ALICE, BOB]) next.swapPast(userId, pair.log.versionsAt(userId, pair.log.size - 1));
    next.closeEpoch(pair.clock.now() + 2);
    const laptop = pair.person(bob, "BLAPTOP", alice);
    laptop.service.log = next;
    return { pair, phone, laptop };
  }

  for (const [name, withholds] of [
    ["by their shared state too", false],
    ["by Olm alone", true],
  ] as const)
    it(`25: one of which has not read of the move of the log yet, and hears of it ${name}: no warning`, async () => {
      const { pair, phone, laptop } = await moved(true);
      pair.server.withholdsAccountData = withholds;
      await laptop.ckv.start();
      await pair.clock.advance(60_000);
      const codes = [...phone.warnings, ...laptop.warnings].map(({ code }) => code);
      assert.deepEqual(codes, []);
      pair.stop();
    });

  it("25: one of which hears of another log and can't ask its own: a warning when it can", async () => {
    const { pair, phone, laptop } = await moved(false);
    phone.service.down = true;
    await laptop.ckv.start();
    await pair.clock.advance(60_000);
    assert.deepEqual(phone.warnings, []);
    phone.service.down = false;
    // It is told again once a day.
    for (let hour = 0; hour < 25; hour += 1) {
      for (const log of [pair.log, laptop.service.log]) log.closeEpoch(pair.clock.now());
      await pair.clock.advance(3_600_000);
    }
    assert.deepEqual(
      phone.warnings.map(({ code }) => code),
      ["log-key-differs"],
    );
    pair.stop();
  });

  it("are held to one head, also where one of them can store nothing and says so", async () => {
    const { pair, alice, bob } = setUp();
    const phone = pair.person(bob, "BPHONE", alice);
    await pair.start();
    await Promise.all([phone.ckv.turnOn().catch(() => undefined), pair.clock.advance(130_000)]);
    const branch = pair.log.fork();
    // A head is shared every ten minutes at most.
    await pair.clock.advance(11 * 60_000);
    pair.log.closeEpoch(pair.clock.now());
    branch.closeEpoch(pair.clock.now() + 1);
    await Promise.all([phone.ckv.refresh(ALICE), pair.clock.advance(5_000)]);
    assert.deepEqual([phone.ckv.ownStatus().doubt, phone.warnings], [undefined, []]);
    // Its own memory is empty at every start: all it can know of this log is what the phone has seen.
    for (const served of [pair.log, branch]) {
      const laptop = pair.person(bob, "BLAPTOP", alice, {});
      laptop.service.log = served;
      await laptop.ckv.start();
      assert.equal(laptop.ckv.ownStatus().doubt, "state-unstored");
      await pair.clock.advance(60_000);
      const codes = laptop.warnings.map(({ code }) => code);
      assert.deepEqual(codes, served === branch ? ["head-fork"] : []);
      laptop.ckv.stop();
      pair.server.clients.pop();
    }
    assert.match(reasonOf("state-unstored"), /protects less after a restart/);
    pair.stop();
  });

  it("share the key without asking anybody, and warn and dismiss as one", async () => {
    const { pair, alice, bob } = setUp();
    const phone = pair.person(bob, "BPHONE", alice);
    await pair.start();
    await Promise.all([phone.ckv.turnOn().catch(() => undefined), pair.clock.advance(130_000)]);
    const laptop = pair.person(bob, "BLAPTOP", alice);
    await laptop.ckv.start();
    await pair.clock.advance(5_000);
    assert.equal(laptop.client.prompts, 0);
    const ghost = copyOf(alice);
    ghost.devices.set("GHOST", { signedByOwner: false });
    for (const { client } of [phone, laptop]) client.update(ghost);
    for (const { client } of [phone, laptop]) client.write(ROOM);
    await pair.clock.advance(1_000);
    for (const { client } of [phone, laptop]) client.write(ROOM);
    await pair.clock.advance(90_000);
    const posted = [...phone.client.sent, ...laptop.client.sent];
    assert.equal(posted.length, 1);
    const [warning] = laptop.ckv.warnings();
    assert.equal(warning?.code, "key-never-logged");
    await phone.ckv.dismiss(warning.id);
    await pair.clock.advance(1_000);
    assert.deepEqual(laptop.ckv.warnings(), []);
    pair.stop();
  });
});
