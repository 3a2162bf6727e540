import { sha256, type Hash } from "./crypto/hash.ts";
import { VerificationError } from "./errors.ts";

/** The one door to bytes: integers, strings, base64 and JSON enter and leave through this file. */

// Both exist in every host; declared here because `shared/` sees neither the types of Node nor of the DOM.
declare const TextEncoder: new () => { encode(text: string): Uint8Array };
declare const TextDecoder: new (
  label: string,
  options: { fatal: boolean; ignoreBOM: boolean },
) => { decode(bytes: Uint8Array): string };

const TWO_32 = 0x1_0000_0000;

function malformed(message: string, cause?: unknown): VerificationError {
  return new VerificationError("malformed", message, cause === undefined ? undefined : { cause });
}

// ---------------------------------------------------------------------------------------------------------------- bytes

/** The parts one after another, in new memory. */
export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

/** Whether both hold the same bytes. Not constant time: nothing secret is compared in this protocol. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** Order of bytes, shorter first where one begins the other: negative, 0 or positive. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** Whether every byte is zero. */
export function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

/** Returns `n` if it is an integer from 0 below 2^53, else throws `malformed`. For numbers that come from outside. */
export function checkSafeInteger(n: number, name: string): number {
  if (!Number.isSafeInteger(n) || n < 0) throw malformed(`${name} is not an integer from 0 below 2^53`);
  return n;
}

/** SHA-256 over an ASCII name, a zero byte and the parts: how everything of ours that is no tree node is hashed. */
export function taggedHash(name: string, ...parts: readonly Uint8Array[]): Hash {
  return sha256(concat(ascii(name), Uint8Array.of(0), ...parts));
}

// -------------------------------------------------------------------------------------------------------------- strings

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** UTF-8 of a string, never normalised. Throws `malformed` on a lone surrogate, which has none. */
export function utf8(text: string): Uint8Array {
  if (!text.isWellFormed()) throw malformed("a string holds a lone surrogate");
  return encoder.encode(text);
}

/** The string of well-formed UTF-8, byte order mark kept. Throws `malformed`. */
export function fromUtf8(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw malformed("not UTF-8", cause);
  }
}

function ascii(text: string): Uint8Array {
  const bytes = encoder.encode(text);
  if (bytes.length !== text.length) throw new RangeError("not ASCII");
  return bytes;
}

// ----------------------------------------------------------------------------------------------------- Writer and Reader

function checkFits(n: number, bits: 8 | 16 | 32 | 53): void {
  if (!Number.isSafeInteger(n) || n < 0 || n >= 2 ** bits) throw new RangeError(`not an integer of ${bits} bits`);
}

/**
 * Builds what is hashed, signed or sent: unsigned big-endian integers, bytes and strings, each call adding to the end.
 * A value that does not fit is our own mistake: `RangeError`.
 */
export class Writer {
  /** Capacity doubles as needed; the first `#length` bytes are written. */
  #buffer = new Uint8Array(128);
  #length = 0;

  u8(n: number): this {
    checkFits(n, 8);
    return this.#integer(n, 1);
  }

  u16(n: number): this {
    checkFits(n, 16);
    return this.#integer(n, 2);
  }

  u32(n: number): this {
    checkFits(n, 32);
    return this.#integer(n, 4);
  }

  /** Eight bytes; the value stays below 2^53. */
  u64(n: number): this {
    checkFits(n, 53);
    return this.#integer(Math.floor(n / TWO_32), 4).#integer(n % TWO_32, 4);
  }

  bytes(bytes: Uint8Array): this {
    const at = this.#extend(bytes.length);
    this.#buffer.set(bytes, at);
    return this;
  }

  /** A length of two bytes, then the bytes, or the UTF-8 of the string. */
  lp16(value: Uint8Array | string): this {
    const bytes = typeof value === "string" ? utf8(value) : value;
    return this.u16(bytes.length).bytes(bytes);
  }

  /** The characters of a fixed ASCII name, without length. */
  ascii(name: string): this {
    return this.bytes(ascii(name));
  }

  /** All that was written, in memory of its own. */
  finish(): Uint8Array {
    return this.#buffer.slice(0, this.#length);
  }

  #integer(n: number, width: 1 | 2 | 4): this {
    const at = this.#extend(width);
    for (let i = width - 1, rest = n; i >= 0; i--, rest = Math.floor(rest / 256)) this.#buffer[at + i] = rest % 256;
    return this;
  }

  /** Makes room for `count` more bytes and returns where they begin. */
  #extend(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(this.#length, 2 * this.#buffer.length));
      larger.set(this.#buffer);
      this.#buffer = larger;
    }
    return at;
  }
}

