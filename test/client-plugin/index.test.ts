/** The plugin as a host uses it: a fake client, a log in memory, and time that moves when the test says so. */
import assert from "node:assert/strict";
import { encodePublicCode } from "../../shared/codes/public-code.ts";
import { verifyEvidence } from "../../shared/proofs/evidence.ts";
import { seedOf } from "../support/test-user.ts";
import { ContactKeyVerification } from "../../client-plugin/index.ts";
import { copyOf } from "./fake-client.ts";
import { ALICE, BOB, ROOM, START_MS, World } from "./world.ts";

describe("ContactKeyVerification", () => {
  it("sees a contact for the first time, and after a day on the ground of its own history", async () => {
    const world = new World();
    await world.start();
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "first-look" });
    assert.equal(world.ckv.statusOf(ALICE).enrolled, true);
    await world.pass(2 * 3_600_000);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "first-look" });
    world.ckv.stop();
    await world.pass(23 * 3_600_000);
    await world.start();
    assert.deepEqual(world.verdict(), { kind: "consistent", ground: "own-history" });
    assert.deepEqual(world.codes(), []);
    world.stop();
  });

  it("looks at the log alone for somebody to whom nothing is encrypted yet", async () => {
    const world = new World();
    world.client.store.delete(ALICE);
    await world.start();
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "first-look" });
    world.client.update(world.alice);
    await world.pass(2_000);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "first-look" });
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
    assert.deepEqual(
      world.client.sent.map(({ content }) => content["msgtype"]),
      ["m.notice"],
    );
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

