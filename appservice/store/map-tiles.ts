/**
 * The map on disk: tiles of six levels. A tile holds the nodes below one inner node (the first tile: below the root) in
 * pre-order, one byte each; a leaf adds its 80 bytes, a node on the lower edge with children the hash of the tile below.
 * Inner hashes are not stored: they are recomputed and compared with the tile above, so that no flipped bit survives.
 *
 * A stored form never changes: what an epoch changes it writes as another one, under its own number, which the tile above
 * has beside the hash. So the map of an earlier epoch is found from its first tile, for as long as its forms are kept.
 */
import type { Hash } from "../../shared/crypto/hash.ts";
import { bitAt } from "../../shared/map/map-proof.ts";
import type { MapLeaf } from "../../shared/map/map-proof.ts";
import { hashBytes, HASH_WORDS, putHashBytes, sameHash, setHashWords } from "./fixed-hash.ts";
import { readU64, writeU64 } from "./records.ts";
import type { Position } from "./records.ts";
import { IntegrityError } from "./store.ts";

/** Levels in one tile. */
export const TILE_HEIGHT = 6;
/** Tiles above this depth form the top of the map, which is kept in memory and saved now and then. */
export const TOP_DEPTH: number = 3 * TILE_HEIGHT;

/** Nodes of a tile stand as in a binary heap: 1 is the uppermost, 2p and 2p + 1 are below p, from 64 on is the edge. */
export const EDGE: number = 1 << TILE_HEIGHT;
export const SLOTS: number = 2 * EDGE;

/** A child that is not there, a leaf, a node whose children stand in this tile, a node whose children are a tile. */
export const NONE = 0;
export const LEAF = 1;
export const INNER = 2;
export const LINK = 3;

// ----------------------------------------------------------------------------------------------------------------- leaf

export const LEAF_BYTES = 80;

/** A leaf of the map and the row of the change list that set it. */
export interface StoredLeaf extends MapLeaf {
  readonly position: Position;
}

/** `index || u64 n || history root || u64 position`: the first 72 bytes are what the leaf's hash covers. */
export function encodeLeaf({ index, n, historyRoot, position }: StoredLeaf): Uint8Array {
  const buffer = Buffer.allocUnsafe(LEAF_BYTES);
  buffer.set(index, 0);
  writeU64(buffer, 32, n);
  buffer.set(historyRoot, 40);
  writeU64(buffer, 72, position);
  return buffer;
}

export function parseLeaf(bytes: Uint8Array): StoredLeaf {
  return {
    index: bytes.subarray(0, 32),
    n: readU64(bytes, 32),
    historyRoot: bytes.subarray(40, 72),
    position: readU64(bytes, 72),
  };
}

/** Copies in one piece of memory, which is freed with the last of them: to the collector every piece is a burden. */
const COPIES_TOGETHER = 50;
let piece = new Uint8Array();
let used = 0;

/** A copy of the leaf that begins at `at`, for a tile that stays in memory: it holds no more than a few other such leaves. */
export function lastingLeaf(bytes: Uint8Array, at: number): Uint8Array {
  if (used === piece.length) {
    piece = new Uint8Array(COPIES_TOGETHER * LEAF_BYTES);
    used = 0;
  }
  const leaf = new Uint8Array(piece.buffer, used, LEAF_BYTES);
  for (let i = 0; i < LEAF_BYTES; i++) leaf[i] = bytes[at + i] as number;
  used += LEAF_BYTES;
  return leaf;
}

/** Whether both begin with the same 32 bytes. */
export function sameIndex(leaf: Uint8Array, index: Uint8Array): boolean {
  for (let i = 0; i < 32; i++) if (leaf[i] !== index[i]) return false;
  return true;
}

// ----------------------------------------------------------------------------------------------------------------- tile

/** Where in the memory of a tile the epochs begin, behind the hashes; and the kinds. */
const EPOCHS_AT = 4 * HASH_WORDS * SLOTS;
const KINDS_AT = EPOCHS_AT + 8 * EDGE;

