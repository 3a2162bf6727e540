/** Attacks of a lying log or homeserver, and honest situations that look like one: see docs/attacks.md. */
import assert from "node:assert/strict";
import type { ContactKeyVerificationOptions } from "../../client-plugin/index.ts";
import { encodePublicCode } from "../../shared/codes/public-code.ts";
import { verifyEvidence } from "../../shared/proofs/evidence.ts";
import { TestLog } from "../support/test-log.ts";
import { seedOf } from "../support/test-user.ts";
import { copyOf } from "./fake-client.ts";
import { FakeService, Status } from "./fake-service.ts";
import { ALICE, BOB, ROOM, World } from "./world.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

async function started(options: Partial<ContactKeyVerificationOptions> = {}): Promise<World> {
  const world = new World(options);
  await world.start();
  return world;
}

async function pin(world: World): Promise<void> {
  await world.ckv.markVerified(ALICE, encodePublicCode(ALICE, world.alice.masterKey));
  await world.pass(100);
}

/** Alice's store and log have one more device. */
async function addDevice(world: World, deviceId: string): Promise<void> {
  world.alice.devices.set(deviceId, {});
  world.log.setEntry(ALICE, world.alice.entry());
  world.epoch();
  world.client.update(world.alice);
  await world.pass(2_000);
}

/** The client is off for a while. */
async function sleep(world: World, ms: number): Promise<void> {
  world.ckv.stop();
  await world.pass(ms);
  await world.start();
}

function refuse(status: number): () => never {
  return () => {
    throw new Status(status);
  };
}

describe("attacks on what is pinned", () => {
  it("tells at once that the store left the pin, where the contact is not in the log", async () => {
    const world = new World();
    world.log.forget(ALICE);
    world.log.closeEpoch(world.clock.now());
    await world.start();
    await pin(world);
    assert.equal(world.ckv.statusOf(ALICE).verdict.kind, "verified");
    const swapped = copyOf(world.alice);
    swapped.reset("mallory");
    world.client.update(swapped);
    await world.pass(1_000);
    assert.deepEqual(world.codes(), ["pin-mismatch warning"]);
    world.stop();
  });

  it("says nothing of a pinned contact whom encryption does not follow", async () => {
    const world = new World();
    world.log.forget(ALICE);
    world.log.closeEpoch(world.clock.now());
    await world.start();
    await pin(world);
    world.client.rooms.length = 0;
    world.client.store.delete(ALICE);
    await world.ckv.refresh(ALICE);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "not-enrolled" });
    assert.deepEqual(world.codes(), []);
    world.stop();
  });
});

