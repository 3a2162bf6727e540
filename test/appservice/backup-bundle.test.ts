/** A backup that is not as it was written is refused, and the place named (F78). */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "mocha";
import { BundleReader, writeBundle } from "../../appservice/backup-bundle.ts";
import type { BundleEnd } from "../../appservice/backup-bundle.ts";
import { backUpStopped, writeBackup } from "../../appservice/backup.ts";
import { databaseOf } from "../../appservice/create-log.ts";
import type { LogPlace } from "../../appservice/open-log.ts";
import { restoreLog } from "../../appservice/restore.ts";
import { openLevelStore } from "../../appservice/store/level-store.ts";
import { HEAD_KEY, LAYOUT_KEY, parseHead } from "../../appservice/store/records.ts";
import { getReferenced } from "../../appservice/store/store.ts";
import type { KeyValue, Reads } from "../../appservice/store/store.ts";
import { signCheckpoint } from "../../shared/log/checkpoint.ts";
import { equalBytes, fromUtf8, utf8 } from "../../shared/encoding.ts";
import { makeFullLog } from "../support/full-log.ts";
import { ORIGIN, randomKeys, type OwnLog } from "../support/own-log.ts";

/** Kinds of records, by the first letter of their keys. */
const KINDS = "Uacdekmnopqrstz";
/** Those that the signed head vouches for: changed, the database is not the log, whoever sealed it. The seal guards all. */
const VOUCHED = "cekmntz";