/** Takes bytes from outside apart, front to back. Everything that is missing, left over or too large throws `malformed`. */
export class Reader {
  readonly #bytes: Uint8Array;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Bytes not yet taken. */
  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  u8(): number {
    return this.#integer(1);
  }

  u16(): number {
    return this.#integer(2);
  }

  u32(): number {
    return this.#integer(4);
  }

  /** Eight bytes, refused from 2^53 on. */
  u64(): number {
    return checkSafeInteger(this.u32() * TWO_32 + this.u32(), "a 64-bit integer");
  }

  /** The next `count` bytes, copied. */
  bytes(count: number): Uint8Array {
    const at = this.#advance(count);
    return this.#bytes.slice(at, at + count);
  }

  /** Nothing may be left. */
  end(): void {
    if (this.remaining !== 0) throw malformed(`${this.remaining} bytes left over`);
  }

  #integer(width: 1 | 2 | 4): number {
    const at = this.#advance(width);
    let value = 0;
    for (let i = at; i < at + width; i++) value = value * 256 + (this.#bytes[i] as number);
    return value;
  }

  /** Takes `count` bytes and returns where they begin. */
  #advance(count: number): number {
    if (count > this.remaining) throw malformed(`${count} bytes expected, ${this.remaining} left`);
    this.#offset += count;
    return this.#offset - count;
  }
}

// ------------------------------------------------------------------------------------------------------- hex and base64

const HEX_OF = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Lower-case hexadecimal. */
export function encodeHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += HEX_OF[byte] ?? "";
  return text;
}

/** Bytes of lower-case hexadecimal. Throws `malformed`. */
export function decodeHex(text: string): Uint8Array {
  if (!/^(?:[0-9a-f]{2})*$/.test(text)) throw malformed("not hexadecimal");
  return Uint8Array.from({ length: text.length / 2 }, (_, i) => parseInt(text.slice(2 * i, 2 * i + 2), 16));
}

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/** The value of each ASCII character, 255 for those outside the alphabet. */
const SEXTET_OF = Uint8Array.from({ length: 128 }, (_, code) => {
  const sextet = ALPHABET.indexOf(String.fromCharCode(code));
  return sextet < 0 ? 255 : sextet;
});

function sextetAt(text: string, at: number): number {
  const sextet = SEXTET_OF[text.charCodeAt(at)] ?? 255;
  if (sextet === 255) throw malformed("a character outside the base64 alphabet");
  return sextet;
}

/** Standard base64 (RFC 4648) without padding, as Matrix writes it. */
export function encodeUnpadded(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 3) {
    const [a = 0, b = 0, c = 0] = [bytes[i], bytes[i + 1], bytes[i + 2]];
    const group = a * 65_536 + b * 256 + c;
    text += ALPHABET.charAt(group >>> 18) + ALPHABET.charAt((group >>> 12) & 63);
    if (i + 1 < bytes.length) text += ALPHABET.charAt((group >>> 6) & 63);
    if (i + 2 < bytes.length) text += ALPHABET.charAt(group & 63);
  }
  return text;
}

/** Bytes of unpadded base64. Throws `malformed`, also where the unused final bits are not zero. */
export function decodeUnpadded(text: string): Uint8Array {
  if (text.length % 4 === 1) throw malformed("not a length that base64 can have");
  const bytes = new Uint8Array(Math.floor((text.length * 3) / 4));
  let [pending, bits, at] = [0, 0, 0];
  for (let i = 0; i < text.length; i++) {
    pending = ((pending << 6) | sextetAt(text, i)) & 0xffff;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes[at++] = pending >>> bits;
    }
  }
  if ((pending & ((1 << bits) - 1)) !== 0) throw malformed("base64 with bits left over");
  return bytes;
}

/** Standard base64 (RFC 4648) with padding, as C2SP notes write it. */
export function encodeBase64(bytes: Uint8Array): string {
  const text = encodeUnpadded(bytes);
  return text.padEnd(Math.ceil(text.length / 4) * 4, "=");
}

/** Bytes of padded base64. Throws `malformed` unless the text is the one that `encodeBase64` writes. */
export function decodeBase64(text: string): Uint8Array {
  if (text.length % 4 !== 0) throw malformed("padded base64 has a multiple of four characters");
  return decodeUnpadded(text.replace(/={1,2}$/, ""));
}

// ----------------------------------------------------------------------------------------------------------------- JSON

/** A value that Matrix canonical JSON can hold. Objects made by the parser have no prototype. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

/** What a parser may be made to hold: bytes of UTF-8, depth of nesting (a scalar has depth 0), values (any number). */
export interface JsonLimits {
  readonly maxBytes: number;
  readonly maxDepth: number;
  readonly maxValues?: number;
}