describe("attacks by silence and nonsense", () => {
  for (const [name, pinned, expected] of [
    ["a contact nobody compared", false, "changed-unchecked notice"],
    ["a pinned contact", true, "changed-unchecked warning"],
  ] as const) {
    it(`tells of keys that change behind an answer that proves nothing: ${name}`, async () => {
      const world = await started();
      if (pinned) await pin(world);
      world.service.lies.set("/v1/lookup", () => ({}));
      const swapped = copyOf(world.alice);
      swapped.reset("mallory");
      world.client.update(swapped);
      await world.pass(20_000);
      assert.notEqual(world.ckv.statusOf(ALICE).verdict.kind, "verified");
      assert.deepEqual(world.codes(), [expected]);
      world.stop();
    });
  }

  it("takes back what it said of a pinned contact's device that could not be checked, once the log has it", async () => {
    const world = await started();
    await pin(world);
    world.service.down = true;
    world.alice.devices.set("ALAPTOP", {});
    world.client.update(world.alice);
    await world.pass(20_000);
    assert.deepEqual(world.codes(), ["changed-unchecked warning"]);
    assert.equal(world.ckv.statusOf(ALICE).verdict.kind, "warning");
    world.log.setEntry(ALICE, world.alice.entry());
    world.epoch();
    world.service.down = false;
    await world.pass(60_000);
    assert.equal(world.ckv.statusOf(ALICE).verdict.kind, "verified");
    assert.deepEqual(world.ckv.warnings(), []);
    assert.deepEqual(world.codes(), ["changed-unchecked warning"]);
    world.stop();
  });

  it("takes nothing back where the device went away again and the log never had it", async () => {
    const world = await started();
    await pin(world);
    world.service.down = true;
    const ghost = copyOf(world.alice);
    ghost.devices.set("GHOST", {});
    world.client.update(ghost);
    await world.pass(20_000);
    world.client.update(world.alice);
    world.service.down = false;
    for (let minute = 0; minute < 5; minute += 1) await world.pass(60_000);
    assert.equal(world.ckv.statusOf(ALICE).verdict.kind, "warning");
    assert.ok(world.ckv.warnings().some(({ code }) => code === "changed-unchecked"));
    assert.ok(
      world.codes().some((code) => code.startsWith("key-never-logged")),
      world.codes().join(),
    );
    world.stop();
  });

  it("tells of a ghost that stood only in an answer, while older versions are refused", async () => {
    const world = new World();
    await addDevice(world, "ALAPTOP");
    const ghost = copyOf(world.alice);
    ghost.devices.set("GHOST", { signedByOwner: false });
    world.client.http.opts.fetchFn = async () => await Promise.resolve(new Response(ghost.keysQuery()));
    await world.start();
    await world.pass(1_000);
    world.service.lies.set("/v1/history/versions", refuse(503));
    await world.client.http.opts.fetchFn("https://example.org/_matrix/client/v3/keys/query", { method: "POST" });
    await world.pass(30_000);
    assert.deepEqual(world.codes(), ["changed-unchecked notice"]);
    world.stop();
  });

  it("says nothing of a device that comes while the log recovers from hours of silence", async () => {
    const world = await started();
    await pin(world);
    world.service.down = true;
    await world.pass(2 * HOUR_MS);
    world.alice.devices.set("ALAPTOP", {});
    world.log.setEntry(ALICE, world.alice.entry());
    world.client.update(world.alice);
    await world.pass(4_000);
    world.service.down = false;
    await world.pass(10_000);
    assert.deepEqual(world.codes(), []);
    assert.equal(world.ckv.statusOf(ALICE).verdict.kind, "verified");
    world.stop();
  });

  it("6: tells of a history proof that is withheld for a day", async () => {
    const world = await started();
    world.service.lies.set("/v1/history/consistency", refuse(404));
    await addDevice(world, "ALAPTOP");
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "history-unproven" });
    await world.pass(25 * HOUR_MS);
    assert.ok(world.codes().includes("history-unproven warning"), world.codes().join());
    world.stop();
  });

  it("11: tells of a settling epoch that is withheld for ten minutes, not of a moment", async () => {
    const world = new World();
    world.service.lies.set("/v1/settling/0", refuse(503));
    await world.start();
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "settle-overdue" });
    assert.deepEqual(world.codes(), []);
    await world.pass(5 * MINUTE_MS);
    assert.deepEqual(world.codes(), []);
    for (let epoch = 0; epoch < 100; epoch += 1) world.service.lies.set(`/v1/settling/${String(epoch)}`, refuse(503));
    await world.pass(12 * MINUTE_MS);
    assert.ok(world.codes().every((code) => code === "settle-overdue warning") && world.codes().length > 0);
    world.stop();
  });
});

