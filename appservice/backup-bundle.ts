/**
 * The file of a backup: every record of a database at one moment, ending in the signed head. Integers are big-endian.
 *
 *     "matrix-ckv backup 1\n"
 *     u32 length || header, JSON                                   || link
 *     u16 key length, not 0 || u32 length || key || value          || link     each record, in the order of keys
 *     u16 0 || u64 number of records || u16 length || signed head  || link
 *     seal
 *
 * A link is the first 16 bytes of SHA-256(the whole of the hash before || the element), so that what is damaged, cut out,
 * doubled or put elsewhere is found at its place. The seal is an HMAC of the last hash under a key derived from the log's:
 * the signed head does not vouch for every record (who is enrolled, what is promised), and who edits a backup can make links.
 */
import { createHmac, hash, hkdfSync, timingSafeEqual } from "node:crypto";
import { open } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { compareBytes, equalBytes, fromUtf8, parseJson, utf8 } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import { parseShape } from "../shared/messages.ts";
import type { Shape } from "../shared/messages.ts";
import { eachInRange } from "./store/level-store.ts";
import { CUSTODY_KEY } from "./store/custody.ts";
import { HEAD_KEY, LAYOUT_KEY, parseHead } from "./store/records.ts";
import { getReferenced } from "./store/store.ts";
import type { KeyValue, Reads } from "./store/store.ts";

const MAGIC = Buffer.from("matrix-ckv backup 1\n");
const LINK_BYTES = 16;
const SEAL_BYTES = 32;
const MAX_HEADER_BYTES = 4_096;
const MAX_KEY_BYTES = 1_024;
const MAX_VALUE_BYTES = 64 * 2 ** 20;
/** Elements are written and read in pieces of about this. */
const PIECE_BYTES = 256 * 1024;

/** What a backup says of itself. */
export interface BundleHeader {
  /** Origin of the log, as in its heads. */
  readonly origin: string;
  /** The stored form of the records. */
  readonly layout: string;
  readonly made_ms: number;
  /** Whether the log it was made of signs no more. */
  readonly moved: boolean;
}

