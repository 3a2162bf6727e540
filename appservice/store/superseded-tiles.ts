/**
 * Stored forms of tiles that other forms took the place of: those of the map at a settling epoch stay for a while. Each epoch
 * says which it has superseded, so that they are found again when nobody needs them any more.
 */
import { IntegrityError } from "./store.ts";

/** `for each form u8 length || key`. */
export function encodeSuperseded(keys: readonly Uint8Array[]): Uint8Array {
  const bytes = Buffer.allocUnsafe(keys.reduce((sum, key) => sum + 1 + key.length, 0));
  let at = 0;
  for (const key of keys) {
    bytes[at] = key.length;
    bytes.set(key, at + 1);
    at += 1 + key.length;
  }
  return bytes;
}

/** Throws `IntegrityError` where the bytes can't be such a list. */
export function parseSuperseded(bytes: Uint8Array): readonly Uint8Array[] {
  const keys: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = at + 1 + (bytes[at] as number);
    if (end > bytes.length) throw new IntegrityError("a list of superseded tiles can't be read");
    keys.push(bytes.subarray(at + 1, end));
    at = end;
  }
  return keys;
}
