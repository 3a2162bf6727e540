/** Questions about ids that nobody has, over the real HTTP API of a real log: answered, and nothing is kept of them. */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { AccountRequests } from "../../appservice/account-requests.ts";
import type { Api } from "../../appservice/api-routes.ts";
import { databaseOf } from "../../appservice/create-log.ts";
import { createApiServer } from "../../appservice/http-api.ts";
import { eachInRange, openLevelStore } from "../../appservice/store/level-store.ts";
import { encodeHex } from "../../shared/encoding.ts";
import { MAX_LOOKUPS_PER_REQUEST } from "../../shared/parameters.ts";
import { OwnLog } from "../support/own-log.ts";
import { TestUser } from "../support/test-user.ts";

const ALICE = "@alice:example.org";
/** Ids asked for one by one, and in batches. */
const SINGLE = 500;
const BATCHES = 10;
const quiet = { error: () => undefined, warn: () => undefined, info: () => undefined, debug: () => undefined };

/** Every record of a closed log. */
async function contentOf(log: OwnLog): Promise<Map<string, string>> {
  const store = await openLevelStore(databaseOf(log.dataDirectory));
  const content = new Map<string, string>();
  for await (const { key, value } of eachInRange(store, Uint8Array.of(0), new Uint8Array(64).fill(0xff)))
    content.set(encodeHex(key), encodeHex(value));
  await store.close();
  return content;
}

/** Starts the log and its API, and has it asked. */
async function served(log: OwnLog, ask: (post: (path: string, body: object) => Promise<unknown>) => Promise<void>) {
  const running = await log.start();
  const { sequencer, marks } = running;
  const requests = new AccountRequests({
    log: sequencer,
    observer: {
      refresh: async (userId) => {
        await Promise.reject(new Error(`looks at the keys of ${userId}`));
      },
      state: async (userId) => await Promise.reject(new Error(`puts a statement of ${userId}`)),
    },
    isTracked: async (userId) => await marks.isTracked(userId),
    isLocalUser: () => true,
    invite: async () => {
      await Promise.resolve();
    },
    membersRoom: () => undefined,
    mayPromise: () => true,
  });
  const write = {
    checkReader: () => Promise.resolve(),
    notReady: () => Promise.resolve([]),
    refresh: async (userId) => await requests.refresh(userId),
  } as Partial<Api["write"]> as Api["write"];
  const gate = {
    userOf: () => "",
    count: async () => {
      await Promise.resolve();
    },
  };
  const parts = { api: { read: running.directory, write }, gate, logger: quiet, serviceUrl: "http://x" };
  const server = createApiServer({ ...parts, answered: () => undefined }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  await ask(async (path, body) => {
    const response = await fetch(url + path, { method: "POST", body: JSON.stringify(body) });
    return (await response.json()) as unknown;
  });
  server.close();
  server.closeAllConnections();
  await sequencer.close();
}

describe("ids that nobody has", function () {
  this.timeout(120_000);
  let log: OwnLog;

  beforeEach(async () => {
    log = await OwnLog.create();
    const { sequencer } = await log.start();
    const change = { userId: ALICE, entry: new TestUser(ALICE, "PHONE").entry(), observedMs: log.clock.now() };
    await log.clock.runUntil(sequencer.submit(change));
    await sequencer.close();
  });
  afterEach(() => {
    log.remove();
  });

  it("92: thousands of lookups leave the database as it was", async () => {
    const before = await contentOf(log);
    assert.ok(before.size > 0);
    let [asked, present] = [0, 0];
    const invented = (): string => `@invented${String((asked += 1))}:example.org`;
    await served(log, async (post) => {
      for (let i = 0; i < SINGLE; i++) {
        const user_id = invented();
        const { user } = (await post("/v1/lookup", { user_id })) as { readonly user: { readonly leaf?: object } };
        if (user.leaf !== undefined) present += 1;
        await post("/v1/settled", { user_id, epoch: 0 });
        await post("/v1/history/versions", { user_id, from: 1, to: 1 });
        await post("/v1/history/consistency", { user_id, from: 1, to: 2 });
        assert.deepEqual(await post("/v1/refresh", { user_id }), {});
      }
      for (let i = 0; i < BATCHES; i++) {
        const user_ids = [ALICE, ...Array.from({ length: MAX_LOOKUPS_PER_REQUEST - 1 }, invented)];
        const { users } = (await post("/v1/lookups", { user_ids })) as {
          readonly users: Readonly<Record<string, { readonly leaf?: object }>>;
        };
        assert.equal(Object.keys(users).length, user_ids.length);
        present += Object.values(users).filter(({ leaf }) => leaf !== undefined).length;
      }
    });
    assert.ok(asked > 5_000);
    assert.equal(present, BATCHES);
    assert.deepEqual(await contentOf(log), before);
  });

  it("92: one change of somebody who is there does not", async () => {
    const before = await contentOf(log);
    const { sequencer } = await log.start();
    const entry = new TestUser(ALICE, "PHONE", "TABLET").entry();
    await log.clock.runUntil(sequencer.submit({ userId: ALICE, entry, observedMs: log.clock.now() }));
    await sequencer.close();
    assert.notDeepEqual(await contentOf(log), before);
  });
});
