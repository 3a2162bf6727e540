/** What is kept for a full disk. The full disk itself: `npm run faults -- --only "full disk"`. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, truncateSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { DiskReserve, isOutOfSpace, spaceProblem } from "../../appservice/disk-space.ts";
import { StorageError } from "../../appservice/store/store.ts";
import { OwnLog } from "../support/own-log.ts";
import { TestUser } from "../support/test-user.ts";

const BYTES = 3_000_000;

describe("the reserve of a disk", () => {
  let log: OwnLog;
  let file: string;
  beforeEach(async () => {
    log = await OwnLog.create();
    file = `${log.dataDirectory}/reserve`;
  });
  afterEach(() => {
    log.remove();
  });

  it("takes its space, gives it back, and is made anew where it is cut", () => {
    const reserve = new DiskReserve(log.dataDirectory, BYTES);
    assert.deepEqual([reserve.missing, reserve.hold(), reserve.missing], [BYTES, true, 0]);
    const { size, mode, ino } = statSync(file);
    assert.deepEqual([size, mode & 0o777], [BYTES, 0o600]);
    assert.ok(gzipSync(readFileSync(file).subarray(0, 100_000)).length > 99_000, "a file system could compress it");
    assert.ok(reserve.hold());
    assert.equal(statSync(file).ino, ino);
    truncateSync(file, BYTES - 1);
    assert.deepEqual([reserve.missing, reserve.hold(), statSync(file).size], [BYTES, true, BYTES]);
    assert.deepEqual([reserve.release(), existsSync(file), reserve.release()], [true, false, false]);
  });

  it("is not begun where there is no room for it, and nothing is written then", () => {
    const reserve = new DiskReserve(log.dataDirectory, 2 ** 60);
    assert.equal(reserve.hold(), false);
    assert.equal(existsSync(file), false);
    assert.match(spaceProblem(log, reserve) ?? "", /less than \d+ MiB of disk are free\. Next: free some/);
    assert.equal(spaceProblem(log, new DiskReserve(log.dataDirectory, 0)), undefined);
  });

  it("is none for the anchor, whose own disk must have room for it", () => {
    const { dataDirectory } = log;
    // A file system on which nothing is ever free.
    const problem = spaceProblem({ dataDirectory, anchorFile: "/proc/head" }, new DiskReserve(dataDirectory, 0));
    assert.match(problem ?? "", /less than 1 MiB of disk are free\. Next: free some for \/proc;/);
  });

  it("is given up only for a disk that is full", () => {
    const full = new Error("IO error: /x/MANIFEST-000004: No space left on device");
    assert.ok(isOutOfSpace(new StorageError("/x", { cause: full })));
    assert.ok(isOutOfSpace(Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" })));
    assert.ok(isOutOfSpace(Object.assign(new Error("EDQUOT: disk quota exceeded, write"), { code: "EDQUOT" })));
    for (const cause of ["IO error: /x: Input/output error", "IO error: /x: Too many open files", "Corruption: x"])
      assert.equal(isOutOfSpace(new StorageError("/x", { cause: new Error(cause) })), false);
  });

  it("stands while the log signs; a start on a full disk gives it up, and tries again; room again, it stands again", async () => {
    const change = (): { userId: string; entry: Uint8Array; observedMs: number } => {
      const entry = new TestUser("@a:example.org", `D${log.clock.now()}`).entry();
      return { userId: "@a:example.org", entry, observedMs: log.clock.now() };
    };
    const merge = async (): Promise<void> => {
      const { sequencer } = await log.start({ reserveBytes: BYTES });
      await log.clock.runUntil(sequencer.submit(change()));
      await sequencer.close();
    };
    await merge();
    assert.equal(statSync(file).size, BYTES);
    // The database has an epoch more than the anchor, for which there is no space.
    const { sequencer } = await log.start({ reserveBytes: BYTES });
    symlinkSync("/dev/full", `${log.anchorFile}.new`);
    sequencer.submit(change()).catch(() => undefined);
    await assert.rejects(log.clock.runUntil(sequencer.finished), { exitCode: 75, message: /ENOSPC/ });
    await sequencer.close();
    assert.equal(statSync(file).size, BYTES);
    await assert.rejects(log.start({ reserveBytes: BYTES }), { exitCode: 75, message: /ENOSPC/ });
    assert.equal(existsSync(file), false);
    rmSync(`${log.anchorFile}.new`, { force: true });
    await merge();
    assert.equal(statSync(file).size, BYTES);
  });

  it("ends the log where it can't be made, for it would stand still in silence", async () => {
    mkdirSync(file);
    const { sequencer } = await log.start({ reserveBytes: BYTES });
    sequencer
      .submit({ userId: "@a:example.org", entry: new TestUser("@a:example.org", "D").entry(), observedMs: 0 })
      .catch(() => undefined);
    await assert.rejects(log.clock.runUntil(sequencer.finished), {
      exitCode: 75,
      message: /reserve can't be opened now\. Next: /,
    });
    await sequencer.close();
  });
});
