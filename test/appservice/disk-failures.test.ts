/** What a log does on a disk that fails, by errors of the kernel's own: nothing can be read at the start of a process's memory. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { DiskFailures } from "../../appservice/disk-failures.ts";
import { fsck } from "../../appservice/fsck.ts";
import { StorageError, UnknownOutcomeError } from "../../appservice/store/store.ts";
import { DAY_MS, HOUR_MS } from "../../shared/parameters.ts";
import { OwnLog } from "../support/own-log.ts";
import { TestUser } from "../support/test-user.ts";

const UNREADABLE = "/proc/self/mem";

interface Ended {
  readonly exitCode?: unknown;
  readonly message: string;
}

describe("a disk that fails", function () {
  this.timeout(30_000);
  let log: OwnLog;
  beforeEach(async () => {
    log = await OwnLog.create();
  });
  afterEach(() => {
    log.remove();
  });

  const notes = (): readonly string[] => [`${log.dataDirectory}/disk-failed`, `${log.anchorFile}.disk-failed`];
  const change = (): { userId: string; entry: Uint8Array; observedMs: number } => ({
    userId: "@a:example.org",
    entry: new TestUser("@a:example.org", `D${log.clock.now()}`).entry(),
    observedMs: log.clock.now(),
  });

  /** Runs the log until an epoch is merged. */
  async function live(): Promise<void> {
    const { sequencer } = await log.start();
    await log.clock.runUntil(sequencer.submit(change()));
    await sequencer.close();
  }

  /** Runs the log until its anchor gives an input/output error, which passes; what it ended with. */
  async function fail(): Promise<Ended> {
    const { sequencer } = await log.start();
    const kept = `${log.anchorFile}.kept`;
    renameSync(log.anchorFile, kept);
    symlinkSync(UNREADABLE, log.anchorFile);
    sequencer.submit(change()).catch(() => undefined);
    const ended = await log.clock.runUntil(endOf(sequencer.finished));
    await sequencer.close();
    renameSync(kept, log.anchorFile);
    return ended;
  }

  async function endOf(work: Promise<unknown>): Promise<Ended> {
    try {
      await work;
    } catch (error) {
      return error as Ended;
    }
    return { message: "it ended well" };
  }

  it("ends it with 75 the first time, with 70 the second within a day, and for good until fsck finds it sound", async () => {
    const first = await fail();
    assert.deepEqual([first.exitCode, /EIO/.test(first.message)], [75, true], first.message);
    await live();
    log.clock.advance(23 * HOUR_MS);
    const second = await fail();
    assert.equal(second.exitCode, 70, second.message);
    assert.match(second.message, /second time within a day.*EIO: i\/o error.*Next: .*matrix-ckv fsck/);
    log.clock.advance(30 * DAY_MS);
    for (const lost of ["neither note", notes()[0] ?? ""]) {
      rmSync(lost, { force: true });
      const third = await endOf(log.start());
      assert.equal(third.exitCode, 70, third.message);
      assert.match(
        third.message,
        /failed twice within a day, last at 20\d\d-.*EIO: i\/o error.*Next: .*matrix-ckv fsck/,
      );
    }
  });

  it("is forgotten by an fsck that finds the log sound, and by no other", async () => {
    await fail();
    await fail();
    const anchor = readFileSync(log.anchorFile);
    rmSync(log.anchorFile);
    assert.equal(await fsck(log, () => undefined), false);
    writeFileSync(log.anchorFile, anchor);
    assert.equal((await endOf(log.start())).exitCode, 70);
    assert.equal(await fsck(log, () => undefined), true);
    assert.deepEqual(notes().filter(existsSync), []);
    await live();
    assert.equal((await fail()).exitCode, 75);
  });

  it("counts as failing also while the log is opened", async () => {
    renameSync(log.anchorFile, `${log.anchorFile}.kept`);
    symlinkSync(UNREADABLE, log.anchorFile);
    const codes = [];
    for (let start = 0; start < 3; start++) codes.push((await endOf(log.start())).exitCode);
    assert.deepEqual(codes, [75, 70, 70]);
  });

  it("may fail once a day", async () => {
    for (let day = 0; day < 3; day++) {
      assert.equal((await fail()).exitCode, 75);
      log.clock.advance(DAY_MS);
    }
    await live();
  });

  it("is known by either note, and ends the log with 70 at once where neither can be written", async () => {
    const [inData = "", besideAnchor = ""] = notes();
    mkdirSync(`${inData}.new`);
    assert.equal((await fail()).exitCode, 75);
    assert.deepEqual([existsSync(inData), existsSync(besideAnchor)], [false, true]);
    mkdirSync(`${besideAnchor}.new`);
    assert.equal((await fail()).exitCode, 70);
    rmSync(besideAnchor);
    const unnoted = await fail();
    assert.equal(unnoted.exitCode, 70);
    assert.match(unnoted.message, /took no note of it.*EIO: i\/o error.*Next: .*matrix-ckv fsck/);
  });

  it("is taken for one that failed twice where its note can't be read", async () => {
    for (const note of ["", "1 first", "1 first x", "x first x\n", "1 third x\n"]) {
      writeFileSync(notes()[0] ?? "", note);
      const { exitCode, message } = await endOf(log.start());
      assert.equal(exitCode, 70, note);
      assert.match(message, /disk-failed can't be read/);
    }
  });

  it("is another one than a full disk, one that is read-only, and a lack of handles; one process fails once", () => {
    const failures = new DiskFailures(log, () => log.clock.now());
    for (const cause of [
      "IO error: /x/000005.log: No space left on device",
      "IO error: /x/000005.log: Read-only file system",
      "IO error: /x/000005.log: Too many open files",
      "Corruption: bad block",
    ]) {
      const error = new UnknownOutcomeError("not confirmed", { cause: new Error(cause) });
      assert.equal(failures.judge(error), error);
    }
    assert.deepEqual(notes().filter(existsSync), []);
    const error = new StorageError("/x", { cause: new Error("IO error: /x/000005.log: Input/output error") });
    assert.equal(failures.judge(error), error);
    assert.equal(failures.judge(error), error);
    assert.equal(readFileSync(notes()[1] ?? "", "utf8"), readFileSync(notes()[0] ?? "", "utf8"));
    assert.match(
      readFileSync(notes()[0] ?? "", "utf8"),
      /^\d+ first IO error: \/x\/000005\.log: Input\/output error\n$/,
    );
  });
});