describe("ContactKeyVerification against a lying server", () => {
  it("takes a swapped master key of a pinned contact for what it is", async () => {
    const world = new World();
    await world.start();
    await world.ckv.markVerified(ALICE, encodePublicCode(ALICE, world.alice.masterKey));
    await world.pass(100);
    assert.deepEqual(world.verdict(), { kind: "verified", method: "public-code", atMs: world.clock.now() - 100 });
    const swapped = copyOf(world.alice);
    swapped.reset("mallory");
    world.client.update(swapped);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "key-pending" });
    await world.pass(15_000);
    assert.deepEqual(world.codes(), ["pin-mismatch warning"]);
    world.stop();
  });

  it("keeps the old pin through a logged reset, and warns whoever had verified", async () => {
    const world = new World();
    await world.start();
    await world.ckv.markVerified(ALICE, encodePublicCode(ALICE, world.alice.masterKey));
    world.alice.reset("new phone");
    world.client.update(world.alice);
    world.log.setEntry(ALICE, world.alice.entry());
    await world.pass(20_000);
    assert.deepEqual(world.codes(), ["reset-unsigned warning"]);
    assert.equal(world.ckv.statusOf(ALICE).verdict.kind, "warning");
    await world.ckv.markVerified(ALICE, encodePublicCode(ALICE, world.alice.masterKey));
    assert.equal(world.ckv.statusOf(ALICE).verdict.kind, "verified");
    assert.deepEqual(world.ckv.warnings(), []);
    world.stop();
  });

  it("gives one notice of a reset to whoever had not verified", async () => {
    const world = new World();
    await world.start();
    world.alice.reset("new phone");
    world.client.update(world.alice);
    world.log.setEntry(ALICE, world.alice.entry());
    await world.pass(20_000);
    assert.deepEqual(world.codes(), ["reset-unsigned notice"]);
    world.stop();
  });

  it("greys a contact whose device is hidden from it, and tells after a day", async () => {
    const world = new World();
    world.alice.devices.set("ALAPTOP", {});
    world.log.setEntry(ALICE, world.alice.entry());
    world.epoch();
    await world.start();
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "store-behind" });
    await world.pass(3_600_000);
    assert.deepEqual(world.codes(), []);
    world.stop();
  });

  it("proves a fork between what it saw and what it is shown", async () => {
    const world = new World();
    await world.start();
    const fork = world.log.fork();
    world.epoch();
    await world.pass(1_000);
    await world.ckv.refresh(ALICE);
    world.service.log = fork;
    fork.closeEpoch(world.clock.now() + 1);
    fork.closeEpoch(world.clock.now() + 2);
    fork.closeEpoch(world.clock.now() + 3);
    await world.ckv.refresh(ALICE);
    assert.deepEqual(world.codes(), ["head-fork evidence"]);
    const evidence = world.warnings[0]?.evidence;
    assert.ok(evidence !== undefined);
    assert.equal(verifyEvidence(evidence).code, "head-fork");
    world.stop();
  });

  it("stays grey and silent while the network is down, and comes back", async () => {
    const world = new World();
    await world.start();
    world.service.down = true;
    await world.ckv.refresh(ALICE);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "offline" });
    await world.pass(60_000);
    world.service.down = false;
    await world.pass(60_000);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "first-look" });
    assert.deepEqual(world.codes(), []);
    world.stop();
  });

  it("tells of keys that changed while the log can't be asked", async () => {
    const world = new World();
    await world.start();
    world.service.down = true;
    const swapped = copyOf(world.alice);
    swapped.reset("mallory");
    world.client.update(swapped);
    await world.pass(20_000);
    assert.deepEqual(world.codes(), ["changed-unchecked notice"]);
    world.stop();
  });

  it("tells of a week without a check once somebody writes all the same, and an hour later nothing has changed", async () => {
    const world = new World();
    await world.start();
    world.service.down = true;
    await world.ckv.refresh(ALICE);
    world.client.write(ROOM);
    await world.clock.advance(1_000);
    world.clock.jump(8 * 86_400_000);
    await world.clock.advance(3 * 3_600_000);
    assert.deepEqual(world.codes(), []);
    world.client.write(ROOM);
    await world.clock.advance(50 * 60_000);
    assert.deepEqual(world.codes(), []);
    await world.clock.advance(90 * 60_000);
    assert.deepEqual(world.codes(), ["unchecked-long notice"]);
    assert.equal(world.warnings[0]?.sinceMs, START_MS + 100);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "offline" });
    world.client.write(ROOM);
    await world.clock.advance(3 * 3_600_000);
    assert.equal(world.warnings.length, 1);
    world.stop();
  });

  it("tells of no week without a check to a device that slept through it", async () => {
    const world = new World();
    await world.start();
    world.service.down = true;
    await world.ckv.refresh(ALICE);
    world.clock.jump(8 * 86_400_000);
    world.client.write(ROOM);
    await world.clock.advance(10_000);
    world.epoch();
    world.service.down = false;
    await world.pass(3 * 3_600_000);
    assert.deepEqual(world.verdict(), { kind: "consistent", ground: "own-history" });
    assert.deepEqual(world.codes(), []);
    world.stop();
  });

  it("notices a log that was set back: grey, notice, warning", async () => {
    const world = new World();
    await world.start();
    world.service.size = world.log.size - 1;
    await Promise.all([world.ckv.refresh(ALICE), world.pass(5_000)]);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "stale" });
    await world.clock.advance(11 * 60_000);
    assert.deepEqual(world.codes(), ["head-withheld notice"]);
    world.stop();
  });

  it("notices a log that stands still", async () => {
    const world = new World();
    await world.start();
    await world.clock.advance(16 * 60_000);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "stale" });
    assert.deepEqual(world.codes(), []);
    world.stop();
  });

  it("proves that a version it saw was taken back", async () => {
    const world = new World();
    world.alice.devices.set("ALAPTOP", {});
    world.client.store.set(ALICE, copyOf(world.alice));
    world.log.setEntry(ALICE, world.alice.entry());
    world.epoch();
    await world.start();
    const first = copyOf(world.alice);
    first.devices.delete("ALAPTOP");
    world.log.forge(ALICE, [first.entry()]);
    await world.pass(2_000);
    world.epoch();
    await world.ckv.refresh(ALICE);
    assert.deepEqual(world.codes(), ["history-shorter evidence"]);
    assert.equal(verifyEvidence(world.warnings[0]?.evidence ?? "").code, "history-shorter");
    world.stop();
  });

  it("proves that a contact vanished", async () => {
    const world = new World();
    await world.start();
    world.log.forget(ALICE);
    world.log.closeEpoch(world.clock.now(), { labels: 2 });
    await world.ckv.refresh(ALICE);
    assert.deepEqual(world.codes(), ["leaf-vanished evidence"]);
    world.stop();
  });

  it("takes a promise for a new key, and proves that it was broken", async () => {
    const world = new World();
    await world.start();
    const more = copyOf(world.alice);
    more.devices.set("ATABLET", {});
    world.service.onRefresh = () => {
      if (world.service.promises.size > 0) return;
      world.service.promises.set(ALICE, world.log.fork().promise(ALICE, more.entry(), world.clock.now()));
    };
    world.client.update(more);
    await world.pass(900);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "promise-pending" });
    await world.pass(12_000);
    assert.ok(world.codes().includes("promise-broken evidence"), world.codes().join());
    const broken = world.warnings.find(({ code }) => code === "promise-broken");
    assert.equal(verifyEvidence(broken?.evidence ?? "").code, "promise-broken");
    world.stop();
  });

  it("tells a statement that is off from one that is missing", async () => {
    const world = new World();
    const since = { n: 1, root: seedOf("any") };
    world.log.setEntry(ALICE, world.alice.entry(world.alice.statement({ ckv: "on", counter: 1, since })));
    world.epoch();
    await world.start();
    world.log.setEntry(ALICE, world.alice.entry(world.alice.statement({ ckv: "off", counter: 2, since })));
    await world.pass(2_000);
    await world.ckv.refresh(ALICE);
    assert.deepEqual(world.codes(), ["statement-off notice"]);
    world.log.setEntry(ALICE, world.alice.entry());
    await world.pass(2_000);
    await world.ckv.refresh(ALICE);
    assert.deepEqual(world.codes(), ["statement-off notice", "statement-missing warning"]);
    world.stop();
  });
});