describe("attacks on the log and its time", () => {
  it("17: a fork whose tiles are refused", async () => {
    const world = await started();
    const fork = world.log.fork();
    world.epoch();
    await world.ckv.refresh(ALICE);
    for (let at = 1; at < 4; at += 1) fork.closeEpoch(world.clock.now() + at);
    world.service.log = fork;
    for (let size = 1; size < 9; size += 1) world.service.lies.set(`/log/tile/0/000.p/${String(size)}`, refuse(404));
    world.service.lies.set("/log/tile/0/000", refuse(404));
    await world.ckv.refresh(ALICE);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "heads-unreconciled" });
    assert.deepEqual(world.codes(), []);
    world.stop();
  });

  it("18: a replica that is a moment behind", async () => {
    const world = await started();
    world.epoch();
    await world.ckv.refresh(ALICE);
    world.service.size = world.log.size - 1;
    const refreshed = world.ckv.refresh(ALICE);
    await world.clock.advance(1_000);
    world.service.size = undefined;
    await Promise.all([refreshed, world.pass(5_000)]);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "first-look" });
    assert.deepEqual(world.codes(), []);
    world.stop();
  });

  it("22: accuses nobody when the clock here is a day off", async () => {
    for (const [offMs, reason] of [
      [-DAY_MS, "clock"],
      [DAY_MS, "stale"],
    ] as const) {
      const world = new World();
      if (offMs > 0) await world.clock.advance(offMs);
      const honest = world.log.closeEpoch.bind(world.log);
      world.log.closeEpoch = (nowMs, lie) => honest(nowMs - offMs, lie);
      await world.pass(1_000);
      await world.start();
      world.ckv.stop();
      await world.pass(30 * HOUR_MS);
      await world.start();
      await world.ckv.refresh(ALICE);
      assert.deepEqual(world.codes(), []);
      assert.deepEqual(world.verdict(), { kind: "unchecked", reason });
      world.stop();
    }
  });

  it("23, 25: tells of a new configuration, once and also when the lookup failed at first", async () => {
    const world = await started();
    world.log.reconfigure({ rooms: { epochs: "#other:example.org", members: "#ckv-members:example.org" } });
    world.epoch();
    world.service.lies.set("/v1/history/consistency", refuse(404));
    world.alice.devices.set("ALAPTOP", {});
    world.log.setEntry(ALICE, world.alice.entry());
    world.epoch();
    await world.ckv.refresh(ALICE);
    world.service.lies.clear();
    await world.ckv.refresh(ALICE);
    await world.ckv.refresh(ALICE);
    assert.deepEqual(world.codes(), ["config-changed notice"]);
    world.stop();
  });

  it("25: follows a log to its successor, which holds the same histories, and goes on", async () => {
    const world = await started();
    for (let at = 0; at < 5; at += 1) world.epoch();
    const next = new TestLog({ number: 2, startMs: world.clock.now() });
    next.reconfigure({ service_url: world.log.configuration.service_url });
    world.log.reconfigure({ successor: { origin: next.origin, log_key: next.vkey } });
    world.epoch();
    await world.ckv.refresh(ALICE);
    next.swapPast(ALICE, world.log.versionsAt(ALICE, world.log.size - 1));
    next.swapPast(BOB, world.log.versionsAt(BOB, world.log.size - 1));
    next.closeEpoch(world.clock.now() + 1);
    world.alice.devices.set("ALAPTOP", {});
    next.setEntry(ALICE, world.alice.entry());
    next.closeEpoch(world.clock.now() + 2);
    world.service.log = next;
    await world.clock.advance(2 * HOUR_MS, () => {
      if (world.clock.now() - next.newest.record.timestampMs > 4 * MINUTE_MS) next.closeEpoch(world.clock.now());
    });
    world.client.update(world.alice);
    await world.clock.advance(2_000);
    assert.deepEqual(
      world.codes().filter((code) => code !== "config-changed notice"),
      ["log-moved notice"],
    );
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "first-look" });
    world.stop();
  });

  it("25: a successor with one history shortened", async () => {
    const world = new World();
    await addDevice(world, "ALAPTOP");
    await world.start();
    const next = new TestLog({ number: 2, startMs: world.clock.now() });
    next.reconfigure({ service_url: world.log.configuration.service_url });
    world.log.reconfigure({ successor: { origin: next.origin, log_key: next.vkey } });
    world.epoch();
    await world.ckv.refresh(ALICE);
    next.swapPast(ALICE, world.log.versionsAt(ALICE, world.log.size - 1).slice(0, 1));
    next.closeEpoch(world.clock.now() + 1);
    world.service.log = next;
    await world.clock.advance(2 * HOUR_MS, () => {
      if (world.clock.now() - next.newest.record.timestampMs > 4 * MINUTE_MS) next.closeEpoch(world.clock.now());
    });
    assert.ok(
      world.codes().some((code) => code.startsWith("history-shorter")),
      world.codes().join(),
    );
    world.stop();
  });

  it("25: a new log without a final epoch of the old", async () => {
    const world = await started();
    const next = new TestLog({ number: 2, startMs: world.clock.now() });
    world.service.log = next;
    await world.clock.advance(70 * MINUTE_MS);
    await sleep(world, 10 * HOUR_MS);
    assert.deepEqual(world.codes(), []);
    await sleep(world, 2 * HOUR_MS);
    assert.deepEqual(world.codes(), ["log-replaced warning"]);
    world.stop();
  });

  /** A log that could take the place of the one there is: at another address, with its histories. */
  function nextOf(world: World): TestLog {
    const next = new TestLog({ number: 2, startMs: world.clock.now() });
    next.reconfigure({ service_url: `${world.log.configuration.service_url}2` });
    for (const userId of [ALICE, BOB]) next.swapPast(userId, world.log.versionsAt(userId, world.log.size - 1));
    next.closeEpoch(world.clock.now() + 1);
    return next;
  }

  /** From now on the server names the next log, which shows this end of the old one; that is served on, or silent. */
  function serveNext(world: World, next: TestLog, end: TestLog | undefined, isSilent = false): void {
    const service = new FakeService(next);
    service.before = end;
    world.otherwise = async (address, init) => {
      const isNew = address.includes("/ckv2/") || address.includes("/.well-known/");
      if (isSilent && !isNew) throw new TypeError("fetch failed");
      return await (isNew ? service : world.service).fetch(address.replace("/ckv2/", "/ckv/"), init);
    };
  }

  function nameSuccessor(log: TestLog, next: TestLog): void {
    log.reconfigure({ successor: { origin: next.origin, log_key: next.vkey } });
  }

  /** A log that closes for another one, which is served beside it. */
  function move(world: World): TestLog {
    const next = nextOf(world);
    nameSuccessor(world.log, next);
    world.epoch();
    serveNext(world, next, undefined);
    return next;
  }

  it("25: a proper successor, for a client that has not seen the final epoch", async () => {
    const world = await started();
    world.ckv.stop();
    const next = move(world);
    await world.clock.advance(HOUR_MS);
    next.closeEpoch(world.clock.now());
    await world.start();
    assert.deepEqual(world.codes(), ["log-moved notice"]);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "first-look" });
    world.stop();
  });

  for (const [name, names, codes] of [
    ["a proper successor, for a client that can't ask the old log any more", true, ["log-moved notice"]],
    ["a new log whose predecessor did not name it, and is silent", false, ["log-replaced warning"]],
  ] as const)
    it(`25: ${name}`, async () => {
      const world = await started();
      world.ckv.stop();
      const next = nextOf(world);
      if (names) nameSuccessor(world.log, next);
      world.epoch();
      serveNext(world, next, world.log, true);
      await world.start();
      for (let hour = 0; hour < 14; hour += 1) {
        await world.clock.advance(HOUR_MS);
        next.closeEpoch(world.clock.now());
      }
      await world.ckv.refresh(ALICE);
      assert.deepEqual(world.codes(), codes);
      world.stop();
    });

  it("25: a new log that shows the end of an old one which goes on", async () => {
    const world = await started();
    const next = nextOf(world);
    const end = world.log.fork();
    nameSuccessor(end, next);
    end.closeEpoch(world.clock.now());
    serveNext(world, next, end);
    await world.pass(14 * HOUR_MS);
    await world.ckv.refresh(ALICE);
    assert.deepEqual(world.codes(), ["log-replaced warning"]);
    world.stop();
  });

  for (const [name, isSilent, growth, hours, codes] of [
    ["an old one that ends in a branch: proof of two histories", false, 1, 2, ["head-fork evidence"]],
    ["a silent old one whose end is of the size of a head that is known: proof", true, 0, 2, ["head-fork evidence"]],
    ["a silent old one whose end lies before the head that is known", true, -1, 14, ["log-replaced warning"]],
  ] as const)
    it(`25: a new log, and ${name}`, async () => {
      const world = await started();
      const end = world.log.fork();
      await world.pass(15 * 60_000);
      await world.ckv.refresh(ALICE);
      const next = nextOf(world);
      nameSuccessor(end, next);
      while (end.size < world.log.size + growth) end.closeEpoch(world.clock.now() + end.size);
      if (!isSilent) world.service.log = end;
      serveNext(world, next, end, isSilent);
      for (let hour = 0; hour < hours; hour += 1) {
        await world.clock.advance(HOUR_MS);
        next.closeEpoch(world.clock.now());
      }
      await world.ckv.refresh(ALICE);
      assert.deepEqual(world.codes(), codes);
      for (const { evidence } of world.warnings) {
        if (evidence !== undefined) assert.equal(verifyEvidence(evidence).code, "head-fork");
      }
      world.stop();
    });

  it("25: a contact's new device in the very minute in which the log moves", async () => {
    const world = await started();
    await pin(world);
    await world.pass(MINUTE_MS);
    const next = move(world);
    world.alice.devices.set("ALAPTOP", {});
    next.setEntry(ALICE, world.alice.entry());
    next.closeEpoch(world.clock.now() + 2);
    world.client.update(world.alice);
    await world.clock.advance(30_000);
    assert.deepEqual(world.codes().sort(), ["config-changed notice", "log-moved notice"]);
    assert.equal(world.ckv.statusOf(ALICE).verdict.kind, "verified");
    world.stop();
  });

  it("28: another key for the log than the one that is pinned", async () => {
    const world = await started();
    const vkey = new TestLog({ number: 1, serverName: "other.org" }).vkey;
    const [, id, key] = vkey.split("+");
    assert.ok(id !== undefined && key !== undefined);
    const other = new TestLog({ number: 1 });
    other.logSeed.set(seedOf("another log key"));
    other.reconfigure({ log_key: other.vkey });
    world.service.log = other;
    await world.clock.advance(2 * HOUR_MS);
    assert.ok(world.codes().includes("log-key-differs warning"), world.codes().join());
    world.stop();
  });

  it("29: a server that had a log names none", async () => {
    const world = await started();
    world.service.withoutLog = true;
    await world.pass(70 * MINUTE_MS);
    await sleep(world, 12 * HOUR_MS);
    assert.deepEqual(world.codes(), ["log-gone warning"]);
    world.stop();
  });

  it("29: a server that names no log for some hours, by a slip", async () => {
    const world = await started();
    await pin(world);
    for (const withoutLog of [true, false, true]) {
      world.service.withoutLog = withoutLog;
      await world.pass(70 * MINUTE_MS);
      await sleep(world, 10 * HOUR_MS);
      await addDevice(world, `after ${String(world.clock.now())}`);
      assert.equal(world.ckv.statusOf(ALICE).verdict.kind, "verified");
    }
    assert.deepEqual(world.codes(), []);
    world.stop();
  });
});

