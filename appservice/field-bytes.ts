/** Numbers of the field of Ed25519 as their 32 bytes, and many inverses for little more than the price of one. */
import { invert, ONE, times } from "../shared/crypto/field25519.ts";
import type { Field } from "../shared/crypto/field25519.ts";

const LIMBS = 12;
/** Limb i holds the bits of a number from 21.25 i to 21.25 (i + 1), rounded up. */
const FROM = Array.from({ length: LIMBS }, (_, limb) => Math.ceil(21.25 * limb));
const WIDTHS = FROM.map((from, limb) => Math.ceil(21.25 * (limb + 1)) - from);
const UNITS = FROM.map((from) => 2 ** from);
const INVERSE_UNITS = UNITS.map((unit) => 1 / unit);

/** The element, reduced, of 32 bytes, little-endian, without bit 255. */
export function fieldOfBytes(bytes: Uint8Array): Field {
  const limbs: number[] = [];
  for (let limb = 0; limb < LIMBS; limb++) {
    const from = FROM[limb] as number;
    const at = from >> 3;
    const word =
      byte(bytes, at) | (byte(bytes, at + 1) << 8) | (byte(bytes, at + 2) << 16) | (byte(bytes, at + 3) << 24);
    limbs.push(((word >>> (from & 7)) & lowBits(limb)) * (UNITS[limb] as number));
  }
  return times(limbs as unknown as Field, ONE);
}

function byte(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? 0;
}

function lowBits(limb: number): number {
  return (1 << (WIDTHS[limb] as number)) - 1;
}

/**
 * The 32 bytes, little-endian, of the number from 0 below the prime that a reduced element stands for. Reduced, it is at
 * most about half the prime in size: where it is negative, the prime is to be added once.
 */
export function bytesOfField(a: Field): Buffer {
  const bytes = Buffer.allocUnsafe(32);
  const highest = a.findLast((limb) => limb !== 0) ?? 0;
  // 2^255 is added by cutting bits off.
  let carry = highest < 0 ? -19 : 0;
  let [word, bits, at] = [0, 0, 0];
  for (let limb = 0; limb < LIMBS; limb++) {
    const digit = (a[limb] as number) * (INVERSE_UNITS[limb] as number) + carry;
    carry = digit >> (WIDTHS[limb] as number);
    word |= (digit & lowBits(limb)) << bits;
    for (bits += WIDTHS[limb] as number; bits >= 8; bits -= 8) {
      bytes[at++] = word & 0xff;
      word >>>= 8;
    }
  }
  bytes[at] = word;
  return bytes;
}

/** Whether a reduced element is zero. */
export function isZeroField(a: Field): boolean {
  return a.every((limb) => limb === 0);
}

/** 1 / a of each, reduced; undefined if any is zero. Three multiplications for each, and one inversion. */
export function invertAll(all: readonly Field[]): readonly Field[] | undefined {
  const products: Field[] = [];
  let product = ONE;
  for (const a of all) {
    products.push(product);
    product = times(product, a);
  }
  if (isZeroField(product)) return undefined;
  let inverse = invert(product);
  const inverses: Field[] = [];
  for (let i = all.length - 1; i >= 0; i--) {
    inverses[i] = times(inverse, products[i] as Field);
    inverse = times(inverse, all[i] as Field);
  }
  return inverses;
}
