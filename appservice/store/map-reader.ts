/** Reads the map of one epoch from its tiles, as a tree that the provers of the core walk. */
import type { Hash } from "../../shared/crypto/hash.ts";
import { isZero } from "../../shared/encoding.ts";
import { bitAt, MAX_DEPTH } from "../../shared/map/map-proof.ts";
import type { MapView } from "../../shared/map/map-proof.ts";
import { HASH_WORDS, sameHash, setHashWords } from "./fixed-hash.ts";
import { LEAF_CONTENT_BYTES } from "./map-hashes.ts";
import {
  checkTile,
  emptyTile,
  INNER,
  LEAF,
  LINK,
  NONE,
  parseLeaf,
  Tile,
  TILE_HEIGHT,
  tileKey,
  TOP_DEPTH,
} from "./map-tiles.ts";
import type { StoredLeaf, TilePlace } from "./map-tiles.ts";
import { numberBelow, topNumber } from "./map-top.ts";
import type { Top } from "./map-top.ts";
import { parseTile } from "./tile-hashes.ts";
import { getReferenced } from "./store.ts";
import type { Reads } from "./store.ts";

/** A node: its tile and slot. */
export interface MapNode {
  readonly tile: Tile;
  readonly slot: number;
}

export interface MapReader extends MapView<MapNode> {
  /** The leaf of an index, with the row that set it; undefined if it has none. */
  find(index: Hash): StoredLeaf | undefined;
  /** The bytes of `encodeMapProof(proveMap(this, index))`, and the leaf that `find` gives, by one walk. */
  prove(index: Hash): ProvenPlace;
}

export interface ProvenPlace {
  readonly proof: Uint8Array;
  readonly leaf: StoredLeaf | undefined;
}

/**
 * The map of the newest epoch, whose root its epoch record has: its top from memory, the rest from `reads`, which must be
 * of that epoch. Throws `IntegrityError` if the top has another root.
 */
export function readMap(top: Top, root: Hash, reads: Reads, cache: TileCache): MapReader {
  const [first] = top;
  if (first === undefined) throw new RangeError("the top of the map has no first tile");
  return new TileReader(checkTile(first, wordsOf(root), 0), top, cache, reads);
}

/** The map at a settling epoch, whose root its epoch record has. */
export function readSettledMap(epoch: number, root: Hash, reads: Reads, cache: TileCache): MapReader {
  const [expected, first] = [wordsOf(root), emptyTile()];
  const top = isZero(root) ? first : (cache.find(expected, 0) ?? cache.lasting(first, epoch, expected, 0, reads));
  return new TileReader(top, [], cache, reads);
}

function wordsOf(hash: Hash): Int32Array {
  const words = new Int32Array(HASH_WORDS);
  setHashWords(words, 0, hash, 0);
  return words;
}

class TileReader implements MapReader {
  readonly top: MapNode;
  readonly #known: Top;
  readonly #cache: TileCache;
  readonly #reads: Reads;

  /** `known`: the part of the map that need not be read. */
  constructor(top: Tile, known: Top, cache: TileCache, reads: Reads) {
    this.top = { tile: top, slot: 1 };
    this.#known = known;
    this.#cache = cache;
    this.#reads = reads;
  }

  look(node: MapNode): ReturnType<MapReader["look"]> {
    const { tile, slot } = node;
    const kind = tile.kinds[slot];
    if (kind === LEAF) return { kind: "leaf", leaf: parseLeaf(tile.leafAt(slot)) };
    if (kind === INNER) return { kind: "inner", left: { tile, slot: 2 * slot }, right: { tile, slot: 2 * slot + 1 } };
    if (kind !== LINK) return { kind: "empty" };
    const below = this.#inTop(tile, slot) ?? this.#cache.lasting(...tileBelow(tile, slot), this.#reads);
    return { kind: "inner", left: { tile: below, slot: 2 }, right: { tile: below, slot: 3 } };
  }

