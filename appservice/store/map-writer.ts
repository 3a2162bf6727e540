/** Writes the map: the changes of one epoch into its tiles, and the tiles into the commit of the epoch. */
import type { Hash } from "../../shared/crypto/hash.ts";
import { HASH_WORDS, sameHash, setHashWords } from "./fixed-hash.ts";
import {
  ageOfTile,
  checkChanged,
  checkPaths,
  checkStored,
  checkTile,
  EDGE,
  emptyTile,
  encodeLeaf,
  encodeTile,
  INNER,
  isEdge,
  LEAF,
  LINK,
  NONE,
  parseLeaf,
  parseTile,
  SLOTS,
  settledTileKey,
  Tile,
  tileKey,
  tileName,
  TILE_HEIGHT,
  TOP_DEPTH,
} from "./map-tiles.ts";
import type { StoredLeaf, TilePlace } from "./map-tiles.ts";
import { bitsOf, numberBelow, TopPacker, topNumber } from "./map-top.ts";
import type { Top, TopChanges } from "./map-top.ts";
import { BatchProver } from "./batch-prover.ts";
import { numberKey, numbersOfKey, TOP_KEY, topEditsKey } from "./records.ts";
import { eachInRange } from "./level-store.ts";
import { getReferenced, IntegrityError } from "./store.ts";
import type { KeyValue, Reads } from "./store.ts";
import { checkTopEdits, encodeTopEdits, parseTopEdits } from "./top-edits.ts";

/** The top is saved after this many changed leaves, or epochs: what a restart replays, against what is written. */
const SAVE_TOP_AFTER = 65_536;
const SAVE_TOP_AFTER_EPOCHS = 16_384;

/** Deeper tiles in one generation of those kept in memory, about 5 kB each: what five epochs of a thousand changes need. */
const MAX_LOADED = 8_192;

/** Epochs for which the hashes of a deeper tile are taken as they were computed when it was read; later they are checked. */
const FRESH_EPOCHS = 8;

/** When an epoch is written, and the newest settling epoch before it, whose tiles are kept. */
export interface WriteTime {
  readonly epoch: number;
  readonly isSettling: boolean;
  readonly settledBefore: number;
}

export interface MapChange {
  readonly root: Hash;
  /** Batch proof of the map before the epoch for the indices it changes. */
  readonly proof: Uint8Array;
  readonly puts: readonly KeyValue[];
  readonly deletes: readonly Uint8Array[];
  /** What differs in the top from the epoch before. */
  readonly changedTop: TopChanges;
  readonly added: number;
}

/**
 * The map after the newest epoch built. Written only through `apply`, by the thread of the sequencer; a failure inside
 * leaves it unusable, and the process ends.
 */
export class MapWriter {
  readonly #reads: Reads;
  /** All tiles above TOP_DEPTH, by number: at most 4,161. */
  readonly #top: (Tile | undefined)[] = [];
  /**
   * Deeper tiles: what is read when a change comes in is needed again when it is merged, and then forgotten. Two
   * generations: so is what was not used while the younger one filled, for its change was refused.
   */
  #young = new Map<string | number, Tile>();
  #old = new Map<string | number, Tile>();
  /** Memory of deeper tiles that are no longer needed. */
  readonly #spare: Tile[] = [];
  /** Tiles of the top that changed since the top was saved. */
  readonly #unsaved = new Set<Tile>();
  #changedSinceSave = 0;
  /** Epochs since then that changed something. */
  #editedSinceSave: number[] = [];
  /** The epoch that is built next. Written by `apply` and `open`. */
  #nextEpoch: number;

  private constructor(reads: Reads, nextEpoch: number) {
    this.#reads = reads;
    this.#nextEpoch = nextEpoch;
  }

  /** What a new database holds: an empty first tile, saved at epoch 0. */
  static create(): readonly KeyValue[] {
    const first = emptyTile();
    return [{ key: tileKey(first), value: encodeTile(first) }, savedAt(0)];
  }

