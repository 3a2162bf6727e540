import { ed25519 } from "@noble/curves/ed25519.js";
import { bytesToNumberLE } from "@noble/curves/utils.js";
import { concat, equalBytes } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import { sha512 } from "./hash.ts";
import { knownPoint } from "./known-points.ts";

/** Lengths in bytes. */
export const PUBLIC_KEY_BYTES = 32;
export const SIGNATURE_BYTES = 64;

const { Point } = ed25519;
const { Fn, BASE } = Point;
type Point = InstanceType<typeof Point>;

/** The 32-byte public key of a 32-byte seed (RFC 8032). */
export function publicKeyOf(seed: Uint8Array): Uint8Array {
  return ed25519.getPublicKey(seed);
}

/** The 64-byte signature of `message` by the key of `seed` (RFC 8032, deterministic). */
export function signEd25519(seed: Uint8Array, message: Uint8Array): Uint8Array {
  return ed25519.sign(message, seed);
}

/** Returns the key if it is 32 bytes, canonical and not of small order, else throws `bad-signature`. */
export function checkPublicKey(publicKey: Uint8Array): Uint8Array {
  decodeKey(publicKey);
  return publicKey;
}

/**
 * Checks a signature by the one rule used for every key and signature of the protocol: canonical A and R, neither of small
 * order, S < L, cofactorless equation, so that evidence means the same to everyone. Throws `bad-signature`.
 */
export function verifyEd25519(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): void {
  const key = decodeKey(publicKey);
  if (signature.length !== SIGNATURE_BYTES) throw badSignature("a signature has 64 bytes");
  const nonce = signature.subarray(0, 32);
  const s = bytesToNumberLE(signature.subarray(32));
  if (s >= Fn.ORDER) throw badSignature("the scalar of a signature is not reduced");
  const k = Fn.create(bytesToNumberLE(sha512(concat(nonce, publicKey, message))));
  // What is rebuilt is canonical by construction, so the signature's R is, too, if they are the same bytes.
  const rebuilt = BASE.multiplyUnsafe(s).subtract(key.multiplyUnsafe(k));
  if (rebuilt.isSmallOrder()) throw badSignature("the nonce point of a signature is of small order");
  if (!equalBytes(rebuilt.toBytes(), nonce)) throw badSignature("a signature does not verify");
}

function decodeKey(publicKey: Uint8Array): Point {
  const key = knownPoint(publicKey);
  if (key === undefined) throw badSignature("a public key that is no canonical encoding of a point");
  if (key.isSmallOrder()) throw badSignature("a public key of small order");
  return key;
}

function badSignature(message: string): VerificationError {
  return new VerificationError("bad-signature", message);
}
