/**
 * Checks the files of a LevelDB database by their own checksums. LevelDB does not: it drops a damaged part of its journal
 * without a word, and may end the process on a damaged table. Formats: log_format.md and table_format.md of LevelDB.
 */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { crc32c, someStartHasCrc32c } from "./crc32c.ts";
import { IntegrityError, StorageError } from "./store.ts";

/** A journal is read in blocks; a record never crosses from one into the next, but is continued there. */
const BLOCK_BYTES = 32_768;
/** u32 checksum, u16 length, u8 type. */
const HEADER_BYTES = 7;
/** Types of a record: none (space not written yet), a whole batch, its first, a middle and its last part. */
const [NOTHING, WHOLE, FIRST, MIDDLE, LAST] = [0, 1, 2, 3, 4];

/** Two handles, padded, and the magic number. */
const FOOTER_BYTES = 48;
const MAGIC = Buffer.from("57fb808b247547db", "hex");
/** u8 compression, u32 checksum. */
const TRAILER_BYTES = 5;

/**
 * Checks the journals: what LevelDB will replay when it opens the database, up to 32 MiB or so. The newest may end in the
 * middle of a batch, which then was never acknowledged. Throws `IntegrityError`, `StorageError`.
 */
export function checkJournals(directory: string): void {
  const files = journalsOf(directory);
  files.forEach((file, i) => {
    const records = recordsOf(join(directory, file), i === files.length - 1);
    while (records.next().done !== true);
  });
}

/** Checks every block of every table; says of each what is wrong with it, if anything. Nothing if there is no database. */
export function* checkTables(directory: string): Generator<{ readonly problem: IntegrityError | undefined }> {
  for (const { file } of tablesOf(directory)) yield { problem: problemOf(join(directory, file)) };
}

/** Keys with `from <= key < to`. */
export interface KeyRange {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
}

/**
 * Checks the newest tables, as many as take `maxBytes`, and all that may hold a key of `ranges`: before the database is
 * opened, for what is damaged may be merged into a new table, with good checksums. Throws `IntegrityError`, `StorageError`.
 */
export function checkTablesAtStart(directory: string, maxBytes: number, ranges: readonly KeyRange[]): void {
  let left = maxBytes;
  for (const { file, smallest, largest } of tablesOf(directory).reverse()) {
    const path = join(directory, file);
    left -= sizeOf(path);
    const holdsSome = ({ from, to }: KeyRange): boolean =>
      Buffer.compare(largest, from) >= 0 && Buffer.compare(smallest, to) < 0;
    if (left >= 0 || ranges.some(holdsSome)) checkTable(path);
  }
}

function problemOf(table: string): IntegrityError | undefined {
  try {
    checkTable(table);
    return undefined;
  } catch (error) {
    if (error instanceof IntegrityError) return error;
    throw error;
  }
}

/** Journals that will be replayed, in their order: what has become a table may still lie there. */
function journalsOf(directory: string): string[] {
  const { firstJournal = 0 } = readManifest(directory) ?? {};
  return filesEnding(directory, ".log").filter((name) => numberOf(name) >= firstJournal);
}

/** Tables that belong to the database, in their order: one that was never finished may lie beside them. */
function tablesOf(directory: string): (Table & { readonly file: string })[] {
  const { tables } = readManifest(directory) ?? {};
  return filesEnding(directory, ".ldb").flatMap((file) => {
    const table = tables?.get(numberOf(file));
    return table === undefined ? [] : [{ file, ...table }];
  });
}

/** Names in the order of their numbers, which have leading zeros. */
function filesEnding(directory: string, end: string): string[] {
  return namesIn(directory)
    .filter((name) => name.endsWith(end))
    .sort((a, b) => numberOf(a) - numberOf(b));
}

/** Names of the files in a directory; none if it is not there. Throws `StorageError`. */
export function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw new StorageError(directory, { cause });
  }
}

/** Throws `StorageError`. */
function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch (cause) {
    throw new StorageError(path, { cause });
  }
}

/** Throws `StorageError`. */
function readWhole(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new StorageError(path, { cause });
  }
}

function numberOf(name: string): number {
  return Number.parseInt(name, 10);
}

// ------------------------------------------------------------------------------------------------------------- journals

