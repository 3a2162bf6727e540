/**
 * Keys and payloads of what the log keeps. A key is one letter for the kind and big-endian numbers, so that what is
 * written together lies together. Parsers throw `IntegrityError`: the bytes are our own and passed their checksum.
 */
import { Reader, Writer } from "../../shared/encoding.ts";
import type { Hash } from "../../shared/crypto/hash.ts";
import { EPOCH_RECORD_BYTES } from "../../shared/log/epoch-record.ts";
import { frontierLength } from "../../shared/merkle/tree.ts";
import { MAX_CHANGES_PER_EPOCH } from "../../shared/parameters.ts";
import type { KeyRange } from "./level-files.ts";
import { IntegrityError } from "./store.ts";

/**
 * Where one row of a change list stands: `place * POSITIONS_PER_EPOCH + row`, where the place is the epoch; of a row that was
 * taken over from the log before this one `EPOCHS` more, from the one before that twice as much.
 */
export type Position = number;
const POSITIONS_PER_EPOCH = 16_384;
/** More epochs than a log can have: one a second for a thousand years. */
const EPOCHS = 2 ** 35;

export function positionOf(epoch: number, row: number): Position {
  if (row >= MAX_CHANGES_PER_EPOCH) throw new RangeError(`an epoch has no row ${row}`);
  return epoch * POSITIONS_PER_EPOCH + row;
}
/** The epoch that merged the row, of the log that did. */
export function epochOf(position: Position): number {
  const place = placeOf(position);
  return place < EPOCHS ? place : place % EPOCHS;
}
/** The epoch of this log since which it has the row: 0 for what it took over. */
export function ownEpochOf(position: Position): number {
  return placeOf(position) < EPOCHS ? placeOf(position) : 0;
}
function placeOf(position: Position): number {
  return Math.floor(position / POSITIONS_PER_EPOCH);
}
/** The position in the next log of a row that this one has. */
export function carriedPosition(position: Position): Position {
  const carried = position + EPOCHS * POSITIONS_PER_EPOCH;
  if (!Number.isSafeInteger(carried)) throw new RangeError("a log can take over from fifteen others, not more");
  return carried;
}
/** Whether a row was merged before another: what was taken over lies before all else. */
export function isBefore(position: Position, other: Position): boolean {
  const [log, otherLog] = [Math.floor(placeOf(position) / EPOCHS), Math.floor(placeOf(other) / EPOCHS)];
  return log === otherLog ? position < other : log > otherLog;
}
/** Keys of pieces of change lists from here on hold rows that were taken over. */
export function carriedChunks(): Uint8Array {
  return chunkKey(EPOCHS, 0);
}
function rowOf(position: Position): number {
  return position % POSITIONS_PER_EPOCH;
}

/** Runs a parser of our own bytes. */
export function parseStored<T>(bytes: Uint8Array, what: string, parse: (reader: Reader) => T): T {
  try {
    const reader = new Reader(bytes);
    const parsed = parse(reader);
    reader.end();
    return parsed;
  } catch (cause) {
    throw new IntegrityError(`${what} can't be read`, { cause });
  }
}

// ----------------------------------------------------------------------------------------------------------------- keys

export function kindKey(kind: string): Uint8Array {
  return Uint8Array.of(kind.charCodeAt(0));
}

/** The key after every key of this kind. */
export function afterKind(kind: string): Uint8Array {
  return Uint8Array.of(kind.charCodeAt(0) + 1);
}

/**
 * Acknowledgements, marks, enrolments, promised changes, places in the feed: no other record refers to one of these, so that
 * one whose key is damaged would vanish in silence. The tables that hold them are checked before the database is opened.
 */
export const UNREFERENCED: readonly KeyRange[] = ["a", "d", "o", "p", "r"].map((kind) => ({
  from: kindKey(kind),
  to: afterKind(kind),
}));

export function textKey(kind: string, text: string): Uint8Array {
  return Buffer.from(kind + text, "utf8");
}

/** The text of a `textKey`. */
export function textOfKey(key: Uint8Array): string {
  return Buffer.from(key.subarray(1)).toString("utf8");
}

export function numberKey(kind: string, ...numbers: readonly number[]): Uint8Array {
  const key = Buffer.allocUnsafe(1 + 8 * numbers.length);
  key[0] = kind.charCodeAt(0);
  numbers.forEach((number, i) => {
    writeU64(key, 1 + 8 * i, number);
  });
  return key;
}

/** The numbers of a `numberKey`. */
export function numbersOfKey(key: Uint8Array): number[] {
  return Array.from({ length: (key.length - 1) / 8 }, (_, i) => readU64(key, 1 + 8 * i));
}

