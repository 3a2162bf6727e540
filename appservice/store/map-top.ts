/**
 * The top of the map as readers in another thread have it: all of it at the start, then what each epoch changed. Its tiles
 * are numbered: 0 the first, then the 64 below that one, then those below these.
 */
import type { Hash } from "../../shared/crypto/hash.ts";
import { hashBytes, HASH_WORDS } from "./fixed-hash.ts";
import { EDGE, lastingLeaf, LEAF, LEAF_BYTES, LINK, NONE, SLOTS, Tile, TILE_HEIGHT, TOP_DEPTH } from "./map-tiles.ts";
import type { TilePlace } from "./map-tiles.ts";

/** Tiles by number; undefined where there is none. A tile in it never changes: the next top has others in their places. */
export type Top = readonly (Tile | undefined)[];

/** Slots of tiles that changed, one tile after another. */
export interface TopChanges {
  /** For each tile its number, and how many slots it has in what follows. */
  readonly tiles: Uint16Array;
  /** For each slot its place in its tile, and what is there. */
  readonly slots: Uint8Array;
  /** For each slot its hash. */
  readonly hashes: Int32Array;
  /** For each slot with a leaf, that leaf. */
  readonly leaves: Uint8Array;
  /** For each slot with a tile below it that is not of the top, the epoch that wrote that one. */
  readonly epochs: Float64Array;
}

/**
 * For each place right below the top, by the first bits of its indices, the epoch that wrote the tile there, if there is one.
 * Threads share it without waiting for each other: what another one than the writer's sees may be too old, or too new.
 */
export type EpochsBelowTop = Float64Array<SharedArrayBuffer>;

/** Numbers of the tiles at each depth begin here: 0, 1, 65. */
function firstAt(depth: number): number {
  return (2 ** depth - 1) / (EDGE - 1);
}

/** The number of a tile above TOP_DEPTH. */
export function topNumber({ prefix, depth }: TilePlace): number {
  return firstAt(depth) + bitsOf(prefix, depth);
}

/** The first bits (up to 24) of a prefix, as a number. */
export function bitsOf(prefix: Uint8Array, count: number): number {
  const three = ((prefix[0] ?? 0) << 16) | ((prefix[1] ?? 0) << 8) | (prefix[2] ?? 0);
  return three >> (24 - count);
}

/** The number of the tile below an edge slot. */
export function numberBelow(number: number, slot: number): number {
  return EDGE * number + 1 + slot - EDGE;
}

function tileOf(number: number): Tile {
  let depth = TOP_DEPTH - TILE_HEIGHT;
  while (number < firstAt(depth)) depth -= TILE_HEIGHT;
  const bits = (number - firstAt(depth)) << (24 - depth);
  const prefix = new Uint8Array(32);
  prefix.set([bits >>> 16, (bits >>> 8) & 0xff, bits & 0xff]);
  return new Tile(prefix, depth);
}

/**
 * The top with changes made, as another one. `spare`: tiles nobody reads, whose memory the changed ones take; those that were
 * changed are added to `replaced`.
 */
export function changeTop(
  top: Top,
  { tiles, slots, hashes, leaves, epochs }: TopChanges,
  spare: Tile[] = [],
  replaced: Tile[] = [],
): Top {
  const changed = top.slice();
  let [at, leafAt, epochAt] = [0, 0, 0];
  for (let i = 0; i < tiles.length; i += 2) {
    const number = tiles[i] as number;
    const before = top[number];
    let tile = changed[number];
    if (tile === undefined || tile === before) {
      tile = before === undefined ? tileOf(number) : before.copy(spare.pop());
      changed[number] = tile;
      if (before !== undefined) replaced.push(before);
    }
    const isLowest = tile.depth + TILE_HEIGHT === TOP_DEPTH;
    for (const end = at + (tiles[i + 1] as number); at < end; at++) {
      const [slot, kind] = [slots[2 * at] as number, slots[2 * at + 1] as number];
      tile.kinds[slot] = kind;
      const to = slot * HASH_WORDS;
      for (let word = 0; word < HASH_WORDS; word++) tile.hashes[to + word] = hashes[at * HASH_WORDS + word] as number;
      if (kind === LEAF) {
        tile.leaves[slot] = lastingLeaf(leaves, leafAt);
        leafAt += LEAF_BYTES;
      } else if (tile.leaves[slot] !== undefined) tile.leaves[slot] = undefined;
      if (isLowest && kind === LINK) tile.setEpochBelow(slot, epochs[epochAt++] as number);
    }
  }
  return changed;
}

