/**
 * The curve of Ed25519 and of the VRF (RFC 8032, "Edwards-Curve Digital Signature Algorithm"), for checking what is public:
 * the time that anything here takes depends on its arguments, so none of it may see a secret.
 */
import { decodeHex, encodeHex } from "../encoding.ts";
import { fieldOf, invert, minus, numberOfField, ONE, plus, powerForRoots, PRIME, times, ZERO } from "./field25519.ts";
import type { Field } from "./field25519.ts";

/** Order of the base point. */
export const ORDER: bigint = 2n ** 252n + 27742317777372353535851937790883648493n;

/** The d of the curve, -121665 / 121666. */
export const D: Field = fieldOf(37095705934669439343138083508754565189542113879843219016388785533085940283555n);
/** Twice d, and a square root of -1. */
const TWO_D = fieldOf(16295367250680780974490674513165176452449235426866156013048779062215315747161n);
const ROOT_OF_MINUS_ONE = fieldOf(19681161376707505956807079304988542015446066515923890162744021073123829784752n);

/** The coordinate y = 4 / 5 of the base point; its x is even. */
const BASE = decodeHex(`58${"66".repeat(31)}`);

/** Keys remembered at once: a log, its cosigners, and the devices of a user who has as many as an entry holds. 5 kB each. */
const MAX_KNOWN = 256;
/** P, 3P, 5P, ..., 15P: what digits of at most 15 need. */
const TABLE_LENGTH = 8;

/** x = X / Z, y = Y / Z. */
export interface ProjectivePoint {
  readonly X: Field;
  readonly Y: Field;
  readonly Z: Field;
}

/** x * y = T / Z. T stays two factors, E and H, for a point that is only doubled never needs it. */
export interface Point extends ProjectivePoint {
  readonly E: Field;
  readonly H: Field;
}

const IDENTITY: Point = { X: ZERO, Y: ONE, Z: ONE, E: ZERO, H: ONE };

/** A point P with P, 3P, 5P and so on. */
export interface PreparedPoint {
  readonly point: Point;
  readonly table: readonly Summand[];
}

/** What of a second summand enters an addition: Y - X, Y + X, 2 Z, 2 d T. */
interface Summand {
  readonly yMinusX: Field;
  readonly yPlusX: Field;
  readonly twoZ: Field;
  readonly twoDT: Field;
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
  preparedBase ??= passingPoint(decodePoint(BASE) ?? IDENTITY);
  return preparedBase;
}

/**
 * The point of a public key's 32 bytes, or undefined where they are no canonical encoding (RFC 8032). The keys used last, as
 * a log's and its VRF's, are remembered.
 */
export function knownPoint(bytes: Uint8Array): PreparedPoint | undefined {
  const name = encodeHex(bytes);
  const point = known.has(name) ? undefined : decodePoint(bytes);
  const prepared = known.get(name) ?? (point && passingPoint(point));
  if (prepared === undefined) return undefined;
  known.delete(name);
  const [oldest] = known.keys();
  if (known.size >= MAX_KNOWN && oldest !== undefined) known.delete(oldest);
  known.set(name, prepared);
  return prepared;
}

/** A point that won't come again. */
export function passingPoint(point: Point): PreparedPoint {
  return { point, table: oddMultiples(point) };
}

/** The point of 32 bytes, or undefined where they are no canonical encoding (RFC 8032, "Decoding"). Nothing is remembered. */
export function decodePoint(bytes: Uint8Array): Point | undefined {
  if (bytes.length !== 32) return undefined;
  const number = numberOf(bytes);
  const y = BigInt.asUintN(255, number);
  if (y >= PRIME) return undefined;
  const Y = fieldOf(y);
  const X = xOf(Y, number === y ? 0n : 1n);
  return X === undefined ? undefined : { X, Y, Z: ONE, E: X, H: Y };
}

/** The x of this parity where x^2 = (y^2 - 1) / (d y^2 + 1). */
function xOf(Y: Field, parity: bigint): Field | undefined {
  const square = times(Y, Y);
  const [u, v] = [minus(square, ONE), plus(times(D, square), ONE)];
  const cube = times(times(v, v), v);
  const root = times(times(u, cube), powerForRoots(times(u, times(times(cube, cube), v))));
  const check = times(v, times(root, root));
  let x = root;
  if (!isZero(minus(check, u))) {
    if (!isZero(plus(check, u))) return undefined;
    x = times(root, ROOT_OF_MINUS_ONE);
  }
  const number = numberOfField(x);
  if (number === 0n && parity === 1n) return undefined;
  return fieldOf((number & 1n) === parity ? number : PRIME - number);
}

