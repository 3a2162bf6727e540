/** What only the proofs of the indices show. */
import assert from "node:assert/strict";
import { fsck, type StoppedLog } from "../../appservice/fsck.ts";
import { databaseOf } from "../../appservice/create-log.ts";
import { openLevelStore } from "../../appservice/store/level-store.ts";
import { userKey } from "../../appservice/store/records.ts";
import { utf8 } from "../../shared/encoding.ts";
import { OwnLog } from "../support/own-log.ts";

const USERS = Array.from({ length: 40 }, (_, i) => `@u${i}:example.org`);

describe("fsck of indices", () => {
  let log: OwnLog;

  before(async () => {
    log = await OwnLog.create();
    const { sequencer } = await log.start();
    const entry = utf8('{"a":0}');
    const merged = USERS.map(async (userId) => await sequencer.submit({ userId, entry, observedMs: log.clock.now() }));
    await log.clock.runUntil(Promise.all(merged));
    await sequencer.close();
  });
  after(() => {
    log.remove();
  });

  /** Runs the check; what it complained of, and how many indices it proved. */
  async function check(options: Partial<StoppedLog>): Promise<{ problems: string[]; proven: number[] }> {
    const problems: string[] = [];
    const proven: number[] = [];
    const { dataDirectory, anchorFile } = log;
    const onIndices = (users: number, of: number): void => void proven.push(users, of);
    const sound = await fsck({ dataDirectory, anchorFile, onIndices, ...options }, (report) => {
      if (report.kind === "problem") problems.push(report.message);
    });
    assert.equal(sound, problems.length === 0);
    return { problems, proven };
  }

  /** Changes the stored user records, and puts them back afterwards. */
  async function damaged(
    change: (records: ReadonlyMap<string, Uint8Array>) => ReadonlyMap<string, Uint8Array>,
    work: () => Promise<void>,
  ): Promise<void> {
    const write = async (records: ReadonlyMap<string, Uint8Array>): Promise<ReadonlyMap<string, Uint8Array>> => {
      const store = await openLevelStore(databaseOf(log.dataDirectory));
      const before = new Map(USERS.map((userId) => [userId, Uint8Array.from(store.get(userKey(userId)) ?? [])]));
      const puts = [...(records.size > 0 ? records : change(before))];
      await store.commit({ puts: puts.map(([userId, value]) => ({ key: userKey(userId), value })) });
      await store.close();
      return before;
    };
    const before = await write(new Map());
    try {
      await work();
    } finally {
      await write(before);
    }
  }

  it("proves as many as asked, spread over all", async () => {
    for (const [sample, expected] of [
      [1, 1],
      [7, 7],
      [40, 40],
      [Infinity, 40],
    ] as const) {
      assert.deepEqual(await check({ sample, vrfSeed: log.keys.vrfSeed }), { problems: [], proven: [expected, 40] });
    }
    assert.deepEqual(await check({ sample: 5 }), { problems: [], proven: [5, 40] });
  });

  for (const [name, withSeed] of [
    ["with the key", true],
    ["without it", false],
  ] as const) {
    it(`finds two users in each other's place, and a proof that is none, ${name}`, async () => {
      const options = withSeed ? { vrfSeed: log.keys.vrfSeed } : {};
      const [one = "", two = ""] = USERS;
      const swap = (records: ReadonlyMap<string, Uint8Array>): ReadonlyMap<string, Uint8Array> =>
        new Map([
          [one, records.get(two) ?? new Uint8Array()],
          [two, records.get(one) ?? new Uint8Array()],
        ]);
      await damaged(swap, async () => {
        assert.deepEqual((await check(options)).problems, ["the index of a user is not the one its VRF proof gives"]);
      });
      const flip = (records: ReadonlyMap<string, Uint8Array>): ReadonlyMap<string, Uint8Array> =>
        new Map([[one, (records.get(one) ?? new Uint8Array(112)).with(111, 0xff)]]);
      await damaged(flip, async () => {
        assert.deepEqual((await check(options)).problems, ["the index of a user is not the one its VRF proof gives"]);
      });
      assert.deepEqual((await check(options)).problems, []);
    });
  }
});
