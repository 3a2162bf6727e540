/** The files of a database, damaged: what LevelDB reads without a word is found by their own checksums. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "mocha";
import { crc32c } from "../../../appservice/store/crc32c.ts";
import { checkJournals, checkTables, checkTablesAtStart } from "../../../appservice/store/level-files.ts";
import type { KeyRange } from "../../../appservice/store/level-files.ts";
import { createLevelStore, openLevelStore } from "../../../appservice/store/level-store.ts";
import { IntegrityError, StorageError } from "../../../appservice/store/store.ts";
import { utf8 } from "../../../shared/encoding.ts";

describe("files of the database", () => {
  let directory: string;
  let journal: string;
  let table: string;
  /** Ends of the batches in the journal. */
  const ends: number[] = [];

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), "ckv-files-"));
    const first = await createLevelStore(directory);
    await first.commit({ puts: records(8, 60) });
    await first.close();
    // The journal of the life before is a table after the start.
    const second = await openLevelStore(directory);
    const file = (end: string): string =>
      join(directory, readdirSync(directory).find((name) => name.endsWith(end)) ?? "");
    [journal, table] = [file(".log"), file(".ldb")];
    // The last is longer than a block of the journal, so that it has several parts.
    for (const size of [10, 500, 10, 700]) {
      await second.commit({ puts: records(size, 50) });
      ends.push(readFileSync(journal).length);
    }
    await second.close();
  });
  after(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  const records = (count: number, size: number): { key: Uint8Array; value: Uint8Array }[] =>
    Array.from({ length: count }, (_, i) => ({ key: utf8(`key ${i}`), value: new Uint8Array(size).fill(i) }));
  const tableProblem = (): IntegrityError | undefined =>
    [...checkTables(directory)].find(({ problem }) => problem)?.problem;

  const checkedJournals = (): undefined => {
    checkJournals(directory);
  };

  /** Whether a byte belongs to the first header of a batch, of which each byte is tried. */
  const isHeader = (at: number): boolean => [0, ...ends].some((end) => at >= end && at < end + 7);

  /** Runs `check` with one bit of each of the file's bytes flipped; returns the bytes at which it found nothing. */
  const missedAt = (path: string, check: () => unknown): number[] => {
    const whole = readFileSync(path);
    const missed: number[] = [];
    for (let at = 0; at < whole.length; at += isHeader(at) || path === table ? 1 : 401) {
      const bytes = Buffer.from(whole);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8));
      writeFileSync(path, bytes);
      try {
        if (check() === undefined) missed.push(at);
      } catch (error) {
        if (!(error instanceof IntegrityError)) throw error;
      }
    }
    writeFileSync(path, whole);
    return missed;
  };

  it("that can't be listed now may be there later: the error names the directory and a next step", () => {
    for (const check of [
      checkJournals,
      (path: string) => {
        checkTablesAtStart(path, 1_000, []);
      },
    ])
      assert.throws(
        () => {
          check(journal);
        },
        (error: Error) => {
          assert.ok(error instanceof StorageError);
          assert.ok(error.message.startsWith(`${journal} can't be opened now. Next: `), error.message);
          return true;
        },
      );
  });

  it("the checksum is the one of RFC 3720", () => {
    assert.equal(crc32c(utf8("123456789"), 0, 9), 0xe3069283);
    assert.equal(crc32c(new Uint8Array(32), 0, 32), 0x8a9136aa);
    assert.equal(crc32c(new Uint8Array(40).fill(0xff), 4, 36), 0x62a8ab43);
  });
  it("whole ones pass", () => {
    checkJournals(directory);
    checkTablesAtStart(directory, Infinity, []);
    assert.equal(tableProblem(), undefined);
  });
  it("a bit of the journal is found wherever it is", () => {
    assert.deepEqual(missedAt(journal, checkedJournals), []);
  });
  it("a bit of a table is found wherever it means something", () => {
    const { length } = readFileSync(table);
    const padding = missedAt(table, tableProblem);
    assert(
      padding.every((at) => at >= length - 48 && at < length - 8),
      String(padding),
    );
  });
  it("a table that may hold a record which nothing refers to is checked at the start, whatever its age", () => {
    const whole = readFileSync(table);
    const bytes = Buffer.from(whole);
    bytes[10] = (bytes[10] ?? 0) ^ 1;
    writeFileSync(table, bytes);
    const range = (from: number, to: number): KeyRange => ({ from: Uint8Array.of(from), to: Uint8Array.of(to) });
    const check = (ranges: readonly KeyRange[]) => (): void => {
      checkTablesAtStart(directory, 0, ranges);
    };
    check([])();
    check([range(0, 1), range(254, 255)])();
    assert.throws(check([range(0, 1), range(0, 255)]), IntegrityError);
    writeFileSync(table, whole);
    check([range(0, 255)])();
  });
  it("a journal that ends within its last batch passes: nobody was told of that batch", () => {
    const whole = readFileSync(journal);
    for (let length = whole.length; length > (ends.at(-2) ?? 0); length -= 97) {
      truncateSync(journal, length);
      checkJournals(directory);
    }
    writeFileSync(journal, Buffer.concat([whole, Buffer.alloc(5_000)]));
    checkJournals(directory);
    writeFileSync(journal, whole);
  });
  it("a table that was never finished, and a journal that has become a table, do not count", () => {
    const [unfinished, old] = [join(directory, "000900.ldb"), join(directory, "000001.log")];
    writeFileSync(unfinished, readFileSync(table).subarray(0, 100));
    writeFileSync(old, "no journal");
    checkJournals(directory);
    checkTablesAtStart(directory, Infinity, []);
    assert.equal(tableProblem(), undefined);
    rmSync(unfinished);
    rmSync(old);
  });
  it("an older journal must be whole", () => {
    const whole = readFileSync(journal);
    const newer = join(directory, "999999.log");
    writeFileSync(newer, "");
    checkJournals(directory);
    truncateSync(journal, whole.length - 1);
    assert.throws(() => {
      checkJournals(directory);
    }, IntegrityError);
    rmSync(newer);
    writeFileSync(journal, whole);
  });
  it("a damaged journal is not opened, and the message says where and what to do", async () => {
    const whole = readFileSync(journal);
    const at = (ends[0] ?? 0) + 20;
    writeFileSync(
      journal,
      Buffer.concat([whole.subarray(0, at), Buffer.from([1 + (whole[at] ?? 0)]), whole.subarray(at + 1)]),
    );
    await assert.rejects(openLevelStore(directory), {
      name: "IntegrityError",
      message: new RegExp(`damaged at byte ${ends[0]} of ${whole.length}.*Next: restore`),
      exitCode: 70,
    });
    writeFileSync(journal, whole);
    await (await openLevelStore(directory)).close();
  });
});
