import assert from "node:assert/strict";
import { AccountState } from "../../client-plugin/contacts.ts";
import { MemoryStorage } from "../../client-plugin/storage.ts";
import { Warnings } from "../../client-plugin/warnings.ts";
import type { Fact } from "../../client-plugin/warnings.ts";
import { TestUser, seedOf } from "../support/test-user.ts";
import { FakeClient, FakeServer } from "./fake-client.ts";
import { ManualClock } from "./manual-clock.ts";
import { ALICE, BOB, START_MS } from "./world.ts";

/** One device of Bob's, as often as it starts. */
class Device {
  readonly clock: ManualClock = new ManualClock(START_MS);
  readonly storage: MemoryStorage = new MemoryStorage();
  readonly told: string[] = [];
  readonly #client = new FakeClient(new FakeServer(), new TestUser(BOB, "BPHONE"), "BPHONE");

  async start(): Promise<Warnings> {
    const { clock, storage, told } = this;
    const state = new AccountState({
      userId: BOB,
      deviceId: "BPHONE",
      storage,
      accountData: {
        read: async () => {
          await Promise.resolve(undefined);
        },
        write: async () => {
          await Promise.resolve();
        },
      },
      clock,
      random: (length) => seedOf("nonce").slice(0, length),
      onChange: () => undefined,
      onDoubt: () => undefined,
    });
    await state.load();
    const warnings = new Warnings({
      client: this.#client,
      state,
      storage,
      clock,
      post: "off",
      signal: new AbortController().signal,
      onWarning: ({ code }) => told.push(code),
      onError: (error) => {
        throw error;
      },
      rank: async () => await Promise.resolve(0),
    });
    await warnings.load();
    return warnings;
  }

  fact(more: Partial<Fact>): Fact {
    return { userId: ALICE, code: "map-proof", class: "warning", key: "", sinceMs: this.clock.now(), ...more };
  }
}

describe("warnings", () => {
  for (const length of [100, 100_000]) {
    it(`keep evidence of ${String(length)} characters over a restart, until they are dismissed`, async () => {
      const device = new Device();
      const evidence = "e".repeat(length);
      await (await device.start()).raise(device.fact({ code: "head-fork", class: "evidence", evidence }));
      const [warning] = (await device.start()).list();
      assert.equal(warning?.evidence, evidence);
      await (await device.start()).dismiss(warning.id);
      await device.start();
      assert.deepEqual(await device.storage.names("evidence:"), []);
    });
  }

  it("tell of a fault again only if it was over and comes back", async () => {
    const device = new Device();
    const warnings = await device.start();
    const first = device.fact({});
    await warnings.raise(first);
    device.clock.jump(1_000);
    for (const { id } of warnings.list()) await warnings.dismiss(id);
    await warnings.raise(first);
    assert.deepEqual([device.told, warnings.list()], [["map-proof"], []]);
    device.clock.jump(1_000);
    const second = device.fact({});
    for (let time = 0; time < 2; time += 1) await warnings.raise(second);
    assert.deepEqual(device.told, ["map-proof", "map-proof"]);
    assert.deepEqual(
      warnings.list().map(({ sinceMs }) => sinceMs),
      [second.sinceMs],
    );
  });

  it("never tell twice of one key, version or proof", async () => {
    const device = new Device();
    const warnings = await device.start();
    for (const about of [{ key: "a device's key" }, { code: "head-fork", class: "evidence" }] as const) {
      await warnings.raise(device.fact(about));
      for (const { id } of warnings.list()) await warnings.dismiss(id);
      device.clock.jump(1_000);
      await warnings.raise(device.fact(about));
    }
    assert.deepEqual(device.told, ["map-proof", "head-fork"]);
  });
});
