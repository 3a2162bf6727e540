/** Backups while the log goes on, killed backups and restores, and when a restored log signs again. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, it } from "mocha";
import { backUpStopped, writeBackup } from "../../appservice/backup.ts";
import type { Backup } from "../../appservice/backup.ts";
import { AheadError } from "../../appservice/cosigners.ts";
import { databaseOf } from "../../appservice/create-log.ts";
import { fsck } from "../../appservice/fsck.ts";
import type { LogPlace } from "../../appservice/open-log.ts";
import type { Cosign } from "../../appservice/publication.ts";
import { restoreLog } from "../../appservice/restore.ts";
import { startSequencer } from "../../appservice/sequencer.ts";
import type { RunningLog } from "../../appservice/sequencer.ts";
import { parseVkey } from "../../shared/crypto/signed-note.ts";
import { rootAt } from "../../appservice/open-log.ts";
import { openLevelStore } from "../../appservice/store/level-store.ts";
import { equalBytes, utf8 } from "../../shared/encoding.ts";
import { openCheckpoint, type Checkpoint } from "../../shared/log/checkpoint.ts";
import { OwnLog } from "../support/own-log.ts";

const PROCESS = fileURLToPath(new URL("../support/backup-process.ts", import.meta.url));
/** Kills of each command in this run; `CKV_CRASHES` for longer ones. */
const KILLS = Number(process.env["CKV_CRASHES"] ?? 2);
const quiet = (): void => undefined;

