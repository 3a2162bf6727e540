/** What waits for an epoch: bounds, order, and that the order of arrival within an epoch leaves no trace. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { EpochBuilder } from "../../appservice/epoch-builder.ts";
import { openLog } from "../../appservice/open-log.ts";
import { dayOf, OverloadedError, PendingChanges } from "../../appservice/pending.ts";
import type { MergedState } from "../../appservice/pending.ts";
import type { RunningLog } from "../../appservice/sequencer.ts";
import { EMPTY_TIP } from "../../appservice/store/histories.ts";
import { sha256 } from "../../shared/crypto/hash.ts";
import { encodeHex, utf8 } from "../../shared/encoding.ts";
import { configurationHash, formatConfiguration } from "../../shared/directory/configuration.ts";
import { openPromise } from "../../shared/proofs/promise.ts";
import { parseVkey } from "../../shared/crypto/signed-note.ts";
import { parseEpochRecord } from "../../shared/log/epoch-record.ts";
import type { EpochRecord } from "../../shared/log/epoch-record.ts";
import { hashTile, parseEntryBundle } from "../../shared/log/tiles.ts";
import { EPOCH_DELAY_DEFAULT_MS, MAX_VERSIONS_PER_DAY, MAX_VERSIONS_PER_EPOCH } from "../../shared/parameters.ts";
import { OwnLog, START_MS } from "../support/own-log.ts";

/** A user of whom nothing is merged yet. */
function newUser(userId: string): MergedState {
  const [index, vrfProof] = [sha256(utf8(userId)), new Uint8Array(80)];
  return { userId, index, vrfProof, tip: EMPTY_TIP, day: 0, dayCount: 0, entry: undefined };
}

const change = (n: number): { entry: Uint8Array; observedMs: number; number: undefined } => ({
  entry: utf8(`{"n":${n}}`),
  observedMs: 0,
  number: undefined,
});

describe("changes that wait", () => {
  it("are bounded per user, epoch and day, and keep their order", () => {
    const user = fc.nat(5);
    const action = fc.oneof(
      { weight: 8, arbitrary: fc.record({ user, count: fc.integer({ min: 1, max: 30 }) }) },
      { weight: 2, arbitrary: fc.record({ limit: fc.integer({ min: 1, max: 6 }) }) },
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        const pending = new PendingChanges();
        const merged = new Map<string, number>();
        let [content, epochs] = [0, 0];
        for (const each of actions) {
          if ("limit" in each) {
            epochs += 1;
            const merges = pending.take(each.limit, START_MS + epochs);
            assert(merges.length <= each.limit);
            for (const { before, versions } of merges) {
              assert(versions.length >= 1 && versions.length <= MAX_VERSIONS_PER_EPOCH);
              for (const { version } of versions) {
                assert.equal(version, (merged.get(before.userId) ?? 0) + 1, "a gap in the versions");
                merged.set(before.userId, version);
              }
              const size = merged.get(before.userId) ?? 0;
              pending.advance({ ...before, tip: { ...EMPTY_TIP, size }, day: dayOf(START_MS), dayCount: size });
            }
          } else {
            for (let i = 0; i < each.count; i++) addOne(pending, `@${each.user}:x`, (content += 1), merged);
          }
        }
        for (const count of merged.values()) assert(count <= MAX_VERSIONS_PER_DAY, "more than a day's versions");
      }),
      { numRuns: 200 },
    );
  });

  function addOne(pending: PendingChanges, userId: string, content: number, merged: Map<string, number>): void {
    const waiting = pending.of(userId).length;
    const size = merged.get(userId) ?? 0;
    const before = { ...newUser(userId), tip: { ...EMPTY_TIP, size }, day: dayOf(START_MS), dayCount: size };
    try {
      const version = pending.add(before, change(content));
      assert.equal(pending.add(before, change(content)), version, "a change that comes twice changes nothing");
      assert(waiting < MAX_VERSIONS_PER_DAY);
    } catch (error) {
      assert(error instanceof OverloadedError && waiting === MAX_VERSIONS_PER_DAY);
    }
    assert(pending.of(userId).length <= MAX_VERSIONS_PER_DAY);
  }
});

