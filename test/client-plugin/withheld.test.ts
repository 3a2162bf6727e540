/** A newest version whose content the log keeps back, as if it had been erased; and one that may have been. */
import assert from "node:assert/strict";
import { encodePublicCode } from "../../shared/codes/public-code.ts";
import { TestLog } from "../support/test-log.ts";
import { without } from "../support/without.ts";
import { copyOf } from "./fake-client.ts";
import { ALICE, BOB, ROOM, World } from "./world.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const WITHHELD = { kind: "unchecked", reason: "commitment" };

/** The log shows the newest content of a user no more. */
function withhold(world: World, userId: string): void {
  const { service } = world;
  service.lies.set("/v1/lookup", ({ user_id: asked }) => {
    const { head, user } = service.log.lookup(String(asked));
    if (asked !== userId || user.leaf === undefined) return { head, user };
    return { head, user: { ...user, leaf: without(user.leaf, "opening", "entry") } };
  });
  service.lies.set("/v1/history/versions", ({ user_id: asked, from, to }) => {
    const { n, versions } = service.log.versions(String(asked), Number(from), Number(to));
    const shown = versions.map((each) =>
      asked === userId && each.version === n ? without(each, "opening", "entry") : each,
    );
    return { n, versions: shown };
  });
}

/** Alice has removed a device; the client knows of that from its store alone. */
async function removed(): Promise<World> {
  const world = new World();
  world.alice.devices.set("ATABLET", {});
  world.log.setEntry(ALICE, world.alice.entry());
  world.epoch();
  world.client.update(world.alice);
  await world.start();
  world.alice.devices.delete("ATABLET");
  world.log.setEntry(ALICE, world.alice.entry());
  world.epoch();
  world.client.update(world.alice);
  return world;
}

describe("a contact's newest version that does not open", () => {
  for (const pinned of [false, true])
    it(`47: is grey, and told after a day${pinned ? "; of a pinned contact, too" : ""}`, async () => {
      const world = await removed();
      if (pinned) await world.ckv.markVerified(ALICE, encodePublicCode(ALICE, world.alice.masterKey));
      withhold(world, ALICE);
      await world.ckv.refresh(ALICE);
      assert.deepEqual(world.verdict(), WITHHELD);
      await world.pass(23 * HOUR_MS);
      assert.deepEqual(world.verdict(), WITHHELD);
      assert.deepEqual(world.codes(), []);
      await world.pass(3 * HOUR_MS);
      assert.deepEqual(world.codes(), ["commitment warning"]);
      assert.equal((world.verdict() as { kind: string }).kind, "warning");
      world.stop();
    });

  it("is told to who meets the contact for the first time", async () => {
    const world = new World();
    withhold(world, ALICE);
    world.client.store.delete(ALICE);
    await world.start();
    assert.deepEqual(world.verdict(), WITHHELD);
    await world.pass(26 * HOUR_MS);
    assert.deepEqual(world.codes(), ["commitment warning"]);
    world.stop();
  });

  it("is forgotten once it opens", async () => {
    const world = await removed();
    withhold(world, ALICE);
    await world.ckv.refresh(ALICE);
    await world.pass(20 * HOUR_MS);
    world.service.lies.clear();
    await world.pass(20 * HOUR_MS);
    assert.deepEqual(world.verdict(), { kind: "consistent", ground: "own-history" });
    assert.deepEqual(world.codes(), []);
    world.stop();
  });

  it("keeps no ghost from being told in time", async () => {
    const world = await removed();
    withhold(world, ALICE);
    const ghost = copyOf(world.alice);
    ghost.devices.set("GHOST", { signedByOwner: false });
    world.client.update(ghost);
    await world.pass(1_000);
    world.client.write(ROOM);
    await world.pass(20_000);
    assert.deepEqual(world.codes(), ["key-never-logged warning"]);
    world.stop();
  });

  it("hides neither a reset nor a lost statement behind it", async () => {
    const world = new World();
    const since = { n: 1, root: new Uint8Array(32) };
    world.log.setEntry(ALICE, world.alice.entry(world.alice.statement({ ckv: "on", counter: 1, since })));
    world.epoch();
    await world.start();
    for (const [deviceId, code] of [
      ["ATABLET", "statement-missing warning"],
      ["AWATCH", "reset-unsigned notice"],
    ] as const) {
      world.alice.devices.set(deviceId, {});
      world.log.setEntry(ALICE, world.alice.entry());
      world.epoch();
      withhold(world, ALICE);
      await world.ckv.refresh(ALICE);
      assert.ok(!world.codes().includes(code));
      world.service.lies.clear();
      world.alice.devices.delete(deviceId);
      if (code.startsWith("reset")) world.alice.reset("mallory");
      world.log.setEntry(ALICE, world.alice.entry());
      world.epoch();
      world.client.update(world.alice);
      await world.pass(20_000);
      assert.ok(world.codes().includes(code), world.codes().join());
    }
    world.stop();
  });

  it("47: may have been erased when it is older than 30 days: nothing is told", async () => {
    const world = await removed();
    world.ckv.stop();
    world.clock.jump(31 * DAY_MS);
    world.epoch();
    withhold(world, ALICE);
    await world.start();
    await world.pass(26 * HOUR_MS);
    assert.notDeepEqual(world.verdict(), WITHHELD);
    assert.deepEqual(world.codes(), []);
    world.stop();
  });

  it("47: may have been erased in the log before this one", async () => {
    const world = await removed();
    for (let epoch = 0; epoch < 5; epoch += 1) world.epoch();
    const next = new TestLog({ number: 2, startMs: world.clock.now() });
    const { service_url } = world.log.configuration;
    next.reconfigure({ service_url, predecessor: { origin: world.log.origin, log_key: world.log.vkey } });
    world.log.reconfigure({ successor: { origin: next.origin, log_key: next.vkey } });
    world.epoch();
    await world.ckv.refresh(ALICE);
    for (const userId of [ALICE, BOB]) next.swapPast(userId, world.log.versionsAt(userId, world.log.size - 1));
    next.closeEpoch(world.clock.now() + 1);
    world.service.log = next;
    withhold(world, ALICE);
    await world.clock.advance(26 * HOUR_MS, () => {
      if (world.clock.now() - next.newest.record.timestampMs > 4 * MINUTE_MS) next.closeEpoch(world.clock.now());
    });
    const codes = world.codes().filter((code) => code !== "config-changed notice" && code !== "log-moved notice");
    assert.deepEqual(codes, []);
    assert.notDeepEqual(world.verdict(), WITHHELD);
    world.stop();
  });
});

describe("an own newest version that does not open", () => {
  it("47: is told at once, also to a device that knows no version yet", async () => {
    for (const isNew of [false, true]) {
      const world = new World();
      if (!isNew) await world.start();
      world.bob.devices.set("BTABLET", {});
      world.log.setEntry(BOB, world.bob.entry());
      world.epoch();
      withhold(world, BOB);
      if (isNew) await world.start();
      else await world.ckv.refresh(BOB);
      assert.deepEqual(world.codes(), ["own-version-hidden warning"]);
      world.stop();
    }
  });

  it("47: may have been erased when it is older than 30 days: nothing is told", async () => {
    const world = new World();
    world.clock.jump(31 * DAY_MS);
    world.epoch();
    withhold(world, BOB);
    await world.start();
    world.service.requests.length = 0;
    await world.pass(2 * HOUR_MS);
    assert.deepEqual(world.codes(), []);
    // Its keys are in no version that can be read: no reason to ask for them all the time.
    assert.ok(world.service.requests.filter((path) => path === "/v1/lookup").length < 100);
    world.stop();
  });
});
