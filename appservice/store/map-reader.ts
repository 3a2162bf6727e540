/** Reads the map of one epoch from its tiles, as a tree that the provers of the core walk. */
import type { Hash } from "../../shared/crypto/hash.ts";
import { isZero } from "../../shared/encoding.ts";
import type { MapView } from "../../shared/map/map-proof.ts";
import { HASH_WORDS, setHashWords } from "./fixed-hash.ts";
import {
  ageOfTile,
  checkTile,
  emptyTile,
  INNER,
  LEAF,
  LINK,
  parseLeaf,
  parseTile,
  settledTileKey,
  tileKey,
  TOP_DEPTH,
} from "./map-tiles.ts";
import type { StoredLeaf, Tile, TilePlace } from "./map-tiles.ts";
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
}

/** How a reader comes by the tile below an edge slot. */
type ReadTile = (above: Tile, slot: number) => Tile;

/**
 * The map of the newest epoch, whose root its epoch record has: its top from memory, the rest from `reads`, which must be
 * of that epoch. Throws `IntegrityError` if the top has another root.
 */
export function readMap(top: ReadonlyMap<string, Tile>, root: Hash, reads: Reads, cache: TileCache): MapReader {
  const first = top.get(topName(emptyTile()));
  if (first === undefined) throw new RangeError("the top of the map has no first tile");
  const expected = new Int32Array(HASH_WORDS);
  setHashWords(expected, 0, root, 0);
  checkTile(first, expected, 0);
  return new TileReader(first, (above, slot) => {
    const place = { prefix: above.childPrefix(slot), depth: above.depth + 6 };
    const known = place.depth < TOP_DEPTH ? top.get(topName(place)) : undefined;
    if (known !== undefined) return checkTile(known, above.hashes, slot * HASH_WORDS);
    return cache.get(place, above, slot, () => getReferenced(reads, tileKey(place), "a tile of the map"));
  });
}

/** The map at a settling epoch, whose root its epoch record has. */
export function readSettledMap(epoch: number, root: Hash, reads: Reads, cache: TileCache): MapReader {
  const above = emptyTile();
  setHashWords(above.hashes, HASH_WORDS, root, 0);
  const read = (place: TilePlace): Uint8Array => readTileAt(epoch, place, reads);
  const first = emptyTile();
  // The form that the first tile had while the map was empty is not kept.
  const top = isZero(root) ? first : cache.get(first, above, 1, () => read(first));
  return new TileReader(top, (parent, slot) => {
    const place = { prefix: parent.childPrefix(slot), depth: parent.depth + 6 };
    return cache.get(place, parent, slot, () => read(place));
  });
}

/** The form a tile had at a settling epoch: the newest if it is old enough, else along the chain of kept ones. */
function readTileAt(epoch: number, place: TilePlace, reads: Reads): Uint8Array {
  let bytes = getReferenced(reads, tileKey(place), "a tile of the map");
  for (let age = ageOfTile(bytes); age.writtenIn > epoch; age = ageOfTile(bytes)) {
    bytes = getReferenced(reads, settledTileKey(age.copiedFor, place), "a settled tile of the map");
  }
  return bytes;
}

/** Name of a tile in the top of the map. */
export function topName(tile: TilePlace): string {
  return `${tile.depth}/${tile.prefix[0] ?? 0}`;
}

class TileReader implements MapReader {
  readonly top: MapNode;
  readonly #readTile: ReadTile;

  constructor(top: Tile, readTile: ReadTile) {
    this.top = { tile: top, slot: 1 };
    this.#readTile = readTile;
  }

  look(node: MapNode): ReturnType<MapReader["look"]> {
    const { tile, slot } = node;
    const kind = tile.kinds[slot];
    if (kind === LEAF) return { kind: "leaf", leaf: parseLeaf(tile.leafAt(slot)) };
    if (kind === INNER) return { kind: "inner", left: { tile, slot: 2 * slot }, right: { tile, slot: 2 * slot + 1 } };
    if (kind !== LINK) return { kind: "empty" };
    const below = this.#readTile(tile, slot);
    return { kind: "inner", left: { tile: below, slot: 2 }, right: { tile: below, slot: 3 } };
  }

  hash({ tile, slot }: MapNode): Hash {
    return tile.hashAt(slot);
  }

  find(index: Hash): StoredLeaf | undefined {
    let { tile } = this.top;
    let slot = tile.slotOf(index);
    while (tile.kinds[slot] === LINK) {
      tile = this.#readTile(tile, slot);
      slot = tile.slotOf(index);
    }
    const leaf = tile.leafOf(slot, index);
    return leaf === undefined ? undefined : parseLeaf(leaf);
  }
}

/** Deeper tiles kept per generation: enough for the few reads that one answer makes of the same tile. */
const DEEP_TILES = 64;

/**
 * Tiles by place and hash, so that it never matters of which epoch they are. The upper ones are shared by many users and
 * stay; deeper ones are forgotten soon.
 */
export class TileCache {
  readonly #upper: Generations;
  readonly #deep = new Generations(DEEP_TILES);

  /** `limit`: upper tiles per generation, about 5 kB each. */
  constructor(limit: number) {
    this.#upper = new Generations(limit);
  }

  /** The tile at `place` with the hash at `slot` of the tile above: from memory, or read and checked. */
  get(place: TilePlace, above: Tile, slot: number, read: () => Uint8Array): Tile {
    const tiles = place.depth > TOP_DEPTH ? this.#deep : this.#upper;
    const name = cacheName(place, above.hashes, slot * HASH_WORDS);
    const tile = tiles.get(name) ?? parseTile(place.prefix, place.depth, read());
    checkTile(tile, above.hashes, slot * HASH_WORDS);
    tiles.keep(name, tile);
    return tile;
  }
}

/** Two generations: what was not used while the younger one filled is forgotten. */
class Generations {
  readonly #limit: number;
  #young = new Map<string, Tile>();
  #old = new Map<string, Tile>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  get(name: string): Tile | undefined {
    return this.#young.get(name) ?? this.#old.get(name);
  }

  keep(name: string, tile: Tile): void {
    this.#young.set(name, tile);
    if (this.#young.size < this.#limit) return;
    this.#old = this.#young;
    this.#young = new Map();
  }
}

function cacheName({ prefix, depth }: TilePlace, hashes: Int32Array, at: number): string {
  return `${depth}/${prefix[0] ?? 0}/${prefix[1] ?? 0}/${hashes[at] ?? 0}/${hashes[at + 1] ?? 0}`;
}
