/** Each row of the table: what the database, the anchor and the room say, and whether the log may sign. */
import assert from "node:assert/strict";
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "mocha";
import { databaseOf, LAYOUT } from "../../appservice/create-log.ts";
import { fsck } from "../../appservice/fsck.ts";
import { writeKeys } from "../../appservice/keys-file.ts";
import type { RunningLog } from "../../appservice/sequencer.ts";
import { openLevelStore } from "../../appservice/store/level-store.ts";
import { LAYOUT_KEY } from "../../appservice/store/records.ts";
import { utf8 } from "../../shared/encoding.ts";
import { signCheckpoint } from "../../shared/log/checkpoint.ts";
import { verifyEvidence } from "../../shared/proofs/evidence.ts";
import { ORIGIN, OwnLog } from "../support/own-log.ts";

const REFUSES = "refuses";
const SIGNS = "signs";
const WAITS = "waits";

describe("start checks", () => {
  let log: OwnLog;
  let running: RunningLog | undefined;
  /** The whole log at the end of three runs, and its database after the first. */
  let template: string;
  let early: string;
  /** Checkpoints by epoch; the anchor of an epoch holds the same text. */
  const notes = new Map<number, string>();
  let last = 0;

  /** Merges one change and stops. */
  const grow = async (content: string): Promise<void> => {
    const started = await log.start();
    const stop = new AbortController();
    const watched = (async (): Promise<void> => {
      for await (const head of started.sequencer.commits(stop.signal)) notes.set(head.epoch, head.checkpoint);
    })();
    const change = { userId: "@a:example.org", entry: utf8(`{"${content}":0}`), observedMs: log.clock.now() };
    await log.clock.runUntil(started.sequencer.submit(change));
    await started.sequencer.close();
    stop.abort();
    await watched;
    last = Math.max(...notes.keys());
  };
  const copy = (from: string, to: string): void => {
    rmSync(to, { recursive: true, force: true });
    cpSync(from, to, { recursive: true, filter: (path) => !path.endsWith(".lock") });
  };
  const restoreEarly = (): void => {
    copy(early, log.dataDirectory);
  };
  const setAnchor = (epoch: number): void => {
    writeFileSync(log.anchorFile, noteOf(epoch));
  };
  const noteOf = (epoch: number): string => {
    const note = notes.get(epoch);
    assert(note, `no checkpoint of epoch ${epoch}`);
    return note;
  };

  /** Starts, tells what the room holds, lets time go by, and says what the log did. */
  const outcome = async (room: string | undefined): Promise<string> => {
    running = await log.start({ strictStart: true });
    const { sequencer } = running;
    const { timestampMs } = sequencer.status();
    if (room !== undefined) sequencer.setExternalHead(room);
    const undecided = (reason: string | undefined): boolean => reason === undefined || /waiting/.test(reason);
    for (let i = 0; i < 3_000 && sequencer.status().timestampMs === timestampMs; i++) {
      if (!undecided(sequencer.status().reason) || (room === undefined && i === 30)) break;
      log.clock.advance(1_000);
      await new Promise((resolve) => setTimeout(resolve, 4));
    }
    const { reason, timestampMs: after } = sequencer.status();
    assert.match(await running.directory.checkpoint(), /example.org/, "reads are answered in any case");
    if (after > timestampMs) return SIGNS;
    return undecided(reason) ? WAITS : `${REFUSES}: ${reason}`;
  };

  /** A refusal names a file that convicts the log's key, before anybody. */
  const assertConvicts = (told: string, kind: string): void => {
    const [, file = ""] = /The evidence is in (.*)$/.exec(told) ?? [];
    const fact = verifyEvidence(readFileSync(file, "utf8"));
    assert.deepEqual([fact.kind, fact.code, fact.logKey], [kind, "head-fork", log.configuration.log_key]);
  };

  before(async () => {
    log = await OwnLog.create();
    [template, early] = [`${log.directory}-template`, `${log.directory}-early`];
    await grow("1");
    copy(log.dataDirectory, early);
    const earlyEpoch = last;
    await grow("2");
    await grow("3");
    copy(log.directory, template);
    assert(last >= earlyEpoch + 2);
    first = earlyEpoch;
  });
  let first = 0;
  beforeEach(() => {
    copy(template, log.directory);
  });
  afterEach(async () => {
    await running?.sequencer.close();
    running = undefined;
  });
  after(() => {
    log.remove();
    for (const directory of [template, early]) rmSync(directory, { recursive: true, force: true });
  });

  it("database n, anchor n, room n: signs", async () => {
    assert.equal(await outcome(noteOf(last)), SIGNS);
  });
  it("database n, anchor n, room behind: signs", async () => {
    assert.equal(await outcome(noteOf(first)), SIGNS);
  });
  it("database n + 1, anchor n: rolls the anchor forward and signs", async () => {
    setAnchor(last - 1);
    assert.equal(await outcome(noteOf(last - 1)), SIGNS);
    assert.notEqual(readFileSync(log.anchorFile, "utf8"), noteOf(last - 1));
  });
  it("database n, anchor n with another root: refuses", async () => {
    const kept = readFileSync(log.anchorFile, "utf8");
    const note = signCheckpoint(
      { origin: ORIGIN, size: last + 1, root: new Uint8Array(32) },
      { seed: log.keys.logSeed },
    );
    writeFileSync(log.anchorFile, note);
    const told = await outcome(noteOf(last));
    assert.match(told, /refuses.*root/);
    assertConvicts(told, "E1");
    assert.notEqual(kept, note);
    assert.equal(readFileSync(log.anchorFile, "utf8"), note, "the evidence stays");
  });
  it("database n + 1, anchor n with another root: refuses", async () => {
    const note = signCheckpoint({ origin: ORIGIN, size: last, root: new Uint8Array(32) }, { seed: log.keys.logSeed });
    writeFileSync(log.anchorFile, note);
    assertConvicts(await outcome(noteOf(first)), "E2");
  });
  it("database n, an anchor that the log's key did not sign: does not start", async () => {
    const note = signCheckpoint(
      { origin: ORIGIN, size: last + 1, root: new Uint8Array(32) },
      { seed: log.keys.vrfSeed },
    );
    writeFileSync(log.anchorFile, note);
    await assert.rejects(log.start(), { exitCode: 78, message: /signed\. Next: set "anchor"/ });
  });
  it("database older than the anchor: refuses", async () => {
    restoreEarly();
    assert.match(await outcome(noteOf(first)), /refuses.*rolled back/);
  });
  it("database more than one epoch ahead of the anchor: refuses", async () => {
    setAnchor(first);
    assert.match(await outcome(noteOf(first)), /refuses.*ahead/);
  });
  it("anchor missing: refuses and makes none", async () => {
    rmSync(log.anchorFile);
    assert.match(await outcome(noteOf(last)), /refuses.*missing/);
    assert(!existsSync(log.anchorFile));
  });
  it("database missing: does not start, and makes none", async () => {
    rmSync(join(log.dataDirectory, "db", "CURRENT"));
    await assert.rejects(log.start(), /holds no database/);
    assert(!existsSync(join(log.dataDirectory, "db", "CURRENT")));
  });
  it("database of a newer or older stored form: does not start, changes nothing, and names the version that reads it", async () => {
    const stored = async (layout: string): Promise<void> => {
      const store = await openLevelStore(databaseOf(log.dataDirectory));
      await store.commit({ puts: [{ key: LAYOUT_KEY, value: utf8(layout) }] });
      await store.close();
    };
    await stored("matrix-ckv 9 since 9.8.7");
    for (const open of [(): Promise<unknown> => log.start(), (): Promise<unknown> => fsck(log, () => undefined)]) {
      await assert.rejects(open(), {
        name: "LayoutError",
        exitCode: 78,
        message: /newer.*run matrix-ckv 9\.8\.7 or newer/,
      });
    }
    await stored("matrix-ckv 3000 since 10.0.0-rc.1");
    await assert.rejects(log.start(), { exitCode: 78, message: /10\.0\.0-rc\.1/ });
    await stored("something else");
    await assert.rejects(log.start(), { exitCode: 70 });
    await stored(LAYOUT);
    assert.equal(await outcome(noteOf(last)), SIGNS);
  });
  it("database and anchor restored, room ahead: refuses", async () => {
    restoreEarly();
    setAnchor(first);
    assert.match(await outcome(noteOf(last)), /refuses.*rolled back/);
  });
  it("room holds another head of the same size: refuses", async () => {
    const note = signCheckpoint({ origin: ORIGIN, size: first, root: new Uint8Array(32) }, { seed: log.keys.logSeed });
    const told = await outcome(note);
    assert.match(told, /refuses.*two heads/);
    assertConvicts(told, "E2");
    const same = signCheckpoint(
      { origin: ORIGIN, size: last + 1, root: new Uint8Array(32) },
      { seed: log.keys.logSeed },
    );
    await running?.sequencer.close();
    assertConvicts(await outcome(same), "E1");
  });
  it("room not yet known: waits, and gives no promise", async () => {
    assert.equal(await outcome(undefined), WAITS);
    const change = { userId: "@a:example.org", entry: utf8("{}"), observedMs: 0 };
    running?.sequencer.submit(change).catch(() => undefined);
    assert.equal(await running?.sequencer.promise("@a:example.org"), undefined);
  });
  it("room empty and nothing was ever posted: signs", async () => {
    assert.equal(await outcome("room-empty"), SIGNS);
  });
  it("room empty although heads were posted: refuses", async () => {
    const started = await log.start();
    await started.marks.setCursor("room.posted", "1");
    await started.sequencer.close();
    assert.match(await outcome("room-empty"), /refuses.*no head/);
  });
  it("clock behind the newest epoch: signs nothing until it has caught up", async () => {
    log.clock.advance(-1_000_000);
    running = await log.start();
    const { timestampMs, reason } = running.sequencer.status();
    assert.match(reason ?? "", /clock/);
    log.clock.advance(5_000);
    await new Promise((resolve) => setTimeout(resolve, 30));
    assert.equal(running.sequencer.status().timestampMs, timestampMs);
    log.clock.advance(1_000_000);
  });
  it("the keys of another log: does not start", async () => {
    for (const name of ["logSeed", "vrfSeed", "promiseSeed"] as const) {
      rmSync(log.keysFile);
      writeKeys(log.keysFile, { ...log.keys, [name]: new Uint8Array(32).fill(7) });
      await assert.rejects(log.start(), { name: "ForeignKeysError", exitCode: 78 });
    }
  });
  it("a second process: refused, naming the first", async () => {
    running = await log.start();
    await assert.rejects(log.start(), new RegExp(`in use by process ${process.pid}`));
  });
});
