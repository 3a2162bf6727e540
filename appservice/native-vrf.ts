/**
 * The VRF of the core on libsodium, ten times as fast; where its binary does not load, on noble. Same bytes. Secret scalars
 * stay bytes: nothing that is done with them takes a time that depends on their value.
 */
import { hash } from "node:crypto";
import { basePoint, clearCofactor, encodePoint } from "../shared/crypto/edwards25519.ts";
import type { ProjectivePoint } from "../shared/crypto/edwards25519.ts";
import { proveVrf } from "../shared/crypto/vrf.ts";
import type { VrfProof } from "../shared/crypto/vrf.ts";
import { utf8 } from "../shared/encoding.ts";
import { fieldOfBytes } from "./field-bytes.ts";
import { encodeAll, ladderPoints, ladderScalar, multiply } from "./ladder-points.ts";
import type { LadderPoint, LadderScalar, Summed } from "./ladder-points.ts";
import { loadSodium } from "./libsodium.ts";
import type { Sodium } from "./libsodium.ts";

/** Proves the index of a user id. */
export type IndexProver = (userId: string) => VrfProof;

/** Proves the indices of user ids, in their order: of many at once, each takes a little less. */
export type IndexBatchProver = (userIds: readonly string[]) => readonly VrfProof[];

/** A prover for a VRF seed (32 bytes), on the fastest arithmetic there is. */
export function indexProver(seed: Uint8Array): IndexProver {
  const prove = indexBatchProver(seed);
  return (userId) => prove([userId])[0] as VrfProof;
}

/** As `indexProver`, for many user ids at once. */
export function indexBatchProver(seed: Uint8Array): IndexBatchProver {
  const inCore = (userIds: readonly string[]): readonly VrfProof[] =>
    userIds.map((userId) => proveVrf(seed, utf8(userId)));
  const sodium = loadSodium();
  if (sodium === undefined) return inCore;
  const prover = new SodiumProver(sodium, seed);
  return (userIds) => prover.prove(userIds.map(utf8)) ?? inCore(userIds);
}

const SUITE = 0x03;
/** What follows the suite in the input of a hash: for points from input, challenges and outputs; and what ends each. RFC 9381. */
const [TO_CURVE, CHALLENGE, OUTPUT, END] = [0x01, 0x02, 0x03, 0x00];
const CHALLENGE_BYTES = 16;
const BASE_POINT = encodePoint(basePoint().point);

/** ECVRF-EDWARDS25519-SHA512-TAI (RFC 9381). */
class SodiumProver {
  readonly #sodium: Sodium;
  /** The secret scalar, reduced, and as the ladder takes it. */
  readonly #scalar: Buffer;
  readonly #ladderScalar: LadderScalar | undefined;
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
    this.#ladderScalar = ladderScalar(sodium, this.#scalar);
    this.#noncePrefix = expanded.subarray(32);
    this.#publicKey = this.#multiplyBase(this.#scalar);
  }

  /** A proof of each, or undefined if for one of them, of 2^125, the arithmetic has no answer. */
  prove(alphas: readonly Uint8Array[]): readonly VrfProof[] | undefined {
    const drafts = ladderPoints(alphas.map((alpha) => this.#hashToPoint(alpha)))?.map((hashed) => this.#draft(hashed));
    if (drafts?.every((draft) => draft !== undefined) !== true) return undefined;
    const encoded = encodeAll(drafts.flatMap(({ gamma, v }) => [gamma, v, clearCofactor(gamma)]));
    return (
      encoded &&
      drafts.map(({ hashed, nonce }, i) => {
        const [gamma, v, cleared] = encoded.slice(3 * i, 3 * i + 3) as [Buffer, Buffer, Buffer];
        const points = [this.#publicKey, hashed, gamma, this.#multiplyBase(nonce), v];
        const c = sha512(Uint8Array.of(SUITE, CHALLENGE), ...points, Uint8Array.of(END)).subarray(0, CHALLENGE_BYTES);
        const s = this.#reduce(multiplyAdd(c, this.#scalar, nonce));
        const output = sha512(Uint8Array.of(SUITE, OUTPUT), cleared, Uint8Array.of(END));
        return {
          proof: Uint8Array.from(Buffer.concat([gamma, c, s])),
          index: Uint8Array.from(output.subarray(0, 32)),
        };
      })
    );
  }

  #draft(point: LadderPoint): Draft | undefined {
    const nonce = this.#reduce(sha512(this.#noncePrefix, point.encoded));
    const scalars = [this.#ladderScalar, ladderScalar(this.#sodium, nonce)];
    const [gamma, v] = scalars.map((scalar) => scalar && multiply(this.#sodium, point, scalar));
    return gamma && v && { hashed: point.encoded, nonce, gamma, v };
  }

  /** Try and increment: the first hash of input and counter that is a point; 8 times it is what the input is hashed to. */
  #hashToPoint(alpha: Uint8Array): Summed {
    for (let counter = 0; counter < 256; counter++) {
      const hashed = sha512(Uint8Array.of(SUITE, TO_CURVE), this.#publicKey, alpha, Uint8Array.of(counter, END));
      const candidate = hashed.subarray(0, 32);
      const sum = isCanonical(candidate) ? this.#addBase(candidate) : undefined;
      if (sum !== undefined) return { y: fieldOfBytes(candidate), ySum: fieldOfBytes(sum) };
    }
    throw new RangeError("no hash of the input is a point"); // one input in 2^256
  }

  /** Addition is the only call that decodes a point outside the group of prime order; it throws on what is no point. */
  #addBase(point: Buffer): Buffer | undefined {
    const sum = Buffer.allocUnsafe(32);
    try {
      this.#sodium.crypto_core_ed25519_add(sum, point, BASE_POINT);
    } catch {
      return undefined;
    }
    return sum;
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

/** What of a proof is known before its points are encoded. */
interface Draft {
  readonly hashed: Buffer;
  readonly nonce: Buffer;
  readonly gamma: ProjectivePoint;
  readonly v: ProjectivePoint;
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

/** Whether y is below 2^255 - 19; libsodium takes any. */
function isCanonical(bytes: Uint8Array): boolean {
  if (((bytes[31] as number) & 0x7f) !== 0x7f || (bytes[0] as number) < 0xed) return true;
  return bytes.subarray(1, 31).some((byte) => byte !== 0xff);
}
