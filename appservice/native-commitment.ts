/** The commitment of the core by the host's SHA-256, several times as fast for an entry. Same bytes. */
import { hash } from "node:crypto";
import { HASH_BYTES } from "../shared/crypto/hash.ts";
import type { Hash } from "../shared/crypto/hash.ts";
import type { Opening } from "../shared/crypto/commitment.ts";
import { writeU64 } from "./store/records.ts";

const NAME = Buffer.from("ckv/entry/v1\0", "ascii");
/** Block length of SHA-256, to which HMAC pads its key. */
const BLOCK = 64;
const INNER_PAD = 0x36;
const OUTER_PAD = 0x5c;

/** Reused between calls, which never overlap: hashing runs to its end. */
let inner = Buffer.alloc(4_096);
const outer = Buffer.alloc(BLOCK + HASH_BYTES);

/** As `commit` of the core: HMAC-SHA256 under the opening. */
export function commitNatively({ userId, version, entry, opening }: Opening): Hash {
  if (opening.length !== HASH_BYTES) throw new RangeError("an opening has 32 bytes");
  const idAt = BLOCK + NAME.length + 2;
  const idLength = Buffer.byteLength(userId, "utf8");
  const length = idAt + idLength + 12 + entry.length;
  if (inner.length < length) inner = Buffer.alloc(2 * length);
  padKey(inner, opening, INNER_PAD);
  inner.set(NAME, BLOCK);
  inner.writeUInt16BE(idLength, idAt - 2);
  inner.write(userId, idAt, "utf8");
  writeU64(inner, idAt + idLength, version);
  inner.writeUInt32BE(entry.length, idAt + idLength + 8);
  inner.set(entry, idAt + idLength + 12);
  padKey(outer, opening, OUTER_PAD);
  // Strings of a character for each byte, which are made several times as fast as buffers.
  outer.write(hash("sha256", inner.subarray(0, length), "binary"), BLOCK, "latin1");
  const commitment = new Uint8Array(HASH_BYTES);
  const digest = hash("sha256", outer, "binary");
  for (let i = 0; i < HASH_BYTES; i++) commitment[i] = digest.charCodeAt(i);
  return commitment;
}

function padKey(block: Buffer, key: Uint8Array, pad: number): void {
  for (let i = 0; i < BLOCK; i++) block[i] = (key[i] ?? 0) ^ pad;
}