const HEADER: Shape = {
  type: "object",
  properties: {
    origin: { type: "string", minLength: 1, maxLength: 512 },
    layout: { type: "string", minLength: 1, maxLength: 128 },
    made_ms: { type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
    moved: { type: "boolean" },
  },
  required: ["origin", "layout", "made_ms", "moved"],
  additionalProperties: false,
};

/** The end of a backup: its head, and how many records it has. */
export interface BundleEnd {
  readonly note: string;
  readonly records: number;
}

/** The file is no backup, or not as it was written. */
export class BundleError extends Error {
  override readonly name = "BundleError";
  /** sysexits.h EX_SOFTWARE: trying again does not help. */
  readonly exitCode = 70;
}

/** Hash over everything so far; each element adds a link. */
class Chain {
  #state: Uint8Array = hash("sha256", "ckv/backup/v1\0", "buffer");

  /** Adds an element; returns its link. */
  add(element: Uint8Array): Uint8Array {
    this.#state = hash("sha256", Buffer.concat([this.#state, element]), "buffer");
    return this.#state.subarray(0, LINK_BYTES);
  }

  seal(logSeed: Uint8Array): Uint8Array {
    const key = hkdfSync("sha256", logSeed, new Uint8Array(), "ckv/backup/v1", 32);
    return createHmac("sha256", Buffer.from(key)).update(this.#state).digest();
  }
}

// -------------------------------------------------------------------------------------------------------------- writing

/** What a backup is made of. */
export interface BundleSource {
  /** Everything at one moment. */
  readonly reads: Reads;
  readonly origin: string;
  readonly logSeed: Uint8Array;
  readonly madeMs: number;
  readonly moved: boolean;
  /** Runs when all is written but the seal, without which nobody takes the backup. */
  readonly beforeSeal?: () => Promise<void>;
}

/** The bytes of a backup, in pieces. Memory does not depend on how many records there are. Throws `IntegrityError`. */
export async function* writeBundle(source: BundleSource): AsyncGenerator<Uint8Array, void, undefined> {
  const { reads, origin, logSeed, madeMs, moved } = source;
  const chain = new Chain();
  let piece: Uint8Array[] = [MAGIC];
  let bytes = 0;
  const add = (element: Uint8Array): void => {
    piece.push(element, chain.add(element));
    bytes += element.length + LINK_BYTES;
  };
  const layout = fromUtf8(getReferenced(reads, LAYOUT_KEY, "the layout"));
  add(encodeHeader({ origin, layout, made_ms: madeMs, moved }));
  let records = 0;
  for await (const record of eachInRange(reads, Uint8Array.of(0), Uint8Array.of(0xff))) {
    if (equalBytes(record.key, CUSTODY_KEY)) continue;
    add(encodeRecord(record));
    records += 1;
    if (bytes < PIECE_BYTES) continue;
    yield Buffer.concat(piece);
    [piece, bytes] = [[], 0];
  }
  const { note } = parseHead(getReferenced(reads, HEAD_KEY, "the head"));
  add(encodeEnd({ note, records }));
  yield Buffer.concat(piece);
  await source.beforeSeal?.();
  yield chain.seal(logSeed);
}

function encodeHeader(header: BundleHeader): Uint8Array {
  const text = utf8(JSON.stringify(header));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(text.length);
  return Buffer.concat([length, text]);
}

function encodeRecord({ key, value }: KeyValue): Uint8Array {
  if (key.length > MAX_KEY_BYTES || value.length > MAX_VALUE_BYTES) throw new RangeError("a record is too large");
  const element = Buffer.allocUnsafe(6 + key.length + value.length);
  element.writeUInt16BE(key.length, 0);
  element.writeUInt32BE(value.length, 2);
  element.set(key, 6);
  element.set(value, 6 + key.length);
  return element;
}

function encodeEnd({ note, records }: BundleEnd): Uint8Array {
  const text = utf8(note);
  const element = Buffer.alloc(12 + text.length);
  element.writeBigUInt64BE(BigInt(records), 2);
  element.writeUInt16BE(text.length, 10);
  element.set(text, 12);
  return element;
}

// -------------------------------------------------------------------------------------------------------------- reading

/** A backup that is being read, once, from its beginning to its end. */
export class BundleReader {
  readonly path: string;
  readonly header: BundleHeader;
  readonly #source: ByteSource;
  readonly #chain: Chain;

  private constructor(path: string, header: BundleHeader, source: ByteSource, chain: Chain) {
    this.path = path;
    this.header = header;
    this.#source = source;
    this.#chain = chain;
  }

  /** Opens a backup and reads its header. To be closed. Throws `BundleError`. */
  static async open(path: string): Promise<BundleReader> {
    const source = new ByteSource(await open(path, "r"), path);
    try {
      const magic = await source.take(MAGIC.length, "its first line");
      if (!equalBytes(magic, MAGIC)) throw new BundleError(`${path} is no backup that this matrix-ckv can read`);
      const chain = new Chain();
      const element = await takeSized(source, "the header", MAX_HEADER_BYTES);
      await checkLink(source, chain, element, "the header");
      return new BundleReader(path, parseHeader(element.subarray(4), path), source, chain);
    } catch (error) {
      await source.close();
      throw error;
    }
  }

  /** Bytes read so far. */
  get position(): number {
    return this.#source.position;
  }

  /**
   * Hands over every record, in the order of keys, and returns the end, if the seal is that of this log's key. Throws
   * `BundleError`, naming the record that is not as it was written; those before it have been handed over.
   */
  async each(logSeed: Uint8Array, take: (record: KeyValue) => Promise<void>): Promise<BundleEnd> {
    let before: Uint8Array = new Uint8Array();
    for (let number = 1; ; number++) {
      const start = this.#source.position;
      const name = `record ${number} (at byte ${start})`;
      const keyLength = Buffer.from(await this.#source.take(2, name)).readUInt16BE();
      if (keyLength === 0) return await this.#end(number - 1, logSeed);
      const { element, key, value } = await this.#record(keyLength, name);
      const fullName = `record ${number} (at byte ${start}, key ${Buffer.from(key).toString("hex")})`;
      await checkLink(this.#source, this.#chain, element, fullName);
      if (compareBytes(key, before) <= 0) throw new BundleError(`${fullName} of ${this.path} is out of order`);
      before = key;
      await take({ key, value });
    }
  }

  async close(): Promise<void> {
    await this.#source.close();
  }

  async #record(keyLength: number, name: string): Promise<KeyValue & { readonly element: Uint8Array }> {
    if (keyLength > MAX_KEY_BYTES) throw new BundleError(`${name} of ${this.path} is damaged: its key is too long`);
    const length = await this.#source.take(4, name);
    const valueLength = Buffer.from(length).readUInt32BE();
    if (valueLength > MAX_VALUE_BYTES) throw new BundleError(`${name} of ${this.path} is damaged: it is too long`);
    const rest = await this.#source.take(keyLength + valueLength, name);
    const element = Buffer.concat([Uint8Array.of(keyLength >> 8, keyLength & 0xff), length, rest]);
    return { element, key: element.subarray(6, 6 + keyLength), value: element.subarray(6 + keyLength) };
  }

  async #end(records: number, logSeed: Uint8Array): Promise<BundleEnd> {
    const numbers = Buffer.from(await this.#source.take(10, "the end"));
    const note = await this.#source.take(numbers.readUInt16BE(8), "the end");
    await checkLink(this.#source, this.#chain, Buffer.concat([new Uint8Array(2), numbers, note]), "the end");
    if (numbers.readBigUInt64BE(0) !== BigInt(records))
      throw new BundleError(`the end of ${this.path} counts other records`);
    const seal = await this.#source.take(SEAL_BYTES, "the seal");
    if (!timingSafeEqual(seal, this.#chain.seal(logSeed))) {
      const cause = `${this.path} was edited, or sealed with another key than that of the log in the keys file`;
      throw new BundleError(`the seal does not fit: ${cause}`);
    }
    if (!(await this.#source.isAtEnd())) throw new BundleError(`${this.path} goes on after its seal`);
    return { records, note: fromUtf8(note) };
  }
}

function parseHeader(text: Uint8Array, path: string): BundleHeader {
  try {
    const json = parseJson(fromUtf8(text), { maxBytes: MAX_HEADER_BYTES, maxDepth: 2 });
    return parseShape(HEADER, json, "header") as BundleHeader;
  } catch (error) {
    if (error instanceof VerificationError)
      throw new BundleError(`the header of ${path} can't be read`, { cause: error });
    throw error;
  }
}

/** A `u32` length and as many bytes. */
async function takeSized(source: ByteSource, name: string, maxBytes: number): Promise<Uint8Array> {
  const prefix = Buffer.from(await source.take(4, name));
  const length = prefix.readUInt32BE();
  if (length > maxBytes) throw new BundleError(`${name} of ${source.path} is damaged: it is too long`);
  return Buffer.concat([prefix, await source.take(length, name)]);
}

async function checkLink(source: ByteSource, chain: Chain, element: Uint8Array, name: string): Promise<void> {
  const link = await source.take(LINK_BYTES, name);
  if (!equalBytes(link, chain.add(element))) throw new BundleError(`${name} of ${source.path} is damaged`);
}

/** Bytes of a file, in order. */
class ByteSource {
  readonly path: string;
  readonly #file: FileHandle;
  /** Read, and not taken yet. */
  #bytes: Uint8Array = new Uint8Array();
  #position = 0;

  constructor(file: FileHandle, path: string) {
    this.#file = file;
    this.path = path;
  }

  get position(): number {
    return this.#position;
  }

  /** The next bytes. Throws `BundleError` if the file ends before, naming what it ends in. */
  async take(length: number, name: string): Promise<Uint8Array> {
    while (this.#bytes.length < length) {
      if ((await this.#fill(length)) === 0) {
        throw new BundleError(`${this.path} ends in ${name}: it is cut off after ${this.#position} bytes and a part`);
      }
    }
    const taken = this.#bytes.subarray(0, length);
    this.#bytes = this.#bytes.subarray(length);
    this.#position += length;
    return taken;
  }

  async isAtEnd(): Promise<boolean> {
    return this.#bytes.length === 0 && (await this.#fill(1)) === 0;
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async #fill(length: number): Promise<number> {
    const buffer = Buffer.allocUnsafeSlow(Math.max(PIECE_BYTES, length - this.#bytes.length));
    const { bytesRead } = await this.#file.read(buffer, 0, buffer.length);
    const read = buffer.subarray(0, bytesRead);
    this.#bytes = this.#bytes.length === 0 ? read : Buffer.concat([this.#bytes, read]);
    return bytesRead;
  }
}
