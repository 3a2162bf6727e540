import assert from "node:assert/strict";
import { sha256 } from "@noble/hashes/sha2.js";
import { formatContactCode } from "../../shared/codes/contact-code.ts";
import { decodeUnpadded, encodeUnpadded, utf8 } from "../../shared/encoding.ts";
import { MATRIX_NAMES } from "../../shared/messages.ts";
import { COMPARISON_SILENCE_MS, DAY_MS, HOUR_MS } from "../../shared/parameters.ts";
import { CompareSessions, attemptAllowed } from "../../client-plugin/compare.ts";
import type {
  CompareHost,
  CompareSession,
  ContactIdentity,
  MasterKeyReading,
  OwnIdentity,
} from "../../client-plugin/compare.ts";
import { ManualClock, settle } from "./manual-clock.ts";

const START_MS = 1_700_000_000_000;
const TYPES = MATRIX_NAMES.compare;
const ALICE = "@alice:a.example";
const BOB = "@bob:b.example";
const CAROL = "@carol:c.example";
const LOG_KEYS = new Map([
  [ALICE, "a.example/ckv/1+0000000a+AAAA"],
  [BOB, "b.example/ckv/1+0000000b+BBBB"],
  [CAROL, ""],
]);

const key = (name: string): Uint8Array => sha256(utf8(name));

interface Parcel {
  readonly from: Peer;
  readonly to: Peer;
  readonly type: string;
  readonly content: Record<string, unknown>;
}

/** To-device messages in transit. `tamper` may change, drop or multiply what is carried. */
class Wire {
  readonly peers: Peer[] = [];
  readonly queue: Parcel[] = [];
  readonly carried: Parcel[] = [];
  tamper: (parcel: Parcel) => readonly Parcel[] = (parcel) => [parcel];

  /** Carries everything, also what is sent meanwhile. */
  async deliver(): Promise<void> {
    await settle();
    for (let parcel = this.queue.shift(); parcel !== undefined; parcel = this.queue.shift()) {
      for (const carried of this.tamper(parcel)) await this.hand(carried);
      await settle();
    }
  }

  async hand({ from, to, type, content }: Parcel): Promise<void> {
    this.carried.push({ from, to, type, content });
    await to.sessions.receive({ userId: from.userId, deviceId: from.deviceId }, type, structuredClone(content));
  }

  types(): string[] {
    return this.carried.map(({ type }) => type.slice(type.lastIndexOf(".") + 1));
  }
}

let randomCounter = 0;

/** One device of somebody, with what its crypto store and its account's state say. */
class Peer implements CompareHost {
  readonly sessions = new CompareSessions(this);
  readonly announced: CompareSession[] = [];
  readonly pins: { userId: string; masterKey: Uint8Array; sign: boolean }[] = [];
  /** What this peer believes about others, where it differs from the truth. */
  readonly beliefs = new Map<string, Partial<ContactIdentity>>();
  reading: ((userId: string) => Promise<MasterKeyReading>) | undefined;
  verified = true;
  refuseToSend = false;
  readonly wire: Wire;
  readonly clock: ManualClock;
  readonly userId: string;
  readonly deviceId: string;
  readonly crossSigned: boolean;
  readonly attemptTimes: Map<string, number[]>;

  constructor(world: { wire: Wire; clock: ManualClock }, userId: string, deviceId: string, of?: Peer, signed = true) {
    this.wire = world.wire;
    this.clock = world.clock;
    this.userId = userId;
    this.deviceId = deviceId;
    this.crossSigned = signed;
    this.attemptTimes = of?.attemptTimes ?? new Map<string, number[]>();
    this.wire.peers.push(this);
  }

  random(length: number): Uint8Array {
    randomCounter += 1;
    return key(`random ${String(randomCounter)}`).subarray(0, length);
  }

  send(userId: string, deviceIds: readonly string[], type: string, content: object): Promise<void> {
    if (this.refuseToSend) return Promise.reject(new Error("no network"));
    for (const to of this.wire.peers) {
      if (to.userId !== userId || !deviceIds.includes(to.deviceId)) continue;
      this.wire.queue.push({ from: this, to, type, content: content as Record<string, unknown> });
    }
    return Promise.resolve();
  }

