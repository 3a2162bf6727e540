import assert from "node:assert/strict";
import { HomeserverError } from "../../appservice/homeserver-error.ts";
import type { SyncAnswer } from "../../appservice/homeserver.ts";
import { KeyFeed, type FeedStore } from "../../appservice/key-feed.ts";

const ROOM = "!members";
const [ALICE, BOB, CAROL] = ["@alice:s", "@bob:s", "@carol:s"] as const;

/** Marks and cursors in memory; `steps` is the order in which they became durable. */
class MemoryStore implements FeedStore {
  readonly marks = new Set<string>();
  readonly users = new Set<string>();
  readonly cursors = new Map<string, string>();
  readonly steps: string[] = [];
  failing = false;

  async addMarks(userIds: readonly string[]): Promise<void> {
    await Promise.resolve();
    if (this.failing) throw new Error("disk full");
    for (const userId of userIds) this.marks.add(userId);
    this.steps.push(`mark ${userIds.join(" ")}`);
  }
  async addTracked(userId: string): Promise<void> {
    await Promise.resolve();
    this.users.add(userId);
  }
  async isTracked(userId: string): Promise<boolean> {
    return await Promise.resolve(this.users.has(userId));
  }
  async isMarked(userId: string): Promise<boolean> {
    return await Promise.resolve(this.marks.has(userId));
  }
  async *tracked(): AsyncIterable<string> {
    await Promise.resolve();
    yield* this.users;
  }
  async getCursor(name: string): Promise<string | undefined> {
    return await Promise.resolve(this.cursors.get(name));
  }
  async setCursor(name: string, value: string): Promise<void> {
    await Promise.resolve();
    this.cursors.set(name, value);
    this.steps.push(`cursor ${value}`);
  }
}

const joined = (userId: string, roomId: string = ROOM): object => ({
  type: "m.room.member",
  room_id: roomId,
  state_key: userId,
  content: { membership: "join" },
});
const answer = (nextBatch: string, more: Partial<SyncAnswer> = {}): SyncAnswer => ({
  nextBatch,
  changed: [],
  events: [],
  limited: false,
  ...more,
});

