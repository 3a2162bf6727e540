import { ed25519 } from "@noble/curves/ed25519.js";
import { numberToBytesLE } from "@noble/curves/utils.js";
import { concat, equalBytes } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import {
  basePoint,
  clearCofactor,
  decodePoint,
  encodePoint,
  isIdentity,
  isSmallOrder,
  knownPoint,
  numberOf,
  ORDER,
  passingPoint,
  sumOfMultiples,
} from "./edwards25519.ts";
import type { Point } from "./edwards25519.ts";
import { type Hash, sha512 } from "./hash.ts";

/**
 * ECVRF-EDWARDS25519-SHA512-TAI of RFC 9381, with its letters: alpha the input, pi the proof (Gamma, c, s), beta the output.
 * The index of a user in the map is the first half of beta.
 */

/** Length of a proof: Gamma 32, c 16, s 32. */
export const VRF_PROOF_BYTES = 80;

const SUITE = 0x03;
const CHALLENGE_BYTES = 16;
const INDEX_BYTES = 32;

/** A proof, and the index that it proves. */
export interface VrfProof {
  readonly proof: Uint8Array;
  readonly index: Hash;
}

/** A seed taken apart: the secret scalar, reduced, and the second half of its hash, which makes nonces. */
export interface VrfSecretKey {
  readonly scalar: bigint;
  readonly noncePrefix: Uint8Array;
  readonly publicKey: Uint8Array;
}

/**
 * What a prover needs of edwards25519. A host may bring a faster one; the bytes of a proof are the same. Scalars are reduced
 * and not zero, and may be secret.
 */
export interface Group<P> {
  /** The point, or undefined where the 32 bytes are not a canonical encoding (RFC 8032). */
  decode(bytes: Uint8Array): P | undefined;
  encode(point: P): Uint8Array;
  /** 8 times the point, or undefined where that is the identity. */
  clearCofactor(point: P): P | undefined;
  multiply(point: P, scalar: bigint): P;
  multiplyBase(scalar: bigint): P;
}

type SecretPoint = InstanceType<typeof ed25519.Point>;

/** For scalars that are secret: the library's multiplication takes the same time for all of them. */
const NOBLE: Group<SecretPoint> = {
  decode(bytes) {
    try {
      return ed25519.Point.fromBytes(bytes);
    } catch {
      return undefined;
    }
  },
  encode: (point) => point.toBytes(),
  clearCofactor(point) {
    const cleared = point.clearCofactor();
    return cleared.is0() ? undefined : cleared;
  },
  multiply: (point, scalar) => point.multiply(scalar),
  multiplyBase: (scalar) => ed25519.Point.BASE.multiply(scalar),
};

/** For what is public. */
const PUBLIC: Pick<Group<Point>, "decode" | "clearCofactor"> = {
  decode: decodePoint,
  clearCofactor(point) {
    const cleared = clearCofactor(point);
    return isIdentity(cleared) ? undefined : cleared;
  },
};

/** The 32-byte VRF key of a 32-byte seed (RFC 9381: as an Ed25519 key). */
export function vrfPublicKey(seed: Uint8Array): Uint8Array {
  return ed25519.getPublicKey(seed);
}

/** Takes a 32-byte seed apart, once for many proofs. */
export function expandVrfSeed(seed: Uint8Array): VrfSecretKey {
  const { scalar, prefix, pointBytes } = ed25519.utils.getExtendedPublicKey(seed);
  return { scalar, noncePrefix: prefix, publicKey: pointBytes };
}

/** The proof (80 bytes) and index (32 bytes) of `alpha` under the key of `seed` (32 bytes). */
export function proveVrf(seed: Uint8Array, alpha: Uint8Array): VrfProof {
  return proveVrfWith(NOBLE, expandVrfSeed(seed), alpha);
}

/** As `proveVrf`, with the arithmetic that is given (RFC 9381, "ECVRF Proving"). */
export function proveVrfWith<P>(group: Group<P>, key: VrfSecretKey, alpha: Uint8Array): VrfProof {
  const hashed = encodeToCurve(group, key.publicKey, alpha);
  const hashedBytes = group.encode(hashed);
  const gamma = group.multiply(hashed, key.scalar);
  const gammaBytes = group.encode(gamma);
  const nonce = numberOf(sha512(concat(key.noncePrefix, hashedBytes))) % ORDER;
  const u = group.encode(group.multiplyBase(nonce));
  const v = group.encode(group.multiply(hashed, nonce));
  const c = challenge(key.publicKey, hashedBytes, gammaBytes, u, v);
  const s = (nonce + numberOf(c) * key.scalar) % ORDER;
  const cleared = group.clearCofactor(gamma);
  if (cleared === undefined) throw new RangeError("a secret key without an output");
  return { proof: concat(gammaBytes, c, numberToBytesLE(s, 32)), index: indexOf(outputOf(group.encode(cleared))) };
}

