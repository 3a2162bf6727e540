/** The service as it runs, over HTTP, beside accounts that ask too much of it: everybody else is merged as before. */
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { parseEntry } from "../../shared/directory/entry.ts";
import { decodeUnpadded, utf8 } from "../../shared/encoding.ts";
import { parseEpochRecord } from "../../shared/log/epoch-record.ts";
import { parseLookupAnswer } from "../../shared/messages.ts";
import type { LookupAnswer } from "../../shared/messages.ts";
import { Stage } from "../hammer/stage.ts";

const USERS = 12;
/** More than an entry holds. */
const CROWD = 500;
const ROUNDS = 8;
/** Epochs that close before a change is merged: one or two on a machine with nothing else to do. */
const MERGED_WITHIN = 10;
const NO_LIMITS = { CKV_LIMITS_LOOKUPS_PER_MINUTE: "100000000" };

describe("neighbours of accounts that ask too much", function () {
  this.timeout(180_000);
  let stage: Stage;
  let session: string | undefined;
  const userId = (number: number): string => `@u${String(number)}:${stage.homeserver.serverName}`;
  const [crowded, restless] = [0, 1];

  before(async () => {
    stage = await Stage.open({ users: USERS, outsiders: 0, env: NO_LIMITS });
    const path = `/_matrix/client/v3/user/${encodeURIComponent(userId(2))}/openid/request_token`;
    const openid_token: unknown = await (await fetch(stage.homeserver.url + path, { method: "POST" })).json();
    ({ session } = (await post("/v1/session", { openid_token })) as { readonly session: string });
    for (let number = 0; number < USERS; number++) await until(async () => (await versionsOf(number)) === 1);
  });
  after(async () => {
    await stage.stop();
    stage.remove();
  });

  async function post(path: string, body: object): Promise<unknown> {
    const headers = session === undefined ? {} : { authorization: `Bearer ${session}` };
    const response = await fetch(stage.serviceUrl + path, { method: "POST", headers, body: JSON.stringify(body) });
    assert.equal(response.status, 200, path);
    return await response.json();
  }

  async function lookup(number: number): Promise<LookupAnswer> {
    return parseLookupAnswer(await post("/v1/lookup", { user_id: userId(number) }));
  }
  async function versionsOf(number: number): Promise<number> {
    return (await lookup(number)).user.leaf?.n ?? 0;
  }

  async function until(isSo: () => Promise<boolean>): Promise<void> {
    const startedMs = performance.now();
    while (!(await isSo())) {
      assert.ok(performance.now() - startedMs < 60_000, "it took more than a minute");
      await delay(20);
    }
  }

  /** In how many epochs each of some changes of the others was merged. */
  async function mergeEpochs(): Promise<readonly number[]> {
    const epochs: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const number = 2 + (round % (USERS - 2));
      const { head, user } = await lookup(number);
      const before = parseEpochRecord(decodeUnpadded(head.record)).epoch;
      stage.homeserver.change(userId(number));
      await until(async () => (await versionsOf(number)) > (user.leaf?.n ?? 0));
      epochs.push(((await lookup(number)).user.leaf?.epoch ?? Infinity) - before);
    }
    return epochs;
  }

  it("are merged in time, while one has 500 devices and another changes its keys twenty times a second", async () => {
    stage.homeserver.accounts.get(userId(crowded))?.crowd(CROWD);
    const load = new AbortController();
    const changing = [
      { number: crowded, everyMs: 1_000 },
      { number: restless, everyMs: 50 },
    ].map(async ({ number, everyMs }) => {
      while (!load.signal.aborted) {
        stage.homeserver.change(userId(number));
        await delay(everyMs);
      }
    });
    await until(async () => (await versionsOf(crowded)) > 1);
    const startedMs = performance.now();
    const epochs = await mergeEpochs();
    const took = performance.now() - startedMs;
    load.abort();
    await Promise.all(changing);
    assert.ok(Math.max(...epochs) <= MERGED_WITHIN, `merged after so many epochs: ${epochs.join(" ")}`);

    const newest = (await lookup(crowded)).user.leaf;
    const looks = 1 + Math.ceil(took / 30_000);
    assert.ok(
      newest !== undefined && newest.n >= 2 && newest.n <= 1 + looks,
      `${newest?.n ?? 0} versions of the crowd`,
    );
    const entry = parseEntry(utf8(newest.entry ?? ""), userId(crowded));
    assert.deepEqual([entry.refused?.count, entry.devices.size], [CROWD, 0]);
    assert.ok((await versionsOf(restless)) > 8, "the restless one was not merged at all");
  });
});
