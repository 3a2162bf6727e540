/**
 * Multiples of points by X25519, which libsodium has as the Montgomery ladder in assembly: two of its runs take two thirds of
 * the time of one multiplication on the Edwards curve, which also looks whether the point is in the group of prime order.
 *
 * X25519 multiplies by 8 t and tells only u, which is the same for a point and its opposite. So a point H is prepared as
 * 8 X: the u of t H and of (t + 1) H, which differ by H, tell both coordinates of t H (K. Okeya, K. Sakurai, "Efficient
 * elliptic curve cryptosystems from a scalar multiplication algorithm with recovery of the y-coordinate"). Points may be
 * public, scalars are secret: no step here takes a time that depends on their value.
 */
import { basePoint, clearCofactor, D } from "../shared/crypto/edwards25519.ts";
import type { ProjectivePoint } from "../shared/crypto/edwards25519.ts";
import { fieldOf, minus, ONE, plus, PRIME, times } from "../shared/crypto/field25519.ts";
import type { Field } from "../shared/crypto/field25519.ts";
import { bytesOfField, fieldOfBytes, invertAll, isZeroField } from "./field-bytes.ts";
import type { Sodium } from "./libsodium.ts";

/** The curve of X25519 is v^2 = u^3 + A u^2 + u, and x = sqrt(-(A + 2)) u / v (RFC 7748, "Curve25519"). */
const A = 486662n;
const TWO_A = fieldOf(2n * A);
const MINUS_TWICE_A_PLUS_2 = fieldOf(PRIME - 2n * (A + 2n));
const BASE = basePoint().point;

/** A point X of the Edwards curve, by its y and by the y of X + B; these two tell its x without a square root. */
export interface Summed {
  readonly y: Field;
  readonly ySum: Field;
}

/** A point H = 8 X, with what multiplying it needs. */
export interface LadderPoint {
  /** Its 32 bytes (RFC 8032). */
  readonly encoded: Buffer;
  /** The u of X, 32 bytes. */
  readonly uBeforeClearing: Buffer;
  readonly u: Field;
  /** -2 (A + 2) u / x: what turns the ratio of u and v of another point into its x. */
  readonly factor: Field;
}

/** A scalar as X25519 takes it: 8 t, 8 (t + 1), 32 bytes each, and the sign with which t H is the multiple. */
export interface LadderScalar {
  readonly eight: Buffer;
  readonly eightMore: Buffer;
  readonly sign: number;
}

/** 8 X of each X; undefined if one of them is of small order, or one for which a formula has no answer, one in 2^250. */
export function ladderPoints(all: readonly Summed[]): readonly LadderPoint[] | undefined {
  const cleared = all.map((summed) => clearCofactor(pointOf(summed)));
  const inverses = invertAll(
    cleared.flatMap(({ X, Y, Z }, i) => [minus(ONE, (all[i] as Summed).y), Z, times(minus(Z, Y), X)]),
  );
  if (inverses === undefined) return undefined;
  return cleared.map(({ X, Y, Z }, i) => {
    const [forX, forH, forU] = inverses.slice(3 * i, 3 * i + 3) as [Field, Field, Field];
    const uByX = times(plus(Z, Y), forU);
    return {
      encoded: encode(times(X, forH), times(Y, forH)),
      uBeforeClearing: bytesOfField(times(plus(ONE, (all[i] as Summed).y), forX)),
      u: times(uByX, X),
      factor: times(times(uByX, Z), MINUS_TWICE_A_PLUS_2),
    };
  });
}

/** Solves the addition law (RFC 8032, "Point Addition") of X + B for the x of X. */
function pointOf({ y, ySum }: Summed): ProjectivePoint {
  const product = times(y, BASE.Y);
  const Z = times(BASE.X, plus(times(times(D, product), ySum), ONE));
  return { X: minus(ySum, product), Y: times(y, Z), Z };
}

/**
 * A scalar (32 bytes, reduced, little-endian) for X25519, where t has to be from 2^251 below 2^252: either it or its
 * opposite is; undefined for one in 2^126.
 */
export function ladderScalar(sodium: Sodium, scalar: Uint8Array): LadderScalar | undefined {
  const negated = Buffer.allocUnsafe(32);
  sodium.crypto_core_ed25519_scalar_negate(negated, scalar);
  const isHigh = ((scalar[31] as number) >> 3) & 1;
  const ifLow = isHigh - 1;
  const [eight, eightMore] = [Buffer.allocUnsafe(32), Buffer.allocUnsafe(32)];
  let [carry, carryMore] = [0, 8];
  for (let i = 0; i < 32; i++) {
    const [byte, opposite] = [scalar[i] as number, negated[i] as number];
    carry += (byte ^ (ifLow & (byte ^ opposite))) << 3;
    carryMore += carry & 0xff;
    eight[i] = carry & 0xff;
    eightMore[i] = carryMore & 0xff;
    carry >>>= 8;
    carryMore >>>= 8;
  }
  const isInRange = [eight, eightMore].every((bytes) => (bytes[31] as number) >> 6 === 1);
  return isInRange ? { eight, eightMore, sign: 2 * isHigh - 1 } : undefined;
}

/** The multiple of a point; undefined where the two that X25519 tells don't fit, and for one in 2^250. */
export function multiply(
  sodium: Sodium,
  point: LadderPoint,
  { eight, eightMore, sign }: LadderScalar,
): ProjectivePoint | undefined {
  const [u, uMore] = [Buffer.allocUnsafe(32), Buffer.allocUnsafe(32)];
  sodium.crypto_scalarmult(u, eight, point.uBeforeClearing);
  sodium.crypto_scalarmult(uMore, eightMore, point.uBeforeClearing);
  const multiple = recover(point, fieldOfBytes(u), fieldOfBytes(uMore), sign);
  return isOnCurve(multiple) ? multiple : undefined;
}

/** The point of this u whose sum with H has the u `uMore`, times the sign. */
function recover({ u: uH, factor }: LadderPoint, u: Field, uMore: Field, sign: number): ProjectivePoint {
  const difference = minus(uH, u);
  const product = times(plus(times(uH, u), ONE), plus(plus(uH, u), TWO_A));
  // Twice the product of the v of both.
  const v = minus(minus(product, TWO_A), times(times(difference, difference), uMore));
  const uPlusOne = plus(u, ONE);
  const x = times(times(u, factor), uPlusOne).map((limb) => limb * sign) as unknown as Field;
  return { X: x, Y: times(minus(u, ONE), v), Z: times(uPlusOne, v) };
}

/** (Y^2 - X^2) Z^2 = Z^4 + d X^2 Y^2 */
function isOnCurve({ X, Y, Z }: ProjectivePoint): boolean {
  const [xx, yy, zz] = [times(X, X), times(Y, Y), times(Z, Z)];
  const [left, right] = [times(minus(yy, xx), zz), plus(times(zz, zz), times(times(D, xx), yy))];
  return isZeroField(times(minus(left, right), ONE));
}

/** The 32 bytes of each point (RFC 8032); undefined if one has no affine coordinates. */
export function encodeAll(points: readonly ProjectivePoint[]): readonly Buffer[] | undefined {
  const inverses = invertAll(points.map(({ Z }) => Z));
  if (inverses === undefined) return undefined;
  return points.map(({ X, Y }, i) => encode(times(X, inverses[i] as Field), times(Y, inverses[i] as Field)));
}

function encode(x: Field, y: Field): Buffer {
  const bytes = bytesOfField(y);
  bytes[31] = (bytes[31] as number) | (((bytesOfField(x)[0] as number) & 1) << 7);
  return bytes;
}