  /**
   * The map after `epoch`, rebuilt from the saved top and what changed in it since. Throws `IntegrityError` unless its root
   * comes out as `root`.
   */
  static async open(reads: Reads, epoch: number, root: Hash): Promise<MapWriter> {
    const writer = new MapWriter(reads, epoch + 1);
    await writer.#restoreTop(epoch);
    const expected = new Int32Array(HASH_WORDS);
    setHashWords(expected, 0, root, 0);
    checkTile(writer.#first(), expected, 0);
    return writer;
  }

  /** The tiles of the top. They go on changing. */
  get top(): Top {
    return this.#top;
  }

  /** The whole top, for readers in another thread. */
  packedTop(): TopChanges {
    const packer = new TopPacker();
    for (const tile of this.#top) if (tile !== undefined) packer.addWhole(tile);
    return packer.finish();
  }

  /** The leaf of an index after the newest epoch built. */
  find(index: Hash): StoredLeaf | undefined {
    this.#forgetOldest();
    return this.#findBelow(this.#first(), index);
  }

  #findBelow(first: Tile, index: Hash): StoredLeaf | undefined {
    let tile = first;
    let slot = tile.slotOf(index);
    while (tile.kinds[slot] === LINK) {
      tile = this.#below(tile, slot);
      slot = tile.slotOf(index);
    }
    const leaf = tile.leafOf(slot, index);
    return leaf === undefined ? undefined : parseLeaf(leaf);
  }

  /** Takes the stored form of the tile below the top towards an index, unless it has changed since it was read. */
  load(index: Hash, stored: Uint8Array): void {
    const tile = this.#lastInTop(index);
    const slot = tile.slotOf(index);
    if (tile.kinds[slot] !== LINK) return;
    const name = nameBelow(tile, slot);
    if (this.#young.has(name) || this.#old.has(name)) return;
    const child = this.#parse({ prefix: tile.childPrefix(slot), depth: TOP_DEPTH }, stored);
    if (sameHash(child.hashes, HASH_WORDS, tile.hashes, slot * HASH_WORDS)) this.#young.set(name, child);
    else this.#spare.push(child);
  }

  /** The tile in which the walk towards an index leaves the top, or ends before. */
  #lastInTop(index: Hash): Tile {
    let tile = this.#first();
    for (let slot = tile.slotOf(index); tile.kinds[slot] === LINK && tile.depth + TILE_HEIGHT < TOP_DEPTH;) {
      tile = this.#below(tile, slot);
      slot = tile.slotOf(index);
    }
    return tile;
  }

  /** Sets leaves, in strictly increasing order of index, as one epoch. */
  apply(leaves: readonly StoredLeaf[], time: WriteTime): MapChange {
    const update = new Update(time);
    const encoded = leaves.map(encodeLeaf);
    const proof = new BatchProver((tile, slot) => this.#below(tile, slot)).prove(this.#first(), encoded);
    if (leaves.length > 0) this.#update(this.#first(), encoded, update);
    this.#changedSinceSave += leaves.length;
    const isMuch = this.#changedSinceSave >= SAVE_TOP_AFTER || this.#editedSinceSave.length >= SAVE_TOP_AFTER_EPOCHS;
    if (time.isSettling || isMuch) this.#saveTop(update);
    else if (leaves.length > 0) this.#saveEdits(update);
    this.#forgetMerged(update);
    this.#forgetOldest();
    this.#nextEpoch = time.epoch + 1;
    return {
      root: this.#first().hashAt(1),
      proof,
      puts: update.puts,
      deletes: update.deletes,
      changedTop: update.changedTop.finish(),
      added: update.added,
    };
  }

  #first(): Tile {
    const [first] = this.#top;
    if (first === undefined) throw new IntegrityError("the map has no first tile");
    return first;
  }

  /** `touched`: slots that differ from the epoch before already. */
  #update(tile: Tile, leaves: readonly Uint8Array[], update: Update, touched: number[] = []): void {
    // A tile that was made just now has no hashes yet, and those of one that was just read were just computed.
    if (touched.length === 0 && tile.readBefore < update.time.epoch - FRESH_EPOCHS) checkPaths(tile, leaves);
    const links = this.#place(tile, leaves, touched, update);
    markChanged(touched);
    rehashChanged(tile);
    for (const { slot, child } of links) checkTile(child, tile.hashes, slot * HASH_WORDS);
    const isTop = tile.depth < TOP_DEPTH;
    checkChanged(tile, changed, isTop ? undefined : this.#write(tile, update));
    if (!isTop) return;
    this.#unsaved.add(tile);
    update.changedTop.add(tile, changed);
  }

  /** Puts leaves into their slots, or into the tiles below, which it returns. Adds the slots that differ then to `touched`. */
  #place(tile: Tile, leaves: readonly Uint8Array[], touched: number[], update: Update): readonly Link[] {
    let below: Map<number, Uint8Array[]> | undefined;
    for (const leaf of leaves) {
      const slot = placeFor(tile, leaf, touched);
      touched.push(slot);
      const replaced = tile.leafOf(slot, leaf) !== undefined;
      if (tile.kinds[slot] === NONE || replaced) {
        tile.setLeaf(slot, leaf);
        if (tile.depth < TOP_DEPTH) update.leaves.push(leaf);
        if (!replaced) update.added += 1;
        continue;
      }
      // Most deeper tiles have none below.
      below ??= new Map();
      const list = below.get(slot);
      if (list === undefined) below.set(slot, [leaf]);
      else list.push(leaf);
    }
    if (below === undefined) return [];
    return [...below].map(([slot, own]) => ({ slot, child: this.#updateBelow(tile, slot, own, update) }));
  }

  #updateBelow(tile: Tile, slot: number, leaves: readonly Uint8Array[], update: Update): Tile {
    const isThere = tile.kinds[slot] === LINK;
    const child = isThere ? this.#below(tile, slot) : this.#makeBelow(tile, slot);
    this.#update(child, leaves, update, isThere ? [] : [2, 3]);
    tile.setLink(slot, child.hashes, HASH_WORDS);
    if (child.depth >= TOP_DEPTH) update.merged.push(nameBelow(tile, slot));
    if (child.depth === TOP_DEPTH) update.linked.push(child);
    return child;
  }

  /** A tile below an edge leaf, which moves into it. */
  #makeBelow(tile: Tile, slot: number): Tile {
    const child = new Tile(tile.childPrefix(slot), tile.depth + TILE_HEIGHT);
    child.setLeaf(1, tile.leafAt(slot));
    child.splitLeaf(1);
    if (child.depth < TOP_DEPTH) this.#top[topNumber(child)] = child;
    return child;
  }

  #below(tile: Tile, slot: number): Tile {
    const depth = tile.depth + TILE_HEIGHT;
    if (depth < TOP_DEPTH) return checkTile(this.#topBelow(tile, slot), tile.hashes, slot * HASH_WORDS);
    const name = nameBelow(tile, slot);
    const young = this.#young.get(name);
    if (young !== undefined) return young;
    const child = this.#old.get(name) ?? this.#read({ prefix: tile.childPrefix(slot), depth });
    if (child === undefined) throw missingTile();
    this.#young.set(name, checkTile(child, tile.hashes, slot * HASH_WORDS));
    return child;
  }

  #topBelow(tile: Tile, slot: number): Tile {
    const child = this.#top[numberBelow(topNumber(tile), slot)];
    if (child === undefined) throw missingTile();
    return child;
  }