/** Returns the key if it is canonical and 8 times it is not the identity, else throws `bad-vrf`. Once per configuration. */
export function checkVrfKey(publicKey: Uint8Array): Uint8Array {
  const key = decodePoint(publicKey);
  if (key === undefined || isSmallOrder(key)) throw badVrf("not a VRF key");
  return publicKey;
}

/**
 * The index (32 bytes) of `alpha`, if `proof` proves it under a key that `checkVrfKey` took (RFC 9381, "ECVRF Verifying").
 * Throws `bad-vrf`.
 */
export function verifyVrf(publicKey: Uint8Array, alpha: Uint8Array, proof: Uint8Array): Hash {
  const y = knownPoint(publicKey);
  if (y === undefined) throw badVrf("not a VRF key");
  const { gamma, gammaBytes, c, s } = parseProof(proof);
  const hashed = encodeToCurve(PUBLIC, publicKey, alpha);
  const u = sumOfMultiples({ scalar: s, of: basePoint() }, { scalar: -c, of: y });
  const v = sumOfMultiples({ scalar: s, of: passingPoint(hashed) }, { scalar: -c, of: passingPoint(gamma) });
  const expected = challenge(publicKey, encodePoint(hashed), gammaBytes, encodePoint(u), encodePoint(v));
  if (!equalBytes(expected, proof.subarray(32, 48))) throw badVrf("a VRF proof does not verify");
  return indexOf(outputOf(encodePoint(clearCofactor(gamma))));
}

/** Beta, all 64 bytes, of a proof that was verified or is one's own (RFC 9381, "ECVRF Proof to Hash"). Throws `bad-vrf`. */
export function vrfOutput(proof: Uint8Array): Uint8Array {
  return outputOf(encodePoint(clearCofactor(parseProof(proof).gamma)));
}

interface ParsedProof {
  readonly gamma: Point;
  readonly gammaBytes: Uint8Array;
  readonly c: bigint;
  readonly s: bigint;
}

function parseProof(proof: Uint8Array): ParsedProof {
  if (proof.length !== VRF_PROOF_BYTES) throw badVrf("a VRF proof has 80 bytes");
  const gammaBytes = proof.slice(0, 32);
  const gamma = decodePoint(gammaBytes);
  const [c, s] = [numberOf(proof.subarray(32, 48)), numberOf(proof.subarray(48))];
  if (gamma === undefined) throw badVrf("the point of a VRF proof is no canonical encoding");
  if (s >= ORDER) throw badVrf("the scalar of a VRF proof is not reduced");
  return { gamma, gammaBytes, c, s };
}

/** Try and increment: hashes the input with a counter until the hash is a point of large order. */
function encodeToCurve<P>(
  group: Pick<Group<P>, "decode" | "clearCofactor">,
  publicKey: Uint8Array,
  alpha: Uint8Array,
): P {
  for (let counter = 0; counter < 256; counter++) {
    const candidate = sha512(concat(Uint8Array.of(SUITE, 0x01), publicKey, alpha, Uint8Array.of(counter, 0x00)));
    const point = group.decode(candidate.subarray(0, 32));
    const cleared = point === undefined ? undefined : group.clearCofactor(point);
    if (cleared !== undefined) return cleared;
  }
  throw badVrf("no hash of the input is a point"); // one input in 2^256
}

function challenge(...points: readonly Uint8Array[]): Uint8Array {
  return sha512(concat(Uint8Array.of(SUITE, 0x02), ...points, Uint8Array.of(0x00))).slice(0, CHALLENGE_BYTES);
}

function outputOf(clearedGamma: Uint8Array): Uint8Array {
  return sha512(concat(Uint8Array.of(SUITE, 0x03), clearedGamma, Uint8Array.of(0x00)));
}

function indexOf(beta: Uint8Array): Hash {
  return beta.slice(0, INDEX_BYTES);
}

function badVrf(message: string): VerificationError {
  return new VerificationError("bad-vrf", message);
}