export function writeU64(buffer: Buffer, at: number, number: number): void {
  buffer.writeUInt32BE(Math.floor(number / 0x1_0000_0000), at);
  buffer.writeUInt32BE(number % 0x1_0000_0000, at + 4);
}

export function readU64(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at) * 0x1_0000_0000 + readU32(bytes, at + 4);
}

function readU32(bytes: Uint8Array, at: number): number {
  const last = bytes[at + 3];
  if (last === undefined) throw new RangeError("a number reaches beyond the end");
  return (
    (bytes[at] as number) * 0x100_0000 + (((bytes[at + 1] as number) << 16) | ((bytes[at + 2] as number) << 8) | last)
  );
}

/** What the database is: written by `init`, read at every start. */
export const LAYOUT_KEY: Uint8Array = textKey("m", "layout");
/** The newest epoch: number and signed checkpoint. */
export const HEAD_KEY: Uint8Array = textKey("m", "head");
/** The epoch whose state the stored top of the map has. */
export const TOP_KEY: Uint8Array = textKey("m", "top");
/** The final head of the log before this one: JSON of a `Predecessor`. */
export const PREDECESSOR_KEY: Uint8Array = textKey("m", "predecessor");
/** The newest published checkpoint, with its cosignatures. */
export const PUBLISHED_KEY: Uint8Array = textKey("m", "published");

/**
 * The kind of users is the first of all. Their records are read with every change and hardly ever written, and a read that
 * looks into tables in vain makes LevelDB merge those: before all that epochs write, there are none to look into.
 */
export const USER_KIND = "U";
export function userKey(userId: string): Uint8Array {
  return textKey(USER_KIND, userId);
}
export function epochKey(epoch: number): Uint8Array {
  return numberKey("e", epoch);
}
/** The batch proof of the map before an epoch, for auditors. */
export function proofKey(epoch: number): Uint8Array {
  return numberKey("q", epoch);
}
export function nodeKey(level: number, index: number): Uint8Array {
  return numberKey("n", level, index);
}
/**
 * Most of what an epoch writes. The kind is the last of all, so that new versions lie behind everything that is stored:
 * LevelDB then moves their tables from level to level instead of merging them with the one that the next kind begins in.
 */
export const VERSION_KIND = "z";
export function versionKey(position: Position, version: number): Uint8Array {
  return numberKey(VERSION_KIND, position, version);
}
export function configurationKey(hash: Hash): Uint8Array {
  return Buffer.concat([kindKey("k"), hash]);
}
/** What an epoch changed in the top of the map; until that top is saved. */
export function topEditsKey(epoch: number): Uint8Array {
  return numberKey("h", epoch);
}
/** The forms of tiles that an epoch superseded, and that a settling epoch before it needs. */
export const SUPERSEDED_KIND = "s";
export function supersededKey(epoch: number): Uint8Array {
  return numberKey(SUPERSEDED_KIND, epoch);
}
/** The index in this log of the user who had this one in the log before. */
export function bijectionKey(oldIndex: Hash): Uint8Array {
  return Buffer.concat([kindKey("x"), oldIndex]);
}
export function acknowledgementKey(userId: string): Uint8Array {
  return textKey("a", userId);
}
/** A change that a promise was given for (or that stands before one), until it is merged. */
export function promiseKey(userId: string, version: number): Uint8Array {
  return Buffer.concat([textKey("p", userId), numberKey("\0", version)]);
}

// ----------------------------------------------------------------------------------------------------------------- head

export interface StoredHead {
  readonly epoch: number;
  readonly note: string;
}

export function encodeHead({ epoch, note }: StoredHead): Uint8Array {
  return new Writer().u64(epoch).lp16(note).finish();
}

export function parseHead(bytes: Uint8Array): StoredHead {
  return parseStored(bytes, "the head", (reader) => ({
    epoch: reader.u64(),
    note: Buffer.from(reader.bytes(reader.u16())).toString("utf8"),
  }));
}

/** An epoch record with the settling epoch that was the newest at it (itself, if it is one). */
export interface StoredEpoch {
  readonly record: Uint8Array;
  readonly settlingEpoch: number;
}

export function encodeEpoch({ record, settlingEpoch }: StoredEpoch): Uint8Array {
  return new Writer().bytes(record).u64(settlingEpoch).finish();
}

export function parseEpoch(bytes: Uint8Array): StoredEpoch {
  return parseStored(bytes, "an epoch", (reader) => ({
    record: reader.bytes(EPOCH_RECORD_BYTES),
    settlingEpoch: reader.u64(),
  }));
}

// ----------------------------------------------------------------------------------------------------------------- user

export interface StoredUser {
  readonly index: Hash;
  readonly vrfProof: Uint8Array;
}

