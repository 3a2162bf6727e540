import assert from "node:assert/strict";
import { createHmac, hash, hkdfSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BundleError, BundleReader } from "../../../appservice/backup-bundle.ts";
import type { BundleEnd } from "../../../appservice/backup-bundle.ts";
import type { KeyValue } from "../../../appservice/store/store.ts";
import { compareBytes, concat, equalBytes, utf8, Writer } from "../../../shared/encoding.ts";
import { Choices, changedBytes } from "../edits.ts";
import { testLog } from "../fixtures.ts";
import type { FuzzTarget } from "../target.ts";

const MAGIC = utf8("matrix-ckv backup 1\n");
const seed = (): Uint8Array => testLog().logSeed;
const header = (): string =>
  JSON.stringify({ origin: testLog().origin, layout: "matrix-ckv 1 since 0.1.0", made_ms: 1, moved: false });

/** A backup of elements, with right links; its seal is by the key, or the one given. */
function bundleOf(elements: readonly Uint8Array[], seal?: Uint8Array): Uint8Array {
  let state: Uint8Array = hash("sha256", "ckv/backup/v1\0", "buffer");
  const parts = elements.flatMap((element) => {
    state = hash("sha256", concat(state, element), "buffer");
    return [element, state.subarray(0, 16)];
  });
  const key = Buffer.from(hkdfSync("sha256", seed(), new Uint8Array(), "ckv/backup/v1", 32));
  return concat(MAGIC, ...parts, seal ?? createHmac("sha256", key).update(state).digest());
}

const headerElement = (text: string): Uint8Array => new Writer().u32(utf8(text).length).ascii(text).finish();
function recordElement({ key, value }: KeyValue): Uint8Array {
  return new Writer().u16(key.length).u32(value.length).bytes(key).bytes(value).finish();
}
function endElement(records: number, note: string): Uint8Array {
  return new Writer().u16(0).u64(records).lp16(note).finish();
}

function recordsOf(choices: Choices): KeyValue[] {
  const records: KeyValue[] = [];
  while (choices.left > 0 && records.length < 20) {
    records.push({ key: choices.take(1 + choices.below(4)), value: choices.take(choices.below(9)) });
  }
  return records;
}

const sampleRecords = [1, 2, 3].map((n) => ({ key: Uint8Array.of(n, n), value: utf8(`value ${n}`) }));
const sampleElements = (): Uint8Array[] => [
  headerElement(header()),
  ...sampleRecords.map(recordElement),
  endElement(sampleRecords.length, testLog().newest.note),
];
const sample = (): Uint8Array => bundleOf(sampleElements());
let directory: string | undefined;

/**
 * A backup as a file. First byte 0: edits of a true one; 1: edits with the links made right again, as whoever lacks the key
 * can; 2: any records, sealed by the key; else the bytes as they are. Nothing is taken but what was written with the key.
 */
export const target: FuzzTarget = {
  inTurns: true,
  seeds: () => [
    sample(),
    ...[0, 1, 2].map((mode) => Uint8Array.of(mode, 0, 40, 3, 1, 20, 2)),
    Uint8Array.of(2, 1, 5, 5, 2, 7, 7, 1, 9, 9, 0, 3),
  ],
  async run(input) {
    const choices = new Choices(input);
    const mode = choices.u8();
    if (mode === 2) {
      await runSealed(recordsOf(choices));
      return;
    }
    const bytes = mode === 0 ? edited(sample(), choices) : mode === 1 ? relinked(choices) : input;
    const read = await readBundle(bytes);
    if (read !== undefined) assert(equalBytes(bytes, sample()), "a backup was taken that was not written");
  },
};

function edited(bytes: Uint8Array, choices: Choices): Uint8Array {
  let changed = bytes;
  for (let i = 0; i < 4 && choices.left > 0; i++) changed = changedBytes(changed, choices.u8() % 3, choices);
  return changed;
}

function relinked(choices: Choices): Uint8Array {
  const elements = sampleElements();
  const at = choices.below(elements.length);
  return bundleOf(elements.with(at, edited(elements[at] ?? new Uint8Array(), choices)), sample().slice(-32));
}

async function runSealed(records: readonly KeyValue[]): Promise<void> {
  const elements = [headerElement(header()), ...records.map(recordElement), endElement(records.length, "note")];
  const read = await readBundle(bundleOf(elements));
  const inOrder = records.every(
    ({ key }, i) => key.length > 0 && (i === 0 || compareBytes(records[i - 1]?.key ?? key, key) < 0),
  );
  assert.equal(read !== undefined, inOrder);
  if (read === undefined) return;
  assert.equal(read.end.note, "note");
  assert.deepEqual(
    read.records.map(({ key, value }) => [...key, -1, ...value]),
    records.map(({ key, value }) => [...key, -1, ...value]),
  );
}

async function readBundle(bytes: Uint8Array): Promise<{ end: BundleEnd; records: readonly KeyValue[] } | undefined> {
  if (directory === undefined) {
    const made = (directory = mkdtempSync(join(tmpdir(), "ckv-fuzz-")));
    process.once("exit", () => {
      rmSync(made, { recursive: true, force: true });
    });
  }
  const path = join(directory, "bundle");
  writeFileSync(path, bytes);
  const records: KeyValue[] = [];
  let reader: BundleReader | undefined;
  try {
    reader = await BundleReader.open(path);
    const end = await reader.each(seed(), (record) => {
      records.push(record);
      return Promise.resolve();
    });
    return { end, records };
  } catch (error) {
    if (error instanceof BundleError) return undefined;
    throw error;
  } finally {
    await reader?.close();
  }
}