  /** What was written is not needed before it changes again. */
  #forgetMerged({ merged }: Update): void {
    for (const name of merged) {
      const tile = this.#young.get(name);
      this.#young.delete(name);
      this.#old.delete(name);
      if (tile !== undefined && this.#spare.length < MAX_LOADED) this.#spare.push(tile);
    }
  }

  /** Begins a generation if one is full. Nobody holds a tile of the oldest: its memory serves for others. */
  #forgetOldest(): void {
    if (this.#young.size < MAX_LOADED) return;
    for (const [name, tile] of this.#old) {
      if (this.#spare.length < MAX_LOADED && !this.#young.has(name)) this.#spare.push(tile);
    }
    this.#old = this.#young;
    this.#young = new Map();
  }

  /** A tile from the store. */
  #read({ prefix, depth }: TilePlace): Tile | undefined {
    const bytes = this.#reads.get(tileKey({ prefix, depth }));
    return bytes === undefined ? undefined : this.#parse({ prefix, depth }, bytes);
  }

  #parse({ prefix, depth }: TilePlace, bytes: Uint8Array): Tile {
    if (depth < TOP_DEPTH) return parseTile(prefix, depth, bytes);
    const tile = parseTile(prefix, depth, bytes, this.#spare.pop());
    tile.stored = bytes;
    tile.readBefore = this.#nextEpoch;
    return tile;
  }

