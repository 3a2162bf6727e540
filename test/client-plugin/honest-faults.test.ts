/** What honest people, servers and logs get into, and what must not be said then; each beside the lie that looks like it. */
import assert from "node:assert/strict";
import { buildEntry, closedEntry } from "../../shared/directory/entry.ts";
import { without } from "../support/without.ts";
import { copyOf } from "./fake-client.ts";
import { ALICE, BOB, ROOM, World } from "./world.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** Bob has one more device, which he has signed. */
async function addOwnDevice(world: World): Promise<void> {
  world.bob.devices.set("BTABLET", {});
  world.client.update(world.bob);
  await world.pass(100);
}

describe("own keys that the log lacks", () => {
  it("tells of an own device that the log leaves out", async () => {
    const world = new World();
    await world.start();
    await addOwnDevice(world);
    await world.pass(9_000);
    assert.deepEqual(world.codes(), []);
    await world.pass(5_000);
    assert.deepEqual(world.codes(), ["own-key-missing warning"]);
    world.stop();
  });

  it("says nothing of an own device that came while the log was away, and that it takes up when it is back", async () => {
    const world = new World();
    await world.start();
    world.service.down = true;
    await world.pass(HOUR_MS);
    await addOwnDevice(world);
    await world.pass(10 * MINUTE_MS);
    world.service.down = false;
    await world.ckv.refresh(BOB);
    await world.pass(2_000);
    world.log.setEntry(BOB, world.bob.entry());
    await world.pass(MINUTE_MS);
    assert.deepEqual(world.codes(), []);
    world.stop();
  });
});

describe("an entry without keys between two with keys", () => {
  const since = { n: 1, root: new Uint8Array(32) };

  it("hides no statement that is gone afterwards", async () => {
    const world = new World();
    world.log.setEntry(ALICE, world.alice.entry(world.alice.statement({ ckv: "on", counter: 1, since })));
    world.epoch();
    await world.start();
    const many = copyOf(world.alice);
    for (let at = 0; at < 120; at += 1) many.devices.set(`D${String(at)}`, {});
    world.log.setEntry(ALICE, many.entry());
    world.epoch();
    await world.ckv.refresh(ALICE);
    world.log.setEntry(ALICE, world.alice.entry());
    world.epoch();
    await world.ckv.refresh(ALICE);
    assert.ok(world.codes().includes("statement-missing warning"), world.codes().join());
    world.stop();
  });

  it("hides no reset: the account was closed, and is back with another identity", async () => {
    const world = new World();
    await world.start();
    world.log.setEntry(ALICE, closedEntry(ALICE));
    world.epoch();
    await world.ckv.refresh(ALICE);
    assert.deepEqual(world.codes(), ["account-closed notice"]);
    world.alice.reset("mallory");
    world.log.setEntry(ALICE, world.alice.entry());
    world.epoch();
    world.client.update(world.alice);
    await world.pass(11_000);
    assert.deepEqual(world.codes(), ["account-closed notice", "reset-unsigned notice"]);
    world.stop();
  });
});

describe("keys whose version was erased", () => {
  it("says nothing of a device that was checked, and removed while this client was away", async () => {
    const world = new World();
    world.alice.devices.set("ATABLET", {});
    world.log.setEntry(ALICE, world.alice.entry());
    world.epoch();
    await world.start();
    world.client.update(world.alice);
    await world.pass(1_000);
    world.ckv.stop();
    world.alice.devices.delete("ATABLET");
    world.log.setEntry(ALICE, world.alice.entry());
    await world.pass(40 * DAY_MS);
    world.service.lies.set("/v1/history/versions", (body) => {
      const { n, versions } = world.log.versions(ALICE, Number(body["from"]), Number(body["to"]));
      return { n, versions: versions.map((version) => without(version, "opening", "entry")) };
    });
    await world.start();
    world.client.write(ROOM);
    await world.pass(5_000);
    world.client.update(world.alice);
    await world.pass(MINUTE_MS);
    assert.deepEqual(world.codes(), []);
    world.stop();
  });
});

describe("a key that the log has only called unreadable", () => {
  it("is unlogged once the log does not even do that", async () => {
    const world = new World();
    await world.start();
    const ghost = copyOf(world.alice);
    ghost.devices.set("GHOST", { signedByOwner: false });
    world.client.update(ghost);
    const shown = world.alice.observed();
    const devices = new Map([...shown.devices, ["GHOST", "{}"]]);
    world.log.setEntry(ALICE, buildEntry(ALICE, { ...shown, devices }).bytes);
    await world.pass(30_000);
    assert.deepEqual(world.codes(), ["device-unreadable warning"]);
    world.log.setEntry(ALICE, world.alice.entry());
    await world.pass(HOUR_MS);
    assert.deepEqual(world.codes(), ["device-unreadable warning", "key-never-logged notice"]);
    world.stop();
  });
});

describe("other keys under a known device id", () => {
  it("are a warning also where the log holds them, and one only", async () => {
    const world = new World();
    await world.start();
    world.alice.devices.set("APHONE", { keyName: "mallory" });
    world.client.update(world.alice);
    await world.pass(15_000);
    assert.deepEqual(world.codes(), ["device-key-changed warning"]);
    world.log.setEntry(ALICE, world.alice.entry());
    await world.pass(MINUTE_MS);
    assert.deepEqual(world.codes(), ["device-key-changed warning"]);
    world.stop();
  });

  it("are a warning where log and store change at once", async () => {
    const world = new World();
    await world.start();
    world.alice.devices.set("APHONE", { keyName: "mallory" });
    world.log.setEntry(ALICE, world.alice.entry());
    world.epoch();
    world.client.update(world.alice);
    await world.pass(MINUTE_MS);
    assert.deepEqual(world.codes(), ["device-key-changed warning"]);
    world.stop();
  });
});