  hash({ tile, slot }: MapNode): Hash {
    return tile.hashAt(slot);
  }

  find(index: Hash): StoredLeaf | undefined {
    let { tile } = this.top;
    let slot = tile.slotOf(index);
    while (tile.kinds[slot] === LINK) {
      tile = this.#passing(tile, slot);
      slot = tile.slotOf(index);
    }
    const leaf = tile.leafOf(slot, index);
    return leaf === undefined ? undefined : parseLeaf(leaf);
  }

  prove(index: Hash): ProvenPlace {
    path.begin();
    let { tile, slot } = this.top;
    for (;;) {
      if (tile.kinds[slot] === LINK) {
        tile = this.#passing(tile, slot);
        slot = 1;
      }
      if (tile.kinds[slot] !== INNER) break;
      slot = 2 * slot + bitAt(index, path.depth);
      path.addSibling(tile, slot ^ 1);
    }
    const own = tile.leafOf(slot, index);
    const foreign = own === undefined && tile.kinds[slot] === LEAF ? tile.leafAt(slot) : undefined;
    return {
      proof: path.end(own === undefined ? foreign : "own"),
      leaf: own === undefined ? undefined : parseLeaf(own),
    };
  }

  /** The tile below an edge slot, for a walk that needs no more of it once it has read the next. */
  #passing(above: Tile, slot: number): Tile {
    return this.#inTop(above, slot) ?? this.#cache.passing(...tileBelow(above, slot), this.#reads);
  }

  /** The tile below an edge slot if it is one of the top and in memory. */
  #inTop(above: Tile, slot: number): Tile | undefined {
    if (above.depth + TILE_HEIGHT >= TOP_DEPTH) return undefined;
    const at = slot * HASH_WORDS;
    const known = this.#known[numberBelow(topNumber(above), slot)];
    return known === undefined ? this.#cache.find(above.hashes, at) : checkTile(known, above.hashes, at);
  }
}

/** Place, epoch and hash of the tile below an edge slot. */
function tileBelow(above: Tile, slot: number): [place: TilePlace, epoch: number, hashes: Int32Array, at: number] {
  const place = { prefix: above.childPrefix(slot), depth: above.depth + TILE_HEIGHT };
  return [place, above.epochBelow(slot), above.hashes, slot * HASH_WORDS];
}

/** A proof in the making, in the form of `encodeMapProof`. Used by one walk at a time: each runs to its end. */
class ProofPath {
  depth = 0;
  #length = 0;
  readonly #present = Buffer.alloc(MAX_DEPTH / 8);
  readonly #siblings = Buffer.alloc(MAX_DEPTH * 32);
  /** The same bytes, for words: written in one piece each. */
  readonly #words = new DataView(this.#siblings.buffer, this.#siblings.byteOffset, this.#siblings.length);

  begin(): void {
    this.depth = 0;
    this.#length = 0;
    this.#present.fill(0);
  }

  /** One level down, past the node at `slot`. */
  addSibling(tile: Tile, slot: number): void {
    const depth = this.depth++;
    if (tile.kinds[slot] === NONE) return;
    this.#present[depth >> 3] = (this.#present[depth >> 3] ?? 0) | (0x80 >> (depth & 7));
    for (let at = slot * HASH_WORDS; at < (slot + 1) * HASH_WORDS; at++, this.#length += 4) {
      this.#words.setInt32(this.#length, tile.hashes[at] as number);
    }
  }

  /** The proof, ending at the leaf of its index, at another leaf (whose first bytes are what the proof holds), or at nothing. */
  end(leaf: "own" | Uint8Array | undefined): Uint8Array {
    const bits = Math.ceil(this.depth / 8);
    const terminalAt = 2 + bits + this.#length;
    const foreign = leaf instanceof Uint8Array;
    const proof = Buffer.allocUnsafe(terminalAt + 1 + (foreign ? LEAF_CONTENT_BYTES : 0));
    proof.writeUInt16BE(this.depth, 0);
    this.#present.copy(proof, 2, 0, bits);
    this.#siblings.copy(proof, 2 + bits, 0, this.#length);
    if (foreign) proof.set(leaf.subarray(0, LEAF_CONTENT_BYTES), terminalAt + 1);
    proof[terminalAt] = leaf === "own" ? KIND_LEAF : foreign ? KIND_FOREIGN : KIND_EMPTY;
    return proof;
  }
}