/**
 * A value of a JSON text with its place: `text.slice(start, end)` is its exact source. `problem` says which rule of
 * canonical JSON this very value breaks; what it contains has its own.
 */
export type JsonSource = JsonScalarSource | JsonArraySource | JsonObjectSource;

interface JsonPlace {
  readonly start: number;
  readonly end: number;
  readonly problem?: string;
}
export interface JsonScalarSource extends JsonPlace {
  readonly kind: "scalar";
  readonly value: null | boolean | number | string;
}
export interface JsonArraySource extends JsonPlace {
  readonly kind: "array";
  readonly items: readonly JsonSource[];
}
export interface JsonObjectSource extends JsonPlace {
  readonly kind: "object";
  readonly members: readonly JsonMember[];
}
/** A member of an object: from `start`, its key's opening quote, to `end`, the end of its value. */
export interface JsonMember {
  readonly key: string;
  readonly start: number;
  readonly end: number;
  readonly value: JsonSource;
}

/**
 * Parses a JSON text into values with their places. Text that is not JSON (RFC 8259), or over the limits, throws
 * `malformed`; where it only breaks a rule of Matrix canonical JSON (float, integer beyond 2^53 - 1, lone surrogate,
 * duplicate key) the value is marked, so that one bad device spoils none of the others.
 */
export function parseJsonSource(text: string, limits: JsonLimits): JsonSource {
  if (text.length > limits.maxBytes || encoder.encode(text).length > limits.maxBytes) {
    throw malformed(`JSON of more than ${limits.maxBytes} bytes`);
  }
  return new JsonParser(text, limits).parse();
}

/** The value of a source, refused with `malformed` if it or anything in it breaks a rule of canonical JSON. */
export function jsonValueOf(source: JsonSource): JsonValue {
  if (source.problem !== undefined) throw malformed(`JSON at ${source.start}: ${source.problem}`);
  switch (source.kind) {
    case "scalar":
      return source.value;
    case "array":
      return source.items.map(jsonValueOf);
    case "object": {
      const object = Object.create(null) as Record<string, JsonValue>;
      for (const { key, value } of source.members) object[key] = jsonValueOf(value);
      return object;
    }
  }
}

/** Parses JSON that must keep the rules of Matrix canonical JSON, in any order and spacing. Throws `malformed`. */
export function parseJson(text: string, limits: JsonLimits): JsonValue {
  return jsonValueOf(parseJsonSource(text, limits));
}

/** Order of strings by code point, as canonical JSON sorts keys (and UTF-8 sorts bytes): negative, 0 or positive. */
export function codePointCompare(a: string, b: string): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const difference = codeUnitRank(a.charCodeAt(i)) - codeUnitRank(b.charCodeAt(i));
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** Surrogates stand for code points above U+FFFF, so they rank above the code units from U+E000. */
function codeUnitRank(unit: number): number {
  if (unit >= 0xe000) return unit - 0x800;
  return unit >= 0xd800 ? unit + 0x2000 : unit;
}

/**
 * Matrix canonical JSON of a value (Matrix specification, appendix "Canonical JSON"): shortest form, keys by code point.
 * Throws `malformed` if the value holds a number that is no safe integer, or a lone surrogate.
 */
export function canonicalJson(value: JsonValue): string {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "number") return canonicalInteger(value);
  if (typeof value === "string") return canonicalString(value);
  if (isJsonArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  const members = Object.entries(value).sort(([a], [b]) => codePointCompare(a, b));
  return `{${members.map(([key, member]) => `${canonicalString(key)}:${canonicalJson(member)}`).join(",")}}`;
}

function isJsonArray(value: readonly JsonValue[] | JsonObject): value is readonly JsonValue[] {
  return Array.isArray(value);
}

function canonicalInteger(n: number): string {
  if (!Number.isSafeInteger(n) || Object.is(n, -0)) throw malformed("a number that canonical JSON can't hold");
  return String(n);
}

function canonicalString(text: string): string {
  if (!text.isWellFormed()) throw malformed("a string holds a lone surrogate");
  return JSON.stringify(text);
}

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const WHITESPACE = /[ \t\n\r]*/y;
const LITERALS: readonly (readonly [string, null | boolean])[] = [
  ["null", null],
  ["true", true],
  ["false", false],
];

/** A recursive descent over RFC 8259. One use per text. */
class JsonParser {
  readonly #text: string;
  readonly #maxDepth: number;
  #valuesLeft: number;
  #at = 0;

  constructor(text: string, { maxDepth, maxValues = Infinity }: JsonLimits) {
    this.#text = text;
    this.#maxDepth = maxDepth;
    this.#valuesLeft = maxValues;
  }

