/** What a client remembers: its head never gets smaller, two that share a head agree, a fact warns once, erased content stays proven. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { AccountState } from "../../client-plugin/contacts.ts";
import { MemoryStorage } from "../../client-plugin/storage.ts";
import { Warnings } from "../../client-plugin/warnings.ts";
import type { Fact } from "../../client-plugin/warnings.ts";
import { parseNote } from "../../shared/crypto/signed-note.ts";
import { parseCheckpoint } from "../../shared/log/checkpoint.ts";
import { verifyHead } from "../../shared/proofs/head.ts";
import { verifyUser } from "../../shared/proofs/lookup.ts";
import { ALICE, World } from "../client-plugin/world.ts";
import { ManualClock } from "../client-plugin/manual-clock.ts";
import { seedOf } from "../support/test-user.ts";
import { TestLog } from "../support/test-log.ts";
import { TestUser } from "../support/test-user.ts";
import { without } from "../support/without.ts";

describe("a client", function () {
  this.timeout(60_000);

  it("never goes back to a smaller head, whatever heads it is served, and two clients of one log agree", async () => {
    const served = fc.oneof(
      fc.constant("newest" as const),
      fc.integer({ min: 2, max: 8 }),
      fc.constant("down" as const),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(served, { minLength: 2, maxLength: 6 }), async (steps) => {
        const worlds = [new World(), new World()] as const;
        const newest = new Map<World, number>();
        for (const world of worlds) await world.start();
        for (const step of steps) {
          for (const world of worlds) {
            world.service.down = step === "down";
            world.service.size = typeof step === "number" ? Math.min(step, world.service.log.size) : undefined;
            const refreshed = world.ckv.refresh(ALICE);
            await world.pass(20_000);
            await refreshed;
            const size = await newestSize(world);
            assert(size >= (newest.get(world) ?? 0), `from ${String(newest.get(world))} to ${size}`);
            newest.set(world, size);
          }
          const [one, other] = worlds;
          assert.deepEqual(newest.get(one), newest.get(other));
          assert.deepEqual(one.verdict(), other.verdict());
          assert.deepEqual(one.codes(), other.codes());
        }
        for (const world of worlds) world.ckv.stop();
      }),
      { numRuns: 8 },
    );
  });

  /** Size of the newest head that the client holds, from what it stores. */
  async function newestSize(world: World): Promise<number> {
    const stored = JSON.parse((await world.storage.get("log:example.org")) ?? "{}") as {
      newest?: { checkpoint: string };
    };
    return stored.newest === undefined ? 0 : parseCheckpoint(parseNote(stored.newest.checkpoint).text).size;
  }

  it("is warned once of one fact, however often, in whatever order, and on whichever of its devices it is found", async () => {
    const fact: fc.Arbitrary<Fact> = fc.record({
      userId: fc.constantFrom(ALICE, "@carol:example.org"),
      code: fc.constantFrom("device-unsigned" as const, "key-never-logged" as const, "head-fork" as const),
      class: fc.constantFrom("notice" as const, "warning" as const),
      key: fc.constantFrom("", "k1"),
      sinceMs: fc.nat(10),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(fact, { maxLength: 12 }), fc.infiniteStream(fc.nat(2)), async (facts, repeats) => {
        const device = await newDevice();
        for (const each of facts) for (let i = 0; i <= repeats.next().value; i++) await device.raise(each);
        for (const each of facts) await device.raise(each);
        const ids = device.told.map(({ id, class: weight }) => `${id} ${weight}`);
        assert.equal(new Set(ids).size, ids.length, "one warning was raised twice");
        const open = device.warnings.list();
        assert.equal(new Set(open.map(({ id }) => id)).size, open.length);
        const reversed = await newDevice();
        for (const each of facts.toReversed()) await reversed.raise(each);
        const gravest = (list: ReturnType<Warnings["list"]>): string[] =>
          list.map(({ id, class: weight }) => `${id} ${weight}`).sort();
        assert.deepEqual(gravest(reversed.warnings.list()), gravest(open));
      }),
      { numRuns: 60 },
    );
  });

  interface Device {
    readonly warnings: Warnings;
    readonly told: { readonly id: string; readonly class: string }[];
    readonly raise: (fact: Fact) => Promise<void>;
  }

  const { client } = new World();

  async function newDevice(): Promise<Device> {
    const clock = new ManualClock(1_000_000);
    const values = new Map<string, Record<string, unknown>>();
    const state = new AccountState({
      userId: "@bob:example.org",
      deviceId: "PHONE",
      storage: new MemoryStorage(),
      accountData: {
        read: (type) => Promise.resolve(values.get(type)),
        write: (type, content) => {
          values.set(type, content);
          return Promise.resolve();
        },
      },
      clock,
      random: (length) => seedOf("nonce").slice(0, length),
      onChange: () => undefined,
      onDoubt: () => undefined,
    });
    await state.load();
    const told: { id: string; class: string }[] = [];
    const warnings = new Warnings({
      client,
      state,
      storage: new MemoryStorage(),
      clock,
      post: "off",
      signal: new AbortController().signal,
      onWarning: ({ id, class: weight }) => told.push({ id, class: weight }),
      onError: (error) => {
        throw error;
      },
      rank: () => Promise.resolve(0),
    });
    return { warnings, told, raise: (fact) => warnings.raise(fact) };
  }

  it("can prove versions whose content is erased, and nothing more about the others", () => {
    const log = new TestLog({ startMs: 1_000_000, settleMs: 10_000 });
    for (let epoch = 1; epoch <= 6; epoch++) {
      log.setEntry(ALICE, new TestUser(ALICE, `A${epoch}`).entry());
      log.closeEpoch(1_000_000 + 1_000 * epoch);
    }
    const head = verifyHead(log.known(log.newest.record.timestampMs), log.head(), []);
    const part = log.user(ALICE);
    const whole = verifyUser(head, {}, ALICE, part);
    const erased = verifyUser(head, {}, ALICE, { ...part, leaf: without(part.leaf!, "opening", "entry") });
    assert.equal(erased.leaf?.content, undefined);
    assert.deepEqual({ ...erased.leaf }, without(whole.leaf!, "content"));
  });
});
