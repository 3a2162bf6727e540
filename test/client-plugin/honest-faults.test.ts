/** What honest people, servers and logs get into, and what must not be said then; each beside the lie that looks like it. */
import assert from "node:assert/strict";
import { BOB, World } from "./world.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

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
