import { hash } from "node:crypto";
import { IntegrityError } from "./store.ts";

/** LevelDB returns flipped bits without a word, so every value carries a version byte and a checksum over key and value. */

const VALUE_FORMAT = 1;
const CHECKSUM_BYTES = 8;
/** Bytes that a stored value is longer than its payload. */
export const CHECKSUM_OVERHEAD: number = 1 + CHECKSUM_BYTES;

/**
 * `u8 format || payload || first 8 bytes of SHA-256(format || u16 key length || key || payload)`, in memory that the next
 * call uses again.
 */
export function sealValue(key: Uint8Array, payload: Uint8Array): Uint8Array {
  const digest = checksum(key, payload);
  const payloadAt = 3 + key.length;
  const end = payloadAt + payload.length;
  // The key was only hashed: its last byte makes room for the format.
  scratch[payloadAt - 1] = VALUE_FORMAT;
  for (let i = 0; i < CHECKSUM_BYTES; i++) scratch[end + i] = digest.charCodeAt(i);
  return new Uint8Array(scratch.buffer, payloadAt - 1, end + CHECKSUM_BYTES - payloadAt + 1);
}

/** The payload of a sealed value (a view of it). Throws `IntegrityError`. */
export function openValue(key: Uint8Array, sealed: Uint8Array): Uint8Array {
  const payload = sealed.subarray(1, sealed.length - CHECKSUM_BYTES);
  if (sealed.length < CHECKSUM_OVERHEAD || sealed[0] !== VALUE_FORMAT) throw damaged(key, "format");
  const expected = checksum(key, payload);
  for (let i = 0; i < CHECKSUM_BYTES; i++) {
    if (sealed[payload.length + 1 + i] !== expected.charCodeAt(i)) throw damaged(key, "checksum");
  }
  return payload;
}

/** Reused between calls, which never overlap: hashing runs to its end. */
let scratch = Buffer.alloc(16_384);

/** A character for each byte: a string is made several times as fast as a buffer. */
function checksum(key: Uint8Array, payload: Uint8Array): string {
  const length = 3 + key.length + payload.length;
  if (scratch.length < length + CHECKSUM_BYTES) scratch = Buffer.alloc(2 * (length + CHECKSUM_BYTES));
  scratch[0] = VALUE_FORMAT;
  scratch.writeUInt16BE(key.length, 1);
  scratch.set(key, 3);
  scratch.set(payload, 3 + key.length);
  return hash("sha256", new Uint8Array(scratch.buffer, 0, length), "binary");
}

function damaged(key: Uint8Array, part: string): IntegrityError {
  return new IntegrityError(`the record ${Buffer.from(key).toString("hex")} has a wrong ${part}`);
}
