/** The writer of the log when writing fails, and when what is stored is damaged. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "mocha";
import { fsck } from "../../appservice/fsck.ts";
import { LogWriter } from "../../appservice/log-writer.ts";
import type { CommittedEpoch } from "../../appservice/log-writer.ts";
import { changeTop } from "../../appservice/store/map-top.ts";
import type { Top } from "../../appservice/store/map-top.ts";
import { parseEpochRecord } from "../../shared/log/epoch-record.ts";
import { openLog } from "../../appservice/open-log.ts";
import type { WritableLog } from "../../appservice/open-log.ts";
import { AUDIT_PROOFS_KEPT_MS, prune } from "../../appservice/pruning.ts";
import { databaseOf } from "../../appservice/create-log.ts";
import { eachInRange, openLevelStore } from "../../appservice/store/level-store.ts";
import { afterKind, epochKey, HEAD_KEY, kindKey, nodeKey, parseHead, userKey } from "../../appservice/store/records.ts";
import { ConflictError, IntegrityError, UnknownOutcomeError } from "../../appservice/store/store.ts";
import type { Commit, Store } from "../../appservice/store/store.ts";
import { closedEntry } from "../../shared/directory/entry.ts";
import { utf8 } from "../../shared/encoding.ts";
import { DAY_MS, SETTLED_MAPS_KEPT_MS } from "../../shared/parameters.ts";
import { OwnLog } from "../support/own-log.ts";
import { TestLog } from "../support/test-log.ts";

describe("log writer", () => {
  let log: OwnLog;
  let opened: WritableLog;
  beforeEach(async () => {
    log = await OwnLog.create();
    opened = await openLog(log);
    handed = [];
  });
  afterEach(async () => {
    await opened.store.close();
    log.remove();
  });

  /** Epochs as they were handed to readers. */
  let handed: CommittedEpoch[];
  const open = (store: Store = opened.store): Promise<LogWriter> =>
    LogWriter.open({
      ...opened,
      store,
      head: parseHead(opened.store.get(HEAD_KEY)!),
      keys: log.keys,
      maxChanges: 10,
      handOver: (epoch) => {
        handed.push(epoch);
        return Promise.resolve();
      },
    });
  const reopen = async (): Promise<void> => {
    await opened.store.close();
    opened = await openLog(log);
  };
  const closeEpoch = async (writer: LogWriter, ms = 1_000): Promise<void> => {
    log.clock.advance(ms);
    await writer.closeEpoch(log.clock.now());
    await writer.flush();
  };
  /** A store whose next commit fails, after or before doing its work. */
  const failing = (persists: boolean): Store => ({
    get: (key) => opened.store.get(key),
    range: (...args) => opened.store.range(...args),
    snapshot: () => opened.store.snapshot(),
    close: () => opened.store.close(),
    commit: async (commit: Commit) => {
      if (persists) await opened.store.commit(commit);
      throw new UnknownOutcomeError("injected");
    },
  });

  for (const persists of [true, false]) {
    it(`stops when a write fails that ${persists ? "was" : "was not"} done, and the next start goes on from what is there`, async () => {
      const writer = await open(failing(persists));
      writer.submit("@a:example.org", utf8("{}"), 0);
      await assert.rejects(closeEpoch(writer), UnknownOutcomeError);
      await assert.rejects(closeEpoch(writer), UnknownOutcomeError);
      await reopen();
      assert.equal(opened.refusal, undefined);
      assert.equal(opened.head.epoch, persists ? 1 : 0);
      const again = await open();
      await closeEpoch(again);
      await reopen();
      assert.equal(opened.head.epoch, persists ? 2 : 1);
    });
  }

  it("hands over each epoch as it was, though the next is already built", async () => {
    const writer = await open();
    const closing: Promise<boolean>[] = [];
    for (let i = 0; i < 6; i++) {
      for (let user = 0; user < 5; user++) writer.submit(`@${user}.${i}:example.org`, utf8("{}"), 0);
      log.clock.advance(1);
      closing.push(writer.closeEpoch(log.clock.now()));
    }
    await Promise.all(closing);
    await writer.flush();
    assert.equal(handed.length, 6);
    let top: Top = [];
    for (const { record, changedTop } of handed) {
      top = changeTop(top, changedTop);
      assert.deepEqual(top[0]?.hashAt(1), parseEpochRecord(record).mapRoot);
    }
  });

  it("merges what is promised first, when more has waited than an epoch holds", async () => {
    const writer = await open();
    for (let user = 0; user < 25; user++) writer.submit(`@${user}:example.org`, utf8("{}"), 0);
    const late = "@24:example.org";
    assert.ok((await writer.promise(late, log.clock.now())) !== undefined);
    for (let more = 1; more < 10; more++) writer.submit(late, utf8(`{${more}}`), 0);
    // No epoch could be closed before the promise was due: the first one after that must hold the change.
    await closeEpoch(writer, 100_000);
    assert.deepEqual(writer.historyRoot(late, 9), undefined);
    assert.notDeepEqual(writer.historyRoot(late, 8), undefined);
    assert.equal(writer.newestEntry("@8:example.org")?.pending, false);
    assert.equal(writer.newestEntry("@9:example.org")?.pending, true);
    await closeEpoch(writer);
    await closeEpoch(writer);
    assert.equal(writer.newestEntry("@23:example.org")?.pending, false);
  });

  it("writes no promised change before the epoch on its way that merges what stands before it", async () => {
    const waits = Promise.withResolvers<undefined>();
    const writer = await open({
      get: (key) => opened.store.get(key),
      range: (...args) => opened.store.range(...args),
      snapshot: () => opened.store.snapshot(),
      close: () => opened.store.close(),
      commit: async (commit: Commit) => {
        // The disk takes the epoch late.
        if (commit.expect !== undefined) await waits.promise;
        await opened.store.commit(commit);
      },
    });
    writer.submit("@a:example.org", utf8("{1}"), 0);
    log.clock.advance(1_000);
    await writer.closeEpoch(log.clock.now());
    writer.submit("@a:example.org", utf8("{2}"), 0);
    const promised = writer.promise("@a:example.org", log.clock.now());
    await new Promise((resolve) => setTimeout(resolve, 50));
    // What a crash would leave now: a change that follows on nothing could never be read again.
    assert.deepEqual(await opened.store.range(kindKey("p"), afterKind("p"), 10), []);
    waits.resolve(undefined);
    assert.equal((await promised)?.version, 2);
    assert.equal((await opened.store.range(kindKey("p"), afterKind("p"), 10)).length, 1);
    await writer.flush();
    await reopen();
    assert.equal((await open()).newestEntry("@a:example.org")?.version, 2);
  });

  it("promises nothing that only an epoch after the final one could merge", async () => {
    const writer = await open();
    writer.submit("@a:example.org", utf8("{}"), 0);
    const { origin, vkey } = new TestLog({ number: 2 });
    writer.adjust({ successor: { origin, log_key: vkey } });
    assert.equal(await writer.promise("@a:example.org", log.clock.now()), undefined);
  });

  it("erases nothing that is younger than 30 days to whoever looks at the newest head", async () => {
    const writer = await open();
    writer.submit("@a:example.org", closedEntry("@a:example.org"), 0);
    await closeEpoch(writer);
    const days = 30 * DAY_MS;
    await assert.rejects(writer.erase("@a:example.org", [1], log.clock.now() + days), /30 days/);
    await closeEpoch(writer, days);
    await writer.erase("@a:example.org", [1], log.clock.now());
    assert.equal(writer.newestEntry("@a:example.org"), undefined);
  });

  it("does not write where another has written", async () => {
    const [one, other] = [await open(), await open()];
    await closeEpoch(one);
    await assert.rejects(closeEpoch(other), ConflictError);
  });

  it("takes a vanished user record for damage, never for a new user", async () => {
    const writer = await open();
    writer.submit("@a:example.org", utf8("{}"), 0);
    await closeEpoch(writer);
    await opened.store.commit({ deletes: [userKey("@a:example.org")] });
    assert.throws(() => writer.newestEntry("@a:example.org"), IntegrityError);
    assert.throws(() => writer.submit("@a:example.org", utf8("{1}"), 0), IntegrityError);
    const running = await reopenRunning();
    await assert.rejects(running.directory.lookup("@a:example.org"), IntegrityError);
    await running.sequencer.close();
    opened = await openLog(log);
  });
  const reopenRunning = async (): Promise<Awaited<ReturnType<OwnLog["start"]>>> => {
    await opened.store.close();
    return log.start({ strictStart: true });
  };

  it("refuses to open when a record that the head rests on is missing or changed", async () => {
    const writer = await open();
    for (let i = 0; i < 5; i++) {
      writer.submit("@a:example.org", utf8(`{${i}}`), 0);
      await closeEpoch(writer);
    }
    for (const key of [epochKey(5), nodeKey(2, 0), nodeKey(1, 2)]) {
      const value = opened.store.get(key)!;
      await opened.store.commit({ deletes: [key] });
      await opened.store.close();
      await assert.rejects(openLog(log), IntegrityError);
      opened = { ...opened, store: await openLevelStore(databaseOf(log.dataDirectory)) };
      await opened.store.commit({ puts: [{ key, value }] });
    }
    await reopen();
  });

  it("is found damaged by fsck, whichever record is missing or changed", async function () {
    this.timeout(120_000);
    const writer = await open();
    for (let i = 0; i < 12; i++) {
      for (const user of ["a", "b", `c${i}`]) writer.submit(`@${user}:example.org`, utf8(`{${i}}`), 0);
      await closeEpoch(writer, 4_000);
    }
    const records: { key: Uint8Array; value: Uint8Array }[] = [];
    for await (const record of eachInRange(opened.store, Uint8Array.of(0), Uint8Array.of(255))) records.push(record);
    await opened.store.close();
    const check = async (): Promise<boolean> => fsck(log, () => undefined);
    assert(await check());
    // Proofs for auditors and the saved top are made from the rest; marks and cursors are not part of the log.
    const checked = records.filter(({ key }) => !/[qsdor]/.test(String.fromCharCode(key[0]!)));
    for (const { key, value } of checked.filter((_, i) => i % 4 === 1)) {
      const store = await openLevelStore(databaseOf(log.dataDirectory));
      const changed = Buffer.from(value);
      // Of a user record the index is checked, the proof by whoever looks the user up.
      const at = key[0] === 0x75 ? 0 : changed.length >> 1;
      changed[at] = (changed[at] ?? 0) ^ 1;
      const remove = key[3] === undefined || key.length % 2 === 0;
      await store.commit(remove ? { deletes: [key] } : { puts: [{ key, value: changed }] });
      await store.close();
      assert.equal(await check(), false, `${Buffer.from(key).toString("latin1")} ${remove ? "removed" : "changed"}`);
      const repaired = await openLevelStore(databaseOf(log.dataDirectory));
      await repaired.commit({ puts: [{ key, value }] });
      await repaired.close();
    }
    assert(await check());
    opened = await openLog(log);
  });

  it("forgets settled maps and batch proofs when their time is over, and no sooner", async () => {
    const writer = await open();
    for (let i = 0; i < 6; i++) {
      writer.submit("@a:example.org", utf8(`{${i}}`), 0);
      await closeEpoch(writer, 11_000);
    }
    const count = async (kind: string): Promise<number> => {
      const from = Buffer.from(kind);
      return (await opened.store.range(from, Buffer.from([from[0]! + 1]), 100)).length;
    };
    const [settled, proofs] = [await count("s"), await count("q")];
    assert(settled >= 4 && proofs === 7);
    assert.equal(await count("t"), settled + 1, "a form of the first tile for each settling epoch");
    const firstMs = log.clock.now() - 6 * 11_000;
    await prune(opened.store, firstMs + AUDIT_PROOFS_KEPT_MS);
    assert.deepEqual([await count("s"), await count("q")], [settled, proofs]);
    await prune(opened.store, firstMs + AUDIT_PROOFS_KEPT_MS + 1);
    assert.deepEqual([await count("s"), await count("q")], [settled, proofs - 1]);
    await prune(opened.store, log.clock.now() + SETTLED_MAPS_KEPT_MS + 1);
    assert.deepEqual([await count("s"), await count("q"), await count("t")], [0, 0, 1]);
  });
});
