/** The batch proof of the map for auditors, straight from tiles: the bytes of `proveMapBatch` in the core, made faster. */
import { bitAt } from "../../shared/map/map-proof.ts";
import { HASH_WORDS, putHashBytes } from "./fixed-hash.ts";
import { LEAF_CONTENT_BYTES } from "./map-hashes.ts";
import { INNER, LEAF, LINK, sameIndex } from "./map-tiles.ts";
import type { Tile } from "./map-tiles.ts";

/** Kinds of what a proof holds where a target ends or its path goes on. Protocol, "Map". */
const OWN = 0;
const EMPTY = 1;
const FOREIGN = 2;
const NODE = 3;
const HASH_BYTES = 32;

/** A tile with targets below it. */
export interface ProvenTile {
  /** Where in the buffer of the prover begins what the proof has of this tile, where each tile below comes in, and the end. */
  readonly proof: readonly number[];
  /** Those tiles, in order, and others that the map does not have yet, whose `proof` is empty. */
  readonly below: readonly ProvenTile[];
}

/** Makes proofs, one after another, tile by tile, so that each tile can be changed as soon as it is proven. */
export class BatchProver {
  /** Of one proof after another, so that it grows to their size once. */
  #buffer = Buffer.allocUnsafe(65_536);
  #length = 0;
  /** Of the tile that is being walked. */
  #cuts: number[] = [];

  /**
   * The `proof` of a tile for the indices (first 32 bytes) of `targets` from `start` on, before `end`. They are strictly
   * increasing.
   */
  prove(tile: Tile, targets: readonly Uint8Array[], start: number, end: number): readonly number[] {
    const cuts = (this.#cuts = [this.#length]);
    this.#walk(tile, 1, targets, start, end);
    cuts.push(this.#length);
    return cuts;
  }

  /** The whole proof; what is proven next belongs to another. Throws `RangeError` unless all tiles below the first have theirs. */
  join(first: ProvenTile): Uint8Array {
    const proof = Buffer.allocUnsafe(this.#length);
    this.#length = 0;
    this.#copy(first, proof, 0);
    return proof;
  }

  #copy({ proof: cuts, below }: ProvenTile, proof: Buffer, start: number): number {
    const inner = below.filter((tile) => tile.proof.length > 0);
    if (inner.length !== cuts.length - 2) throw new RangeError("a batch proof lacks a tile");
    let at = start;
    for (let i = 0; i + 1 < cuts.length; i++) {
      at += this.#buffer.copy(proof, at, cuts[i], cuts[i + 1]);
      const tile = inner[i];
      if (tile !== undefined) at = this.#copy(tile, proof, at);
    }
    return at;
  }

  #walk(tile: Tile, slot: number, targets: readonly Uint8Array[], start: number, end: number): void {
    if (start === end) {
      this.#hash(tile, slot);
      return;
    }
    const kind = tile.kinds[slot];
    if (kind === INNER) this.#node(tile, slot, targets, start, end);
    else if (kind === LINK) this.#cuts.push(this.#length);
    else if (kind === LEAF) this.#leaf(tile.leafAt(slot), targets, start, end);
    else this.#byte(EMPTY);
  }

  #node(tile: Tile, slot: number, targets: readonly Uint8Array[], start: number, end: number): void {
    const depth = tile.depthOf(slot);
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