/** A tile in memory, with all its hashes. */
export class Tile {
  prefix: Uint8Array;
  depth: number;
  readonly kinds: Uint8Array;
  readonly hashes: Int32Array;
  /** For every slot, so that it never grows. */
  readonly leaves: (Uint8Array | undefined)[];
  /** For each slot on the edge with a tile below it the epoch that wrote that one: see `epochBelow`. */
  readonly #epochs: Float64Array;
  /** What these three share: one piece of memory for each tile is collected sooner than three. */
  readonly #memory: Uint8Array;
  /** The epoch that wrote the stored form; undefined where there is none yet. Kept by the writer. */
  writtenIn: number | undefined;

  /** `prefix`: 32 bytes of which the first `depth` bits count. `like`: what the tile holds. */
  constructor(prefix: Uint8Array, depth: number, like?: Tile) {
    this.prefix = prefix;
    this.depth = depth;
    this.#memory = like === undefined ? new Uint8Array(KINDS_AT + SLOTS) : like.#memory.slice();
    const { buffer } = this.#memory;
    this.hashes = new Int32Array(buffer, 0, SLOTS * HASH_WORDS);
    this.#epochs = new Float64Array(buffer, EPOCHS_AT, EDGE);
    this.kinds = new Uint8Array(buffer, KINDS_AT, SLOTS);
    this.leaves = like === undefined ? new Array<undefined>(SLOTS).fill(undefined) : like.leaves.slice();
  }

  /** The same, to go on changing by itself; its leaves never change. `into`: a tile nobody uses. */
  copy(into?: Tile): Tile {
    if (into === undefined) return new Tile(this.prefix, this.depth, this);
    into.prefix = this.prefix;
    into.depth = this.depth;
    into.#memory.set(this.#memory);
    for (let slot = 1; slot < SLOTS; slot++) into.leaves[slot] = this.leaves[slot];
    return into;
  }

  /** Where the walk towards an index ends in this tile: at a slot that is no inner node. */
  slotOf(index: Hash): number {
    let slot = 1;
    while (this.kinds[slot] === INNER) slot = 2 * slot + bitAt(index, this.depthOf(slot));
    return slot;
  }

  depthOf(slot: number): number {
    return this.depth + 31 - Math.clz32(slot);
  }

  leafAt(slot: number): Uint8Array {
    const leaf = this.leaves[slot];
    if (leaf === undefined) throw new IntegrityError("a leaf of the map is missing from its tile");
    return leaf;
  }

  /** The leaf of an index if it stands in this tile. */
  leafOf(slot: number, index: Hash): Uint8Array | undefined {
    const leaf = this.kinds[slot] === LEAF ? this.leafAt(slot) : undefined;
    return leaf !== undefined && sameIndex(leaf, index) ? leaf : undefined;
  }

  /** The hash is to be computed: see `TileHashes`. */
  setLeaf(slot: number, leaf: Uint8Array): void {
    this.kinds[slot] = LEAF;
    this.leaves[slot] = leaf;
  }

  setNone(slot: number): void {
    this.kinds[slot] = NONE;
    this.leaves[slot] = undefined;
    // Eight words are written sooner than the call of a method that writes them.
    for (let i = slot * HASH_WORDS; i < (slot + 1) * HASH_WORDS; i++) this.hashes[i] = 0;
  }

  /** `epoch`: the one that wrote the tile below. */
  setLink(slot: number, hashes: Int32Array, at: number, epoch: number): void {
    this.kinds[slot] = LINK;
    this.leaves[slot] = undefined;
    this.#epochs[slot - EDGE] = epoch;
    for (let i = 0; i < HASH_WORDS; i++) this.hashes[slot * HASH_WORDS + i] = hashes[at + i] as number;
  }

