/** The hashes of tiles: computed for many slots together, and then checked a second time. */
import { HASH_WORDS, sameHash, setHashWords } from "./fixed-hash.ts";
import { compareHash, MapHashes, writeHash } from "./map-hashes.ts";
import {
  epochInStored,
  INNER,
  LEAF,
  LEAF_BYTES,
  LINK_BYTES,
  NONE,
  readTile,
  SLOTS,
  Tile,
  TILE_HEIGHT,
} from "./map-tiles.ts";
import type { TilePlace } from "./map-tiles.ts";
import { differs } from "./store.ts";

/** Slots of tiles that are to be hashed, four at once: those that stand below others first. */
export class TileHashes {
  readonly #hashes = new MapHashes(writeHash);
  readonly #tiles: Tile[] = [];
  /** For each level of a tile the nodes: the tile's place in `#tiles` times SLOTS, and the slot. */
  readonly #levels: readonly number[][] = Array.from({ length: TILE_HEIGHT }, () => []);

  /** Adds slots of a tile, of which leaves and nodes are hashed. What stands below them has its hash, or is added too. */
  add(tile: Tile, slots: readonly number[]): void {
    const at = SLOTS * (this.#tiles.push(tile) - 1);
    for (const slot of slots) {
      if (tile.kinds[slot] === LEAF) this.#hashes.addLeaf(tile.leafAt(slot), 0, tile.hashes, slot * HASH_WORDS);
      else if (tile.kinds[slot] === INNER) this.#levels[31 - Math.clz32(slot)]?.push(at + slot);
    }
  }

  /** Computes the hashes of all that was added, and forgets it. */
  compute(): void {
    for (let level = TILE_HEIGHT - 1; level >= 0; level--) {
      this.#hashes.finish();
      const places = this.#levels[level] ?? [];
      for (const place of places) {
        addNode(this.#hashes, this.#tiles[Math.floor(place / SLOTS)] as Tile, place % SLOTS);
      }
      places.length = 0;
    }
    this.#hashes.finish();
    this.#tiles.length = 0;
  }
}

function addNode(hashes: MapHashes, tile: Tile, slot: number): void {
  const at = slot * HASH_WORDS;
  hashes.addNode(tile.hashes, 2 * at, 2 * at + HASH_WORDS, tile.hashes, at);
}

/** A tile from its stored form, all hashes computed. `into`: a tile nobody uses. Throws `IntegrityError` if it is none. */
export function parseTile(place: TilePlace, bytes: Uint8Array, into: Tile = new Tile(place.prefix, place.depth)): Tile {
  into.prefix = place.prefix;
  into.depth = place.depth;
  readInto(into, bytes, ofOneTile);
  ofOneTile.compute();
  return into;
}
const ofOneTile = new TileHashes();

/** The same for a tile that stands at its place, and whose hashes are computed with those of others. */
export function readInto(tile: Tile, bytes: Uint8Array, hashes: TileHashes): void {
  const unhashed: number[] = [];
  readTile(tile, bytes, unhashed);
  hashes.add(tile, unhashed);
}

/**
 * The second path: one bit that flips in memory has ended a log. Hashes are computed again, each from what stands right below
 * it, and those of leaves from what is going to disk. All that was added is checked when `finish` returns; that throws
 * `IntegrityError` where anything differs.
 */
export class TileChecks {
  readonly #hashes = new MapHashes(compareHash);
  /** Of the tile that is being added. */
  readonly #marked = new Uint8Array(SLOTS);

  /** The nodes on the way to each of these leaves: what an epoch builds on has been in memory for months. */
  addPaths(tile: Tile, leaves: readonly Uint8Array[], start: number, end: number): void {
    this.#marked.fill(0);
    for (let i = start; i < end; i++) {
      let slot = tile.slotOf(leaves[i] as Uint8Array);
      for (; slot >= 1 && this.#marked[slot] === 0; slot >>= 1) {
        this.#marked[slot] = 1;
        this.#add(tile, slot);
      }
    }
  }

  /** Slots of a tile that stays in memory. */
  addSlots(tile: Tile, slots: readonly number[]): void {
    for (const slot of slots) this.#add(tile, slot);
  }

  /** Slots of a tile and its stored form, of which all is compared. Throws `IntegrityError`, too. */
  addStored(tile: Tile, slots: readonly number[], stored: Uint8Array): void {
    this.#marked.fill(0);
    for (const slot of slots) {
      this.#marked[slot] = 1;
      if (tile.kinds[slot] === INNER) this.#add(tile, slot);
    }
    if (this.#addStoredNode(tile, 1, stored, 0) !== stored.length) throw differs("a hash of the map");
  }

  finish(): void {
    this.#hashes.finish();
  }

  #add(tile: Tile, slot: number): void {
    if (tile.kinds[slot] === INNER) addNode(this.#hashes, tile, slot);
    else if (tile.kinds[slot] === LEAF) this.#hashes.addLeaf(tile.leafAt(slot), 0, tile.hashes, slot * HASH_WORDS);
  }

  #addStoredNode(tile: Tile, slot: number, stored: Uint8Array, start: number): number {
    const kind = stored[start];
    const at = start + 1;
    if (kind !== tile.kinds[slot]) throw differs("a hash of the map");
    if (kind === INNER) {
      return this.#addStoredNode(tile, 2 * slot + 1, stored, this.#addStoredNode(tile, 2 * slot, stored, at));
    }
    if (kind === NONE) return at;
    if (kind === LEAF) {
      const leaf = tile.leafAt(slot);
      for (let i = 0; i < LEAF_BYTES; i++) if (stored[at + i] !== leaf[i]) throw differs("a leaf of the map");
      if (this.#marked[slot] === 1) this.#hashes.addLeaf(stored, at, tile.hashes, slot * HASH_WORDS);
      return at + LEAF_BYTES;
    }
    setHashWords(link, 0, stored, at);
    if (!sameHash(link, 0, tile.hashes, slot * HASH_WORDS)) throw differs("a hash of the map");
    if (epochInStored(stored, at) !== tile.epochBelow(slot)) throw differs("an epoch of a tile");
    return at + LINK_BYTES;
  }
}

const link = new Int32Array(HASH_WORDS);