  own(): Promise<OwnIdentity> {
    return Promise.resolve({
      userId: this.userId,
      deviceId: this.deviceId,
      deviceKey: key(`${this.userId} ${this.deviceId}`),
      masterKey: this.beliefs.get(this.userId)?.masterKey ?? key(this.userId),
      ...logKeyOf(this.userId),
      verified: this.verified,
    });
  }

  contact(userId: string): Promise<ContactIdentity> {
    const devices = this.wire.peers
      .filter((peer) => peer.userId === userId)
      .map((peer) => ({
        deviceId: peer.deviceId,
        key: key(`${userId} ${peer.deviceId}`),
        crossSigned: peer.crossSigned,
      }));
    return Promise.resolve({ masterKey: key(userId), devices, ...logKeyOf(userId), ...this.beliefs.get(userId) });
  }

  attempts(userId: string): Promise<readonly number[]> {
    return Promise.resolve(this.attemptTimes.get(userId) ?? []);
  }

  recordAttempt(userId: string, atMs: number): Promise<void> {
    this.attemptTimes.set(userId, [...(this.attemptTimes.get(userId) ?? []), atMs]);
    return Promise.resolve();
  }

  async reReadMasterKey(userId: string): Promise<MasterKeyReading> {
    if (this.reading !== undefined) return this.reading(userId);
    const { masterKey } = await this.contact(userId);
    return masterKey === undefined ? {} : { store: masterKey, entry: masterKey };
  }

  pin(userId: string, masterKey: Uint8Array, method: "code", sign: boolean): Promise<void> {
    assert.equal(method, "code");
    this.pins.push({ userId, masterKey, sign });
    return Promise.resolve();
  }

  announce(session: CompareSession): void {
    this.announced.push(session);
  }

  /** The newest session a person could see here. */
  get last(): CompareSession {
    return this.announced.at(-1)!;
  }

  attemptCount(userId: string): number {
    return this.attemptTimes.get(userId)?.length ?? 0;
  }
}

function logKeyOf(userId: string): { logKey?: string } {
  const logKey = LOG_KEYS.get(userId) ?? "";
  return logKey === "" ? {} : { logKey };
}

interface World {
  readonly wire: Wire;
  readonly clock: ManualClock;
  readonly alice: Peer;
  readonly bob: Peer;
}

function meet(): World {
  const world = { wire: new Wire(), clock: new ManualClock(START_MS) };
  return { ...world, alice: new Peer(world, ALICE, "ALICEPHONE"), bob: new Peer(world, BOB, "BOBPHONE") };
}

/** Alice asks, Bob accepts, everything is carried. */
async function run({ wire, alice, bob }: World): Promise<void> {
  await alice.sessions.compare(BOB);
  await wire.deliver();
  await bob.last.accept();
  await wire.deliver();
}

/** Runs until `type` is in transit, and takes it out. */
async function runUntil(world: World, type: string): Promise<Parcel> {
  const held: Parcel[] = [];
  world.wire.tamper = (parcel) => {
    if (parcel.type !== type) return [parcel];
    held.push(parcel);
    return [];
  };
  await run(world);
  world.wire.tamper = (parcel) => [parcel];
  return held[0]!;
}

function assertEnded(session: CompareSession, code: string): void {
  assert.equal(session.state, "ended");
  assert.equal(session.endedWith, code);
  assert.equal(session.code, undefined);
}

function assertNothingPinned({ alice, bob }: World): void {
  assert.deepEqual([alice.pins, bob.pins], [[], []]);
}