describe("attacks on keys and entries", () => {
  it("46: more devices in the log than it can hold, and one of them used here", async () => {
    const world = await started();
    for (let at = 0; at < 120; at += 1) world.alice.devices.set(`D${String(at)}`, {});
    world.log.setEntry(ALICE, world.alice.entry());
    world.epoch();
    const ghost = copyOf(world.alice);
    ghost.devices.clear();
    for (const deviceId of ["APHONE", "GHOST"]) ghost.devices.set(deviceId, {});
    world.client.update(ghost);
    await world.pass(1_000);
    assert.ok(world.codes().includes("entry-refused warning"), world.codes().join());
    world.stop();
  });

  it("46: more own devices in the log than it can hold", async () => {
    const world = await started();
    const many = copyOf(world.bob);
    for (let at = 0; at < 120; at += 1) many.devices.set(`D${String(at)}`, {});
    world.log.setEntry(BOB, many.entry());
    world.epoch();
    await world.ckv.refresh(BOB);
    assert.ok(world.codes().includes("own-refused warning"), world.codes().join());
    world.stop();
  });

  it("51, 52: a login, and a logout seconds later, both logged in time", async () => {
    const world = await started();
    world.alice.devices.set("ALAPTOP", {});
    world.client.update(world.alice);
    world.client.write(ROOM);
    world.log.setEntry(ALICE, world.alice.entry());
    await world.pass(500);
    world.alice.devices.delete("ALAPTOP");
    world.client.update(world.alice);
    world.log.setEntry(ALICE, world.alice.entry());
    await world.pass(30_000);
    assert.deepEqual(world.codes(), []);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "first-look" });
    world.stop();
  });

  it("54: the same device id with other keys", async () => {
    const world = await started();
    const changed = copyOf(world.alice);
    changed.devices.set("APHONE", { keyName: "mallory" });
    world.client.update(changed);
    await world.pass(15_000);
    assert.deepEqual(world.codes(), ["device-key-changed warning"]);
    world.stop();
  });
});

