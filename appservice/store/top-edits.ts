/**
 * What an epoch changed in the top of the map, as far as the rest follows from it: the leaves that stand there, and the hashes
 * of the tiles right below. It takes a small part of what the changed tiles of the top take.
 */
import { HASH_WORDS, putHashBytes, setHashWords } from "./fixed-hash.ts";
import { LEAF_BYTES, TOP_DEPTH } from "./map-tiles.ts";
import type { Tile } from "./map-tiles.ts";
import { differs, IntegrityError } from "./store.ts";

export interface TopEdits {
  /** Leaves, in the order in which they were set. */
  readonly leaves: readonly Uint8Array[];
  /** Set after them. */
  readonly links: readonly TopLink[];
}

/** A tile right below the top. */
export interface TopLink {
  /** The bytes of its prefix that count. */
  readonly prefix: Uint8Array;
  readonly hash: Int32Array;
}

const COUNT_BYTES = 4;
const PREFIX_BYTES = Math.ceil(TOP_DEPTH / 8);
/** The bits of the last of these bytes that do not count. */
const BEYOND_PREFIX = 2 ** (8 * PREFIX_BYTES - TOP_DEPTH) - 1;
const LINK_BYTES = PREFIX_BYTES + 4 * HASH_WORDS;

/** A tile right below the top that changed: the first bits of its indices, and the slot that has its hash. */
export interface ChangedLink {
  readonly prefix: Uint8Array;
  readonly above: Tile;
  readonly slot: number;
}

/** `u32 leaves || leaves || for each tile right below the top that changed its prefix and its hash`. */
export function encodeTopEdits(leaves: readonly Uint8Array[], changed: readonly ChangedLink[]): Uint8Array {
  const links = COUNT_BYTES + LEAF_BYTES * leaves.length;
  const edits = Buffer.allocUnsafe(links + LINK_BYTES * changed.length);
  edits.writeUInt32BE(leaves.length);
  leaves.forEach((leaf, i) => {
    edits.set(leaf, COUNT_BYTES + LEAF_BYTES * i);
  });
  changed.forEach(({ prefix, above, slot }, i) => {
    const at = links + LINK_BYTES * i;
    for (let byte = 0; byte < PREFIX_BYTES; byte++) edits[at + byte] = prefix[byte] as number;
    putHashBytes(edits, at + PREFIX_BYTES, above.hashes, slot * HASH_WORDS);
  });
  return edits;
}

/** Throws `IntegrityError` where the bytes can't be edits. */
export function parseTopEdits(bytes: Uint8Array): TopEdits {
  const count = bytes.length < COUNT_BYTES ? Infinity : Buffer.from(bytes.subarray(0, COUNT_BYTES)).readUInt32BE();
  const linksAt = COUNT_BYTES + LEAF_BYTES * count;
  if (linksAt > bytes.length || (bytes.length - linksAt) % LINK_BYTES !== 0) throw unreadable();
  const leaves = Array.from({ length: count }, (_, i) => {
    const at = COUNT_BYTES + LEAF_BYTES * i;
    return Uint8Array.from(bytes.subarray(at, at + LEAF_BYTES));
  });
  const links = Array.from({ length: (bytes.length - linksAt) / LINK_BYTES }, (_, i) => {
    const at = linksAt + LINK_BYTES * i;
    const [prefix, hash] = [bytes.subarray(at, at + PREFIX_BYTES), new Int32Array(HASH_WORDS)];
    if (((prefix[PREFIX_BYTES - 1] ?? 0) & BEYOND_PREFIX) !== 0) throw unreadable();
    setHashWords(hash, 0, bytes, at + PREFIX_BYTES);
    return { prefix, hash };
  });
  return { leaves, links };
}

function unreadable(): IntegrityError {
  return new IntegrityError("what changed in the top of the map can't be read");
}

/** The second path: throws `IntegrityError` unless the stored form is that of these leaves and tiles. */
export function checkTopEdits(bytes: Uint8Array, leaves: readonly Uint8Array[], changed: readonly ChangedLink[]): void {
  if (Buffer.compare(bytes, encodeTopEdits(leaves, changed)) !== 0) throw differs("what changed in the top of the map");
}
