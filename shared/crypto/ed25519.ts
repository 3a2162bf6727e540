import { getPublicKey, hashes, sign } from "@noble/ed25519";
import { concat, encodeHex, equalBytes } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import { basePoint, encodePoint, isSmallOrder, knownPoint, numberOf, ORDER, sumOfMultiples } from "./edwards25519.ts";
import type { PreparedPoint } from "./edwards25519.ts";
import { sha256, sha512 } from "./hash.ts";

/** Lengths in bytes. */
export const PUBLIC_KEY_BYTES = 32;
export const SIGNATURE_BYTES = 64;

/** The 32-byte public key of a 32-byte seed (RFC 8032). */
export function publicKeyOf(seed: Uint8Array): Uint8Array {
  hashes.sha512 = sha512;
  return getPublicKey(seed);
}

/** The 64-byte signature of `message` by the key of `seed` (RFC 8032, deterministic). */
export function signEd25519(seed: Uint8Array, message: Uint8Array): Uint8Array {
  hashes.sha512 = sha512;
  return sign(message, seed);
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
  const s = numberOf(signature.subarray(32));
  if (s >= ORDER) throw badSignature("the scalar of a signature is not reduced");
  const k = numberOf(sha512(concat(nonce, publicKey, message))) % ORDER;
  // What is rebuilt is canonical by construction, so the signature's R is, too, if they are the same bytes.
  const rebuilt = sumOfMultiples({ scalar: s, of: basePoint() }, { scalar: -k, of: key });
  if (isSmallOrder(rebuilt)) throw badSignature("the nonce point of a signature is of small order");
  if (!equalBytes(encodePoint(rebuilt), nonce)) throw badSignature("a signature does not verify");
}

/** Both checks of this file, for hosts that have something faster: it must say the same of every input. */
export interface Ed25519Checks {
  readonly checkPublicKey: (publicKey: Uint8Array) => Uint8Array;
  readonly verify: (publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array) => void;
}

/** The checks as they are defined here. */
export const ED25519_CHECKS: Ed25519Checks = { checkPublicKey, verify: verifyEd25519 };

/** Digests of checks that held, oldest first. Written by `REMEMBERING_CHECKS`; what those answer never depends on it. */
const held = new Set<string>();
const MAX_HELD = 2_048;

/** The same checks for signatures that come again, as those in an entry do with every version. */
export const REMEMBERING_CHECKS: Ed25519Checks = {
  checkPublicKey,
  verify(publicKey, message, signature) {
    const check = encodeHex(sha256(concat(sha256(publicKey), sha256(signature), message)));
    if (held.has(check)) return;
    verifyEd25519(publicKey, message, signature);
    const [oldest] = held;
    if (held.size >= MAX_HELD && oldest !== undefined) held.delete(oldest);
    held.add(check);
  },
};

function decodeKey(publicKey: Uint8Array): PreparedPoint {
  const key = knownPoint(publicKey);
  if (key === undefined) throw badSignature("a public key that is no canonical encoding of a point");
  if (isSmallOrder(key.point)) throw badSignature("a public key of small order");
  return key;
}

function badSignature(message: string): VerificationError {
  return new VerificationError("bad-signature", message);
}
