/**
 * The VRF of the core on libsodium, ten times as fast; where its binary does not load, on noble. Same bytes. Secret scalars
 * stay bytes: nothing that is done with them takes a time that depends on their value.
 */
import { hash } from "node:crypto";
import { createRequire } from "node:module";
import { proveVrf } from "../shared/crypto/vrf.ts";
import type { VrfProof } from "../shared/crypto/vrf.ts";
import { utf8 } from "../shared/encoding.ts";

/** Proves the index of a user id. */
export type IndexProver = (userId: string) => VrfProof;

/** The part of libsodium that is used. Each writes its first argument and throws where libsodium returns an error. */
interface Sodium {
  crypto_core_ed25519_add(sum: Uint8Array, p: Uint8Array, q: Uint8Array): void;
  crypto_core_ed25519_scalar_reduce(reduced: Uint8Array, bytes: Uint8Array): void;
  crypto_scalarmult_ed25519_noclamp(product: Uint8Array, scalar: Uint8Array, p: Uint8Array): void;
  crypto_scalarmult_ed25519_base_noclamp(product: Uint8Array, scalar: Uint8Array): void;
}

function loadSodium(): Sodium | undefined {
  try {
    return createRequire(import.meta.url)("sodium-native") as Sodium;
  } catch {
    return undefined;
  }
}

/** A prover for a VRF seed (32 bytes), on the fastest arithmetic there is. */
export function indexProver(seed: Uint8Array): IndexProver {
  const sodium = loadSodium();
  if (sodium === undefined) return (userId) => proveVrf(seed, utf8(userId));
  const prover = new SodiumProver(sodium, seed);
  return (userId) => prover.prove(utf8(userId));
}

const SUITE = 0x03;
/** What follows the suite in the input of a hash: for points from input, challenges and outputs; and what ends each. RFC 9381. */
const [TO_CURVE, CHALLENGE, OUTPUT, END] = [0x01, 0x02, 0x03, 0x00];
const CHALLENGE_BYTES = 16;

/** ECVRF-EDWARDS25519-SHA512-TAI (RFC 9381) with points and scalars as their 32 bytes. */
class SodiumProver {
  readonly #sodium: Sodium;
  /** The secret scalar, reduced. */
  readonly #scalar: Buffer;
  readonly #noncePrefix: Buffer;
  readonly #publicKey: Buffer;

  constructor(sodium: Sodium, seed: Uint8Array) {
    this.#sodium = sodium;
    const expanded = sha512(seed);
    const clamped = Buffer.alloc(64);
    clamped.set(expanded.subarray(0, 32));
    clamped[0] = (clamped[0] ?? 0) & 0xf8;
    clamped[31] = ((clamped[31] ?? 0) & 0x7f) | 0x40;
    this.#scalar = this.#reduce(clamped);
    this.#noncePrefix = expanded.subarray(32);
    this.#publicKey = this.#multiplyBase(this.#scalar);
  }

  prove(alpha: Uint8Array): VrfProof {
    const hashed = this.#encodeToCurve(alpha);
    const gamma = this.#multiply(hashed, this.#scalar);
    const nonce = this.#reduce(sha512(this.#noncePrefix, hashed));
    const [u, v] = [this.#multiplyBase(nonce), this.#multiply(hashed, nonce)];
    const c = sha512(Uint8Array.of(SUITE, CHALLENGE), this.#publicKey, hashed, gamma, u, v, Uint8Array.of(END));
    const challenge = c.subarray(0, CHALLENGE_BYTES);
    const s = this.#reduce(multiplyAdd(challenge, this.#scalar, nonce));
    const output = sha512(
      Uint8Array.of(SUITE, OUTPUT),
      this.#double(this.#double(this.#double(gamma))),
      Uint8Array.of(END),
    );
    return {
      proof: Uint8Array.from(Buffer.concat([gamma, challenge, s])),
      index: Uint8Array.from(output.subarray(0, 32)),
    };
  }

  /** Try and increment: 8 times the first hash of input and counter that is a point, unless that is the identity. */
  #encodeToCurve(alpha: Uint8Array): Buffer {
    for (let counter = 0; counter < 256; counter++) {
      const candidate = sha512(Uint8Array.of(SUITE, TO_CURVE), this.#publicKey, alpha, Uint8Array.of(counter, END));
      const twice = this.#doubleIfPoint(candidate.subarray(0, 32));
      const cleared = twice === undefined ? undefined : this.#double(this.#double(twice));
      if (cleared !== undefined && !isIdentity(cleared)) return cleared;
    }
    throw new RangeError("no hash of the input is a point"); // one input in 2^256
  }

  /** Addition is the only call that decodes a point outside the group of prime order; it throws on what is no point. */
  #doubleIfPoint(bytes: Buffer): Buffer | undefined {
    if (!isCanonical(bytes)) return undefined;
    try {
      return this.#double(bytes);
    } catch {
      return undefined;
    }
  }

  #double(point: Buffer): Buffer {
    const sum = Buffer.allocUnsafe(32);
    this.#sodium.crypto_core_ed25519_add(sum, point, point);
    return sum;
  }

  #multiply(point: Buffer, scalar: Buffer): Buffer {
    const product = Buffer.allocUnsafe(32);
    this.#sodium.crypto_scalarmult_ed25519_noclamp(product, scalar, point);
    return product;
  }

  #multiplyBase(scalar: Buffer): Buffer {
    const product = Buffer.allocUnsafe(32);
    this.#sodium.crypto_scalarmult_ed25519_base_noclamp(product, scalar);
    return product;
  }

  /** 64 bytes, little-endian, modulo the order of the group. */
  #reduce(bytes: Buffer): Buffer {
    const reduced = Buffer.allocUnsafe(32);
    this.#sodium.crypto_core_ed25519_scalar_reduce(reduced, bytes);
    return reduced;
  }
}

/** a * b + c as 64 bytes, all little-endian, by the same steps for all values. `a` has 16 bytes, the others 32. */
function multiplyAdd(a: Uint8Array, b: Uint8Array, c: Uint8Array): Buffer {
  const columns = new Int32Array(64);
  columns.set(c);
  for (let i = 0; i < a.length; i++) {
    for (let j = 0; j < b.length; j++)
      columns[i + j] = (columns[i + j] as number) + (a[i] as number) * (b[j] as number);
  }
  const sum = Buffer.allocUnsafe(64);
  let carry = 0;
  for (let i = 0; i < 64; i++) {
    carry += columns[i] as number;
    sum[i] = carry & 0xff;
    carry >>>= 8;
  }
  return sum;
}

function sha512(...parts: readonly Uint8Array[]): Buffer {
  return Buffer.from(hash("sha512", Buffer.concat(parts), "binary"), "binary");
}

/** Whether y is below 2^255 - 19 and, where x is zero (y is 1 or -1), the sign is not set; libsodium takes either. */
function isCanonical(bytes: Uint8Array): boolean {
  const y = Buffer.from(bytes).reverse();
  const sign = ((y[0] ?? 0) & 0x80) !== 0;
  y[0] = (y[0] ?? 0) & 0x7f;
  const hex = y.toString("hex");
  return hex < FIELD_PRIME && !(sign && (hex === ONE || hex === MINUS_ONE));
}

const FIELD_PRIME = "7f" + "ff".repeat(30) + "ed";
const MINUS_ONE = "7f" + "ff".repeat(30) + "ec";
const ONE = "00".repeat(31) + "01";

function isIdentity(point: Uint8Array): boolean {
  return point[0] === 1 && point.subarray(1).every((byte) => byte === 0);
}
