/** The batch proof of the map for auditors, straight from tiles: the bytes of `proveMapBatch` in the core, made faster. */
import { bitAt } from "../../shared/map/map-proof.ts";
import { HASH_WORDS, LEAF_CONTENT_BYTES, putHashBytes } from "./fixed-hash.ts";
import { INNER, LEAF, LINK, sameIndex } from "./map-tiles.ts";
import type { Tile } from "./map-tiles.ts";

/** Kinds of what a proof holds where a target ends or its path goes on. Protocol, "Map". */
const OWN = 0;
const EMPTY = 1;
const FOREIGN = 2;
const NODE = 3;
const HASH_BYTES = 32;

export class BatchProver {
  readonly #below: (tile: Tile, slot: number) => Tile;
  #buffer = Buffer.allocUnsafe(65_536);
  #length = 0;

  /** `below`: the tile under an edge slot. */
  constructor(below: (tile: Tile, slot: number) => Tile) {
    this.#below = below;
  }

  /** The proof for the indices (first 32 bytes) of `targets`, which are strictly increasing. */
  prove(first: Tile, targets: readonly Uint8Array[]): Uint8Array {
    this.#walk(first, 1, targets, 0, targets.length);
    return Buffer.from(this.#buffer.subarray(0, this.#length));
  }

  #walk(tile: Tile, slot: number, targets: readonly Uint8Array[], start: number, end: number): void {
    if (start === end) {
      this.#hash(tile, slot);
      return;
    }
    const kind = tile.kinds[slot];
    if (kind === INNER) this.#node(tile, slot, tile.depthOf(slot), targets, start, end);
    else if (kind === LINK) this.#node(this.#below(tile, slot), 1, tile.depthOf(slot), targets, start, end);
    else if (kind === LEAF) this.#leaf(tile.leafAt(slot), targets, start, end);
    else this.#byte(EMPTY);
  }

  #node(tile: Tile, slot: number, depth: number, targets: readonly Uint8Array[], start: number, end: number): void {
    this.#byte(NODE);
    let middle = start;
    while (middle < end && bitAt(targets[middle] as Uint8Array, depth) === 0) middle += 1;
    this.#walk(tile, 2 * slot, targets, start, middle);
    this.#walk(tile, 2 * slot + 1, targets, middle, end);
  }

  #leaf(leaf: Uint8Array, targets: readonly Uint8Array[], start: number, end: number): void {
    for (let i = start; i < end; i++) {
      if (!sameIndex(leaf, targets[i] as Uint8Array)) continue;
      this.#byte(OWN);
      return;
    }
    this.#byte(FOREIGN);
    const at = this.#length;
    this.#extend(LEAF_CONTENT_BYTES);
    this.#buffer.set(leaf.subarray(0, LEAF_CONTENT_BYTES), at);
  }

  #byte(byte: number): void {
    const at = this.#length;
    this.#extend(1);
    this.#buffer[at] = byte;
  }

  #hash(tile: Tile, slot: number): void {
    const at = this.#length;
    this.#extend(HASH_BYTES);
    putHashBytes(this.#buffer, at, tile.hashes, slot * HASH_WORDS);
  }

  #extend(count: number): void {
    this.#length += count;
    if (this.#length <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(2 * this.#length);
    larger.set(this.#buffer);
    this.#buffer = larger;
  }
}
