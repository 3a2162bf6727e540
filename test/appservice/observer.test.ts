import assert from "node:assert/strict";
import { HomeserverError } from "../../appservice/homeserver-error.ts";
import { Observer, type Mark } from "../../appservice/observer.ts";
import { parseEntry } from "../../shared/directory/entry.ts";
import { EMPTY_ANSWER_RETRIED_FOR_MS } from "../../shared/parameters.ts";
import { ManualClock } from "../support/own-log.ts";
import { TestUser } from "../support/test-user.ts";

const ALICE = "@alice:example.org";
const EMPTY = `{"device_keys":{},"failures":{}}`;

interface Submitted {
  readonly entry: Uint8Array;
  readonly merge: () => void;
  readonly fail: (name?: string) => void;
}

describe("observer", () => {
  let clock: ManualClock;
  let end: AbortController;
  let observer: Observer;
  let running: Promise<void>;
  let alice: TestUser;
  let answer: () => string;
  let queries: number;
  const marks = new Map<string, number>();
  let newest: { version: number; entry: Uint8Array; pending: boolean } | undefined;
  const submitted: Submitted[] = [];

  beforeEach(() => {
    [clock, end, queries, newest] = [new ManualClock(), new AbortController(), 0, undefined];
    marks.clear();
    submitted.length = 0;
    alice = new TestUser(ALICE, "LAPTOP");
    answer = () => alice.keysQuery();
    const quiet = { error: () => undefined, warn: () => undefined, info: () => undefined, debug: () => undefined };
    observer = new Observer({
      clock,
      logger: quiet,
      merged: () => undefined,
      homeserver: {
        queryKeys: async () => {
          queries += 1;
          await Promise.resolve();
          return answer();
        },
      },
      marks: {
        takeMarks: async (): Promise<readonly Mark[]> =>
          await Promise.resolve([...marks].map(([userId, generation]) => ({ userId, generation }))),
        clearMark: async (userId, generation) => {
          if (marks.get(userId) === generation) marks.delete(userId);
          await Promise.resolve();
        },
      },
      sequencer: {
        newestEntry: async () => await Promise.resolve(newest),
        submit: async ({ entry }) => {
          const version = (newest?.version ?? 0) + 1;
          newest = { version, entry, pending: true };
          const { promise, resolve, reject } = Promise.withResolvers<{ version: number; epoch: number }>();
          const merge = (): void => {
            newest = { version, entry, pending: false };
            resolve({ version, epoch: 1 });
          };
          submitted.push({
            entry,
            merge,
            fail: (name = "Error") => {
              reject(Object.assign(new Error("no"), { name }));
            },
          });
          return await promise;
        },
      },
    });
    running = observer.run(end.signal);
  });

  afterEach(async () => {
    end.abort();
    clock.advance(1_000_000);
    await running;
  });

  /** Lets the observer do what it can at this time. */
  async function settle(): Promise<void> {
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
  }
  async function pass(ms: number): Promise<void> {
    await settle();
    clock.advance(ms);
    await settle();
  }

  it("submits what the homeserver shows, and keeps the mark until it is merged", async () => {
    marks.set(ALICE, 1);
    await pass(1_000);
    assert.equal(submitted.length, 1);
    assert.ok(parseEntry(submitted[0]?.entry ?? new Uint8Array(), ALICE).devices.has("LAPTOP"));
    await pass(5_000);
    assert.deepEqual([marks.size, submitted.length], [1, 1]);
    submitted[0]?.merge();
    await settle();
    assert.equal(marks.size, 0);
  });

  it("keeps a mark that came while the change was on its way", async () => {
    marks.set(ALICE, 1);
    await pass(1_000);
    alice.devices.set("PHONE", {});
    marks.set(ALICE, 2);
    submitted[0]?.merge();
    await pass(1_000);
    assert.deepEqual([submitted.length, marks.get(ALICE)], [2, 2]);
    submitted[1]?.merge();
    await settle();
    assert.equal(marks.size, 0);
  });

  it("keeps a newer mark without a change while the change before is not durable", async () => {
    marks.set(ALICE, 1);
    await pass(1_000);
    marks.set(ALICE, 2);
    await pass(1_000);
    assert.deepEqual([submitted.length, marks.get(ALICE)], [1, 2]);
    submitted[0]?.merge();
    await pass(2_000);
    assert.equal(marks.size, 0);
  });

  it("looks once at a change that is marked by two feeds", async () => {
    marks.set(ALICE, 1);
    await pass(1_000);
    marks.set(ALICE, 2);
    for (let turn = 0; turn < 5; turn++) await pass(1_000);
    assert.deepEqual([queries, submitted.length], [2, 1]);
    submitted[0]?.merge();
    await settle();
    assert.equal(marks.size, 0);
  });

  it("looks at an account with too many devices no more than twice a minute, whoever asks", async () => {
    const crowd = (round: number): string => {
      const devices = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`D${i}`, { round }] as const));
      return JSON.stringify({ device_keys: { [ALICE]: devices } });
    };
    for (let second = 0; second < 55; second++) {
      answer = () => crowd(second);
      await observer.refresh(ALICE);
      marks.set(ALICE, second);
      await pass(1_000);
      submitted.at(-1)?.merge();
    }
    assert.equal(queries, 2);
    assert.equal(parseEntry(submitted[0]?.entry ?? new Uint8Array(), ALICE).refused?.count, 500);
  });

  it("asks again half a minute after too much waited", async () => {
    marks.set(ALICE, 1);
    await pass(1_000);
    submitted[0]?.fail("OverloadedError");
    newest = undefined;
    for (let turn = 0; turn < 29; turn++) await pass(1_000);
    assert.deepEqual([submitted.length, marks.size], [1, 1]);
    await pass(2_000);
    assert.deepEqual([submitted.length, marks.size], [2, 1]);
  });

  it("drops a mark behind which nothing has changed", async () => {
    newest = { version: 1, entry: alice.entry(), pending: false };
    marks.set(ALICE, 1);
    await pass(1_000);
    assert.deepEqual([submitted.length, marks.size], [0, 0]);
  });

  it("drops the mark of a user who has no keys yet", async () => {
    answer = () => EMPTY;
    marks.set(ALICE, 1);
    await pass(1_000);
    assert.deepEqual([submitted.length, marks.size], [0, 0]);
  });

  it("asks again for ten minutes before an empty answer becomes a version", async () => {
    newest = { version: 1, entry: alice.entry(), pending: false };
    answer = () => EMPTY;
    marks.set(ALICE, 1);
    await pass(1_000);
    for (let waitedMs = 5_000; waitedMs < EMPTY_ANSWER_RETRIED_FOR_MS; waitedMs += 5_000) await pass(5_000);
    assert.deepEqual([submitted.length, marks.size], [0, 1]);
    for (let more = 0; more < 4; more++) await pass(5_000);
    assert.equal(submitted.length, 1);
    assert.equal(parseEntry(submitted[0]?.entry ?? new Uint8Array(), ALICE).devices.size, 0);
  });

  it("forgets an empty answer when the keys are back", async () => {
    newest = { version: 1, entry: alice.entry(), pending: false };
    answer = () => EMPTY;
    marks.set(ALICE, 1);
    await pass(1_000);
    answer = () => alice.keysQuery();
    await pass(6_000);
    await pass(6_000);
    assert.deepEqual([submitted.length, marks.size], [0, 0]);
  });

  it("keeps marks through an outage, and through nonsense", async () => {
    const failures = [new HomeserverError("down", 0), undefined];
    answer = () => {
      const failure = failures.shift();
      if (failure !== undefined) throw failure;
      return "<html>";
    };
    marks.set(ALICE, 1);
    for (let turn = 0; turn < 4; turn++) await pass(2_000);
    assert.equal(marks.size, 1);
    answer = () => alice.keysQuery();
    await pass(2_000);
    await pass(2_000);
    assert.equal(submitted.length, 1);
  });

  it("keeps the mark when the sequencer does not take the change", async () => {
    marks.set(ALICE, 1);
    await pass(1_000);
    submitted[0]?.fail();
    newest = undefined;
    await pass(2_000);
    assert.deepEqual([submitted.length, marks.size], [2, 1]);
  });

  it("asks once for many refreshes of one user", async () => {
    await settle();
    const before = queries;
    await Promise.all([observer.refresh(ALICE), observer.refresh(ALICE), observer.refresh(ALICE)]);
    assert.deepEqual([queries - before, submitted.length], [1, 1]);
    await observer.refresh(ALICE);
    assert.equal(submitted.length, 1);
  });

  it("puts no statement beside an empty answer, which may be a fault", async () => {
    newest = { version: 1, entry: alice.entry(), pending: false };
    answer = () => EMPTY;
    const since = { n: 1, root: new Uint8Array(32) };
    const statement = alice.statement({ ckv: "on", counter: 1, since });
    await assert.rejects(observer.state(ALICE, statement), { name: "HomeserverError" });
    assert.equal(submitted.length, 0);
  });

  it("puts a statement into the next version", async () => {
    const since = { n: 1, root: new Uint8Array(32) };
    assert.equal(await observer.state(ALICE, alice.statement({ ckv: "on", counter: 1, since })), undefined);
    newest = { version: 1, entry: alice.entry(), pending: false };
    assert.equal(await observer.state(ALICE, alice.statement({ ckv: "on", counter: 1, since })), 2);
    assert.equal(parseEntry(submitted[0]?.entry ?? new Uint8Array(), ALICE).statement?.ckv, "on");
  });
});
