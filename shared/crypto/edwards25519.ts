/**
 * The curve of Ed25519 and of the VRF (RFC 8032, section "Ed25519ph, Ed25519ctx, and Ed25519"), for checking what is public:
 * the time that anything here takes depends on its arguments, so none of it may see a secret.
 */
import { Point } from "@noble/ed25519";
import { encodeHex } from "../encoding.ts";

/** Order of the base point. */
export const ORDER: bigint = 2n ** 252n + 27742317777372353535851937790883648493n;

/** Keys remembered at once: a log, its cosigners, and the devices of a few users. Each takes some 10 kB. */
const MAX_KNOWN = 64;
/** A scalar is cut into parts of this many bits, each with its own table: one doubling then serves all of them. */
const PART_BITS = 64n;
const KNOWN_PARTS = 4;
/** P, 3P, 5P, ..., 15P: what digits of at most 15 need. */
const TABLE_LENGTH = 8;

/** A point with the odd multiples of P, 2^64 P, 2^128 P and so on; of P alone where it won't come again. */
export interface PreparedPoint {
  readonly point: Point;
  readonly tables: readonly (readonly Point[])[];
}

/** One summand, scalar times point. The scalar may be negative; its size is below 2^256. */
export interface Multiple {
  readonly scalar: bigint;
  readonly of: PreparedPoint;
}

/** Points by their encoding, least recently used first. Written by `knownPoint` only; what it answers never depends on it. */
const known = new Map<string, PreparedPoint>();
let preparedBase: PreparedPoint | undefined;

/** The base point. */
export function basePoint(): PreparedPoint {
  preparedBase ??= prepare(Point.BASE, KNOWN_PARTS);
  return preparedBase;
}

/**
 * The point of a public key's 32 bytes, or undefined where they are no canonical encoding (RFC 8032). Keys come again and
 * again, as a log's and its VRF's do, so they are remembered with tables that make the next use three times as fast.
 */
export function knownPoint(bytes: Uint8Array): PreparedPoint | undefined {
  const name = encodeHex(bytes);
  const entry = known.get(name) ?? newEntry(bytes);
  if (entry === undefined) return undefined;
  known.delete(name);
  known.set(name, entry);
  return entry;
}

function newEntry(bytes: Uint8Array): PreparedPoint | undefined {
  const point = decodePoint(bytes);
  if (point === undefined) return undefined;
  const [oldest] = known.keys();
  if (known.size >= MAX_KNOWN && oldest !== undefined) known.delete(oldest);
  return prepare(point, KNOWN_PARTS);
}

/** A point that won't come again. */
export function passingPoint(point: Point): PreparedPoint {
  return prepare(point, 1);
}

/** The point of 32 bytes, or undefined where they are no canonical encoding (RFC 8032). Nothing is remembered. */
export function decodePoint(bytes: Uint8Array): Point | undefined {
  try {
    return Point.fromBytes(bytes);
  } catch {
    return undefined;
  }
}

/** The little-endian number of some bytes. */
export function numberOf(bytes: Uint8Array): bigint {
  return BigInt(`0x${encodeHex(bytes.toReversed())}`);
}

function prepare(point: Point, parts: number): PreparedPoint {
  const tables = [oddMultiples(point)];
  for (let shifted = point; tables.length < parts; tables.push(oddMultiples(shifted))) {
    for (let bit = 0n; bit < PART_BITS; bit++) shifted = shifted.double();
  }
  return { point, tables };
}

function oddMultiples(point: Point): readonly Point[] {
  const double = point.double();
  const multiples: Point[] = [];
  for (let multiple = point; multiples.length < TABLE_LENGTH; multiple = multiple.add(double)) multiples.push(multiple);
  return multiples;
}

/** The sum of all multiples, in one walk down their bits (Straus). */
export function sumOfMultiples(...multiples: readonly Multiple[]): Point {
  const rows = multiples.flatMap(rowsOf);
  let sum = Point.ZERO;
  for (let bit = Math.max(...rows.map(({ digits }) => digits.length)) - 1; bit >= 0; bit--) {
    sum = sum.double();
    for (const { table, digits } of rows) {
      const digit = digits[bit] ?? 0;
      const multiple = table[Math.abs(digit) >> 1];
      if (digit !== 0 && multiple !== undefined) sum = digit > 0 ? sum.add(multiple) : sum.subtract(multiple);
    }
  }
  return sum;
}

interface Row {
  readonly table: readonly Point[];
  readonly digits: readonly number[];
}

/** One table for each part of the scalar; the last part is all that is left. */
function rowsOf({ scalar, of: { tables } }: Multiple): readonly Row[] {
  const sign = scalar < 0n ? -1 : 1;
  const size = scalar < 0n ? -scalar : scalar;
  return tables.map((table, part) => {
    const rest = size >> (PART_BITS * BigInt(part));
    const isLast = part === tables.length - 1;
    return { table, digits: signedDigits(isLast ? rest : BigInt.asUintN(Number(PART_BITS), rest), sign) };
  });
}

/** Digits d with `sum of d[i] * 2^i = sign * size`, each 0 or odd and at most 15 in size (width-5 NAF). */
function signedDigits(size: bigint, sign: number): readonly number[] {
  const digits: number[] = [];
  for (let rest = size; rest > 0n; rest >>= 1n) {
    const digit = (rest & 1n) === 0n ? 0n : BigInt.asIntN(5, rest);
    rest -= digit;
    digits.push(sign * Number(digit));
  }
  return digits;
}
