/**
 * The curve of Ed25519 and of the VRF (RFC 8032, section "Ed25519ph, Ed25519ctx, and Ed25519"), for checking what is public:
 * the time that anything here takes depends on its arguments, so none of it may see a secret.
 */
import { Point } from "@noble/ed25519";
import { encodeHex } from "../encoding.ts";

const { p: PRIME, d: D } = Point.CURVE();

/** Order of the base point. */
export const ORDER: bigint = 2n ** 252n + 27742317777372353535851937790883648493n;

/** Keys remembered at once: a log, its cosigners, and the devices of a few users. Each takes some 10 kB. */
const MAX_KNOWN = 64;
/** A scalar is cut into parts of this many bits, each with its own table: one doubling then serves all of them. */
const PART_BITS = 64n;
const KNOWN_PARTS = 4;
/** Tables for all parts cost half a use, and halve every later one; most keys of a first look are never used again. */
const USES_BEFORE_TABLES = 8;
/** P, 3P, 5P, ..., 15P: what digits of at most 15 need. */
const TABLE_LENGTH = 8;

/** A point with the odd multiples of P, 2^64 P, 2^128 P and so on; of P alone where it won't come again. */
export interface PreparedPoint {
  readonly point: Point;
  readonly tables: readonly Table[];
}
type Table = readonly Summand[];

/**
 * x = X / Z, y = Y / Z, x * y = T / Z modulo the prime. T stays two factors, E and H, for a point that is only doubled never
 * needs it. All are less than 2^266 in size, X, Y and Z less than 2^257.
 */
interface Extended {
  readonly X: bigint;
  readonly Y: bigint;
  readonly Z: bigint;
  readonly E: bigint;
  readonly H: bigint;
}

/** What of a second summand enters an addition: Y - X, Y + X, 2 Z, 2 d T. */
interface Summand {
  readonly minus: bigint;
  readonly plus: bigint;
  readonly twoZ: bigint;
  readonly twoDT: bigint;
}

/** One summand, scalar times point. The scalar may be negative; its size is below 2^256. */
export interface Multiple {
  readonly scalar: bigint;
  readonly of: PreparedPoint;
}

interface KnownPoint {
  readonly prepared: PreparedPoint;
  readonly uses: number;
}

/** Points by their encoding, least recently used first. Written by `knownPoint` only; what it answers never depends on it. */
const known = new Map<string, KnownPoint>();
let preparedBase: PreparedPoint | undefined;

/** The base point. */
export function basePoint(): PreparedPoint {
  preparedBase ??= prepare(Point.BASE, KNOWN_PARTS);
  return preparedBase;
}

/**
 * The point of a public key's 32 bytes, or undefined where they are no canonical encoding (RFC 8032). Keys that come again,
 * as a log's and its VRF's do, are remembered with tables that halve the time of each use.
 */
export function knownPoint(bytes: Uint8Array): PreparedPoint | undefined {
  const name = encodeHex(bytes);
  const entry = usedAgain(known.get(name)) ?? firstUse(bytes);
  if (entry === undefined) return undefined;
  known.delete(name);
  known.set(name, entry);
  return entry.prepared;
}

function firstUse(bytes: Uint8Array): KnownPoint | undefined {
  const point = decodePoint(bytes);
  if (point === undefined) return undefined;
  const [oldest] = known.keys();
  if (known.size >= MAX_KNOWN && oldest !== undefined) known.delete(oldest);
  return { prepared: passingPoint(point), uses: 1 };
}

function usedAgain(entry: KnownPoint | undefined): KnownPoint | undefined {
  if (entry === undefined) return undefined;
  const { prepared, uses } = entry;
  return { prepared: uses === USES_BEFORE_TABLES ? prepare(prepared.point, KNOWN_PARTS) : prepared, uses: uses + 1 };
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
  const start = extendedOf(point);
  const tables = [oddMultiples(start)];
  for (let shifted = start; tables.length < parts; tables.push(oddMultiples(shifted))) {
    for (let bit = 0n; bit < PART_BITS; bit++) shifted = double(shifted);
  }
  return { point, tables };
}