/** The root of the map as these changes have it; undefined where nothing changed. */
export function rootInChanges({ tiles, slots, hashes }: TopChanges): Hash | undefined {
  let at = 0;
  for (let i = 0; i < tiles.length; i += 2) {
    if (tiles[i] === 0 && slots[2 * at] === 1) return hashBytes(hashes, at * HASH_WORDS);
    at += tiles[i + 1] as number;
  }
  return undefined;
}

/** Whether a slot has a tile below it that is not of the top. */
export function leadsOut(tile: Tile, slot: number): boolean {
  return tile.kinds[slot] === LINK && tile.depth + TILE_HEIGHT === TOP_DEPTH;
}

/** Replaced tiles that are waited for, about 5 kB each; more are left to the collector. */
const MAX_REPLACED = 4_096;

/** A top that somebody reads, until it is released. */
export interface HeldTop {
  readonly top: Top;
  release(): void;
}

/**
 * The top for readers, epoch after epoch. An epoch may change a thousand tiles while readers wait, and memory for them would
 * take most of that time: so tiles that no held top has any more serve again.
 */
export class ReaderTops {
  #newest: Top = [];
  #version = 0;
  readonly #held = new Set<number>();
  /** Tiles that were replaced, with the last version that has them, oldest first; and how many there are. */
  readonly #replaced: { readonly tiles: readonly Tile[]; readonly last: number }[] = [];
  #waiting = 0;
  readonly #spare: Tile[] = [];

  /** The top with changes made, to be released once. */
  change(changes: TopChanges): HeldTop {
    const tiles: Tile[] = [];
    const top = changeTop(this.#newest, changes, this.#spare, tiles);
    if (this.#waiting + tiles.length <= MAX_REPLACED) {
      this.#replaced.push({ tiles, last: this.#version });
      this.#waiting += tiles.length;
    }
    const version = this.#version + 1;
    this.#newest = top;
    this.#version = version;
    this.#held.add(version);
    const release = (): void => {
      if (this.#held.delete(version)) this.#reuse();
    };
    return { top, release };
  }

  #reuse(): void {
    const oldest = Math.min(...this.#held);
    for (let first = this.#replaced[0]; first !== undefined && first.last < oldest; first = this.#replaced[0]) {
      this.#replaced.shift();
      this.#waiting -= first.tiles.length;
      this.#spare.push(...first.tiles);
    }
  }
}

/** Collects changes of one epoch after another, in the same memory. */
export class TopPacker {
  readonly #tiles: number[] = [];
  #count = 0;
  #slots = new Uint8Array(2 * SLOTS);
  #hashes = new Int32Array(SLOTS * HASH_WORDS);
  readonly #leaves: Uint8Array[] = [];
  readonly #epochs: number[] = [];

  /** Adds slots of a tile, the uppermost first. */
  add(tile: Tile, slots: readonly number[]): void {
    if (2 * (this.#count + SLOTS) > this.#slots.length) this.#grow();
    for (const slot of slots) this.#addSlot(tile, slot);
    this.#tiles.push(topNumber(tile), slots.length);
  }

  /** Adds all that is in a tile. */
  addWhole(tile: Tile): void {
    const slots = Array.from({ length: SLOTS }, (_, slot) => slot);
    this.add(
      tile,
      slots.filter((slot) => tile.kinds[slot] !== NONE),
    );
  }

  /** What was added, which is forgotten. */
  finish(): TopChanges {
    const changes = {
      tiles: Uint16Array.from(this.#tiles),
      slots: this.#slots.slice(0, 2 * this.#count),
      hashes: this.#hashes.slice(0, HASH_WORDS * this.#count),
      leaves: new Uint8Array(Buffer.concat(this.#leaves)),
      epochs: Float64Array.from(this.#epochs),
    };
    this.#tiles.length = 0;
    this.#count = 0;
    this.#leaves.length = 0;
    this.#epochs.length = 0;
    return changes;
  }

  #addSlot(tile: Tile, slot: number): void {
    const at = this.#count++;
    const kind = tile.kinds[slot] as number;
    this.#slots[2 * at] = slot;
    this.#slots[2 * at + 1] = kind;
    const [from, to] = [slot * HASH_WORDS, at * HASH_WORDS];
    for (let word = 0; word < HASH_WORDS; word++) this.#hashes[to + word] = tile.hashes[from + word] as number;
    if (kind === LEAF) this.#leaves.push(tile.leafAt(slot));
    if (leadsOut(tile, slot)) this.#epochs.push(tile.epochBelow(slot));
  }

  #grow(): void {
    const slots = new Uint8Array(2 * this.#slots.length);
    slots.set(this.#slots);
    const hashes = new Int32Array(2 * this.#hashes.length);
    hashes.set(this.#hashes);
    [this.#slots, this.#hashes] = [slots, hashes];
  }
}