/** The 32 bytes of a point (RFC 8032, "Encoding"). */
export function encodePoint({ X, Y, Z }: ProjectivePoint): Uint8Array {
  const inverse = invert(Z);
  const [x, y] = [numberOfField(times(X, inverse)), numberOfField(times(Y, inverse))];
  return decodeHex((y + ((x & 1n) << 255n)).toString(16).padStart(64, "0")).reverse();
}

/** The little-endian number of some bytes. */
export function numberOf(bytes: Uint8Array): bigint {
  return BigInt(`0x${encodeHex(bytes.toReversed())}`);
}

function isZero(a: Field): boolean {
  return numberOfField(a) === 0n;
}

function oddMultiples(point: Point): readonly Summand[] {
  const twice = summandOf(double(point));
  const multiples: Summand[] = [];
  for (let multiple = point; multiples.length < TABLE_LENGTH; multiple = add(multiple, twice)) {
    multiples.push(summandOf(multiple));
  }
  return multiples;
}

function summandOf({ X, Y, Z, E, H }: Point): Summand {
  return { yMinusX: minus(Y, X), yPlusX: plus(Y, X), twoZ: plus(Z, Z), twoDT: times(TWO_D, times(E, H)) };
}

function negate({ yMinusX, yPlusX, twoZ, twoDT }: Summand): Summand {
  return { yMinusX: yPlusX, yPlusX: yMinusX, twoZ, twoDT: minus(ZERO, twoDT) };
}

/** RFC 8032, "Point Addition". Complete: there are no special cases. */
function add({ X, Y, Z, E, H }: Point, { yMinusX, yPlusX, twoZ, twoDT }: Summand): Point {
  const a = times(minus(Y, X), yMinusX);
  const b = times(plus(Y, X), yPlusX);
  const c = times(times(E, H), twoDT);
  const d = times(Z, twoZ);
  return pointOf(minus(b, a), minus(d, c), plus(d, c), plus(b, a));
}

/** RFC 8032, "Point Addition", for a point and itself; all four factors with the other sign. */
function double({ X, Y, Z }: ProjectivePoint): Point {
  const a = times(X, X);
  const b = times(Y, Y);
  const c = times(Z, Z);
  const e = times(X, Y);
  const g = minus(a, b);
  return pointOf(minus(ZERO, plus(e, e)), plus(plus(c, c), g), g, plus(a, b));
}

/** E has 2 summands at most, F 4, G 2 and H 2. */
function pointOf(E: Field, F: Field, G: Field, H: Field): Point {
  return { X: times(E, F), Y: times(G, H), Z: times(F, G), E, H };
}

/** 8 times the point. */
export function clearCofactor(point: ProjectivePoint): Point {
  return double(double(double(point)));
}

/** Whether it is the identity. */
export function isIdentity({ X, Y, Z }: Point): boolean {
  return isZero(X) && isZero(minus(Y, Z));
}

/** Whether 8 times the point is the identity. */
export function isSmallOrder(point: Point): boolean {
  return isIdentity(clearCofactor(point));
}

/** The sum of all multiples, in one walk down their bits (Straus). */
export function sumOfMultiples(...multiples: readonly Multiple[]): Point {
  const rows = multiples.map(({ scalar, of: { table } }) => ({ table, digits: signedDigits(scalar) }));
  let sum = IDENTITY;
  for (let bit = Math.max(...rows.map(({ digits }) => digits.length)) - 1; bit >= 0; bit--) {
    sum = double(sum);
    for (const { table, digits } of rows) {
      const digit = digits[bit] ?? 0;
      const summand = table[Math.abs(digit) >> 1];
      if (digit !== 0 && summand !== undefined) sum = add(sum, digit > 0 ? summand : negate(summand));
    }
  }
  return sum;
}

/** Digits d with `sum of d[i] * 2^i = scalar`, each 0 or odd and at most 15 in size (width-5 NAF). */
function signedDigits(scalar: bigint): readonly number[] {
  const sign = scalar < 0n ? -1 : 1;
  const bits = (scalar < 0n ? -scalar : scalar).toString(2);
  const bit = (at: number): number => (bits.at(-1 - at) === "1" ? 1 : 0);
  const digits: number[] = [];
  let carry = 0;
  while (digits.length < bits.length || carry > 0) {
    const at = digits.length;
    if (bit(at) === carry) {
      digits.push(0);
      continue;
    }
    const window = 1 + 2 * bit(at + 1) + 4 * bit(at + 2) + 8 * bit(at + 3) - 16 * bit(at + 4);
    carry = bit(at + 4);
    digits.push(sign * window, 0, 0, 0, 0);
  }
  return digits;
}