export function encodeUser({ index, vrfProof }: StoredUser): Uint8Array {
  return Buffer.concat([index, vrfProof]);
}

export function parseUser(bytes: Uint8Array): StoredUser {
  if (bytes.length !== 112) throw new IntegrityError("a user record has another length");
  return { index: bytes.subarray(0, 32), vrfProof: bytes.subarray(32) };
}

/** The newest version that an account's devices say they know, signed by its self-signing key. */
export interface Acknowledgement {
  readonly version: number;
  readonly historyRoot: Hash;
  readonly signature: Uint8Array;
}

export function encodeAcknowledgement({ version, historyRoot, signature }: Acknowledgement): Uint8Array {
  return new Writer().u64(version).bytes(historyRoot).bytes(signature).finish();
}

export function parseAcknowledgement(bytes: Uint8Array): Acknowledgement {
  return parseStored(bytes, "an acknowledgement", (reader) => ({
    version: reader.u64(),
    historyRoot: reader.bytes(32),
    signature: reader.bytes(64),
  }));
}

// ------------------------------------------------------------------------------------------------------------- versions

/** A history up to some version, as appending and proving need it: for each frontier hash also the row of its last version. */
export interface Tip {
  readonly size: number;
  readonly hashes: readonly Hash[];
  readonly positions: readonly Position[];
}

/** One version with its content. `before` is the history without it. */
export interface VersionContent {
  readonly version: number;
  readonly observedMs: number;
  /** UTC day of the merging epoch, counted from 1970, and how many versions it has up to this one. */
  readonly day: number;
  readonly dayCount: number;
  readonly commitment: Hash;
  readonly opening: Uint8Array;
  readonly userId: string;
  readonly entry: Uint8Array;
  readonly before: Tip;
}

const CONTENT = 0;
const ERASED = 1;

/** What stands where the content of a version was erased: its history lives on in the change list. */
export const ERASED_VERSION: Uint8Array = Uint8Array.of(ERASED);

export function encodeVersion(content: VersionContent): Uint8Array {
  const { before, userId, entry } = content;
  const id = Buffer.from(userId, "utf8");
  const length = 1 + 8 + 8 + 4 + 1 + 32 + 32 + before.hashes.length * 40 + 2 + id.length + entry.length;
  const buffer = Buffer.allocUnsafe(length);
  buffer[0] = CONTENT;
  writeU64(buffer, 1, content.version);
  writeU64(buffer, 9, content.observedMs);
  buffer.writeUInt32BE(content.day, 17);
  buffer[21] = content.dayCount;
  buffer.set(content.commitment, 22);
  buffer.set(content.opening, 54);
  let at = writeTip(buffer, 86, before);
  at = buffer.writeUInt16BE(id.length, at);
  buffer.set(id, at);
  buffer.set(entry, at + id.length);
  return buffer;
}

function writeTip(buffer: Buffer, start: number, tip: Tip): number {
  let at = start;
  tip.hashes.forEach((hash, i) => {
    buffer.set(hash, at);
    writeU64(buffer, at + 32, tip.positions[i] ?? 0);
    at += 40;
  });
  return at;
}

/** The content of a version; undefined if it was erased. */
export function parseVersion(bytes: Uint8Array): VersionContent | undefined {
  if (bytes.length === 1 && bytes[0] === ERASED) return undefined;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const version = buffer.length < 88 || buffer[0] !== CONTENT ? 0 : readU64(buffer, 1);
  const tipLength = version === 0 ? 0 : frontierLength(version - 1);
  const idAt = 86 + 40 * tipLength;
  const idLength = version === 0 || buffer.length < idAt + 2 ? Infinity : buffer.readUInt16BE(idAt);
  if (buffer.length < idAt + 2 + idLength) throw new IntegrityError("a version can't be read");
  return {
    version,
    observedMs: readU64(buffer, 9),
    day: buffer.readUInt32BE(17),
    dayCount: buffer.readUInt8(21),
    commitment: bytes.subarray(22, 54),
    opening: bytes.subarray(54, 86),
    before: readTip(buffer, 86, version - 1, tipLength),
    userId: buffer.toString("utf8", idAt + 2, idAt + 2 + idLength),
    entry: bytes.subarray(idAt + 2 + idLength),
  };
}

function readTip(bytes: Uint8Array, start: number, size: number, length: number): Tip {
  const hashes = Array.from({ length }, (_, i) => bytes.subarray(start + 40 * i, start + 40 * i + 32));
  const positions = Array.from({ length }, (_, i) => readU64(bytes, start + 40 * i + 32));
  return { size, hashes, positions };
}

// --------------------------------------------------------------------------------------------------------- change lists

/** One row of a change list: the history before, and the commitments of the versions that the epoch merged. */
export interface ChangeRow {
  readonly index: Hash;
  readonly before: Tip;
  readonly commitments: readonly Hash[];
}