describe("a backup file", function () {
  this.timeout(60_000);
  let log: OwnLog;
  let whole: Buffer;
  let file: string;
  let damaged: string;
  /** Where each record begins, the first being number 1; then where the end begins. */
  const starts: number[] = [];
  const records: KeyValue[] = [];

  const place = (): LogPlace => ({ dataDirectory: log.dataDirectory, anchorFile: log.anchorFile, keys: log.keys });
  const elsewhere = (): LogPlace => ({
    dataDirectory: join(log.directory, "restored"),
    anchorFile: join(log.directory, "restored-anchor"),
    keys: log.keys,
  });
  const restore = async (path: string): Promise<unknown> => await restoreLog(path, elsewhere(), () => undefined);

  /** Reads a file as `restore` does, without making a database. */
  async function read(path: string, take: (reader: BundleReader, record: KeyValue) => void): Promise<BundleEnd> {
    const reader = await BundleReader.open(path);
    try {
      return await reader.each(log.keys.logSeed, (record) => {
        take(reader, record);
        return Promise.resolve();
      });
    } finally {
      await reader.close();
    }
  }

  async function refusal(bytes: Uint8Array): Promise<string> {
    writeFileSync(damaged, bytes);
    try {
      await read(damaged, () => undefined);
    } catch (error) {
      assert.equal((error as Error).name, "BundleError", String(error));
      return (error as Error).message;
    }
    throw new assert.AssertionError({ message: "a damaged backup was taken" });
  }

  before(async () => {
    log = await makeFullLog(8);
    [file, damaged] = [join(log.directory, "backup"), join(log.directory, "damaged")];
    await writeBackup(file, backUpStopped(place(), { move: false, nowMs: 1 }), log.keys.logSeed, () => undefined);
    whole = readFileSync(file);
    let end = whole.indexOf("}") + 1 + 16;
    await read(file, (reader, record) => {
      starts.push(end);
      end = reader.position;
      records.push(record);
    });
    starts.push(end);
  });
  after(() => {
    log.remove();
  });

  it("has every record of the database, of every kind, and the signed head", async () => {
    const kinds = new Set(records.map(({ key }) => String.fromCharCode(key[0]!)));
    assert.equal([...kinds].sort().join(""), KINDS);
    const store = await openLevelStore(databaseOf(log.dataDirectory));
    try {
      const stored = await store.range(Uint8Array.of(0), Uint8Array.of(0xff), 10_000);
      assert.deepEqual(records.map(hexOf), stored.map(hexOf));
      const { note } = parseHead(getReferenced(store, HEAD_KEY, "the head"));
      assert.deepEqual(await read(file, () => undefined), { note, records: stored.length });
    } finally {
      await store.close();
    }
  });

  it("is refused when cut off: between any two records, and in the middle of each", async () => {
    for (const [i, start] of starts.entries()) {
      const name = i < records.length ? [`record ${i + 1} `] : [`record ${i + 1} `, "the end"];
      for (const length of [start, start + 1, start + 9]) {
        const told = await refusal(whole.subarray(0, length));
        assert(told.includes("ends in") && name.some((each) => told.includes(each)), `${length}: ${told}`);
      }
    }
    for (const length of [0, 5, 20, 30, whole.length - 33, whole.length - 1]) {
      assert.match(await refusal(whole.subarray(0, length)), /ends in|no backup/);
    }
    assert.match(await refusal(Buffer.concat([whole, Buffer.alloc(1)])), /goes on after/);
  });

  it("is refused when any byte is another: the record is named", async () => {
    for (let at = 0; at < whole.length; at += 1 + (at % 8)) {
      const bytes = Buffer.from(whole);
      bytes[at] = bytes[at]! ^ (1 << (at % 8));
      const told = await refusal(bytes);
      const number = starts.findLastIndex((start) => start <= at) + 1;
      if (number >= 1 && number <= records.length) assert(told.includes(`record ${number} `), `byte ${at}: ${told}`);
    }
  });

  it("is refused when a record is missing, doubled or moved", async () => {
    const element = (number: number): Buffer => whole.subarray(starts[number - 1], starts[number]);
    const start = whole.subarray(0, starts[0]);
    for (const number of [1, 2, records.length >> 1, records.length - 1]) {
      const rest = whole.subarray(starts[number]);
      const head = whole.subarray(0, starts[number - 1]);
      assert.match(await refusal(Buffer.concat([head, rest])), new RegExp(`record ${number} |the end`));
      assert.match(await refusal(Buffer.concat([head, element(number), element(number), rest])), /record \d+ /);
    }
    const swapped = [start, element(2), element(1), whole.subarray(starts[2])];
    assert.match(await refusal(Buffer.concat(swapped)), /record 1 /);
  });

  it("is refused when somebody without the log's key edits a record of any kind and makes all links anew", async () => {
    const forger = randomKeys().logSeed;
    for (const kind of KINDS) {
      const edited = change(kind);
      writeFileSync(damaged, await bytesOf(readsOf(edited), forger));
      await assert.rejects(restore(damaged), kind === "m" ? { name: "LayoutError" } : /the seal does not fit/, kind);
      if (kind === "m") continue;
      writeFileSync(damaged, await bytesOf(readsOf(records.filter((record) => record !== recordOf(kind))), forger));
      await assert.rejects(restore(damaged), /the seal does not fit/, `${kind} left out`);
      assertNothingLeft();
    }
  });

  it("is refused when what it holds is not the log up to its head, even with the log's seal", async () => {
    for (const kind of VOUCHED) {
      writeFileSync(damaged, await bytesOf(readsOf(change(kind)), log.keys.logSeed));
      await assert.rejects(restore(damaged), { exitCode: kind === "m" ? 78 : 70 }, kind);
      assertNothingLeft();
    }
    const note = signCheckpoint({ origin: ORIGIN, size: 1, root: new Uint8Array(32) }, { seed: log.keys.logSeed });
    const other = records.map((record) =>
      equalBytes(record.key, HEAD_KEY) ? { key: HEAD_KEY, value: withNote(record.value, note) } : record,
    );
    writeFileSync(damaged, await bytesOf(readsOf(other), log.keys.logSeed));
    await assert.rejects(restore(damaged), { exitCode: 70 });
    assertNothingLeft();
  });

  it("is refused with the keys of another log, and by a matrix-ckv that does not read its stored form", async () => {
    const foreign = { ...elsewhere(), keys: randomKeys() };
    await assert.rejects(
      restoreLog(file, foreign, () => undefined),
      /sealed with another key/,
    );
    const newer = records.map((record) =>
      equalBytes(record.key, LAYOUT_KEY) ? { key: LAYOUT_KEY, value: utf8("matrix-ckv 9 since 9.9.9") } : record,
    );
    writeFileSync(damaged, await bytesOf(readsOf(newer), log.keys.logSeed));
    await assert.rejects(restore(damaged), { name: "LayoutError", exitCode: 78, message: /9\.9\.9 or newer/ });
    assertNothingLeft();
  });

  function assertNothingLeft(): void {
    const { dataDirectory, anchorFile } = elsewhere();
    const left = [databaseOf(dataDirectory), `${databaseOf(dataDirectory)}.restoring`, anchorFile].filter(existsSync);
    assert.deepEqual(left, []);
  }

  /** The last of a kind: of tiles, one of the newest map. */
  function recordOf(kind: string): KeyValue {
    const record = records.findLast(({ key }) => key[0] === kind.charCodeAt(0));
    assert(record);
    return record;
  }

  /** The records with one of a kind changed by one bit (the layout: by its number). */
  function change(kind: string): readonly KeyValue[] {
    const target = kind === "m" ? records.find(({ key }) => equalBytes(key, LAYOUT_KEY)) : recordOf(kind);
    return records.map((record) => {
      if (record !== target) return record;
      if (kind === "m") return { key: record.key, value: utf8("matrix-ckv 7 since 7.0.0") };
      const value = Uint8Array.from(record.value);
      // An empty value gets a byte.
      if (value.length === 0) return { key: record.key, value: Uint8Array.of(1) };
      value[value.length >> 1] = value[value.length >> 1]! ^ 1;
      return { key: record.key, value };
    });
  }
});

function hexOf({ key, value }: KeyValue): string {
  return `${Buffer.from(key).toString("hex")}=${Buffer.from(value).toString("hex")}`;
}

/** Reads of a list of records in order. */
function readsOf(records: readonly KeyValue[]): Reads {
  return {
    get: (key) => records.find((record) => equalBytes(record.key, key))?.value,
    range: (from, to, limit) =>
      Promise.resolve(
        records.filter(({ key }) => Buffer.compare(key, from) >= 0 && Buffer.compare(key, to) < 0).slice(0, limit),
      ),
  };
}

async function bytesOf(reads: Reads, logSeed: Uint8Array): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  const options = { reads, origin: ORIGIN, logSeed, madeMs: 1, moved: false };
  for await (const piece of writeBundle(options)) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** A stored head with another note. */
function withNote(value: Uint8Array, note: string): Uint8Array {
  const { epoch, note: old } = parseHead(value);
  assert(fromUtf8(value.subarray(10)) === old && epoch >= 0);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(utf8(note).length);
  return Buffer.concat([value.subarray(0, 8), length, utf8(note)]);
}
