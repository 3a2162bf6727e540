/** Writes the map: the changes of one epoch into its tiles, and the tiles into the commit of the epoch. */
import type { Hash } from "../../shared/crypto/hash.ts";
import { HASH_WORDS, setHashWords } from "./fixed-hash.ts";
import {
  checkTile,
  EDGE,
  emptyTile,
  encodeLeaf,
  encodeTile,
  findInStored,
  INNER,
  isEdge,
  lastingLeaf,
  LEAF,
  LINK,
  NONE,
  parseLeaf,
  SLOTS,
  Tile,
  tileKey,
  TILE_HEIGHT,
  TOP_DEPTH,
} from "./map-tiles.ts";
import type { StoredLeaf, TilePlace } from "./map-tiles.ts";
import { bitsOf, leadsOut, numberBelow, TopPacker, topNumber } from "./map-top.ts";
import type { EpochsBelowTop, Top, TopChanges } from "./map-top.ts";
import { BatchProver } from "./batch-prover.ts";
import type { ProvenTile } from "./batch-prover.ts";
import { numberKey, numbersOfKey, supersededKey, TOP_KEY, topEditsKey } from "./records.ts";
import { eachInRange } from "./level-store.ts";
import { getReferenced, IntegrityError } from "./store.ts";
import type { KeyValue, Reads } from "./store.ts";
import { encodeSuperseded } from "./superseded-tiles.ts";
import { parseTile, readInto, TileChecks, TileHashes } from "./tile-hashes.ts";
import { checkTopEdits, encodeTopEdits, parseTopEdits } from "./top-edits.ts";
import type { ChangedLink, TopLink } from "./top-edits.ts";

/** The top is saved after this many changed leaves, or epochs: what a restart replays, against what is written. */
const SAVE_TOP_AFTER = 65_536;
const SAVE_TOP_AFTER_EPOCHS = 16_384;

/** Stored forms of deeper tiles in one generation of those kept in memory: what five epochs of a thousand changes need. */
const MAX_LOADED = 8_192;
/** Tiles whose memory is used again: those that are changed together. */
const MAX_SPARE = 64;

/** Leaves for which tiles are changed together: enough to hash four nodes at once, and few enough for the cache. */
const TOGETHER = 32;

/** In place of the epoch that wrote a tile: that tile is written before the one above it is. */
const NOT_WRITTEN = NaN;