/** The parts of all batches of a journal, or of a manifest, which has the same form. Throws `IntegrityError`. */
function* recordsOf(path: string, mayBeTorn: boolean): Generator<{ readonly type: number; readonly part: Buffer }> {
  const bytes = readWhole(path);
  let at = 0;
  let inBatch = false;
  while (at < bytes.length) {
    const left = BLOCK_BYTES - (at % BLOCK_BYTES);
    if (left < HEADER_BYTES) {
      at += left;
      continue;
    }
    if (isUnwritten(bytes, at)) return;
    const end = at + HEADER_BYTES + (at + HEADER_BYTES > bytes.length ? 0 : bytes.readUInt16LE(at + 4));
    if (end > at + left) throw damagedAt(path, at, bytes.length);
    if (end > bytes.length) {
      if (mayBeTorn && !isWhole(bytes, at)) return;
      throw damagedAt(path, at, bytes.length);
    }
    const type = bytes[at + 6] ?? NOTHING;
    const follows = type === MIDDLE || type === LAST;
    if (follows !== inBatch || type < WHOLE || type > LAST || !hasChecksum(bytes, at, end))
      throw damagedAt(path, at, bytes.length);
    yield { type, part: bytes.subarray(at + HEADER_BYTES, end) };
    inBatch = type === FIRST || type === MIDDLE;
    at = end;
  }
  if (inBatch && !mayBeTorn) throw damagedAt(path, at, bytes.length);
}

/** Whether nothing but zeros follows: space that a machine that lost power had not written yet. */
function isUnwritten(bytes: Buffer, at: number): boolean {
  return bytes[at + 6] === NOTHING && bytes.subarray(at).every((byte) => byte === 0);
}

function hasChecksum(bytes: Buffer, at: number, end: number): boolean {
  return unmasked(bytes.readUInt32LE(at)) === crc32c(bytes, at + 6, end);
}

/** Whether a record that goes beyond the end of the file is whole, but for a length that is damaged. */
function isWhole(bytes: Buffer, at: number): boolean {
  const hasHeader = at + HEADER_BYTES <= bytes.length;
  return hasHeader && someStartHasCrc32c(bytes, at + 6, bytes.length, unmasked(bytes.readUInt32LE(at)));
}

/** Stored checksums are turned and shifted, so that a checksum over checksums stays good. */
function unmasked(stored: number): number {
  const turned = (stored - 0xa282ead8) >>> 0;
  return ((turned >>> 17) | (turned << 15)) >>> 0;
}

function damagedAt(path: string, at: number, size: number): IntegrityError {
  return new IntegrityError(
    `${path} is damaged at byte ${at} of ${size}: acknowledged changes behind that would be lost. Next: restore the newest ` +
      `backup; only if the machine lost power while it wrote, and this is the end of the file, "truncate -s ${at} ${path}"`,
  );
}

// ------------------------------------------------------------------------------------------------------------- manifest

/** The first and the last key of a table. */
interface Table {
  readonly smallest: Uint8Array;
  readonly largest: Uint8Array;
}

interface Manifest {
  /** The tables that belong to the database, by their numbers. */
  readonly tables: ReadonlyMap<number, Table>;
  /** Journals from this number on are replayed. */
  readonly firstJournal: number;
}

/** What an edit in the manifest begins with. */
const [COMPARATOR, FIRST_JOURNAL, NEXT_FILE, LAST_SEQUENCE, POINTER, GONE_TABLE, NEW_TABLE, OTHER_JOURNAL] = [
  1, 2, 3, 4, 5, 6, 7, 9,
];

/** The manifest that CURRENT names; undefined if there is none, which opening the database will say. */
function readManifest(directory: string): Manifest | undefined {
  const current = join(directory, "CURRENT");
  const name = existsSync(current) ? readWhole(current).toString("latin1").trimEnd() : "";
  const path = join(directory, name);
  if (!/^MANIFEST-[0-9]+$/.test(name) || !existsSync(path)) return undefined;
  const tables = new Map<number, Table>();
  let firstJournal = 0;
  let parts: Buffer[] = [];
  for (const { type, part } of recordsOf(path, true)) {
    parts.push(part);
    if (type !== WHOLE && type !== LAST) continue;
    for (const { tag, number, table } of editsIn(Buffer.concat(parts), path)) {
      if (table !== undefined) tables.set(number, table);
      else if (tag === GONE_TABLE) tables.delete(number);
      else if (tag === FIRST_JOURNAL) firstJournal = number;
    }
    parts = [];
  }
  return { tables, firstJournal };
}

/** A field of an edit; `number`: of a table or a journal. */
interface Edit {
  readonly tag: number;
  readonly number: number;
  /** Of a new table. */
  readonly table: Table | undefined;
}