describe("contact-code sessions", () => {
  it("shows both people the same eight digits and pins what was compared", async () => {
    const world = meet();
    await run(world);
    const { wire, alice, bob, clock } = world;
    assert.deepEqual(wire.types(), ["request", "ready", "commit", "nonce", "reveal"]);
    assert.equal(alice.last.state, "code");
    assert.equal(bob.last.state, "code");
    assert.match(alice.last.code!, /^[0-9]{8}$/);
    assert.equal(alice.last.code, bob.last.code);

    await alice.last.confirm();
    await wire.deliver();
    assert.deepEqual([alice.last.state, bob.last.state], ["confirmed", "code"]);
    await bob.last.confirm({ sign: false });
    await wire.deliver();
    assert.deepEqual([alice.last.state, bob.last.state], ["done", "done"]);
    assert.deepEqual(alice.pins, [{ userId: BOB, masterKey: key(BOB), sign: true }]);
    assert.deepEqual(bob.pins, [{ userId: ALICE, masterKey: key(ALICE), sign: false }]);
    assert.deepEqual([alice.attemptCount(BOB), bob.attemptCount(ALICE)], [1, 1]);
    assert.equal(alice.sessions.sessionWith(BOB), undefined);
    assert.equal(clock.sleepers, 0);
  });

  it("sends the commitment before it has seen the nonce, and the reveal only after it", async () => {
    const world = meet();
    const nonce = await runUntil(world, TYPES.nonce);
    assert.deepEqual(world.wire.types(), ["request", "ready", "commit"]);
    assert.equal(world.alice.last.state, "waiting");
    await world.wire.hand(nonce);
    assert.equal(world.alice.last.state, "code");
  });

  it("works where neither side has a log", async () => {
    const world = { wire: new Wire(), clock: new ManualClock(START_MS) };
    const alice = new Peer(world, CAROL, "CAROLPHONE");
    const bob = new Peer(world, "@dan:d.example", "DANPHONE");
    await alice.sessions.compare("@dan:d.example");
    await world.wire.deliver();
    await bob.last.accept();
    await world.wire.deliver();
    assert.equal(alice.last.code, bob.last.code);
    assert.match(alice.last.code!, /^[0-9]{8}$/);
  });

  it("does nothing before a person accepts", async () => {
    const { wire, alice, bob } = meet();
    await alice.sessions.compare(BOB);
    await wire.deliver();
    assert.deepEqual(wire.types(), ["request"]);
    assert.equal(bob.last.state, "incoming");
    assert.equal(bob.attemptCount(ALICE), 0);
  });

  it("ends on both sides, without an attempt, when the contact declines", async () => {
    const { wire, alice, bob } = meet();
    await alice.sessions.compare(BOB);
    await wire.deliver();
    bob.last.cancel();
    await wire.deliver();
    assertEnded(bob.last, "compare-cancelled");
    assertEnded(alice.last, "compare-cancelled");
    assert.deepEqual([alice.attemptCount(BOB), bob.attemptCount(ALICE)], [0, 0]);
  });

  it("tells both sides when a person says that the codes differ", async () => {
    const world = meet();
    await run(world);
    world.bob.last.differ();
    await world.wire.deliver();
    assertEnded(world.bob.last, "compare-codes-differ");
    assertEnded(world.alice.last, "compare-codes-differ");
    assertNothingPinned(world);
  });

  it("takes no other end than its own codes from the contact", async () => {
    const world = meet();
    await run(world);
    const content = { session: world.alice.last.id, reason: "own-identity-replaced" };
    await world.wire.hand({ from: world.bob, to: world.alice, type: TYPES.cancel, content });
    assertEnded(world.alice.last, "compare-cancelled");
  });

  it("keeps one session per contact: asking twice returns the same", async () => {
    const { alice } = meet();
    assert.equal(await alice.sessions.compare(BOB), await alice.sessions.compare(BOB));
    assert.equal(alice.announced.length, 1);
  });

  it("accepts the contact's request when the person here asks too", async () => {
    const { wire, alice, bob } = meet();
    await alice.sessions.compare(BOB);
    await wire.deliver();
    assert.equal(await bob.sessions.compare(ALICE), bob.last);
    await wire.deliver();
    assert.equal(alice.last.code, bob.last.code);
    assert.equal(bob.last.state, "code");
  });

  it("lets the smaller session id stand when both ask at once, and counts the other for nobody", async () => {
    for (let round = 0; round < 8; round += 1) {
      const { wire, alice, bob } = meet();
      const [first, second] = await Promise.all([alice.sessions.compare(BOB), bob.sessions.compare(ALICE)]);
      await wire.deliver();
      const [stands, falls] = decodedLess(first.id, second.id) ? [first, second] : [second, first];
      assert.equal(stands.state, "code");
      assertEnded(falls, "compare-cancelled");
      assert.deepEqual([alice.last.id, bob.last.id].includes(stands.id), true);
      assert.deepEqual([alice.attemptCount(BOB), bob.attemptCount(ALICE)], [1, 1]);
      const codes = [alice, bob].map((peer) => peer.sessions.sessionWith(peer === alice ? BOB : ALICE)?.code);
      assert.equal(codes[0], codes[1]);
      assert.match(codes[0]!, /^[0-9]{8}$/);
    }
  });

  it("ends the session and lets the error out when a message can't be sent", async () => {
    const { alice, bob, wire } = meet();
    await alice.sessions.compare(BOB);
    await wire.deliver();
    alice.refuseToSend = true;
    await bob.last.accept();
    await assert.rejects(wire.deliver(), /no network/);
    assertEnded(alice.last, "compare-cancelled");
  });

  it("stays in code when store or entry can't be read, so that the person can press again", async () => {
    const world = meet();
    await run(world);
    world.alice.reading = () => Promise.reject(new Error("offline"));
    await assert.rejects(world.alice.last.confirm(), /offline/);
    assert.equal(world.alice.last.state, "code");
    assertNothingPinned(world);
    world.alice.reading = undefined;
    await world.alice.last.confirm();
    assert.equal(world.alice.last.state, "confirmed");
  });

  it("pins nothing when the person cancels while the keys are being read again", async () => {
    const world = meet();
    await run(world);
    let read: (reading: MasterKeyReading) => void = () => undefined;
    world.alice.reading = () => new Promise((resolve) => (read = resolve));
    const confirmed = world.alice.last.confirm();
    await settle();
    world.alice.last.cancel();
    read({ store: key(BOB), entry: key(BOB) });
    await confirmed;
    assertEnded(world.alice.last, "compare-cancelled");
    assertNothingPinned(world);
  });

  it("keeps what was confirmed here when the contact never answers", async () => {
    const world = meet();
    await run(world);
    await world.alice.last.confirm();
    await world.clock.advance(COMPARISON_SILENCE_MS);
    assert.equal(world.alice.last.state, "done");
    assert.equal(world.alice.pins.length, 1);
    assertEnded(world.bob.last, "compare-late");
  });

  it("ends with the contact's verdict when the contact says that the codes differ after this side confirmed", async () => {
    const world = meet();
    await run(world);
    await world.alice.last.confirm();
    world.bob.last.differ();
    await world.wire.deliver();
    assertEnded(world.alice.last, "compare-codes-differ");
  });

  it("ignores malformed and unknown messages where there is no session", async () => {
    const { alice, bob, wire } = meet();
    for (const content of [null, 7, "x", {}, { session: "" }, { session: "AAAA" }, { session: 1 }]) {
      for (const type of [...Object.values<string>(TYPES), "m.room_key"]) {
        await wire.hand({ from: alice, to: bob, type, content: content as unknown as Record<string, unknown> });
      }
    }
    assert.deepEqual(bob.announced, []);
    assert.deepEqual(wire.queue, []);
  });

  it("ends the session at a malformed message of its device", async () => {
    const world = meet();
    const reveal = await runUntil(world, TYPES.reveal);
    await world.wire.hand({ ...reveal, content: { ...reveal.content, nonce: "AAAA" } });
    assertEnded(world.bob.last, "compare-cancelled");
  });

  it("says identity-missing of a contact without cross-signing", async () => {
    const { alice } = meet();
    alice.beliefs.set(BOB, { devices: [{ deviceId: "BOBPHONE", key: key("x"), crossSigned: false }] });
    assertEnded(await alice.sessions.compare(BOB), "identity-missing");
  });

  it("tells every contact when it stops", async () => {
    const { alice, bob, wire, clock } = meet();
    await alice.sessions.compare(BOB);
    await wire.deliver();
    alice.sessions.stop();
    await wire.deliver();
    assertEnded(bob.last, "compare-cancelled");
    assert.equal(clock.sleepers, 0);
  });
});