/** When an epoch is written, and the newest settling epoch before it, whose tiles are kept; -1: there is none. */
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
   * Stored forms of deeper tiles, those that the map has: what is read when a change comes in is needed again when it is
   * merged, and then forgotten. Two generations: so is what was not used while the younger one filled, for its change was
   * refused.
   */
  #young = new Map<string | number, Uint8Array>();
  #old = new Map<string | number, Uint8Array>();
  /** For who reads ahead. */
  readonly epochsBelowTop: EpochsBelowTop = new Float64Array(new SharedArrayBuffer(8 * 2 ** TOP_DEPTH));
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
    return [{ key: tileKey(0, first), value: encodeTile(first) }, savedAt(0)];
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
    if (tile.kinds[slot] !== LINK) {
      const leaf = tile.leafOf(slot, index);
      return leaf === undefined ? undefined : parseLeaf(leaf);
    }
    let found: ReturnType<typeof findInStored> = tile.epochBelow(slot);
    for (let depth = TOP_DEPTH; typeof found === "number"; depth += TILE_HEIGHT) {
      found = findInStored(this.#formOf(found, { prefix: index, depth }), depth, index);
    }
    return found;
  }

  /**
   * Takes stored forms of tiles below the top on the way to indices, the uppermost first, except for those that are no longer
   * the newest. Their hashes are checked when they are changed. Throws `IntegrityError` where one can't be read.
   */
  load(paths: readonly ReadPath[]): void {
    this.#forgetOldest();
    for (const { index, forms } of paths) {
      const [tile, slot] = this.#lastInTop(index);
      let newest: ReturnType<typeof findInStored> = leadsOut(tile, slot) ? tile.epochBelow(slot) : undefined;
      for (const [i, { writtenIn, bytes }] of forms.entries()) {
        const depth = TOP_DEPTH + i * TILE_HEIGHT;
        if (writtenIn !== newest) break;
        this.#young.set(nameOf({ prefix: index, depth }), bytes);
        newest = i + 1 < forms.length ? findInStored(bytes, depth, index) : undefined;
      }
    }
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
    if (update.superseded.length > 0) {
      update.puts.push({ key: supersededKey(time.epoch), value: encodeSuperseded(update.superseded) });
    }
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
      const epoch = above.tile.epochBelow(above.slot);
      readInto(tile, this.#formOf(epoch, tile), this.#hashes);
      tile.writtenIn = epoch;
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
        tile.setLeaf(slot, tile.depth < TOP_DEPTH ? lastingLeaf(leaf, 0) : leaf);
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
    if (isNew) tile.setLink(slot, child.hashes, HASH_WORDS, NOT_WRITTEN);
    return changedTile(child, { isNew, above: { tile, slot }, start, end: start + 1 });
  }

  /** What becomes of a tile whose hashes are there. */
  #finish({ tile, above, slots, below }: ChangedTile, update: Update): void {
    for (const child of below) this.#leave(child, update);
    above?.tile.setLink(above.slot, tile.hashes, HASH_WORDS, update.time.epoch);
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
    if (tile.depth < TOP_DEPTH) return;
    if (tile.depth === TOP_DEPTH) {
      update.links.push({ prefix: tile.prefix, above: above.tile, slot: above.slot });
      this.epochsBelowTop[bitsOf(tile.prefix, TOP_DEPTH)] = update.time.epoch;
    }
    const name = nameOf(tile);
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

  /** The form of a deeper tile that `epoch` wrote, which is the newest. */
  #formOf(epoch: number, place: TilePlace): Uint8Array {
    const name = nameOf(place);
    const young = this.#young.get(name);
    if (young !== undefined) return young;
    const form = this.#old.get(name) ?? getReferenced(this.#reads, tileKey(epoch, place), "a tile of the map");
    this.#young.set(name, form);
    return form;
  }

  /** Begins a generation if one is full. */
  #forgetOldest(): void {
    if (this.#young.size < MAX_LOADED) return;
    this.#old = this.#young;
    this.#young = new Map();
  }

  /** Adds a tile to the commit and returns its new form. */
  #write(tile: Tile, update: Update): Uint8Array {
    const { epoch } = update.time;
    update.supersede(tile);
    tile.writtenIn = epoch;
    const value = encodeTile(tile);
    update.puts.push({ key: tileKey(epoch, tile), value });
    return value;
  }

  /** Those above after those below, whose epochs they have; the first with each save, so that it is found by that epoch. */
  #saveTop(update: Update): void {
    this.#unsaved.add(this.#first());
    for (const tile of [...this.#unsaved].sort((a, b) => b.depth - a.depth)) {
      for (const slot of EVERY_SLOT) {
        if (tile.kinds[slot] !== LINK || leadsOut(tile, slot)) continue;
        tile.setEpochBelow(slot, this.#topBelow(tile, slot).writtenIn ?? NOT_WRITTEN);
      }
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
    this.#loadTop(saved, emptyTile());
    for await (const { key, value } of eachInRange(this.#reads, topEditsKey(saved + 1), topEditsKey(epoch + 1))) {
      const { leaves, links } = parseTopEdits(value);
      const [editedIn = 0] = numbersOfKey(key);
      for (const leaf of leaves) this.#setInTop(this.#first(), leaf, undefined);
      for (const { prefix, hash } of links) this.#setInTop(this.#first(), prefix, { hash, epoch: editedIn });
      this.#editedSinceSave.push(editedIn);
      this.#changedSinceSave += leaves.length + links.length;
    }
    this.#refreshTop();
    for (const tile of this.#top) {
      if (tile === undefined) continue;
      for (const slot of EVERY_SLOT) {
        if (leadsOut(tile, slot)) this.epochsBelowTop[bitsBelow(tile, slot)] = tile.epochBelow(slot);
      }
    }
  }

  /** The saved form of a tile of the top, which `epoch` wrote, and of all below it. */
  #loadTop(epoch: number, place: TilePlace): Tile {
    const tile = parseTile(place, getReferenced(this.#reads, tileKey(epoch, place), "a tile of the map"));
    tile.writtenIn = epoch;
    this.#top[topNumber(tile)] = tile;
    if (tile.depth + TILE_HEIGHT === TOP_DEPTH) return tile;
    tile.kinds.forEach((kind, slot) => {
      if (kind !== LINK) return;
      checkTile(this.#loadTop(tile.epochBelow(slot), childPlace(tile, slot)), tile.hashes, slot * HASH_WORDS);
    });
    return tile;
  }

  /** `path`: a leaf that stands in the top; or the first bits of those for which a tile stands `below` it. */
  #setInTop(
    tile: Tile,
    path: Uint8Array,
    below: (Pick<TopLink, "hash"> & { readonly epoch: number }) | undefined,
  ): void {
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
      tile.setLink(slot, below.hash, 0, below.epoch);
    } else {
      const child = this.#top[numberBelow(topNumber(tile), slot)] ?? this.#restoreBelow(tile, slot);
      this.#setInTop(child, path, below);
      tile.setLink(slot, child.hashes, HASH_WORDS, NOT_WRITTEN);
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
          tile.setLink(slot, this.#topBelow(tile, slot).hashes, HASH_WORDS, NOT_WRITTEN);
        });
        hashes.add(tile, EVERY_SLOT);
      }
      hashes.compute();
    }
  }
}

/** What was read of the tiles below the top towards an index, the uppermost first: the form that some epoch wrote. */
export interface ReadPath {
  readonly index: Hash;
  readonly forms: readonly StoredForm[];
}

export interface StoredForm {
  readonly writtenIn: number;
  readonly bytes: Uint8Array;
}

/** What one epoch writes, while it is being written. */
class Update {
  readonly time: WriteTime;
  readonly puts: KeyValue[] = [];
  readonly deletes: Uint8Array[] = [];
  /** Keys of forms that others take the place of, and that stay for a settling epoch. */
  readonly superseded: Uint8Array[] = [];
  /** Leaves that were set in the top, and the tiles right below it that changed. */
  readonly leaves: Uint8Array[] = [];
  readonly links: ChangedLink[] = [];
  added = 0;

  constructor(time: WriteTime) {
    this.time = time;
  }

  /** The form that a tile had is kept while a settling epoch needs it, or else deleted. */
  supersede(tile: Tile): void {
    const { epoch, settledBefore } = this.time;
    const { writtenIn } = tile;
    if (writtenIn === undefined || writtenIn === epoch) return;
    (writtenIn <= settledBefore ? this.superseded : this.deletes).push(tileKey(writtenIn, tile));
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

/** The first bits of the indices below a slot on the lower edge of the top. */
function bitsBelow(tile: Tile, slot: number): number {
  return (bitsOf(tile.prefix, tile.depth) << TILE_HEIGHT) | (slot - EDGE);
}

/** What a tile below the top is called in memory. */
function nameOf({ prefix, depth }: TilePlace): string | number {
  if (depth === TOP_DEPTH) return bitsOf(prefix, TOP_DEPTH);
  return tileKey(0, { prefix, depth }).toString("latin1");
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