function oddMultiples(point: Extended): Table {
  const twice = summandOf(double(point));
  const multiples: Summand[] = [];
  for (let multiple = point; multiples.length < TABLE_LENGTH; multiple = add(multiple, twice)) {
    multiples.push(summandOf(multiple));
  }
  return multiples;
}

function summandOf({ X, Y, Z, E, H }: Extended): Summand {
  return { minus: Y - X, plus: Y + X, twoZ: Z + Z, twoDT: (2n * D * E * H) % PRIME };
}

function negate({ minus, plus, twoZ, twoDT }: Summand): Summand {
  return { minus: plus, plus: minus, twoZ, twoDT: -twoDT };
}

/** RFC 8032, "Point Addition". Complete: there are no special cases. */
function add({ X, Y, Z, E, H }: Extended, { minus, plus, twoZ, twoDT }: Summand): Extended {
  const a = fold((Y - X) * minus);
  const b = fold((Y + X) * plus);
  const c = fold(fold(fold(E * H)) * twoDT);
  const d = fold(Z * twoZ);
  return extended(b - a, d - c, d + c, b + a);
}

/** RFC 8032, "Point Addition", for a point and itself. */
function double({ X, Y, Z }: Extended): Extended {
  const a = fold(X * X);
  const b = fold(Y * Y);
  const c = fold(Z * Z);
  const e = fold(X * Y);
  return extended(-e - e, c + c + a - b, a - b, a + b);
}

function extended(E: bigint, F: bigint, G: bigint, H: bigint): Extended {
  return { X: fold(fold(E * F)), Y: fold(fold(G * H)), Z: fold(fold(F * G)), E, H };
}

/** The same modulo the prime, for 2^256 is 38: from below 2^(256 + n) in size to below 2^256 + 2^(n + 6). Faster than %. */
function fold(n: bigint): bigint {
  return (n >> 256n) * 38n + BigInt.asUintN(256, n);
}

function extendedOf({ X, Y, Z, T }: Point): Extended {
  return { X, Y, Z, E: T, H: 1n };
}

function pointOf({ X, Y, Z, E, H }: Extended): Point {
  const reduced = (n: bigint): bigint => ((n % PRIME) + PRIME) % PRIME;
  return new Point(reduced(X), reduced(Y), reduced(Z), reduced(E * H));
}

/** Whether 8 times the point is the identity. */
export function isSmallOrder(point: Point): boolean {
  const { X, Y, Z } = double(double(double(extendedOf(point))));
  return X % PRIME === 0n && (Y - Z) % PRIME === 0n;
}

/** The sum of all multiples, in one walk down their bits (Straus). */
export function sumOfMultiples(...multiples: readonly Multiple[]): Point {
  const rows = multiples.flatMap(rowsOf);
  let sum = extendedOf(Point.ZERO);
  for (let bit = Math.max(...rows.map(({ digits }) => digits.length)) - 1; bit >= 0; bit--) {
    sum = double(sum);
    for (const { table, digits } of rows) {
      const digit = digits[bit] ?? 0;
      const summand = table[Math.abs(digit) >> 1];
      if (digit !== 0 && summand !== undefined) sum = add(sum, digit > 0 ? summand : negate(summand));
    }
  }
  return pointOf(sum);
}

interface Row {
  readonly table: Table;
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
  for (let rest = size; rest > 0n;) {
    if ((rest & 1n) === 0n) {
      digits.push(0);
      rest >>= 1n;
    } else {
      const digit = BigInt.asIntN(5, rest);
      digits.push(sign * Number(digit), 0, 0, 0, 0);
      rest = (rest - digit) >> 5n;
    }
  }
  return digits;
}