  /** Turns a leaf into a node with that leaf below it, whose hashes are to be computed. Only above the edge. */
  splitLeaf(slot: number): void {
    const leaf = this.leafAt(slot);
    this.kinds[slot] = INNER;
    this.leaves[slot] = undefined;
    const below = 2 * slot + bitAt(leaf, this.depthOf(slot));
    this.setNone(below ^ 1);
    this.setLeaf(below, leaf);
  }

  /** The epoch that wrote the tile below a slot on the edge. In the top only saved tiles say so of those in the top. */
  epochBelow(slot: number): number {
    return this.#epochs[slot - EDGE] as number;
  }

  setEpochBelow(slot: number, epoch: number): void {
    this.#epochs[slot - EDGE] = epoch;
  }

  hashAt(slot: number): Hash {
    return hashBytes(this.hashes, slot * HASH_WORDS);
  }

  /** The prefix of the tile below an edge slot. */
  childPrefix(slot: number): Uint8Array {
    const prefix = this.prefix.slice();
    for (let i = 0; i < TILE_HEIGHT; i++) {
      if (((slot >> (TILE_HEIGHT - 1 - i)) & 1) === 0) continue;
      const bit = this.depth + i;
      prefix[bit >> 3] = (prefix[bit >> 3] ?? 0) | (0x80 >> (bit & 7));
    }
    return prefix;
  }
}

export function isEdge(slot: number): boolean {
  return slot >= EDGE;
}

/** The first tile of an empty map. */
export function emptyTile(): Tile {
  return new Tile(new Uint8Array(32), 0);
}

// ----------------------------------------------------------------------------------------------------------------- keys

/** Where a tile stands in the map: the first `depth` bits of the 32 bytes of `prefix`. */
export interface TilePlace {
  readonly prefix: Uint8Array;
  readonly depth: number;
}

export const TILE_KIND: string = "t";
const TILE_KIND_BYTE = TILE_KIND.charCodeAt(0);

/**
 * The key of the form that an epoch wrote: that epoch first, so that what it writes lies together behind all that was written
 * before, which LevelDB moves instead of writing it again and again. Six bytes of the prefix unless the tile is deeper.
 */
export function tileKey(epoch: number, { prefix, depth }: TilePlace): Buffer {
  const length = depth <= 48 ? 6 : 32;
  const key = Buffer.allocUnsafe(length + 10);
  key[0] = TILE_KIND_BYTE;
  writeU64(key, 1, epoch);
  const whole = depth >> 3;
  for (let i = 0; i < length; i++) key[i + 9] = i < whole ? (prefix[i] as number) : 0;
  if (whole < length) key[whole + 9] = (prefix[whole] as number) & (0xff00 >> (depth & 7));
  key[length + 9] = depth;
  return key;
}

// ------------------------------------------------------------------------------------------------------------- encoding

/** What a node on the edge with children adds: the hash of the tile below, and the epoch that wrote it. */
export const LINK_BYTES: number = 4 * HASH_WORDS + 8;
/** Longest stored form: every slot on the edge a leaf. */
const MAX_TILE_BYTES: number = SLOTS + EDGE * LEAF_BYTES;
/** Written by one call at a time. */
const scratch = Buffer.alloc(MAX_TILE_BYTES);

/** The nodes in pre-order. */
export function encodeTile(tile: Tile): Uint8Array {
  return Buffer.from(scratch.subarray(0, encodeNode(tile, 1, 0)));
}

function encodeNode(tile: Tile, slot: number, start: number): number {
  const kind = tile.kinds[slot] ?? NONE;
  scratch[start] = kind;
  const at = start + 1;
  if (kind === INNER) return encodeNode(tile, 2 * slot + 1, encodeNode(tile, 2 * slot, at));
  if (kind === LEAF) {
    scratch.set(tile.leafAt(slot), at);
    return at + LEAF_BYTES;
  }
  if (kind === NONE) return at;
  putHashBytes(scratch, at, tile.hashes, slot * HASH_WORDS);
  writeU64(scratch, at + 4 * HASH_WORDS, tile.epochBelow(slot));
  return at + LINK_BYTES;
}