  /** Adds a tile to the commit and returns its new form; the old one first moves to the settling epoch that still needs it. */
  #write(tile: Tile, { time, puts }: Update): Uint8Array {
    const key = tileKey(tile);
    const stored = tile.writtenIn <= time.settledBefore ? this.#storedForm(tile, key) : undefined;
    if (stored !== undefined) {
      if (ageOfTile(stored).writtenIn !== tile.writtenIn) throw new IntegrityError("a tile is of another epoch");
      puts.push({ key: settledTileKey(time.epoch, tile), value: stored });
      tile.copiedIn = time.epoch;
    }
    tile.writtenIn = time.epoch;
    tile.stored = undefined;
    const value = encodeTile(tile);
    puts.push({ key, value });
    return value;
  }

  /** The form of a tile on disk; undefined if it is new. Only what epoch 0 wrote looks as if nothing had. */
  #storedForm(tile: Tile, key: Uint8Array): Uint8Array | undefined {
    if (tile.stored !== undefined) return tile.stored;
    return tile.writtenIn === 0 ? this.#reads.get(key) : getReferenced(this.#reads, key, "a tile of the map");
  }

  #saveTop(update: Update): void {
    for (const tile of this.#unsaved) checkStored(tile, EVERY_SLOT, this.#write(tile, update));
    this.#unsaved.clear();
    this.#changedSinceSave = 0;
    update.deletes.push(...this.#editedSinceSave.map(topEditsKey));
    this.#editedSinceSave = [];
    update.puts.push(savedAt(update.time.epoch));
  }

  /** What a restart makes again from the saved top. */
  #saveEdits({ time: { epoch }, leaves, linked, puts }: Update): void {
    const value = encodeTopEdits(leaves, linked);
    checkTopEdits(value, leaves, linked);
    puts.push({ key: topEditsKey(epoch), value });
    this.#editedSinceSave.push(epoch);
  }

  /** Loads the saved top and brings it up to `epoch`. */
  async #restoreTop(epoch: number): Promise<void> {
    const [saved = 0] = numbersOfKey(getReferenced(this.#reads, TOP_KEY, "the place of the top"));
    this.#loadTop(emptyTile());
    for await (const { key, value } of eachInRange(this.#reads, topEditsKey(saved + 1), topEditsKey(epoch + 1))) {
      const { leaves, links } = parseTopEdits(value);
      for (const leaf of leaves) this.#setInTop(this.#first(), leaf, undefined);
      for (const { prefix, hash } of links) this.#setInTop(this.#first(), prefix, hash);
      this.#editedSinceSave.push(...numbersOfKey(key));
      this.#changedSinceSave += leaves.length + links.length;
    }
    this.#refreshTop();
  }

  /** The saved form of a tile of the top, and of all below it. */
  #loadTop(place: TilePlace): Tile {
    const tile = this.#read(place);
    if (tile === undefined) throw missingTile();
    this.#top[topNumber(tile)] = tile;
    if (tile.depth + TILE_HEIGHT === TOP_DEPTH) return tile;
    tile.kinds.forEach((kind, slot) => {
      if (kind === LINK) checkTile(this.#loadTop(childPlace(tile, slot)), tile.hashes, slot * HASH_WORDS);
    });
    return tile;
  }

  /** `path`: a leaf that stands in the top; or the first bits of those for which a tile stands below it, of this hash. */
  #setInTop(tile: Tile, path: Uint8Array, below: Int32Array | undefined): void {
    this.#unsaved.add(tile);
    let slot = tile.slotOf(path);
    while (!isEdge(slot) && (below !== undefined || (tile.kinds[slot] === LEAF && !tile.leafOf(slot, path)))) {
      if (tile.kinds[slot] === LEAF) tile.splitLeaf(slot);
      else openSlot(tile, slot);
      slot = tile.slotOf(path);
    }
    if (!isEdge(slot) || (below === undefined && tile.kinds[slot] !== LINK && isFree(tile, slot, path))) {
      tile.setLeaf(slot, path);
    } else if (tile.depth + TILE_HEIGHT === TOP_DEPTH) {
      if (below === undefined) throw missingTile();
      tile.setLink(slot, below, 0);
    } else {
      const child = this.#top[numberBelow(topNumber(tile), slot)] ?? this.#restoreBelow(tile, slot);
      this.#setInTop(child, path, below);
      tile.setLink(slot, child.hashes, HASH_WORDS);
    }
  }

  #restoreBelow(tile: Tile, slot: number): Tile {
    if (tile.kinds[slot] === LEAF) return this.#makeBelow(tile, slot);
    const child = new Tile(tile.childPrefix(slot), tile.depth + TILE_HEIGHT);
    openSlot(child, 1);
    this.#top[topNumber(child)] = child;
    return child;
  }

  /** Hashes of what was restored, from the lower edge of the top up. */
  #refreshTop(): void {
    for (const tile of [...this.#unsaved].sort((a, b) => b.depth - a.depth)) {
      tile.kinds.forEach((kind, slot) => {
        if (kind !== LINK || tile.depth + TILE_HEIGHT === TOP_DEPTH) return;
        tile.setLink(slot, this.#topBelow(tile, slot).hashes, HASH_WORDS);
      });
      rehashAll(tile, 1);
    }
  }
}