describe("key-feed", () => {
  let store: MemoryStore;
  let feed: KeyFeed;
  let members: string[];
  let nowMs: number;
  let woken: number;
  /** What `/sync` gives, in order; after that the feed is ended. */
  let answers: (SyncAnswer | Error)[];
  let end: AbortController;
  const asked: (string | undefined)[] = [];

  beforeEach(() => {
    store = new MemoryStore();
    [members, nowMs, woken, answers, end] = [[], 1_000_000, 0, [], new AbortController()];
    asked.length = 0;
    const quiet = { error: () => undefined, warn: () => undefined, info: () => undefined, debug: () => undefined };
    feed = new KeyFeed({
      store,
      homeserver: {
        isLocalUser: (userId) => userId.endsWith(":s"),
        joinedMembers: async () => await Promise.resolve(members),
        sync: async (_room, since) => {
          await Promise.resolve();
          asked.push(since);
          const next = answers.shift();
          if (answers.length === 0) end.abort();
          if (next === undefined) throw new HomeserverError("ended", 0);
          if (next instanceof Error) throw next;
          return next;
        },
      },
      clock: {
        now: () => nowMs,
        sleep: async (ms) => {
          nowMs += ms;
          await Promise.resolve();
        },
      },
      logger: quiet,
      wake: () => {
        woken += 1;
      },
    });
  });

  it("marks enrolled users of a transaction, and nobody else", async () => {
    store.users.add(ALICE);
    await feed.take({ id: "1", changed: [ALICE, BOB, "@alice:elsewhere"], events: [] }, ROOM);
    assert.deepEqual([...store.marks], [ALICE]);
    assert.equal(woken, 1);
  });

  it("enrols who joins the enrolment room in the same transaction as the change", async () => {
    await feed.take({ id: "1", changed: [ALICE], events: [joined(ALICE), joined(BOB, "!other")] }, ROOM);
    assert.deepEqual([[...store.users], [...store.marks]], [[ALICE], [ALICE]]);
  });

  it("acknowledges nothing that is not durable", async () => {
    store.users.add(ALICE);
    store.failing = true;
    await assert.rejects(feed.take({ id: "1", changed: [ALICE], events: [] }, ROOM));
    assert.equal(woken, 0);
  });

  it("takes what events hold as data", async () => {
    const events = [
      {},
      { type: "m.room.member" },
      { type: "m.room.member", state_key: 5, content: null },
      joined("@x"),
    ];
    await feed.take({ id: "1", changed: [], events }, ROOM);
    assert.equal(store.users.size, 0);
  });

  it("looks at all members the first time, then at what changed since the stored token", async () => {
    members = [ALICE, BOB];
    answers = [answer("t1"), answer("t2", { changed: [BOB], events: [joined(CAROL)] })];
    await feed.follow(ROOM, end.signal);
    assert.deepEqual(asked, [undefined, "t1"]);
    assert.deepEqual([...store.users], [ALICE, BOB, CAROL]);
    assert.equal(store.cursors.get("feed.sync"), "t2");
  });

  it("stores a token only after the marks of its answer", async () => {
    store.users.add(ALICE);
    store.cursors.set("feed.sync", "t0");
    answers = [answer("t1", { changed: [ALICE] })];
    await feed.follow(ROOM, end.signal);
    assert.deepEqual(store.steps, [`mark ${ALICE}`, "cursor t1"]);
  });

  it("keeps the token when the marks cannot be stored", async () => {
    store.users.add(ALICE);
    store.cursors.set("feed.sync", "t0");
    store.failing = true;
    answers = [answer("t1", { changed: [ALICE] })];
    await assert.rejects(feed.follow(ROOM, end.signal), /disk full/);
    assert.equal(store.cursors.get("feed.sync"), "t0");
  });

  it("looks at everybody when the homeserver does not know the token any more", async () => {
    for (const userId of [ALICE, BOB]) store.users.add(userId);
    store.cursors.set("feed.sync", "old");
    answers = [new HomeserverError("M_UNKNOWN_POS", 400), answer("new")];
    await feed.follow(ROOM, end.signal);
    assert.deepEqual([...store.marks], [ALICE, BOB]);
    assert.equal(store.cursors.get("feed.sync"), "new");
  });

  it("asks again with the same token after an outage", async () => {
    store.cursors.set("feed.sync", "t0");
    answers = [new HomeserverError("down", 0), new HomeserverError("busy", 502), answer("t1")];
    await feed.follow(ROOM, end.signal);
    assert.deepEqual(asked, ["t0", "t0", "t0"]);
  });

  describe("sweep", () => {
    const { signal } = new AbortController();
    beforeEach(() => {
      members = [ALICE];
      store.users.add(ALICE);
    });

    it("marks and counts what no feed reported", async () => {
      await feed.sweep(ROOM, async (userIds) => await Promise.resolve(userIds), signal);
      assert.deepEqual([feed.sweepMissed, [...store.marks]], [1, [ALICE]]);
    });

    it("does not count what a feed reports within the grace", async () => {
      const findChanged = async (userIds: readonly string[]): Promise<readonly string[]> => {
        await feed.take({ id: "1", changed: [ALICE], events: [] }, ROOM);
        store.marks.clear();
        return userIds;
      };
      await feed.sweep(ROOM, findChanged, signal);
      assert.equal(feed.sweepMissed, 0);
    });

    it("does not count what is marked and not yet worked off", async () => {
      store.marks.add(ALICE);
      await feed.sweep(ROOM, async (userIds) => await Promise.resolve(userIds), signal);
      assert.equal(feed.sweepMissed, 0);
    });

    it("does not count what is gone when asked again", async () => {
      const found = [[ALICE], []];
      await feed.sweep(ROOM, async () => await Promise.resolve(found.shift() ?? []), signal);
      assert.deepEqual([feed.sweepMissed, store.marks.size], [0, 0]);
    });

    it("marks, but does not count, users who left the room: no feed covers them", async () => {
      members = [];
      await feed.sweep(ROOM, async (userIds) => await Promise.resolve(userIds), signal);
      assert.deepEqual([feed.sweepMissed, [...store.marks]], [0, [ALICE]]);
    });
  });
});
