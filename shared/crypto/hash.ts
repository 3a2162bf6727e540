import { sha256 as nobleSha256, sha512 as nobleSha512 } from "@noble/hashes/sha2.js";

/** 32 bytes, an output of SHA-256 unless said otherwise. */
export type Hash = Uint8Array;

/** Length of a `Hash` in bytes. */
export const HASH_BYTES = 32;

/** SHA-256 (FIPS 180-4): any bytes to 32. */
export function sha256(bytes: Uint8Array): Hash {
  return nobleSha256(bytes);
}

/** SHA-512 (FIPS 180-4): any bytes to 64. */
export function sha512(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return nobleSha512(bytes);
}

const HMAC_BLOCK_BYTES = 64;

/** HMAC-SHA256 (RFC 2104), of a key of at most 64 bytes: 32 bytes. */
export function hmacSha256(key: Uint8Array, bytes: Uint8Array): Hash {
  if (key.length > HMAC_BLOCK_BYTES) throw new RangeError("a key of more than one block");
  const keyed = (pad: number, message: Uint8Array): Hash => {
    const padded = new Uint8Array(HMAC_BLOCK_BYTES + message.length);
    for (let i = 0; i < HMAC_BLOCK_BYTES; i++) padded[i] = (key[i] ?? 0) ^ pad;
    padded.set(message, HMAC_BLOCK_BYTES);
    return sha256(padded);
  };
  return keyed(0x5c, keyed(0x36, bytes));
}

/** HKDF-SHA256 (RFC 5869), extract and the first block of expand: at most 32 bytes. */
export function hkdfSha256(ikm: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Uint8Array {
  if (length > HASH_BYTES) throw new RangeError("more than one block of HKDF");
  return hmacSha256(hmacSha256(salt, ikm), Uint8Array.of(...info, 1)).slice(0, length);
}