/** The epoch that a link in the stored form of a tile says wrote the tile below. */
export function epochInStored(bytes: Uint8Array, linkAt: number): number {
  return readU64(bytes, linkAt + 4 * HASH_WORDS);
}

/**
 * Where the walk towards an index ends in the stored form of a tile of some depth, whose hashes are not looked at: its leaf,
 * or the epoch that wrote the tile below; undefined where the map ends without it. Throws `IntegrityError` where the bytes
 * can't be a tile.
 */
export function findInStored(bytes: Uint8Array, depth: number, index: Hash): StoredLeaf | number | undefined {
  let at = 0;
  for (let bit = depth; bytes[at] === INNER && bit < depth + TILE_HEIGHT; bit++) {
    at += 1;
    if (bitAt(index, bit) === 1) at = afterNode(bytes, at);
  }
  const kind = bytes[at];
  if (kind === NONE) return undefined;
  if (kind === LINK && at + LINK_BYTES < bytes.length) return epochInStored(bytes, at + 1);
  if (kind !== LEAF || at + LEAF_BYTES >= bytes.length) throw unreadable();
  const leaf = new Uint8Array(bytes.buffer, bytes.byteOffset + at + 1, LEAF_BYTES);
  return sameIndex(leaf, index) ? parseLeaf(leaf) : undefined;
}

/** Where the node that begins at `start` ends, with all below it. */
function afterNode(bytes: Uint8Array, start: number): number {
  let at = start;
  for (let nodes = 1; nodes > 0; nodes--) {
    const kind = bytes[at];
    if (kind === INNER) nodes += 2;
    else if (kind === LEAF) at += LEAF_BYTES;
    else if (kind === LINK) at += LINK_BYTES;
    else if (kind !== NONE) throw unreadable();
    at += 1;
  }
  return at;
}

function unreadable(): IntegrityError {
  return new IntegrityError("a tile of the map can't be read");
}

/**
 * Fills a tile that stands at its place from its stored form, but for the hashes of its leaves and nodes: adds their slots to
 * `unhashed`. Throws `IntegrityError` where the bytes can't be a tile.
 */
export function readTile(tile: Tile, bytes: Uint8Array, unhashed: number[]): void {
  const end = readNode(tile, 1, bytes, 0, unhashed);
  if (end !== bytes.length) throw new IntegrityError("a tile has bytes left over");
}

function readNode(tile: Tile, slot: number, bytes: Uint8Array, start: number, unhashed: number[]): number {
  const kind = bytes[start];
  const at = start + 1;
  if (kind === NONE) {
    tile.setNone(slot);
    return at;
  }
  if (kind === LINK && isEdge(slot) && at + LINK_BYTES <= bytes.length) {
    tile.kinds[slot] = LINK;
    setHashWords(tile.hashes, slot * HASH_WORDS, bytes, at);
    tile.setEpochBelow(slot, epochInStored(bytes, at));
    return at + LINK_BYTES;
  }
  unhashed.push(slot);
  if (kind === LEAF && at + LEAF_BYTES <= bytes.length) {
    tile.setLeaf(slot, new Uint8Array(bytes.buffer, bytes.byteOffset + at, LEAF_BYTES));
    return at + LEAF_BYTES;
  }
  if (kind !== INNER || isEdge(slot)) throw unreadable();
  tile.kinds[slot] = INNER;
  return readNode(tile, 2 * slot + 1, bytes, readNode(tile, 2 * slot, bytes, at, unhashed), unhashed);
}

/** Throws `IntegrityError` unless the tile's uppermost hash is the one that the tile above (or the epoch) says. */
export function checkTile(tile: Tile, hashes: Int32Array, at: number): Tile {
  if (!sameHash(tile.hashes, HASH_WORDS, hashes, at)) {
    throw new IntegrityError(`the tile at depth ${tile.depth} of the map does not have the hash that stands above it`);
  }
  return tile;
}