describe("attacks on promises", () => {
  /** Alice has a tablet that the log promises to merge, and another branch of the log does. */
  async function promised(): Promise<World> {
    const world = await started();
    const more = copyOf(world.alice);
    more.devices.set("ATABLET", {});
    world.service.promises.set(ALICE, world.log.fork().promise(ALICE, more.entry(), world.clock.now()));
    world.client.update(more);
    await world.pass(900);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "promise-pending" });
    return world;
  }

  function assertBroken(world: World): void {
    const broken = world.warnings.find(({ code }) => code === "promise-broken");
    assert.equal(verifyEvidence(broken?.evidence ?? "").code, "promise-broken", world.codes().join());
    world.stop();
  }

  it("58: a log whose time is slowed so that it need not keep its word", async () => {
    const world = await promised();
    const slow = world.log.newest.record.timestampMs;
    const honest = world.log.closeEpoch.bind(world.log);
    let tick = 0;
    world.log.closeEpoch = (_, lie) => honest(slow + (tick += 1), lie);
    await world.pass(12 * MINUTE_MS);
    assert.ok(world.codes().includes("promise-overdue warning"), world.codes().join());
    world.stop();
  });

  it("59: another key for promises does not undo the promise", async () => {
    const world = await promised();
    const other = new TestLog({ number: 1 });
    other.promiseSeed.set(seedOf("another promise key"));
    world.log.reconfigure({ promise_key: other.configuration.promise_key });
    await world.pass(12_000);
    assertBroken(world);
  });

  it("60: two promises for one version", async () => {
    const world = await promised();
    const more = copyOf(world.alice);
    more.devices.set("AWATCH", {});
    const fork = world.log.fork();
    fork.setEntry(BOB, world.bob.entry());
    world.service.promises.set(ALICE, fork.promise(ALICE, more.entry(), world.clock.now()));
    world.client.update(more);
    await world.pass(900);
    assert.ok(world.codes().includes("promise-conflict evidence"), world.codes().join());
    world.stop();
  });

  it("61: a log that closes before it merges", async () => {
    const world = await promised();
    const next = new TestLog({ number: 2 });
    world.log.reconfigure({ successor: { origin: next.origin, log_key: next.vkey } });
    await world.pass(2_000);
    assertBroken(world);
  });

  it("63: a client that is offline when the promise is due", async () => {
    const world = await promised();
    world.service.down = true;
    await world.pass(HOUR_MS);
    world.service.down = false;
    await world.ckv.refresh(ALICE);
    assertBroken(world);
  });
});