/** Kinds of the end of a proof. Protocol, "Map". */
const KIND_LEAF = 0;
const KIND_EMPTY = 1;
const KIND_FOREIGN = 2;

const path = new ProofPath();

/** Deeper tiles remembered: those on the way to one user at the head and at the settling epoch, where two below the top are many. */
const DEEP_TILES = 4;

/**
 * Tiles by their hash, so that it never matters of which epoch they are. The upper ones are shared by many users and stay.
 * Of the deeper ones only the last few are remembered, in memory that is used again and again.
 */
export class TileCache {
  readonly #limit: number;
  /** Two generations by the key of the hash: what was not used while the younger one filled is forgotten. */
  #young = new Map<number, Tile>();
  #old = new Map<number, Tile>();
  readonly #deep: Tile[] = [];
  #nextDeep = 0;

  /** `limit`: upper tiles per generation, about 5 kB each. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The upper tile with the hash at `at` in `hashes`, if it is remembered. */
  find(hashes: Int32Array, at: number): Tile | undefined {
    const key = keyOf(hashes, at);
    const young = this.#young.get(key);
    const tile = young ?? this.#old.get(key);
    if (tile === undefined || !sameHash(tile.hashes, HASH_WORDS, hashes, at)) return undefined;
    if (young === undefined) this.#keep(key, tile);
    return tile;
  }

  /** The tile that `epoch` wrote at `place`, which has the hash at `at` in `hashes`. A deep one holds until others are read. */
  passing(place: TilePlace, epoch: number, hashes: Int32Array, at: number, reads: Reads): Tile {
    if (place.depth < TOP_DEPTH) return this.lasting(place, epoch, hashes, at, reads);
    const remembered = this.#findDeep(place.depth, hashes, at);
    if (remembered !== undefined) return remembered;
    const bytes = readForm(reads, epoch, place);
    const tile = (this.#deep[this.#nextDeep] ??= new Tile(place.prefix, place.depth));
    this.#nextDeep = (this.#nextDeep + 1) % DEEP_TILES;
    // Should the bytes be damaged, nobody finds what they leave of the tile that was here.
    tile.hashes.fill(0, HASH_WORDS, 2 * HASH_WORDS);
    return checkTile(parseTile(place, bytes, tile), hashes, at);
  }

  /** The same for a tile that the caller may keep, which is read now. */
  lasting(place: TilePlace, epoch: number, hashes: Int32Array, at: number, reads: Reads): Tile {
    const tile = checkTile(parseTile(place, readForm(reads, epoch, place)), hashes, at);
    if (place.depth < TOP_DEPTH) this.#keep(keyOf(hashes, at), tile);
    return tile;
  }

  #findDeep(depth: number, hashes: Int32Array, at: number): Tile | undefined {
    for (const tile of this.#deep) {
      if (tile.depth === depth && sameHash(tile.hashes, HASH_WORDS, hashes, at)) return tile;
    }
    return undefined;
  }

  #keep(key: number, tile: Tile): void {
    this.#young.set(key, tile);
    if (this.#young.size < this.#limit) return;
    this.#old = this.#young;
    this.#young = new Map();
  }
}

function readForm(reads: Reads, epoch: number, place: TilePlace): Uint8Array {
  return getReferenced(reads, tileKey(epoch, place), "a tile of the map");
}

/** One word of a hash: two tiles may share it, so the whole is compared where it matters. */
function keyOf(hashes: Int32Array, at: number): number {
  return hashes[at] as number;
}
