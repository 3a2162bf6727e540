/** Files that LevelDB deletes lose their names at once, and their memory when nobody waits. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "mocha";
import { databaseOf } from "../../../appservice/create-log.ts";
import { HeldFiles } from "../../../appservice/store/held-files.ts";
import { OwnLog } from "../../support/own-log.ts";

/** Names of the files below a directory that this process has open, as the kernel tells them. */
function openIn(directory: string): readonly string[] {
  const targets = readdirSync("/proc/self/fd").flatMap((handle) => {
    try {
      return [readlinkSync(`/proc/self/fd/${handle}`)];
    } catch {
      return [];
    }
  });
  return targets
    .filter((target) => target.startsWith(`${directory}/`))
    .map((target) => target.slice(directory.length + 1));
}

describe("held files", () => {
  let directory: string;
  let held: HeldFiles;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "ckv-held-"));
    for (const name of ["000003.ldb", "000004.log", "CURRENT", "LOG", "MANIFEST-000002"])
      writeFileSync(join(directory, name), name);
    held = new HeldFiles(directory);
  });
  afterEach(async () => {
    await held.close();
    rmSync(directory, { recursive: true, force: true });
  });

  it("are tables and journals, those too that were deleted, until somebody looks", async () => {
    await held.look();
    assert.deepEqual([...openIn(directory)].sort(), ["000003.ldb", "000004.log"]);
    writeFileSync(join(directory, "000012.ldb"), "new");
    rmSync(join(directory, "000003.ldb"));
    assert.ok(openIn(directory).includes("000003.ldb (deleted)"));
    await Promise.all([held.look(), held.look()]);
    assert.deepEqual([...openIn(directory)].sort(), ["000004.log", "000012.ldb"]);
    await held.close();
    assert.deepEqual(openIn(directory), []);
  });

  it("are the newest where there are many", async () => {
    for (let i = 10; i < 700; i++) writeFileSync(join(directory, `${`${i}`.padStart(6, "0")}.ldb`), "");
    await held.look();
    const numbers = openIn(directory).map((name) => Number(name.slice(0, 6)));
    assert.equal(numbers.length, 512);
    assert.equal(Math.min(...numbers), 700 - 512);
  });

  it("may vanish with their directory", async () => {
    await held.look();
    rmSync(directory, { recursive: true });
    await held.look();
    assert.deepEqual(openIn(directory), []);
  });

  it("are those of a log that runs, until it is closed", async () => {
    const log = await OwnLog.create();
    const database = databaseOf(log.dataDirectory);
    const journals = (): number => openIn(database).filter((name) => name.endsWith(".log")).length;
    const { sequencer } = await log.start();
    // LevelDB has its journal open once, to write it.
    for (let waited = 0; journals() < 2 && waited < 5_000; waited += 10)
      await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(journals(), 2);
    await sequencer.close();
    assert.deepEqual(openIn(database), []);
    log.remove();
  });
});