describe("attacks on the own account", () => {
  it("12: a device that came and went while nobody was there", async () => {
    const world = await started();
    world.service.down = true;
    await world.pass(MINUTE_MS);
    const ghost = copyOf(world.bob);
    ghost.devices.set("GHOST", { signedByOwner: false });
    world.log.setEntry(BOB, ghost.entry());
    world.epoch();
    world.log.setEntry(BOB, world.bob.entry());
    world.epoch();
    world.service.down = false;
    await world.ckv.refresh(BOB);
    await world.pass(30 * MINUTE_MS);
    assert.deepEqual(world.codes(), ["own-unknown-device warning"]);
    world.stop();
  });

  it("47: an own version whose content is withheld", async () => {
    const world = await started();
    for (const deviceId of ["BTABLET", "BWATCH"]) {
      world.bob.devices.set(deviceId, {});
      world.log.setEntry(BOB, world.bob.entry());
    }
    world.epoch();
    world.service.lies.set("/v1/history/versions", (body) => {
      const { n, versions } = world.log.versions(BOB, Number(body["from"]), Number(body["to"]));
      const bare = versions.map(({ version, epoch, commitment, proof }) => ({ version, epoch, commitment, proof }));
      return { n, versions: versions.map((each, at) => (each.version === 2 ? bare[at] : each)) };
    });
    await world.ckv.refresh(BOB);
    assert.deepEqual(world.codes(), ["own-version-hidden warning"]);
    world.stop();
  });

  it("12: own versions that a log won't show are told after a day", async () => {
    const world = await started();
    world.bob.devices.set("BTABLET", {});
    world.log.setEntry(BOB, world.bob.entry());
    world.epoch();
    world.service.lies.set("/v1/history/versions", refuse(503));
    await world.ckv.refresh(BOB);
    assert.deepEqual(world.codes(), []);
    world.ckv.stop();
    await world.pass(25 * HOUR_MS);
    await world.start();
    assert.deepEqual(world.codes(), ["own-version-hidden warning"]);
    world.stop();
  });

  it("11: an own settling epoch that is withheld is told after ten minutes, not after a moment", async () => {
    const world = await started();
    world.service.lies.set("/v1/lookup", refuse(503));
    await world.pass(3 * HOUR_MS);
    world.service.lies.clear();
    world.service.lies.set("/v1/settled", refuse(404));
    await world.ckv.refresh(BOB);
    assert.deepEqual(world.codes(), []);
    await world.pass(15 * MINUTE_MS);
    await world.ckv.refresh(BOB);
    assert.deepEqual(world.codes(), ["settle-overdue warning"]);
    world.stop();
  });

  it("11: an own history that grows between two questions is no contradiction", async () => {
    const world = await started();
    world.service.lies.set("/v1/lookup", refuse(503));
    await world.pass(3 * HOUR_MS);
    world.service.lies.clear();
    world.service.size = world.log.size;
    world.bob.devices.set("BTABLET", {});
    world.log.setEntry(BOB, world.bob.entry());
    world.epoch();
    let asked = 0;
    world.service.lies.set("/v1/settled", ({ epoch }) => {
      asked += 1;
      return world.log.settled(BOB, Number(epoch));
    });
    await world.ckv.refresh(BOB);
    assert.ok(asked > 0);
    assert.equal(world.ckv.ownStatus().reason, undefined);
    assert.deepEqual(world.codes(), []);
    world.stop();
  });

  it("69: the own account's contacts are untouched by its reset", async () => {
    const world = await started();
    world.bob.reset("own doing");
    world.log.setEntry(BOB, world.bob.entry());
    world.epoch();
    world.client.emit("crossSigning.keysChanged", {});
    await world.pass(30_000);
    assert.deepEqual(world.codes(), []);
    world.stop();
  });
});