describe("an epoch", function () {
  this.timeout(60_000);
  let log: OwnLog;
  before(async () => {
    log = await OwnLog.create();
  });
  after(() => {
    log.remove();
  });

  it("is the same in whatever order its changes came, but never the same without one of them", async () => {
    const opened = await openLog(log);
    const configuration = configurationHash(formatConfiguration(log.configuration));
    const build = async (merges: ReturnType<PendingChanges["take"]>): Promise<string> => {
      const builder = await EpochBuilder.open(opened.store, 0, log.configuration.settle_ms);
      return encodeHex(builder.build(merges, START_MS + 1_000, configuration).record);
    };
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.nat(200), { minLength: 1, maxLength: 20 }),
        fc.infiniteStream(fc.nat()),
        async (users, order) => {
          const pending = new PendingChanges();
          for (const user of users) {
            for (let n = 0; n <= user % 3; n++) pending.add(newUser(`@${user}:x`), change(n));
          }
          const merges = pending.take(100, START_MS);
          const keyed = merges
            .map((merge) => ({ merge, key: Number(order.next().value) }))
            .sort((a, b) => a.key - b.key);
          const record = await build(merges);
          assert.equal(await build(keyed.map(({ merge }) => merge)), record);
          assert.notEqual(await build(merges.slice(1)), record);
        },
      ),
      { numRuns: 25 },
    );
    await opened.store.close();
  });

  it("merges what was taken, and what was promised, within the merge delay", async () => {
    const arrival = fc.record({ user: fc.nat(3), waitMs: fc.constantFrom(0, 100, 700, 2_500), promise: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(fc.array(arrival, { minLength: 3, maxLength: MAX_VERSIONS_PER_EPOCH }), async (arrivals) => {
        const own = await OwnLog.create({ merge_delay_ms: 60_000 });
        const running = await own.start();
        try {
          let waiting: Waiting[] = [];
          for (const [i, { user, waitMs, promise }] of arrivals.entries()) {
            own.clock.advance(waitMs);
            if (own.clock.now() - (waiting[0]?.takenMs ?? Infinity) >= EPOCH_DELAY_DEFAULT_MS) {
              await slowly(own, waiting);
              waiting = [];
            }
            waiting.push(await submit(own, running, `@${user}:example.org`, i, promise));
          }
          own.clock.advance(EPOCH_DELAY_DEFAULT_MS);
          await slowly(own, waiting);
        } finally {
          await running.sequencer.close();
          own.remove();
        }
      }),
      { numRuns: 6 },
    );
  });

  /** Waits for an epoch that is due. The machine may take seconds for what the merge delay allows a minute. */
  async function slowly(own: OwnLog, waiting: readonly Waiting[]): Promise<void> {
    const ticking = setInterval(() => {
      own.clock.advance(250);
    }, 25);
    try {
      await Promise.all(waiting.map(({ merged }) => merged));
    } finally {
      clearInterval(ticking);
    }
  }

  interface Waiting {
    readonly takenMs: number;
    /** Resolves when the change is merged as it must be. */
    readonly merged: Promise<void>;
  }

  async function submit(
    own: OwnLog,
    running: RunningLog,
    userId: string,
    n: number,
    promise: boolean,
  ): Promise<Waiting> {
    const { sequencer, directory } = running;
    const takenMs = own.clock.now();
    const change = sequencer.submit({ userId, entry: utf8(`{"n":${n},"user_id":"${userId}"}`), observedMs: takenMs });
    const given = promise ? await sequencer.promise(userId) : undefined;
    const merged = change.then(async ({ version }) => {
      const answer = await directory.historyVersions(userId, version, version);
      const { timestampMs } = await recordOf(running, answer?.versions[0]?.epoch ?? -1);
      const { merge_delay_ms, promise_key } = own.configuration;
      assert(timestampMs - takenMs <= merge_delay_ms, `${timestampMs - takenMs} ms`);
      if (given === undefined) return;
      const promised = openPromise(given.note, parseVkey(promise_key));
      assert(promised.version <= version && timestampMs <= promised.mergeByMs);
    });
    return { takenMs, merged };
  }

  async function recordOf({ sequencer, directory }: RunningLog, epoch: number): Promise<EpochRecord> {
    const tile = hashTile(0, 0, sequencer.status().epoch + 1);
    const bundle = await directory.tile({ ...tile, level: "entries" });
    assert(bundle !== undefined);
    return parseEpochRecord(parseEntryBundle(bundle, tile.width)[epoch]!);
  }
});
