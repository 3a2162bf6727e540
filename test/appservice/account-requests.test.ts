/** What an owner may put into the log, against a real log. */
import assert from "node:assert/strict";
import { AccountRequests } from "../../appservice/account-requests.ts";
import type { RunningLog } from "../../appservice/sequencer.ts";
import { decodeUnpadded } from "../../shared/encoding.ts";
import type { Statement } from "../../shared/messages.ts";
import { parseLookupAnswer } from "../../shared/messages.ts";
import { OwnLog } from "../support/own-log.ts";
import { TestUser } from "../support/test-user.ts";

const ALICE = new TestUser("@alice:example.org", "LAPTOP");

describe("account requests", () => {
  let log: OwnLog;
  let running: RunningLog;
  let requests: AccountRequests;
  let stated: Statement[];

  beforeEach(async () => {
    stated = [];
    log = await OwnLog.create();
    running = await log.start();
    const change = { userId: ALICE.userId, entry: ALICE.entry(), observedMs: log.clock.now() };
    await log.clock.runUntil(running.sequencer.submit(change));
    requests = new AccountRequests({
      log: running.sequencer,
      observer: {
        refresh: async () => {
          await Promise.resolve();
        },
        state: async (_userId, statement) => await Promise.resolve(stated.push(statement) + 1),
      },
      isTracked: async () => await Promise.resolve(true),
      isLocalUser: () => true,
      invite: async () => {
        await Promise.resolve();
      },
      membersRoom: () => undefined,
      mayPromise: () => true,
    });
  });
  afterEach(async () => {
    await running.sequencer.close();
    log.remove();
  });

  /** Puts a statement that calls the root of version `n` the true one, with this bit of it turned. */
  async function put(n: number, bit?: number): Promise<unknown> {
    const { leaf } = parseLookupAnswer(JSON.parse(await running.directory.lookup(ALICE.userId))).user;
    const root = decodeUnpadded(leaf?.history_root ?? "");
    if (bit !== undefined) root[bit >> 3] = (root[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    return await requests.state(ALICE.userId, ALICE.statement({ ckv: "on", counter: 1, since: { n, root } }));
  }

  it("takes a statement since a version of the log", async () => {
    assert.deepEqual(await put(1), { version_expected: 2 });
    assert.equal(stated.length, 1);
  });

  it("refuses one since another past, or a version that is not merged", async () => {
    for (const bit of [0, 7, 255])
      await assert.rejects(put(1, bit), { code: "bad-request", message: /another version/ });
    for (const n of [2, 1_000_000]) await assert.rejects(put(n), { code: "bad-request", message: /later version/ });
    assert.deepEqual(stated, []);
  });
});
