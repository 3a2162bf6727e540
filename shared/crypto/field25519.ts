/**
 * Numbers modulo 2^255 - 19, the field of Ed25519, for arithmetic on what is public. A number is the sum of twelve floats.
 * Limb i is a multiple of 2^ceil(21.25 i), so that products of limbs add up without shifts, and exactly: the sums stay below
 * 2^53 of their unit (D. J. Bernstein, "Curve25519: new Diffie-Hellman speed records", "Floating-point field elements").
 * In the engines of today that is some five times as fast as BigInt.
 */

/**
 * Twelve limbs. "Reduced", as `multiply` and `fieldOf` return them: limb i is at most half a unit of limb i + 1 in size. Sums
 * of reduced numbers may be multiplied as they are, if their numbers of summands, multiplied, are at most 8.
 */
// prettier-ignore
export type Field = readonly [
  number, number, number, number, number, number, number, number, number, number, number, number,
];

/** 2^255 - 19. */
export const PRIME: bigint = 2n ** 255n - 19n;

/** Zero and one. What is zero has a sign, for an array of small integers is another type to the engine than one of floats. */
export const ZERO: Field = [-0, -0, -0, -0, -0, -0, -0, -0, -0, -0, -0, -0];
export const ONE: Field = [1, -0, -0, -0, -0, -0, -0, -0, -0, -0, -0, -0];

/** Modulo the prime, 2^255 is 19. */
const WRAP = 19 * 2 ** -255;

// Added to a limb and taken away again, each rounds it to the unit of the next one, for a float has no bits left below that.
const ROUND_0 = 3 * 2 ** 73;
const ROUND_1 = 3 * 2 ** 94;
const ROUND_2 = 3 * 2 ** 115;
const ROUND_3 = 3 * 2 ** 136;
const ROUND_4 = 3 * 2 ** 158;
const ROUND_5 = 3 * 2 ** 179;
const ROUND_6 = 3 * 2 ** 200;
const ROUND_7 = 3 * 2 ** 221;
const ROUND_8 = 3 * 2 ** 243;
const ROUND_9 = 3 * 2 ** 264;
const ROUND_10 = 3 * 2 ** 285;
const ROUND_11 = 3 * 2 ** 306;

/** The field's element of a number of at most 255 bits. */
export function fieldOf(number: bigint): Field {
  let rest = 2n * number > PRIME ? number - PRIME : number;
  const limbs = ZERO.map((_, limb) => {
    const [from, to] = [bitsBelow(limb), bitsBelow(limb + 1)];
    const digit = limb === ZERO.length - 1 ? rest : BigInt.asIntN(to - from, rest);
    rest = (rest - digit) >> BigInt(to - from);
    return Number(digit) * 2 ** from;
  });
  return limbs as unknown as Field;
}

function bitsBelow(limb: number): number {
  return Math.ceil(21.25 * limb);
}

/** The number from 0 below the prime that an element stands for. */
export function numberOfField(a: Field): bigint {
  const number = a.reduce((sum, limb) => sum + BigInt(limb), 0n) % PRIME;
  return number < 0n ? number + PRIME : number;
}

/** a + b, not reduced. */
export function plus(a: Field, b: Field): Field {
  // prettier-ignore
  return [
    a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] + b[4], a[5] + b[5],
    a[6] + b[6], a[7] + b[7], a[8] + b[8], a[9] + b[9], a[10] + b[10], a[11] + b[11],
  ];
}

/** a - b, not reduced. */
export function minus(a: Field, b: Field): Field {
  // prettier-ignore
  return [
    a[0] - b[0], a[1] - b[1], a[2] - b[2], a[3] - b[3], a[4] - b[4], a[5] - b[5],
    a[6] - b[6], a[7] - b[7], a[8] - b[8], a[9] - b[9], a[10] - b[10], a[11] - b[11],
  ];
}

/**
 * a * b, reduced. Written out, and limbs by index: loops take three times as long, and to take an array apart by its
 * iterator half as long again.
 */