describe("ContactKeyVerification of the own account", () => {
  it("turns on: enrols, joins, says so with the master key, and never asks at start", async () => {
    const world = new World();
    await world.start();
    assert.equal(world.client.prompts, 0);
    world.service.onRefresh = () => {
      const statement = world.service.statements.at(-1);
      if (statement !== undefined) world.log.setEntry(BOB, world.bob.entry(statement));
    };
    const [{ devicesWithoutCkv }] = await Promise.all([world.ckv.turnOn(), world.pass(5_000)]);
    assert.deepEqual(devicesWithoutCkv, []);
    assert.deepEqual(world.client.joined, ["!members:example.org"]);
    assert.equal(world.ckv.ownStatus().state, "on");
    await Promise.all([world.ckv.turnOff(), world.pass(5_000)]);
    assert.equal(world.ckv.ownStatus().state, "off");
    assert.deepEqual(
      world.service.statements.map(({ ckv, counter }) => `${ckv} ${String(counter)}`),
      ["on 1", "off 2"],
    );
    assert.deepEqual(world.codes(), []);
    world.stop();
  });

  it("warns of a device nobody verified, and of an identity it did not make", async () => {
    const world = new World();
    await world.start();
    const changed = copyOf(world.bob);
    changed.devices.set("INTRUDER", { signedByOwner: false });
    world.log.setEntry(BOB, changed.entry());
    world.epoch();
    world.client.emit("crossSigning.keysChanged", {});
    await world.pass(1_000);
    assert.deepEqual(world.codes(), []);
    await world.pass(11 * 60_000);
    assert.deepEqual(world.codes(), ["own-unknown-device warning"]);
    changed.reset("mallory");
    world.log.setEntry(BOB, changed.entry());
    world.epoch();
    world.client.emit("crossSigning.keysChanged", {});
    await world.pass(1_000);
    assert.ok(world.codes().includes("own-identity-replaced warning"), world.codes().join());
    world.stop();
  });
});