/** Sequence number and type, which LevelDB puts behind each key. */
const KEY_SUFFIX_BYTES = 8;

/** The fields of an edit. Throws `IntegrityError`. */
function* editsIn(edit: Buffer, path: string): Generator<Edit> {
  const damaged = (): IntegrityError => new IntegrityError(`${path} can't be read. Next: restore the newest backup`);
  const reader = new Varints(edit, damaged);
  const skipText = (): void => {
    reader.skip(reader.next());
  };
  const takeKey = (): Uint8Array => {
    const key = reader.take(reader.next());
    return key.subarray(0, Math.max(0, key.length - KEY_SUFFIX_BYTES));
  };
  while (!reader.atEnd) {
    const tag = reader.next();
    let number = 0;
    let table: Table | undefined;
    if (tag === COMPARATOR) skipText();
    else if ([FIRST_JOURNAL, NEXT_FILE, LAST_SEQUENCE, OTHER_JOURNAL].includes(tag)) number = reader.next();
    else if ([POINTER, GONE_TABLE, NEW_TABLE].includes(tag)) {
      reader.next();
      if (tag === POINTER) skipText();
      else number = reader.next();
      if (tag === NEW_TABLE) {
        reader.next();
        table = { smallest: takeKey(), largest: takeKey() };
      }
    } else throw damaged();
    yield { tag, number, table };
  }
}

// --------------------------------------------------------------------------------------------------------------- tables

function checkTable(path: string): void {
  const bytes = readWhole(path);
  const footer = bytes.subarray(-FOOTER_BYTES);
  if (footer.length < FOOTER_BYTES || !footer.subarray(40).equals(MAGIC)) throw tableDamaged(path, "footer");
  const handles = new Varints(footer, () => tableDamaged(path, "footer"));
  const [metaIndex, index] = [handles.handle(), handles.handle()];
  for (const list of [metaIndex, index]) {
    for (const block of handlesIn(blockAt(path, bytes, list), path)) blockAt(path, bytes, block);
  }
}

/** Where a block lies in its file. */
interface Handle {
  readonly offset: number;
  readonly size: number;
}

/** The content of a block, whose checksum holds. */
function blockAt(path: string, bytes: Buffer, { offset, size }: Handle): Buffer {
  const end = offset + size;
  if (end + TRAILER_BYTES > bytes.length) throw tableDamaged(path, `block at byte ${offset}`);
  if (unmasked(bytes.readUInt32LE(end + 1)) !== crc32c(bytes, offset, end + 1))
    throw tableDamaged(path, `block at byte ${offset}`);
  return bytes.subarray(offset, end);
}

/** The values of an index block, which are handles: entries of shared, unshared, value length, key, value. */
function handlesIn(block: Buffer, path: string): Handle[] {
  const damaged = (): IntegrityError => tableDamaged(path, "index");
  if (block.length < 4) throw damaged();
  const end = block.length - 4 * (1 + block.readUInt32LE(block.length - 4));
  if (end < 0) throw damaged();
  const reader = new Varints(block.subarray(0, end), damaged);
  const handles: Handle[] = [];
  while (!reader.atEnd) {
    reader.next();
    const [unshared, length] = [reader.next(), reader.next()];
    reader.skip(unshared);
    handles.push(new Varints(reader.take(length), damaged).handle());
  }
  return handles;
}

/** Reads LevelDB's numbers: seven bits a byte, the lowest first. */
class Varints {
  readonly #bytes: Uint8Array;
  readonly #damaged: () => IntegrityError;
  #at = 0;

  constructor(bytes: Uint8Array, damaged: () => IntegrityError) {
    this.#bytes = bytes;
    this.#damaged = damaged;
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  next(): number {
    let value = 0;
    for (let factor = 1; factor <= 2 ** 49; factor *= 128) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) break;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
    throw this.#damaged();
  }

  handle(): Handle {
    return { offset: this.next(), size: this.next() };
  }

  take(count: number): Uint8Array {
    const taken = this.#bytes.subarray(this.#at, this.#at + count);
    this.skip(count);
    return taken;
  }

  skip(count: number): void {
    if (this.#at + count > this.#bytes.length) throw this.#damaged();
    this.#at += count;
  }
}

function tableDamaged(path: string, what: string): IntegrityError {
  return new IntegrityError(`${path} is damaged: its ${what}. Next: restore the newest backup`);
}