export function times(a: Field, b: Field): Field {
  // prettier-ignore
  const a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3], a4 = a[4], a5 = a[5],
    a6 = a[6], a7 = a[7], a8 = a[8], a9 = a[9], a10 = a[10], a11 = a[11];
  // prettier-ignore
  const b0 = b[0], b1 = b[1], b2 = b[2], b3 = b[3], b4 = b[4], b5 = b[5],
    b6 = b[6], b7 = b[7], b8 = b[8], b9 = b[9], b10 = b[10], b11 = b[11];
  // prettier-ignore
  let r0 = a0 * b0 + WRAP * (a1 * b11 + a2 * b10 + a3 * b9 + a4 * b8 + a5 * b7 + a6 * b6 + a7 * b5 + a8 * b4 +
        a9 * b3 + a10 * b2 + a11 * b1),
      r1 = a0 * b1 + a1 * b0 + WRAP * (a2 * b11 + a3 * b10 + a4 * b9 + a5 * b8 + a6 * b7 + a7 * b6 + a8 * b5 +
        a9 * b4 + a10 * b3 + a11 * b2),
      r2 = a0 * b2 + a1 * b1 + a2 * b0 + WRAP * (a3 * b11 + a4 * b10 + a5 * b9 + a6 * b8 + a7 * b7 + a8 * b6 +
        a9 * b5 + a10 * b4 + a11 * b3),
      r3 = a0 * b3 + a1 * b2 + a2 * b1 + a3 * b0 + WRAP * (a4 * b11 + a5 * b10 + a6 * b9 + a7 * b8 + a8 * b7 +
        a9 * b6 + a10 * b5 + a11 * b4),
      r4 = a0 * b4 + a1 * b3 + a2 * b2 + a3 * b1 + a4 * b0 + WRAP * (a5 * b11 + a6 * b10 + a7 * b9 + a8 * b8 +
        a9 * b7 + a10 * b6 + a11 * b5),
      r5 = a0 * b5 + a1 * b4 + a2 * b3 + a3 * b2 + a4 * b1 + a5 * b0 + WRAP * (a6 * b11 + a7 * b10 + a8 * b9 +
        a9 * b8 + a10 * b7 + a11 * b6),
      r6 = a0 * b6 + a1 * b5 + a2 * b4 + a3 * b3 + a4 * b2 + a5 * b1 + a6 * b0 + WRAP * (a7 * b11 + a8 * b10 +
        a9 * b9 + a10 * b8 + a11 * b7),
      r7 = a0 * b7 + a1 * b6 + a2 * b5 + a3 * b4 + a4 * b3 + a5 * b2 + a6 * b1 + a7 * b0 + WRAP * (a8 * b11 +
        a9 * b10 + a10 * b9 + a11 * b8),
      r8 = a0 * b8 + a1 * b7 + a2 * b6 + a3 * b5 + a4 * b4 + a5 * b3 + a6 * b2 + a7 * b1 +
        a8 * b0 + WRAP * (a9 * b11 + a10 * b10 + a11 * b9),
      r9 = a0 * b9 + a1 * b8 + a2 * b7 + a3 * b6 + a4 * b5 + a5 * b4 + a6 * b3 + a7 * b2 + a8 * b1 +
        a9 * b0 + WRAP * (a10 * b11 + a11 * b10),
      r10 = a0 * b10 + a1 * b9 + a2 * b8 + a3 * b7 + a4 * b6 + a5 * b5 + a6 * b4 + a7 * b3 + a8 * b2 + a9 * b1 +
        a10 * b0 + WRAP * (a11 * b11),
      r11 = a0 * b11 + a1 * b10 + a2 * b9 + a3 * b8 + a4 * b7 + a5 * b6 + a6 * b5 + a7 * b4 + a8 * b3 + a9 * b2 +
        a10 * b1 + a11 * b0;
  let carry = r0 + ROUND_0 - ROUND_0;
  r0 -= carry;
  r1 += carry;
  carry = r1 + ROUND_1 - ROUND_1;
  r1 -= carry;
  r2 += carry;
  carry = r2 + ROUND_2 - ROUND_2;
  r2 -= carry;
  r3 += carry;
  carry = r3 + ROUND_3 - ROUND_3;
  r3 -= carry;
  r4 += carry;
  carry = r4 + ROUND_4 - ROUND_4;
  r4 -= carry;
  r5 += carry;
  carry = r5 + ROUND_5 - ROUND_5;
  r5 -= carry;
  r6 += carry;
  carry = r6 + ROUND_6 - ROUND_6;
  r6 -= carry;
  r7 += carry;
  carry = r7 + ROUND_7 - ROUND_7;
  r7 -= carry;
  r8 += carry;
  carry = r8 + ROUND_8 - ROUND_8;
  r8 -= carry;
  r9 += carry;
  carry = r9 + ROUND_9 - ROUND_9;
  r9 -= carry;
  r10 += carry;
  carry = r10 + ROUND_10 - ROUND_10;
  r10 -= carry;
  r11 += carry;
  carry = r11 + ROUND_11 - ROUND_11;
  r11 -= carry;
  r0 += WRAP * carry;
  carry = r0 + ROUND_0 - ROUND_0;
  r0 -= carry;
  r1 += carry;
  return [r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11];
}

/** a squared so many times. */
function squared(a: Field, count: number): Field {
  let power = a;
  for (let i = 0; i < count; i++) power = times(power, power);
  return power;
}

/** a to the power of 2^bits - 1. */
function powerOfOnes(a: Field, bits: number): Field {
  if (bits === 1) return a;
  if (bits % 2 === 1) return times(squared(powerOfOnes(a, bits - 1), 1), a);
  const half = powerOfOnes(a, bits / 2);
  return times(squared(half, bits / 2), half);
}

/** a to the power of (p - 5) / 8, that is 2^252 - 3: what square roots are made of (RFC 8032, "Decoding"). */
export function powerForRoots(a: Field): Field {
  return times(squared(powerOfOnes(a, 250), 2), a);
}

/** 1 / a, that is a to the power of p - 2, 8 (2^252 - 3) + 3. Of zero: zero. */
export function invert(a: Field): Field {
  return times(squared(powerForRoots(a), 3), powerOfOnes(a, 2));
}
