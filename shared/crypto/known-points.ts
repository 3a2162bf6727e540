import type { EdwardsPoint } from "@noble/curves/abstract/edwards.js";
import { ed25519 } from "@noble/curves/ed25519.js";
import { encodeHex } from "../encoding.ts";

/** Keys remembered at once: a log, its cosigners, and the devices of a few users. A table of multiples takes some 100 kB. */
const MAX_KNOWN = 64;
/** A table costs as much as four multiplications, and makes each of them four times as fast. */
const USES_BEFORE_TABLE = 4;
const TABLE_WINDOW_BITS = 4;

interface KnownPoint {
  readonly point: EdwardsPoint;
  uses: number;
}

/** Points by their encoding, least recently used first. Written by `knownPoint` only; what it answers never depends on it. */
const known = new Map<string, KnownPoint>();

/**
 * The point of a public key's 32 bytes, or undefined where they are no canonical encoding (RFC 8032). Keys that come again
 * and again, as a log's and its VRF's do, are remembered with a table that makes `multiplyUnsafe` fast. For public keys only.
 */
export function knownPoint(bytes: Uint8Array): EdwardsPoint | undefined {
  const name = encodeHex(bytes);
  const entry = known.get(name) ?? newEntry(bytes);
  if (entry === undefined) return undefined;
  known.delete(name);
  known.set(name, entry);
  entry.uses += 1;
  if (entry.uses === USES_BEFORE_TABLE) entry.point.precompute(TABLE_WINDOW_BITS);
  return entry.point;
}

function newEntry(bytes: Uint8Array): KnownPoint | undefined {
  const point = decodePoint(bytes);
  if (point === undefined) return undefined;
  const [oldest] = known.keys();
  if (known.size >= MAX_KNOWN && oldest !== undefined) known.delete(oldest);
  return { point, uses: 0 };
}

/** The point of 32 bytes, or undefined where they are no canonical encoding (RFC 8032). Nothing is remembered. */
export function decodePoint(bytes: Uint8Array): EdwardsPoint | undefined {
  try {
    return ed25519.Point.fromBytes(bytes);
  } catch {
    return undefined;
  }
}
