/** The signature checks of the core by the host's OpenSSL, several times as fast. It says the same of every input. */
import { createPublicKey, verify, type KeyObject } from "node:crypto";
import { PUBLIC_KEY_BYTES, SIGNATURE_BYTES, type Ed25519Checks } from "../shared/crypto/ed25519.ts";
import { decodePoint, isSmallOrder } from "../shared/crypto/edwards25519.ts";
import { VerificationError } from "../shared/errors.ts";

/** What stands before the 32 bytes of a public key in SubjectPublicKeyInfo (RFC 8410). */
const SPKI_ED25519 = Buffer.from("302a300506032b6570032100", "hex");
/** The canonical encodings of the eight points whose order divides 8. */
const SMALL_ORDER: ReadonlySet<string> = new Set([
  `01${"00".repeat(31)}`,
  `ec${"ff".repeat(30)}7f`,
  "00".repeat(32),
  `${"00".repeat(31)}80`,
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]);

/** As `checkPublicKey` of the core, without remembering the point: OpenSSL has no use for it. */
function checkPublicKey(publicKey: Uint8Array): Uint8Array {
  const point = publicKey.length === PUBLIC_KEY_BYTES ? decodePoint(publicKey) : undefined;
  if (point === undefined || isSmallOrder(point))
    throw badSignature("a public key that is no point of the curve's group");
  return publicKey;
}

/**
 * As `verifyEd25519` of the core. OpenSSL refuses a scalar that is not reduced and compares the rebuilt nonce point by its
 * bytes, without the cofactor; what it lets through beyond that are points of small order, and keys in another encoding,
 * which are refused here. Throws `bad-signature`.
 */
function verifyByOpenssl(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): void {
  if (signature.length !== SIGNATURE_BYTES) throw badSignature("a signature has 64 bytes");
  if (SMALL_ORDER.has(Buffer.from(signature.subarray(0, PUBLIC_KEY_BYTES)).toString("hex")))
    throw badSignature("the nonce point of a signature is of small order");
  if (!verify(null, message, keyOf(checkPublicKey(publicKey)), signature))
    throw badSignature("a signature does not verify");
}

function keyOf(publicKey: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.concat([SPKI_ED25519, publicKey]), format: "der", type: "spki" });
}

function badSignature(message: string): VerificationError {
  return new VerificationError("bad-signature", message);
}

/** For `buildEntry` and `nextEntry`, on the threads of this service. */
export const NATIVE_CHECKS: Ed25519Checks = { checkPublicKey, verify: verifyByOpenssl };