/** Rows per stored piece of a change list, so that reading one row hashes little. */
export const ROWS_PER_CHUNK = 32;

export function chunkKey(epoch: number, chunk: number): Uint8Array {
  return numberKey("c", epoch, chunk);
}

/** The key in the next log of a piece that has this one here. */
export function carriedChunkKey(key: Uint8Array): Uint8Array {
  const [place = 0, chunk = 0] = numbersOfKey(key);
  return chunkKey(place + EPOCHS, chunk);
}

/** Key of the piece that holds a row, and which row of it. */
export function chunkOf(position: Position): { readonly key: Uint8Array; readonly row: number } {
  const row = rowOf(position);
  return { key: chunkKey(placeOf(position), Math.floor(row / ROWS_PER_CHUNK)), row: row % ROWS_PER_CHUNK };
}

/** A piece of a change list: length and rows as the protocol has them, then the positions that only the store needs. */
export function encodeChunk(list: Uint8Array, positions: readonly Position[]): Uint8Array {
  const buffer = Buffer.allocUnsafe(4 + list.length + 8 * positions.length);
  buffer.writeUInt32BE(list.length, 0);
  buffer.set(list, 4);
  positions.forEach((position, i) => {
    writeU64(buffer, 4 + list.length + 8 * i, position);
  });
  return buffer;
}

/** The protocol's rows in a piece, without the positions. */
export function listOfChunk(bytes: Uint8Array): Uint8Array {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const length = buffer.length < 4 ? Infinity : buffer.readUInt32BE(0);
  if (4 + length > buffer.length) throw new IntegrityError("a change list can't be read");
  return bytes.subarray(4, 4 + length);
}

/** One row of a piece, without a look at the others; undefined if it has fewer. */
export function parseChunkRow(bytes: Uint8Array, row: number): ChangeRow | undefined {
  const list = listOfChunk(bytes);
  let [at, positionAt] = [0, 4 + list.length];
  for (let before = 0; before < row && at < list.length; before++) {
    positionAt += 8 * frontierLength(sizeOfRow(list, at));
    at += lengthOfRow(list, at);
  }
  if (at === list.length) return undefined;
  const nextPosition = (): Position => {
    positionAt += 8;
    return readU64(bytes, positionAt - 8);
  };
  return parseStored(list.subarray(at, at + lengthOfRow(list, at)), "a change list", (reader) =>
    readRow(reader, nextPosition),
  );
}

/** How many versions a history had before the row at `at`. */
function sizeOfRow(list: Uint8Array, at: number): number {
  if (at + 40 > list.length) throw new IntegrityError("a change list can't be read");
  return readU64(list, at + 32);
}

function lengthOfRow(list: Uint8Array, at: number): number {
  const hashes = 40 + 32 * frontierLength(sizeOfRow(list, at));
  const length = hashes + 1 + 32 * (list[at + hashes] ?? Infinity);
  if (at + length > list.length) throw new IntegrityError("a change list can't be read");
  return length;
}

/** The rows of a piece. */
export function parseChunk(bytes: Uint8Array): readonly ChangeRow[] {
  const list = listOfChunk(bytes);
  let positionAt = 4 + list.length;
  const nextPosition = (): Position => {
    positionAt += 8;
    return readU64(bytes, positionAt - 8);
  };
  return parseStored(list, "a change list", (reader) => {
    const rows: ChangeRow[] = [];
    while (reader.remaining > 0) rows.push(readRow(reader, nextPosition));
    return rows;
  });
}

function readRow(reader: Reader, nextPosition: () => Position): ChangeRow {
  const index = reader.bytes(32);
  const size = reader.u64();
  const hashes = Array.from({ length: frontierLength(size) }, () => reader.bytes(32));
  const commitments = Array.from({ length: reader.u8() }, () => reader.bytes(32));
  return { index, before: { size, hashes, positions: hashes.map(nextPosition) }, commitments };
}

/** One row in the form of the protocol: `index || u64 old n || frontier || u8 k || commitments`. */
export function encodeRow({ index, before, commitments }: ChangeRow): Uint8Array {
  const buffer = Buffer.allocUnsafe(41 + 32 * (before.hashes.length + commitments.length));
  buffer.set(index, 0);
  writeU64(buffer, 32, before.size);
  let at = 40;
  for (const hash of before.hashes) at = writeHash(buffer, at, hash);
  buffer[at] = commitments.length;
  at += 1;
  for (const commitment of commitments) at = writeHash(buffer, at, commitment);
  return buffer;
}

function writeHash(buffer: Buffer, at: number, hash: Hash): number {
  buffer.set(hash, at);
  return at + 32;
}