describe("ContactKeyVerification as a guest in a client", () => {
  it("gives the client back as it was, and starts again", async () => {
    const world = new World();
    const before = world.client.listenerCount();
    await world.start();
    assert.notEqual(world.client.http.opts.fetchFn, undefined);
    world.ckv.stop();
    assert.equal(world.client.listenerCount(), before);
    assert.equal(world.client.http.opts.fetchFn, undefined);
    await world.start();
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "first-look" });
    world.stop();
  });

  it("reports its own failures and throws nothing into the client", async () => {
    const world = new World();
    await world.start();
    world.client.getCrypto().getUserDeviceInfo = () => Promise.reject(new Error("null pointer passed to rust"));
    world.client.emit("crypto.devicesUpdated", undefined);
    world.client.emit("receivedToDeviceMessage", undefined);
    await world.pass(100);
    assert.ok(world.errors.length > 0);
    world.errors.length = 0;
    world.stop();
  });

  it("does not start on a client that lacks what it needs, and names that", async () => {
    const methods = ["queueToDevice", "uploadKeySignatures"] as const;
    const ofCrypto = ["getUserDeviceInfo", "getOwnDeviceKeys", "getDeviceVerificationStatus"] as const;
    const world = new World();
    const refuses = async (missing: string, changed: object): Promise<void> => {
      const own = (name: string | symbol): unknown => {
        const value: unknown = Reflect.get(name in changed ? changed : world.client, name);
        return typeof value === "function" ? (value.bind(world.client) as unknown) : value;
      };
      const client = new Proxy(world.client, {
        get: (_, name) => own(name),
        has: (_, name) => own(name) !== undefined,
      });
      const ckv = new ContactKeyVerification({ client, storage: world.storage });
      await assert.rejects(ckv.start(), { name: "VerdictError", code: "client-unsupported", message: missing });
      assert.equal(world.client.listenerCount(), 0);
    };
    await refuses("initRustCrypto()", { getCrypto: () => undefined });
    for (const method of methods) await refuses(method, { [method]: undefined });
    for (const method of ofCrypto) {
      const crypto = world.client.getCrypto();
      Reflect.deleteProperty(crypto, method);
      await refuses(method, { getCrypto: () => crypto });
    }
    const without = world.client.getCrypto();
    Reflect.deleteProperty(without, "getUserCrossSigningKeys");
    Reflect.deleteProperty(without, "encryptToDeviceMessages");
    await refuses("encryptToDeviceMessages,getUserCrossSigningKeys", { getCrypto: () => without });
    await world.start();
    world.stop();
  });

  it("sees a ghost that stood only in an answer of the server", async () => {
    const world = new World();
    await world.start();
    const ghost = copyOf(world.alice);
    ghost.devices.set("GHOST", { signedByOwner: false });
    world.client.http.opts.fetchFn ??= globalThis.fetch;
    world.ckv.stop();
    world.client.http.opts.fetchFn = async () => await Promise.resolve(new Response(ghost.keysQuery()));
    await world.start();
    await world.client.http.opts.fetchFn("https://example.org/_matrix/client/v3/keys/query", { method: "POST" });
    await world.pass(500);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "key-pending" });
    world.client.write(ROOM);
    await world.pass(15_000);
    assert.deepEqual(world.codes(), ["key-never-logged warning"]);
    world.stop();
  });

  it("forgets a warning when it is dismissed", async () => {
    const world = new World();
    await world.start();
    const ghost = copyOf(world.alice);
    ghost.devices.set("GHOST", { signedByOwner: false });
    world.client.update(ghost);
    world.client.write(ROOM);
    await world.pass(1_000);
    world.client.write(ROOM);
    await world.pass(12_000);
    world.client.update(world.alice);
    await world.pass(1_000);
    assert.equal(world.ckv.statusOf(ALICE).verdict.kind, "warning");
    for (const { id } of world.ckv.warnings()) await world.ckv.dismiss(id);
    await world.pass(1_000);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "first-look" });
    assert.deepEqual(world.ckv.warnings(), []);
    world.stop();
  });

  it("shows a contact's history", async () => {
    const world = new World();
    await world.start();
    world.alice.devices.set("ALAPTOP", {});
    world.log.setEntry(ALICE, world.alice.entry());
    await world.pass(2_000);
    const history = await world.ckv.historyOf(ALICE);
    assert.deepEqual(
      history.map(({ version, added }) => ({ version, added })),
      [
        { version: 2, added: ["ALAPTOP"] },
        { version: 1, added: ["APHONE"] },
      ],
    );
    assert.ok(history.every(({ timestampMs }) => timestampMs >= START_MS));
    world.stop();
  });
});