function decodedLess(a: string, b: string): boolean {
  return Buffer.compare(decodeUnpadded(a), decodeUnpadded(b)) < 0;
}

describe("attempts", () => {
  const at = 1_700_000_000_000;
  it("allows three an hour and ten a day", () => {
    assert.equal(attemptAllowed([], at), true);
    assert.equal(attemptAllowed([at - 3, at - 2], at), true);
    assert.equal(attemptAllowed([at - 3, at - 2, at - 1], at), false);
    assert.equal(attemptAllowed([at - HOUR_MS, at - 2, at - 1], at), true);
    const spread = Array.from({ length: 10 }, (_, index) => at - (index + 1) * 2 * HOUR_MS);
    assert.equal(attemptAllowed(spread, at), false);
    assert.equal(attemptAllowed([...spread.slice(1), at - DAY_MS], at), true);
  });

  it("counts times that another device's clock has put into the future", () => {
    assert.equal(attemptAllowed([at + 1, at + DAY_MS, at + 2 * DAY_MS], at), false);
  });
});

describe("attacks on the contact code", () => {
  it("70: master keys swapped, honest relay: compare-keys-differ", async () => {
    const swaps: ((world: World) => void)[] = [
      ({ alice }) => alice.beliefs.set(BOB, { masterKey: key("mallory as bob") }),
      ({ bob }) => bob.beliefs.set(ALICE, { masterKey: key("mallory as alice") }),
      ({ alice, bob }) => {
        alice.beliefs.set(BOB, { masterKey: key("mallory") });
        bob.beliefs.set(ALICE, { masterKey: key("mallory") });
      },
    ];
    for (const swap of swaps) {
      const world = meet();
      swap(world);
      await run(world);
      assertEnded(world.bob.last, "compare-keys-differ");
      assertEnded(world.alice.last, "compare-keys-differ");
      assertNothingPinned(world);
    }
  });

  it("70: a device key swapped as well: compare-keys-differ", async () => {
    const world = meet();
    const devices = [{ deviceId: "BOBPHONE", key: key("mallory's device"), crossSigned: true }];
    world.alice.beliefs.set(BOB, { devices });
    await run(world);
    assertEnded(world.bob.last, "compare-keys-differ");
  });

  it("72: half-open sessions, by the asking side: the 4th is refused with compare-locked", async () => {
    const { wire, alice, bob } = meet();
    wire.tamper = (parcel) => (parcel.type === TYPES.nonce ? [] : [parcel]);
    for (let index = 0; index < 100; index += 1) {
      const session = await alice.sessions.compare(BOB);
      await wire.deliver();
      if (bob.sessions.sessionWith(ALICE) !== undefined) await bob.last.accept();
      await wire.deliver();
      if (index < 3) assert.equal(session.state, "waiting");
      else assertEnded(session, "compare-locked");
      session.cancel();
      await wire.deliver();
    }
    assert.deepEqual([alice.attemptCount(BOB), bob.attemptCount(ALICE)], [3, 3]);
    assert.equal(wire.types().filter((type) => type === "commit").length, 3);
  });

  it("72: half-open sessions, by the answering side: the 4th is refused with compare-locked", async () => {
    const world = meet();
    const { wire, alice, bob } = world;
    for (let index = 0; index < 100; index += 1) {
      alice.attemptTimes.clear();
      await alice.sessions.compare(BOB);
      await wire.deliver();
      await bob.last.accept();
      await wire.deliver();
      if (index < 3) assert.equal(bob.last.state, "code");
      else assertEnded(bob.last, "compare-locked");
      if (index >= 3) assertEnded(alice.last, "compare-locked");
      alice.last.cancel();
      await wire.deliver();
    }
    assert.equal(bob.attemptCount(ALICE), 3);
    assert.equal(wire.types().filter((type) => type === "nonce").length, 3);
  });

  it("72: the lock is per hour and over all devices of the account", async () => {
    const world = meet();
    const laptop = new Peer(world, ALICE, "ALICELAPTOP", world.alice);
    for (let index = 0; index < 3; index += 1) {
      await run(world);
      world.alice.last.cancel();
      await world.wire.deliver();
    }
    assertEnded(await laptop.sessions.compare(BOB), "compare-locked");
    await world.clock.advance(HOUR_MS);
    assert.equal((await laptop.sessions.compare(BOB)).state, "requested");
  });

  it("73: an unfinished session counts as an attempt, on both sides", async () => {
    const world = meet();
    await runUntil(world, TYPES.reveal);
    await world.clock.advance(COMPARISON_SILENCE_MS);
    assertEnded(world.alice.last, "compare-late");
    assertEnded(world.bob.last, "compare-late");
    assert.deepEqual([world.alice.attemptCount(BOB), world.bob.attemptCount(ALICE)], [1, 1]);
  });

  it("73: a session in which neither commit nor nonce was sent does not count", async () => {
    const world = meet();
    await world.alice.sessions.compare(BOB);
    await world.wire.deliver();
    await world.clock.advance(COMPARISON_SILENCE_MS);
    assertEnded(world.alice.last, "compare-late");
    assertEnded(world.bob.last, "compare-late");
    assert.deepEqual([world.alice.attemptCount(BOB), world.bob.attemptCount(ALICE)], [0, 0]);
  });

  it("74: second nonce: compare-second-answer", async () => {
    const world = meet();
    const nonce = await runUntil(world, TYPES.nonce);
    await world.wire.hand(nonce);
    assert.equal(world.alice.last.state, "code");
    await world.wire.hand({ ...nonce, content: { ...nonce.content, nonce: encodeUnpadded(key("another")) } });
    assertEnded(world.alice.last, "compare-second-answer");
  });

  it("74: late nonce: compare-late, and no code", async () => {
    const world = meet();
    const nonce = await runUntil(world, TYPES.nonce);
    await world.clock.advance(COMPARISON_SILENCE_MS - 1);
    assert.equal(world.alice.last.state, "waiting");
    await world.clock.advance(1);
    await world.wire.hand(nonce);
    assertEnded(world.alice.last, "compare-late");
  });

  it("74: late nonce on a device that slept over its timer: compare-late", async () => {
    const world = meet();
    world.clock.sleep = () => new Promise(() => undefined);
    const nonce = await runUntil(world, TYPES.nonce);
    await world.clock.advance(COMPARISON_SILENCE_MS);
    await world.wire.hand(nonce);
    assertEnded(world.alice.last, "compare-late");
  });

  it("74: reused commitment: compare-commit-reused, in the same session and in another", async () => {
    const world = meet();
    const commit = await runUntil(world, TYPES.commit);
    await world.wire.hand(commit);
    await world.wire.hand(commit);
    assertEnded(world.bob.last, "compare-commit-reused");

    await world.wire.deliver();
    const next = await runUntil(world, TYPES.commit);
    await world.wire.hand({ ...next, content: { ...next.content, commitment: commit.content["commitment"] } });
    assertEnded(world.bob.last, "compare-commit-reused");
    assert.equal(world.bob.attemptCount(ALICE), 1);
  });

  it("74: a second, other commitment: compare-second-answer", async () => {
    const world = meet();
    const commit = await runUntil(world, TYPES.commit);
    await world.wire.hand(commit);
    await world.wire.hand({ ...commit, content: { ...commit.content, commitment: encodeUnpadded(key("other")) } });
    assertEnded(world.bob.last, "compare-second-answer");
  });

  it("74: reveal before nonce: ended", async () => {
    const world = meet();
    const commit = await runUntil(world, TYPES.commit);
    const nonce = encodeUnpadded(key("r"));
    const content = { session: commit.content["session"], nonce, log_keys: { initiator: "", responder: "" } };
    await world.wire.hand({ ...commit, type: TYPES.reveal, content });
    assertEnded(world.bob.last, "compare-cancelled");
  });

  it("75: own commitment reflected into the own session: ended, no code", async () => {
    const world = meet();
    const commit = await runUntil(world, TYPES.commit);
    await world.wire.hand({ ...commit, from: world.bob, to: world.alice });
    assertEnded(world.alice.last, "compare-cancelled");
  });

  it("75: own commitment reflected into a session of the other direction: compare-commit-reused", async () => {
    const world = meet();
    const commit = await runUntil(world, TYPES.commit);
    world.alice.last.cancel();
    await world.wire.deliver();
    const { wire, alice, bob } = world;
    wire.tamper = (parcel) => {
      const content = { ...parcel.content, commitment: commit.content["commitment"] };
      return [parcel.type === TYPES.commit ? { ...parcel, content } : parcel];
    };
    await bob.sessions.compare(ALICE);
    await wire.deliver();
    await alice.last.accept();
    await wire.deliver();
    assertEnded(alice.last, "compare-commit-reused");
  });

  it("75: roles swapped: every message of the other role ends the session without a code", async () => {
    const contents: [string, Record<string, unknown>][] = [
      [TYPES.ready, {}],
      [TYPES.nonce, { nonce: encodeUnpadded(key("n")) }],
      [TYPES.commit, { commitment: encodeUnpadded(key("c")) }],
      [TYPES.reveal, { nonce: encodeUnpadded(key("n")), log_keys: { initiator: "", responder: "" } }],
      [TYPES.taken, {}],
      [TYPES.done, {}],
    ];
    for (const [type, rest] of contents) {
      const world = meet();
      const nonce = await runUntil(world, TYPES.nonce);
      const content = { session: nonce.content["session"], ...rest };
      if (type === TYPES.ready || type === TYPES.nonce || type === TYPES.done) {
        await world.wire.hand({ from: world.alice, to: world.bob, type, content });
        assertEnded(world.bob.last, "compare-cancelled");
      } else {
        await world.wire.hand({ from: world.bob, to: world.alice, type, content });
        assertEnded(world.alice.last, "compare-cancelled");
      }
    }
  });

  it("75: session id of another contact: that contact gets no code, and the session it names goes on", async () => {
    const world = meet();
    const carol = new Peer(world, CAROL, "CAROLPHONE");
    const nonce = await runUntil(world, TYPES.nonce);
    await world.alice.sessions.compare(CAROL);
    await world.wire.deliver();
    const withCarol = world.alice.sessions.sessionWith(CAROL)!;
    await world.wire.hand({ ...nonce, from: carol });
    assertEnded(withCarol, "compare-cancelled");
    await world.wire.hand({ ...nonce, from: carol, type: TYPES.request });
    assert.equal(world.alice.sessions.sessionWith(CAROL), undefined);
    await world.wire.hand(nonce);
    assert.equal(world.alice.sessions.sessionWith(BOB)?.state, "code");
  });

  it("75: a session id that is over can't be opened again", async () => {
    const world = meet();
    await run(world);
    const request = world.wire.carried.find(({ type }) => type === TYPES.request)!;
    world.alice.last.cancel();
    await world.wire.deliver();
    await world.wire.hand(request);
    assert.equal(world.bob.announced.length, 1);
  });

  it("76: three devices, two accept: the first ready only, the others get taken; a ghost is not asked", async () => {
    const world = meet();
    const { wire, alice, bob } = world;
    const laptop = new Peer(world, BOB, "BOBLAPTOP", bob);
    const tablet = new Peer(world, BOB, "BOBTABLET", bob);
    const ghost = new Peer(world, BOB, "GHOST", undefined, false);
    await alice.sessions.compare(BOB);
    await wire.deliver();
    assert.deepEqual(ghost.announced, []);
    await laptop.last.accept();
    await bob.last.accept();
    await wire.deliver();
    assert.equal(alice.last.deviceId, "BOBLAPTOP");
    assert.equal(alice.last.code, laptop.last.code);
    assert.equal(laptop.last.state, "code");
    for (const other of [bob, tablet]) assertEnded(other.last, "compare-cancelled");
    const taken = wire.carried.filter(({ type }) => type === TYPES.taken).map(({ to }) => to.deviceId);
    assert.deepEqual([...new Set(taken)].sort(), ["BOBPHONE", "BOBTABLET"]);
  });

  it("76: a ghost that answers, asks or speaks in the middle is not heard", async () => {
    const world = meet();
    const { wire, alice, bob } = world;
    const ghost = new Peer(world, BOB, "GHOST", undefined, false);
    await alice.sessions.compare(BOB);
    const session = { session: alice.last.id };
    await wire.hand({ from: ghost, to: alice, type: TYPES.ready, content: session });
    assert.equal(alice.last.state, "requested");
    await wire.deliver();
    await bob.last.accept();
    await wire.deliver();
    const content = { ...session, nonce: encodeUnpadded(key("ghost")) };
    await wire.hand({ from: ghost, to: alice, type: TYPES.nonce, content });
    await wire.hand({
      from: ghost,
      to: alice,
      type: TYPES.cancel,
      content: { ...session, reason: "compare-cancelled" },
    });
    assert.equal(alice.last.state, "code");
    alice.last.cancel();
    await wire.deliver();
    const request = { session: encodeUnpadded(key("ghost's session")) };
    await wire.hand({ from: ghost, to: alice, type: TYPES.request, content: request });
    assert.equal(alice.announced.length, 1);
  });

  it("77: master key replaced between code and press: compare-key-changed, nothing pinned", async () => {
    const readings: MasterKeyReading[] = [
      { store: key("replaced"), entry: key(BOB) },
      { store: key(BOB), entry: key("replaced") },
      { store: key("replaced"), entry: key("replaced") },
      { entry: key(BOB) },
      {},
    ];
    for (const reading of readings) {
      const world = meet();
      await run(world);
      world.alice.reading = () => Promise.resolve(reading);
      await world.alice.last.confirm();
      assertEnded(world.alice.last, "compare-key-changed");
      await world.wire.deliver();
      assertEnded(world.bob.last, "compare-key-changed");
      assertNothingPinned(world);
    }
  });

  it("77: the own master key replaced between code and press: compare-key-changed", async () => {
    const world = meet();
    await run(world);
    world.alice.beliefs.set(ALICE, { masterKey: key("replaced") });
    await world.alice.last.confirm();
    assertEnded(world.alice.last, "compare-key-changed");
    assertNothingPinned(world);
  });

  it("77: what is pinned is the key of the transcript, also if the store changes while it is pinned", async () => {
    const world = meet();
    await run(world);
    world.alice.reading = () => {
      world.alice.beliefs.set(BOB, { masterKey: key("replaced") });
      return Promise.resolve({ store: key(BOB), entry: key(BOB) });
    };
    await world.alice.last.confirm();
    assert.deepEqual(world.alice.pins[0]?.masterKey, key(BOB));
  });

  it("78: an unverified own session can neither ask nor answer", async () => {
    const { wire, alice, bob } = meet();
    alice.verified = false;
    assertEnded(await alice.sessions.compare(BOB), "compare-own-unverified");
    assert.deepEqual(wire.queue, []);
    await bob.sessions.compare(ALICE);
    await wire.deliver();
    assert.equal(alice.announced.length, 1);
  });

  it("78: a session whose device stops being verified before the person accepts: compare-own-unverified", async () => {
    const { wire, alice, bob } = meet();
    await alice.sessions.compare(BOB);
    await wire.deliver();
    bob.verified = false;
    await bob.last.accept();
    assertEnded(bob.last, "compare-own-unverified");
    await wire.deliver();
    assertEnded(alice.last, "compare-cancelled");
  });

  it("79: log keys differ, master keys agree: compare-log-differs", async () => {
    const beliefs: ((world: World) => void)[] = [
      ({ alice }) => alice.beliefs.set(BOB, { logKey: "b.example/ckv/1+0000000c+CCCC" }),
      ({ bob }) => bob.beliefs.set(ALICE, { logKey: "a.example/ckv/2+0000000d+DDDD" }),
    ];
    for (const differ of beliefs) {
      const world = meet();
      differ(world);
      await run(world);
      assertEnded(world.bob.last, "compare-log-differs");
      assertEnded(world.alice.last, "compare-log-differs");
      assertNothingPinned(world);
    }
  });

  it("79: the hint only names the difference: a false hint never yields a code", async () => {
    const world = meet();
    world.alice.beliefs.set(BOB, { logKey: "b.example/ckv/1+0000000c+CCCC" });
    world.wire.tamper = (parcel) => {
      const log_keys = { initiator: LOG_KEYS.get(ALICE), responder: LOG_KEYS.get(BOB) };
      return [parcel.type === TYPES.reveal ? { ...parcel, content: { ...parcel.content, log_keys } } : parcel];
    };
    await run(world);
    assertEnded(world.bob.last, "compare-keys-differ");
  });

  it("80: leading zeros are digits like others", async () => {
    const codes: string[] = [];
    while (!codes.some((code) => code.startsWith("0"))) {
      const world = meet();
      await run(world);
      codes.push(world.alice.last.code!);
    }
    for (const code of codes) assert.match(code, /^[0-9]{8}$/);
    assert.equal(formatContactCode("00000000"), "0000 0000");
    assert.equal(formatContactCode("01234567"), "0123 4567");
  });
});