describe("backup and restore", function () {
  this.timeout(120_000);
  let log: OwnLog;
  let running: RunningLog | undefined;
  beforeEach(async () => {
    log = await OwnLog.create();
  });
  afterEach(async () => {
    await running?.sequencer.close();
    running = undefined;
    log.remove();
  });

  const here = (): LogPlace => ({ dataDirectory: log.dataDirectory, anchorFile: log.anchorFile, keys: log.keys });
  const there = (): LogPlace => ({
    dataDirectory: join(log.directory, "there"),
    anchorFile: join(log.directory, "there-anchor/head"),
    keys: log.keys,
  });
  const file = (name: string): string => join(log.directory, name);
  const stopped = async (name: string, move = false): Promise<Backup> =>
    await writeBackup(file(name), backUpStopped(here(), { move, nowMs: 1 }), log.keys.logSeed, quiet);

  const change = async (sequencer: RunningLog["sequencer"], userId: string, content: string): Promise<void> => {
    const merged = sequencer.submit({ userId, entry: utf8(`{"${content}":0}`), observedMs: log.clock.now() });
    await log.clock.runUntil(merged);
  };
  const grow = async (users: number): Promise<void> => {
    running = await log.start();
    const { sequencer } = running;
    const merged = Array.from({ length: users }, (_, i) =>
      sequencer.submit({ userId: `@${i}:example.org`, entry: utf8("{}"), observedMs: log.clock.now() }),
    );
    await log.clock.runUntil(Promise.all(merged));
    await sequencer.close();
    running = undefined;
  };
  const sound = async ({ dataDirectory, anchorFile }: LogPlace): Promise<boolean> => {
    const problems: string[] = [];
    const result = await fsck({ dataDirectory, anchorFile }, (report) => {
      if (report.kind === "problem") problems.push(report.message);
    });
    assert.deepEqual(problems, []);
    return result;
  };
  /** Starts what was restored; it does not sign before the room was asked. */
  const startThere = async (cosign?: Cosign): Promise<RunningLog> => {
    const { dataDirectory, anchorFile } = there();
    return await startSequencer({
      ...{ dataDirectory, anchorFile, keysFile: log.keysFile, clock: log.clock },
      signal: new AbortController().signal,
      ...(cosign === undefined ? {} : { cosign }),
    });
  };

  it("while epochs close as fast as they can: each backup is one published epoch, whole", async () => {
    running = await log.start({ epochDelayMs: 1 });
    const { sequencer, backUp } = running;
    const stop = new AbortController();
    let isOver = false;
    const ticking = (async (): Promise<void> => {
      while (!stop.signal.aborted) {
        log.clock.advance(500);
        await delay(1);
      }
    })();
    const writing = Array.from({ length: 10 }, async (_, writer) => {
      for (let i = 0; !isOver; i++) {
        const userId = `@${writer}-${i % 40}:example.org`;
        await sequencer.submit({ userId, entry: utf8(`{"${i}":0}`), observedMs: log.clock.now() });
      }
    });
    const backups: Backup[] = [];
    for (let i = 0; i < 3; i++) {
      const before = sequencer.status().epoch;
      while (sequencer.status().epoch < before + 5) await delay(5);
      const pair = [`b${i}`, `c${i}`].map((name) => writeBackup(file(name), backUp(), log.keys.logSeed, quiet));
      backups.push(...(await Promise.all(pair)));
    }
    isOver = true;
    await Promise.all(writing);
    stop.abort();
    await ticking;
    await sequencer.close();
    const sizes = backups.map((backup) => headOf(backup).size);
    assert(new Set(sizes).size >= 3, String(sizes));
    const store = await openLevelStore(databaseOf(log.dataDirectory));
    try {
      for (const [i, backup] of backups.entries()) {
        const { size, root } = headOf(backup);
        assert(equalBytes(rootAt(store, size), root), "the head of a backup is one that was published");
        const { epoch } = await restoreLog(file(`${"bc"[i % 2] ?? ""}${i >> 1}`), there(), quiet);
        assert.equal(epoch, size - 1);
        rmSync(there().dataDirectory, { recursive: true });
      }
    } finally {
      await store.close();
    }
  });

  it("for the owner alone, under its name only when whole, and never over another file", async () => {
    await grow(1);
    await stopped("backup");
    assert.equal(statSync(file("backup")).mode & 0o777, 0o600);
    await assert.rejects(stopped("backup"), { name: "BackupError", exitCode: 78 });
    writeFileSync(file("other.partial"), "");
    await assert.rejects(stopped("other"), /interrupted/);
    assert(!existsSync(file("other")));
    // A database that can't be read to its end leaves no file at all.
    const broken = (async function* (): AsyncGenerator<Uint8Array> {
      yield await Promise.resolve(new Uint8Array(10));
      throw new Error("lost");
    })();
    await assert.rejects(writeBackup(file("third"), broken, log.keys.logSeed, quiet), /lost/);
    assert.deepEqual(
      readdirSync(log.directory).filter((name) => name.startsWith("third")),
      [],
    );
  });

  it("restore never overwrites, and takes away what an interrupted one left", async () => {
    await grow(1);
    await stopped("backup");
    await assert.rejects(restoreLog(file("backup"), here(), quiet), { exitCode: 78, message: /never overwritten/ });
    mkdirSync(`${databaseOf(there().dataDirectory)}.restoring/x`, { recursive: true });
    await restoreLog(file("backup"), there(), quiet);
    assert.deepEqual(
      readdirSync(there().dataDirectory).filter((name) => name !== "ckv.lock"),
      ["db"],
    );
    await assert.rejects(restoreLog(file("backup"), there(), quiet), /never overwritten/);
  });

  it("a backup of a log that went on: answers, never signs, whatever room and anchor say; can't be backed up again", async () => {
    await grow(3);
    const { note } = await stopped("backup");
    await restoreLog(file("backup"), there(), quiet);
    assert(!existsSync(there().anchorFile), "an anchor is only made for a log that was moved");
    mkdirSync(join(there().anchorFile, ".."));
    writeFileSync(there().anchorFile, note);
    running = await startThere();
    const { sequencer, directory } = running;
    const { timestampMs } = sequencer.status();
    for (const room of [note, "room-empty"]) {
      sequencer.setExternalHead(room);
      for (let i = 0; i < 20; i++) {
        log.clock.advance(60_000);
        await delay(5);
      }
    }
    assert.match(sequencer.status().reason ?? "", /restored from a backup.*Next: .*--without-final-epoch/);
    assert.deepEqual([sequencer.status().timestampMs, sequencer.status().signing], [timestampMs, false]);
    assert.equal(await sequencer.promise("@0:example.org"), undefined);
    assert.equal(
      (JSON.parse(await directory.lookup("@0:example.org")) as { head: { checkpoint: string } }).head.checkpoint,
      note,
    );
    await assert.rejects(writeBackup(file("again"), running.backUp(), log.keys.logSeed, quiet), /keep that backup/);
    assert(!existsSync(file("again")));
    await sequencer.close();
    running = undefined;
    for (const move of [false, true]) {
      const bytes = backUpStopped(there(), { move, nowMs: 1 });
      await assert.rejects(writeBackup(file("again"), bytes, log.keys.logSeed, quiet), /keep that backup/);
    }
    assert(await sound(there()));
  });

  it("a moved log: signs where it is restored, once the room is known, and never again where it was", async () => {
    await grow(3);
    const { note } = await stopped("backup", true);
    running = await log.start();
    assert.match(running.sequencer.status().reason ?? "", /moved away/);
    await running.sequencer.close();
    await assert.rejects(stopped("plain"), /moved away/);
    // The same once more, should the first file have been lost.
    assert.equal((await stopped("second", true)).note, note);

    await restoreLog(file("backup"), there(), quiet);
    running = await startThere();
    const { sequencer } = running;
    assert.match(sequencer.status().reason ?? "", /waiting.*room/);
    sequencer.setExternalHead(note);
    await change(sequencer, "@new:example.org", "1");
    assert(sequencer.status().epoch >= headOf({ note }).size);
    await sequencer.close();
    running = undefined;
    // From now on it is a log like any other.
    assert((await backedUp(there())).records > 0);
    assert(await sound(there()));
  });

  it("a moved log: refuses when room, anchor or a witness knows a newer head", async () => {
    await grow(3);
    await stopped("backup", true);
    // A second history of the same keys, which the operator let go on elsewhere.
    await restoreLog(file("backup"), there(), quiet);
    running = await startThere();
    running.sequencer.setExternalHead("room-empty");
    await change(running.sequencer, "@new:example.org", "1");
    const newer = await running.directory.checkpoint();
    await running.sequencer.close();
    const restoreAgain = async (): Promise<void> => {
      rmSync(there().dataDirectory, { recursive: true });
      await restoreLog(file("backup"), there(), quiet);
    };

    await assert.rejects(restoreAgain(), { name: "RestoreError", exitCode: 78, message: /anchors another head/ });
    assert(!existsSync(databaseOf(there().dataDirectory)));
    rmSync(there().anchorFile);
    await restoreAgain();
    running = await startThere();
    running.sequencer.setExternalHead(newer);
    while (/waiting/.test(running.sequencer.status().reason ?? "waiting")) await delay(5);
    assert.match(running.sequencer.status().reason ?? "", /rolled back/);
    await running.sequencer.close();

    const ahead: Cosign = () => Promise.reject(new AheadError("a witness has cosigned more"));
    running = await startThere(ahead);
    const { finished } = running.sequencer;
    running.sequencer.setExternalHead("room-empty");
    await assert.rejects(finished, { name: "AheadError", exitCode: 70 });
    assert.equal(running.sequencer.status().signing, false);
    await running.sequencer.close();

    // A witness that does not answer: nothing is signed.
    running = await startThere(async (_note, _size, _path, signal) => {
      await once(signal, "abort");
      throw signal.reason;
    });
    running.sequencer.setExternalHead("room-empty");
    for (let i = 0; i < 20; i++) {
      log.clock.advance(60_000);
      await delay(5);
    }
    assert.match(running.sequencer.status().reason ?? "", /waiting for the witnesses/);
    assert.equal(running.sequencer.status().signing, false);
  });

  it(`killed at any moment (${KILLS} kills each), a backup is whole or not there, and so is a restored database`, async () => {
    await grow(400);
    for (const what of ["move", "restore"] as const) {
      const name = what === "restore" ? "source" : what;
      if (what === "restore") await stopped(name, true);
      const place = what === "restore" ? there() : here();
      const wholeMs = await run(what, name, place, undefined);
      for (let kill = 0; kill < KILLS; kill++) {
        clear(what, name, place);
        await run(what, name, place, wholeMs * ((kill + Math.random()) / KILLS));
        if (what === "restore") await checkRestored();
        else await checkBackup(name);
      }
    }
  });

  function clear(what: string, name: string, target: LogPlace): void {
    if (what === "restore") {
      rmSync(target.dataDirectory, { recursive: true, force: true });
      return;
    }
    for (const path of [file(name), `${file(name)}.partial`]) rmSync(path, { force: true });
  }

  async function checkBackup(name: string): Promise<void> {
    if (!existsSync(file(name))) return;
    await restoreLog(file(name), there(), quiet);
    rmSync(there().dataDirectory, { recursive: true });
  }

  async function checkRestored(): Promise<void> {
    const database = databaseOf(there().dataDirectory);
    if (existsSync(database)) assert(await sound(there()));
    else await restoreLog(file("source"), there(), quiet);
    assert(existsSync(database));
  }

  /** Runs the process; kills it so long after it began, or waits for its end. Returns how long it worked. */
  async function run(what: string, name: string, place: LogPlace, killAfterMs: number | undefined): Promise<number> {
    const args = [PROCESS, what, file(name), place.dataDirectory, place.anchorFile, log.keysFile];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    const closed = once(child, "close");
    await once(child.stdout, "data");
    const beganMs = performance.now();
    if (killAfterMs !== undefined) {
      await delay(killAfterMs);
      child.kill("SIGKILL");
    }
    const [code] = (await closed) as [number | null];
    if (killAfterMs === undefined) assert.equal(code, 0);
    return performance.now() - beganMs;
  }

  async function backedUp(place: LogPlace): Promise<Backup> {
    return await writeBackup(file("anew"), backUpStopped(place, { move: false, nowMs: 1 }), log.keys.logSeed, quiet);
  }

  function headOf({ note }: { readonly note: string }): Checkpoint {
    return openCheckpoint(note, parseVkey(log.configuration.log_key));
  }
});