/** What one epoch writes, while it is being written. */
class Update {
  readonly time: WriteTime;
  readonly puts: KeyValue[] = [];
  readonly changedTop = new TopPacker();
  readonly deletes: Uint8Array[] = [];
  /** Leaves that were set in the top, and the tiles right below it that changed. */
  readonly leaves: Uint8Array[] = [];
  readonly linked: Tile[] = [];
  /** Names of the deeper tiles that changed. */
  readonly merged: (string | number)[] = [];
  added = 0;

  constructor(time: WriteTime) {
    this.time = time;
  }
}

/** A tile below an edge slot. */
interface Link {
  readonly slot: number;
  readonly child: Tile;
}

/** Splits leaves until one has its place in a tile or on its edge. Adds what that changes to `touched`. */
function placeFor(tile: Tile, leaf: Uint8Array, touched: number[]): number {
  let slot = tile.slotOf(leaf);
  while (tile.kinds[slot] === LEAF && !isEdge(slot) && tile.leafOf(slot, leaf) === undefined) {
    tile.splitLeaf(slot);
    touched.push(2 * slot, 2 * slot + 1);
    slot = tile.slotOf(leaf);
  }
  return slot;
}

function savedAt(epoch: number): KeyValue {
  return { key: TOP_KEY, value: numberKey("\0", epoch) };
}

function childPlace(tile: Tile, slot: number): TilePlace {
  return { prefix: tile.childPrefix(slot), depth: tile.depth + TILE_HEIGHT };
}

/** What the tile below an edge slot of a tile on the lower edge of the top, or deeper, is called in memory. */
function nameBelow(tile: Tile, slot: number): string | number {
  const depth = tile.depth + TILE_HEIGHT;
  if (depth > TOP_DEPTH) return tileName({ prefix: tile.childPrefix(slot), depth });
  return (bitsOf(tile.prefix, tile.depth) << TILE_HEIGHT) | (slot - EDGE);
}

function missingTile(): IntegrityError {
  return new IntegrityError("a tile of the map is missing from the database");
}

function isFree(tile: Tile, slot: number, leaf: Uint8Array): boolean {
  return tile.kinds[slot] === NONE || tile.leafOf(slot, leaf) !== undefined;
}

/** Turns an empty slot into a node with two empty children, to be filled. */
function openSlot(tile: Tile, slot: number): void {
  tile.kinds[slot] = INNER;
  tile.setNone(2 * slot);
  tile.setNone(2 * slot + 1);
}

/** Changed slots and all above them. Used by one tile at a time. */
const changed = new Uint8Array(SLOTS);
const EVERY_SLOT = new Uint8Array(SLOTS).fill(1);

function markChanged(touched: readonly number[]): void {
  changed.fill(0);
  for (const slot of touched)
    for (let above = slot; above >= 1 && changed[above] === 0; above >>= 1) changed[above] = 1;
}

/** Recomputes the changed nodes, lowest first. */
function rehashChanged(tile: Tile): void {
  for (let slot = EDGE - 1; slot >= 1; slot--) if (changed[slot] === 1 && tile.kinds[slot] === INNER) tile.rehash(slot);
}

function rehashAll(tile: Tile, slot: number): void {
  if (tile.kinds[slot] !== INNER) return;
  rehashAll(tile, 2 * slot);
  rehashAll(tile, 2 * slot + 1);
  tile.rehash(slot);
}
