/** Writes the map: the changes of one epoch into its tiles, and the tiles into the commit of the epoch. */
import type { Hash } from "../../shared/crypto/hash.ts";
import { HASH_WORDS, sameHash, setHashWords } from "./fixed-hash.ts";
import {
  ageOfTile,
  checkTile,
  EDGE,
  emptyTile,
  encodeLeaf,
  encodeTile,
  INNER,
  isEdge,
  LEAF,
  leafInStored,
  LINK,
  NONE,
  parseLeaf,
  readTile,
  settledTileKey,
  SLOTS,
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
import type { ProvenTile } from "./batch-prover.ts";
import { numberKey, numbersOfKey, TOP_KEY, topEditsKey } from "./records.ts";
import { eachInRange } from "./level-store.ts";
import { getReferenced, IntegrityError } from "./store.ts";
import type { KeyValue, Reads } from "./store.ts";
import { parseTile, readInto, TileChecks, TileHashes } from "./tile-hashes.ts";
import { checkTopEdits, encodeTopEdits, parseTopEdits } from "./top-edits.ts";
import type { ChangedLink } from "./top-edits.ts";

/** The top is saved after this many changed leaves, or epochs: what a restart replays, against what is written. */
const SAVE_TOP_AFTER = 65_536;
const SAVE_TOP_AFTER_EPOCHS = 16_384;

/** Stored forms of deeper tiles in one generation of those kept in memory: what five epochs of a thousand changes need. */
const MAX_LOADED = 8_192;
/** Tiles whose memory is used again: those that are changed together. */
const MAX_SPARE = 64;

/** Leaves for which tiles are changed together: enough to hash four nodes at once, and few enough for the cache. */
const TOGETHER = 32;

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
   * Stored forms of deeper tiles, found to be those that the map has: what is read when a change comes in is needed again
   * when it is merged, and then forgotten. Two generations: so is what was not used while the younger one filled, for its
   * change was refused.
   */
  #young = new Map<string | number, Uint8Array>();
  #old = new Map<string | number, Uint8Array>();
  /** Tiles that nobody uses. */
  readonly #spare: Tile[] = [];
  /** Both empty but while a group of tiles is changed. */
  readonly #hashes = new TileHashes();
  readonly #checks = new TileChecks();
  /** Both empty but while an epoch is written. */
  readonly #prover = new BatchProver();
  readonly #changedTop = new TopPacker();
  /** Tiles of the top that changed since the top was saved. */
  readonly #unsaved = new Set<Tile>();
  #changedSinceSave = 0;
  /** Epochs since then that changed something. */
  #editedSinceSave: number[] = [];

  private constructor(reads: Reads) {
    this.#reads = reads;
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
    const writer = new MapWriter(reads);
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
    const [tile, slot] = this.#lastInTop(index);
    if (tile.kinds[slot] === LINK) return this.#findBelow(tile, slot, index);
    const leaf = tile.leafOf(slot, index);
    return leaf === undefined ? undefined : parseLeaf(leaf);
  }

  #findBelow(above: Tile, slot: number, index: Hash): StoredLeaf | undefined {
    const stored = this.#loaded(nameBelow(above, slot)) ?? this.#readBelow(above, slot);
    const leaf = leafInStored(stored, index);
    if (leaf !== undefined) return leaf;
    const tile = this.#unused(above, slot);
    readTile(tile, stored, []);
    const below = tile.slotOf(index);
    const found = tile.kinds[below] === LINK ? this.#findBelow(tile, below, index) : undefined;
    this.#reuse(tile);
    return found;
  }

  /**
   * Takes the stored forms of tiles below the top on the way to indices, the uppermost first, except for those that have
   * changed since they were read.
   */
  load(forms: readonly { readonly index: Hash; readonly stored: readonly Uint8Array[] }[]): void {
    this.#forgetOldest();
    this.#loadBelow(
      forms.map(({ index, stored }) => {
        const [above, slot] = this.#lastInTop(index);
        return { index, stored, above, slot };
      }),
    );
  }

  #loadBelow(paths: readonly ReadPath[]): void {
    // Of its own: what can't be read may end this half way.
    const hashes = new TileHashes();
    const read = paths.flatMap(({ index, stored: [form, ...deeper], above, slot }) => {
      if (form === undefined || above.kinds[slot] !== LINK || this.#loaded(nameBelow(above, slot)) !== undefined)
        return [];
      const tile = this.#unused(above, slot);
      readInto(tile, form, hashes);
      return [{ index, above, slot, tile, form, deeper }];
    });
    hashes.compute();
    const current = read.filter(({ above, slot, tile }) =>
      sameHash(tile.hashes, HASH_WORDS, above.hashes, slot * HASH_WORDS),
    );
    for (const { above, slot, form } of current) this.#young.set(nameBelow(above, slot), form);
    const further = current.filter(({ deeper }) => deeper.length > 0);
    if (further.length > 0) {
      this.#loadBelow(
        further.map(({ index, tile, deeper }) => ({ index, stored: deeper, above: tile, slot: tile.slotOf(index) })),
      );
    }
    for (const { tile } of read) this.#reuse(tile);
  }

  /** Where the walk towards an index leaves the top, or ends before: the tile and the slot. */
  #lastInTop(index: Hash): readonly [Tile, number] {
    let tile = this.#first();
    let slot = tile.slotOf(index);
    while (tile.kinds[slot] === LINK && tile.depth + TILE_HEIGHT < TOP_DEPTH) {
      tile = this.#topBelow(tile, slot);
      slot = tile.slotOf(index);
    }
    return [tile, slot];
  }

  /** Sets leaves, in strictly increasing order of index, as one epoch. */
  apply(leaves: readonly StoredLeaf[], time: WriteTime): MapChange {
    const update = new Update(time);
    const encoded = leaves.map(encodeLeaf);
    const first = changedTile(this.#first(), { start: 0, end: leaves.length });
    if (leaves.length > 0) this.#update([first], encoded, update);
    else first.proof = this.#prover.prove(first.tile, [], 0, 0);
    this.#changedSinceSave += leaves.length;
    const isMuch = this.#changedSinceSave >= SAVE_TOP_AFTER || this.#editedSinceSave.length >= SAVE_TOP_AFTER_EPOCHS;
    if (time.isSettling || isMuch) this.#saveTop(update);
    else if (leaves.length > 0) this.#saveEdits(update);
    this.#forgetOldest();
    return {
      root: this.#first().hashAt(1),
      proof: this.#prover.join(first),
      puts: update.puts,
      deletes: update.deletes,
      changedTop: this.#changedTop.finish(),
      added: update.added,
    };
  }

  #first(): Tile {
    const [first] = this.#top;
    if (first === undefined) throw new IntegrityError("the map has no first tile");
    return first;
  }

  /** Sets leaves in tiles of one depth and in those below them: a few at once, so that the processor's cache still has them. */
  #update(tiles: readonly ChangedTile[], leaves: readonly Uint8Array[], update: Update): void {
    this.#open(tiles, leaves);
    for (const changed of tiles) {
      if (!changed.isNew) changed.proof = this.#prover.prove(changed.tile, leaves, changed.start, changed.end);
      this.#setIn(changed, leaves, update);
    }
    for (const group of inGroups(tiles.flatMap(({ below }) => below))) this.#update(group, leaves, update);
    for (const { tile, slots } of tiles) this.#hashes.add(tile, slots);
    this.#hashes.compute();
    for (const changed of tiles) this.#finish(changed, update);
    this.#checks.finish();
  }

  /** Reads tiles that are not in memory, and looks at the hashes of those that are. One that was made just now has none. */
  #open(tiles: readonly ChangedTile[], leaves: readonly Uint8Array[]): void {
    for (const { tile, isNew, above } of tiles) {
      if (isNew || above === undefined || tile.depth < TOP_DEPTH) continue;
      tile.stored = this.#loaded(nameBelow(above.tile, above.slot)) ?? this.#storedBelow(above.tile, above.slot);
      readInto(tile, tile.stored, this.#hashes);
    }
    this.#hashes.compute();
    for (const { tile, isNew, above, start, end } of tiles) {
      if (isNew) continue;
      if (above !== undefined) checkTile(tile, above.tile.hashes, above.slot * HASH_WORDS);
      if (tile.depth < TOP_DEPTH) this.#checks.addPaths(tile, leaves, start, end);
    }
    this.#checks.finish();
  }

  /** Puts the leaves of a tile into their slots, but for those whose place is deeper: they are left to the tiles below. */
  #setIn(changed: ChangedTile, leaves: readonly Uint8Array[], update: Update): void {
    const { tile, below } = changed;
    const marks = new SlotMarks();
    changed.slots = marks.slots;
    if (changed.isNew) for (const slot of [2, 3]) marks.mark(slot);
    for (let i = changed.start; i < changed.end; i++) {
      const leaf = leaves[i] as Uint8Array;
      const slot = placeFor(tile, leaf, marks);
      const replaced = tile.leafOf(slot, leaf) !== undefined;
      const last = below.at(-1);
      if (tile.kinds[slot] === NONE || replaced) {
        // What stays in memory for long must not hold a part of the shared pool.
        tile.setLeaf(slot, tile.depth < TOP_DEPTH ? new Uint8Array(leaf) : leaf);
        if (tile.depth < TOP_DEPTH) update.leaves.push(leaf);
        if (!replaced) update.added += 1;
      } else if (last?.above?.slot === slot) last.end = i + 1;
      else below.push(this.#changeBelow(tile, slot, i));
    }
  }

  /** The tile below an edge slot, to which the leaf at `start` belongs, and maybe the next ones. */
  #changeBelow(tile: Tile, slot: number, start: number): ChangedTile {
    const isNew = tile.kinds[slot] !== LINK;
    const isTop = tile.depth + TILE_HEIGHT < TOP_DEPTH;
    const child = isNew ? this.#makeBelow(tile, slot) : isTop ? this.#topBelow(tile, slot) : this.#unused(tile, slot);
    if (isNew) tile.setLink(slot, child.hashes, HASH_WORDS);
    return changedTile(child, { isNew, above: { tile, slot }, start, end: start + 1 });
  }

  /** What becomes of a tile whose hashes are there. */
  #finish({ tile, above, slots, below }: ChangedTile, update: Update): void {
    for (const child of below) this.#leave(child, update);
    above?.tile.setLink(above.slot, tile.hashes, HASH_WORDS);
    if (tile.depth >= TOP_DEPTH) this.#checks.addStored(tile, slots, this.#write(tile, update));
    else {
      this.#checks.addSlots(tile, slots);
      this.#unsaved.add(tile);
      this.#changedTop.add(tile, slots);
    }
  }

  /** What becomes of a tile once the hashes of the one above are there. */
  #leave({ tile, above }: ChangedTile, update: Update): void {
    if (above === undefined) return;
    checkTile(tile, above.tile.hashes, above.slot * HASH_WORDS);
    if (tile.depth === TOP_DEPTH) update.links.push({ prefix: tile.prefix, above: above.tile, slot: above.slot });
    if (tile.depth < TOP_DEPTH) return;
    const name = nameBelow(above.tile, above.slot);
    this.#young.delete(name);
    this.#old.delete(name);
    this.#reuse(tile);
  }

  /** A tile below an edge leaf, which moves into it. */
  #makeBelow(tile: Tile, slot: number): Tile {
    const child = new Tile(tile.childPrefix(slot), tile.depth + TILE_HEIGHT);
    child.setLeaf(1, tile.leafAt(slot));
    child.splitLeaf(1);
    if (child.depth < TOP_DEPTH) this.#top[topNumber(child)] = child;
    return child;
  }

  #topBelow(tile: Tile, slot: number): Tile {
    const child = this.#top[numberBelow(topNumber(tile), slot)];
    if (child === undefined) throw missingTile();
    return child;
  }

  /** A tile for one below an edge slot of a tile on the lower edge of the top, or deeper. What it holds is to be read. */
  #unused(above: Tile, slot: number): Tile {
    const { prefix, depth } = childPlace(above, slot);
    const tile = this.#spare.pop() ?? new Tile(prefix, depth);
    tile.prefix = prefix;
    tile.depth = depth;
    return tile;
  }

  #reuse(tile: Tile): void {
    if (this.#spare.length < MAX_SPARE) this.#spare.push(tile);
  }

  /** The stored form of a deeper tile, if it is remembered. */
  #loaded(name: string | number): Uint8Array | undefined {
    const young = this.#young.get(name);
    if (young !== undefined) return young;
    const old = this.#old.get(name);
    if (old !== undefined) this.#young.set(name, old);
    return old;
  }

  /** The stored form of a deeper tile, read and remembered. */
  #readBelow(above: Tile, slot: number): Uint8Array {
    const stored = this.#storedBelow(above, slot);
    const tile = this.#unused(above, slot);
    checkTile(parseTile(tile, stored, tile), above.hashes, slot * HASH_WORDS);
    this.#reuse(tile);
    this.#young.set(nameBelow(above, slot), stored);
    return stored;
  }

  #storedBelow(above: Tile, slot: number): Uint8Array {
    return getReferenced(this.#reads, tileKey(childPlace(above, slot)), "a tile of the map");
  }

  /** Begins a generation if one is full. */
  #forgetOldest(): void {
    if (this.#young.size < MAX_LOADED) return;
    this.#old = this.#young;
    this.#young = new Map();
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
    for (const tile of this.#unsaved) {
      const leaves = EVERY_SLOT.filter((slot) => tile.kinds[slot] === LEAF);
      this.#checks.addStored(tile, leaves, this.#write(tile, update));
    }
    this.#checks.finish();
    this.#unsaved.clear();
    this.#changedSinceSave = 0;
    update.deletes.push(...this.#editedSinceSave.map(topEditsKey));
    this.#editedSinceSave = [];
    update.puts.push(savedAt(update.time.epoch));
  }

  /** What a restart makes again from the saved top. */
  #saveEdits({ time: { epoch }, leaves, links, puts }: Update): void {
    const value = encodeTopEdits(leaves, links);
    checkTopEdits(value, leaves, links);
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
    const tile = parseTile(place, getReferenced(this.#reads, tileKey(place), "a tile of the map"));
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
    for (let depth = TOP_DEPTH - TILE_HEIGHT; depth >= 0; depth -= TILE_HEIGHT) {
      const hashes = new TileHashes();
      for (const tile of this.#unsaved) {
        if (tile.depth !== depth) continue;
        tile.kinds.forEach((kind, slot) => {
          if (kind !== LINK || depth + TILE_HEIGHT === TOP_DEPTH) return;
          tile.setLink(slot, this.#topBelow(tile, slot).hashes, HASH_WORDS);
        });
        hashes.add(tile, EVERY_SLOT);
      }
      hashes.compute();
    }
  }
}

/** Stored forms of tiles towards an index, from the one below a slot on. */
interface ReadPath {
  readonly index: Hash;
  readonly stored: readonly Uint8Array[];
  readonly above: Tile;
  readonly slot: number;
}

/** What one epoch writes, while it is being written. */
class Update {
  readonly time: WriteTime;
  readonly puts: KeyValue[] = [];
  readonly deletes: Uint8Array[] = [];
  /** Leaves that were set in the top, and the tiles right below it that changed. */
  readonly leaves: Uint8Array[] = [];
  readonly links: ChangedLink[] = [];
  added = 0;

  constructor(time: WriteTime) {
    this.time = time;
  }
}

/** A tile that an epoch changes. */
interface ChangedTile extends ProvenTile {
  readonly tile: Tile;
  /** Whether it was made just now, from a leaf. */
  readonly isNew: boolean;
  /** Where it hangs. */
  readonly above: { readonly tile: Tile; readonly slot: number } | undefined;
  /** Leaves that belong here or deeper: from `start` on, before `end`. */
  readonly start: number;
  end: number;
  /** Slots that differ from the epoch before, the uppermost first. Written by `#setIn`. */
  slots: readonly number[];
  proof: readonly number[];
  /** The changed tiles right below. Written by `#setIn`. */
  readonly below: ChangedTile[];
}

function changedTile(
  tile: Tile,
  place: Pick<ChangedTile, "start" | "end"> & Partial<Pick<ChangedTile, "isNew" | "above">>,
): ChangedTile {
  return { tile, isNew: false, above: undefined, slots: [], proof: [], below: [], ...place };
}

/** All slots of a tile of the top: where nothing stands, it says so. */
const EVERY_SLOT: readonly number[] = Array.from({ length: SLOTS - 1 }, (_, i) => i + 1);

/** Neighbours in groups with so few leaves that they are changed together. */
function inGroups(tiles: readonly ChangedTile[]): ChangedTile[][] {
  const groups: ChangedTile[][] = [];
  for (const tile of tiles) {
    const group = groups.at(-1);
    if (group === undefined || tile.end - (group[0]?.start ?? 0) > TOGETHER) groups.push([tile]);
    else group.push(tile);
  }
  return groups;
}

/** Collects slots of one tile, with all that stand above them: each once, the uppermost first. One at a time. */
class SlotMarks {
  readonly slots = [1];

  constructor() {
    isMarked.fill(0);
    isMarked[1] = 1;
  }

  mark(slot: number): void {
    for (let above = slot; isMarked[above] === 0; above >>= 1) {
      isMarked[above] = 1;
      this.slots.push(above);
    }
  }
}
const isMarked = new Uint8Array(SLOTS);

/** Splits leaves until one has its place in a tile or on its edge. Marks what that changes. */
function placeFor(tile: Tile, leaf: Uint8Array, marks: SlotMarks): number {
  let slot = tile.slotOf(leaf);
  while (tile.kinds[slot] === LEAF && !isEdge(slot) && tile.leafOf(slot, leaf) === undefined) {
    tile.splitLeaf(slot);
    marks.mark(2 * slot);
    marks.mark(2 * slot + 1);
    slot = tile.slotOf(leaf);
  }
  marks.mark(slot);
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
