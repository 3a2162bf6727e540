/**
 * The map on disk: tiles of six levels. A tile holds the nodes below one inner node (the first tile: below the root) in
 * pre-order, one byte each; a leaf adds its 80 bytes, a node on the lower edge with children the hash of the tile below.
 * Inner hashes are not stored: they are recomputed and compared with the tile above, so that no flipped bit survives.
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

/** Whether both begin with the same 32 bytes. */
export function sameIndex(leaf: Uint8Array, index: Uint8Array): boolean {
  for (let i = 0; i < 32; i++) if (leaf[i] !== index[i]) return false;
  return true;
}

// ----------------------------------------------------------------------------------------------------------------- tile

/**
 * A tile in memory, with all its hashes. `writtenIn` is the epoch whose commit wrote the stored form, `copiedIn` the
 * newest one whose commit kept the form before it for a settling epoch; 0: none.
 */
export class Tile {
  prefix: Uint8Array;
  depth: number;
  readonly kinds: Uint8Array;
  readonly hashes: Int32Array;
  readonly leaves: (Uint8Array | undefined)[];
  writtenIn = 0;
  copiedIn = 0;
  /** The stored form, where it is at hand. Kept by the writer. */
  stored: Uint8Array | undefined;

  /** `prefix`: 32 bytes of which the first `depth` bits count. `like`: what the tile holds. */
  constructor(prefix: Uint8Array, depth: number, like?: Tile) {
    this.prefix = prefix;
    this.depth = depth;
    this.kinds = like === undefined ? new Uint8Array(SLOTS) : like.kinds.slice();
    this.hashes = like === undefined ? new Int32Array(SLOTS * HASH_WORDS) : like.hashes.slice();
    this.leaves = like === undefined ? [] : like.leaves.slice();
  }

  /** The same, to go on changing by itself; its leaves never change. */
  copy(): Tile {
    return new Tile(this.prefix, this.depth, this);
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

  setLink(slot: number, hashes: Int32Array, at: number): void {
    this.kinds[slot] = LINK;
    this.leaves[slot] = undefined;
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

/** The prefix of length `depth` of an index, further bits zero. */
export function prefixOf(index: Hash, depth: number): Uint8Array {
  const prefix = new Uint8Array(32);
  prefix.set(index.subarray(0, depth >> 3));
  if ((depth & 7) !== 0) prefix[depth >> 3] = (index[depth >> 3] ?? 0) & (0xff << (8 - (depth & 7)));
  return prefix;
}

// ----------------------------------------------------------------------------------------------------------------- keys

/** Where a tile stands in the map: the first `depth` bits of the 32 bytes of `prefix`. */
export interface TilePlace {
  readonly prefix: Uint8Array;
  readonly depth: number;
}

const TILE_KIND = "t".charCodeAt(0);

/** Prefix first, so that the tiles of one path are neighbours on disk; six bytes of it unless the tile is deeper. */
export function tileKey({ prefix, depth }: TilePlace): Buffer {
  const length = depth <= 48 ? 6 : 32;
  const key = Buffer.allocUnsafe(length + 2);
  key[0] = TILE_KIND;
  for (let i = 0; i < length; i++) key[i + 1] = prefix[i] as number;
  key[length + 1] = depth;
  return key;
}

/** The place of a tile as a name in memory. */
export function tileName(tile: TilePlace): string {
  return tileKey(tile).toString("latin1");
}

/**
 * Where the form that a tile had at a settling epoch is kept, by the epoch that overwrote it: so what one epoch keeps lies
 * together behind all that was kept before, which LevelDB moves instead of writing it again and again.
 */
export function settledTileKey(copiedIn: number, tile: TilePlace): Uint8Array {
  const key = tileKey(tile);
  const settled = Buffer.allocUnsafe(8 + key.length);
  settled[0] = SETTLED_TILE_KIND;
  writeU64(settled, 1, copiedIn);
  settled.set(key.subarray(1), 9);
  return settled;
}
export const SETTLED_TILE_KIND: number = "s".charCodeAt(0);

// ------------------------------------------------------------------------------------------------------------- encoding

export const HEADER_BYTES = 16;
/** What a node on the edge with children adds: the hash of the tile below. */
export const LINK_BYTES: number = 4 * HASH_WORDS;
/** Longest stored form: every slot on the edge a leaf. */
const MAX_TILE_BYTES: number = HEADER_BYTES + SLOTS + EDGE * LEAF_BYTES;
/** Written by one call at a time. */
const scratch = Buffer.alloc(MAX_TILE_BYTES);

/** `u64 written in || u64 copied in || nodes in pre-order`. */
export function encodeTile(tile: Tile): Uint8Array {
  writeU64(scratch, 0, tile.writtenIn);
  writeU64(scratch, 8, tile.copiedIn);
  return Buffer.from(scratch.subarray(0, encodeNode(tile, 1, HEADER_BYTES)));
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
  return at + LINK_BYTES;
}

/** When the stored form of a tile was written, and where its earlier form is. */
export function ageOfTile(bytes: Uint8Array): { readonly writtenIn: number; readonly copiedIn: number } {
  if (bytes.length < HEADER_BYTES) throw new IntegrityError("a tile of the map can't be read");
  return { writtenIn: readU64(bytes, 0), copiedIn: readU64(bytes, 8) };
}

/** The leaf of an index in the stored form of a tile, whose hashes are not looked at; undefined if it is not there. */
export function leafInStored(bytes: Uint8Array, index: Hash): StoredLeaf | undefined {
  for (let at = HEADER_BYTES; at < bytes.length; at++) {
    const kind = bytes[at];
    if (kind === LINK) at += LINK_BYTES;
    if (kind !== LEAF) continue;
    if (at + LEAF_BYTES >= bytes.length) break;
    const leaf = new Uint8Array(bytes.buffer, bytes.byteOffset + at + 1, LEAF_BYTES);
    if (sameIndex(leaf, index)) return parseLeaf(leaf);
    at += LEAF_BYTES;
  }
  return undefined;
}

/**
 * Fills a tile that stands at its place from its stored form, but for the hashes of its leaves and nodes: adds their slots to
 * `unhashed`. Throws `IntegrityError` where the bytes can't be a tile.
 */
export function readTile(tile: Tile, bytes: Uint8Array, unhashed: number[]): void {
  const { writtenIn, copiedIn } = ageOfTile(bytes);
  tile.writtenIn = writtenIn;
  tile.copiedIn = copiedIn;
  const end = readNode(tile, 1, bytes, HEADER_BYTES, unhashed);
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
    return at + LINK_BYTES;
  }
  unhashed.push(slot);
  if (kind === LEAF && at + LEAF_BYTES <= bytes.length) {
    tile.setLeaf(slot, new Uint8Array(bytes.buffer, bytes.byteOffset + at, LEAF_BYTES));
    return at + LEAF_BYTES;
  }
  if (kind !== INNER || isEdge(slot)) throw new IntegrityError("a tile of the map can't be read");
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