  parse(): JsonSource {
    this.#skipSpace();
    const value = this.#value(0);
    this.#skipSpace();
    if (this.#at !== this.#text.length) throw this.#unexpected();
    return value;
  }

  #value(depth: number): JsonSource {
    this.#valuesLeft -= 1;
    if (this.#valuesLeft < 0) throw malformed("JSON of too many values");
    switch (this.#text.charAt(this.#at)) {
      case "{":
        return this.#object(depth + 1);
      case "[":
        return this.#array(depth + 1);
      case '"':
        return this.#string();
      default:
        return this.#literal() ?? this.#number();
    }
  }

  #object(depth: number): JsonObjectSource {
    const start = this.#at;
    const members: JsonMember[] = [];
    const keys = new Set<string>();
    let problem: string | undefined;
    this.#sequence("}", depth, () => {
      const key = this.#string();
      this.#skipSpace();
      this.#take(":");
      this.#skipSpace();
      const value = this.#value(depth);
      problem ??= key.problem ?? (keys.has(key.value) ? "a key stands twice in an object" : undefined);
      keys.add(key.value);
      members.push({ key: key.value, start: key.start, end: value.end, value });
    });
    return { kind: "object", start, end: this.#at, members, ...problemOf(problem) };
  }

  #array(depth: number): JsonArraySource {
    const start = this.#at;
    const items: JsonSource[] = [];
    this.#sequence("]", depth, () => {
      items.push(this.#value(depth));
    });
    return { kind: "array", start, end: this.#at, items };
  }

  /** The opening bracket, items divided by commas, the closing bracket. */
  #sequence(close: "}" | "]", depth: number, takeItem: () => void): void {
    if (depth > this.#maxDepth) throw malformed(`JSON nested deeper than ${this.#maxDepth}`);
    this.#at += 1;
    this.#skipSpace();
    if (this.#takeIf(close)) return;
    do {
      this.#skipSpace();
      takeItem();
      this.#skipSpace();
    } while (this.#takeIf(","));
    this.#take(close);
  }

  #string(): JsonScalarSource & { readonly value: string } {
    const start = this.#at;
    this.#take('"');
    let escaped = false;
    for (let unit = this.#unit(); unit !== 0x22; unit = this.#unit()) {
      if (!(unit >= 0x20)) throw this.#unexpected();
      const isEscape = unit === 0x5c;
      escaped ||= isEscape;
      this.#at += isEscape ? 2 : 1;
    }
    this.#at += 1;
    const value = escaped ? this.#unescape(start) : this.#text.slice(start + 1, this.#at - 1);
    return {
      kind: "scalar",
      start,
      end: this.#at,
      value,
      ...problemOf(value.isWellFormed() ? undefined : "a lone surrogate"),
    };
  }

  /** The string from `start` to here, which has escapes, by the host's own parser. */
  #unescape(start: number): string {
    try {
      return JSON.parse(this.#text.slice(start, this.#at)) as string;
    } catch (cause) {
      throw malformed(`JSON at ${start}: a string with a wrong escape`, cause);
    }
  }

  #literal(): JsonScalarSource | undefined {
    const start = this.#at;
    for (const [word, value] of LITERALS) {
      if (!this.#text.startsWith(word, start)) continue;
      this.#at += word.length;
      return { kind: "scalar", start, end: this.#at, value };
    }
    return undefined;
  }

  #number(): JsonScalarSource {
    const start = this.#at;
    NUMBER.lastIndex = start;
    const source = NUMBER.exec(this.#text)?.[0];
    if (source === undefined) throw this.#unexpected();
    this.#at += source.length;
    return { kind: "scalar", start, end: this.#at, value: Number(source), ...problemOf(problemOfNumber(source)) };
  }

  #skipSpace(): void {
    WHITESPACE.lastIndex = this.#at;
    WHITESPACE.test(this.#text);
    this.#at = WHITESPACE.lastIndex;
  }

  #unit(): number {
    return this.#text.charCodeAt(this.#at);
  }

  #takeIf(char: string): boolean {
    const found = this.#text.charAt(this.#at) === char;
    if (found) this.#at += 1;
    return found;
  }

  #take(char: string): void {
    if (!this.#takeIf(char)) throw this.#unexpected();
  }

  #unexpected(): VerificationError {
    return malformed(`not JSON at ${this.#at}`);
  }
}

function problemOf(problem: string | undefined): { readonly problem?: string } {
  return problem === undefined ? {} : { problem };
}

function problemOfNumber(source: string): string | undefined {
  if (/[.eE]/.test(source)) return "a number that is not written as an integer";
  if (source === "-0") return "a negative zero";
  return Number.isSafeInteger(Number(source)) ? undefined : "an integer beyond 2^53 - 1";
}
