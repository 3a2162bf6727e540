/** The tiled map against the prefix tree of the core: same roots, same proofs, now and at every settling epoch. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "mocha";
import { BatchProver } from "../../../appservice/store/batch-prover.ts";
import { encodeChanges } from "../../../appservice/store/change-lists.ts";
import { appendToTip, EMPTY_TIP, rootOfTip } from "../../../appservice/store/histories.ts";
import { createLevelStore, openLevelStore } from "../../../appservice/store/level-store.ts";
import { LEAF_CONTENT_BYTES } from "../../../appservice/store/map-hashes.ts";
import { readMap, readSettledMap, TileCache } from "../../../appservice/store/map-reader.ts";
import type { MapNode, MapReader } from "../../../appservice/store/map-reader.ts";
import { bitsOf, changeTop, leadsOut } from "../../../appservice/store/map-top.ts";
import type { Top } from "../../../appservice/store/map-top.ts";
import {
  emptyTile,
  findInStored,
  LEAF_BYTES,
  LINK,
  readTile,
  SLOTS,
  Tile,
  TILE_HEIGHT,
  TILE_KIND,
  tileKey,
  TOP_DEPTH,
} from "../../../appservice/store/map-tiles.ts";
import type { StoredLeaf, TilePlace } from "../../../appservice/store/map-tiles.ts";
import { MapWriter } from "../../../appservice/store/map-writer.ts";
import type { StoredForm } from "../../../appservice/store/map-writer.ts";
import {
  afterKind,
  kindKey,
  topEditsKey,
  numbersOfKey,
  positionOf,
  SUPERSEDED_KIND,
  TOP_KEY,
} from "../../../appservice/store/records.ts";
import type { ChangeRow, Tip } from "../../../appservice/store/records.ts";
import { IntegrityError } from "../../../appservice/store/store.ts";
import { parseSuperseded } from "../../../appservice/store/superseded-tiles.ts";
import { parseTopEdits } from "../../../appservice/store/top-edits.ts";
import type { Commit, KeyValue, Store } from "../../../appservice/store/store.ts";
import { sha256 } from "../../../shared/crypto/hash.ts";
import type { Hash } from "../../../shared/crypto/hash.ts";
import { compareBytes, encodeHex, utf8 } from "../../../shared/encoding.ts";
import { encodeMapProof, parseMapProof, proveMap, verifyMapProof } from "../../../shared/map/map-proof.ts";
import { PrefixTree } from "../../../shared/map/prefix-tree.ts";

/** Deterministic numbers below `bound`, so that a failure can be repeated. */
function dice(seed: string): (bound: number) => number {
  let rolls = 0;
  return (bound) => {
    const bytes = sha256(utf8(`${seed}/${rolls++}`));
    return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0) % bound;
  };
}

/** Indices that share long prefixes, many of them just those that lead below the top, so that few reach deep tiles. */
function crowdedIndices(count: number, roll: (bound: number) => number): Hash[] {
  const indices: Hash[] = [];
  for (let i = 0; i < count; i++) {
    const index = sha256(utf8(`index ${roll(1 << 30)}`));
    const neighbour = indices[roll(indices.length + 1)];
    const [shared, all] = [roll(3) === 0 ? TOP_DEPTH + roll(6) : roll(256), roll(3) > 0];
    if (neighbour !== undefined && all) {
      for (let bit = 0; bit < shared; bit++) {
        const mask = 0x80 >> (bit & 7);
        index[bit >> 3] = (index[bit >> 3]! & ~mask) | (neighbour[bit >> 3]! & mask);
      }
    }
    indices.push(index);
  }
  return [...new Map(indices.map((index) => [encodeHex(index), index])).values()];
}

/** A map on disk beside the tree it must equal. */
class TwoMaps {
  readonly tree = new PrefixTree();
  readonly settled = new Map<number, { readonly tree: PrefixTree; readonly root: Hash }>();
  readonly #tips = new Map<string, Tip>();
  readonly #directory: string;
  readonly #cache = new TileCache(50);
  /** Leaves that `readTiles` found right below the top, and further down. */
  foundInTiles = 0;
  foundInDeeper = 0;
  epoch = 0;
  #settledBefore = 0;
  /** As readers have it: all of it at the start, then what each epoch changed. */
  #top: Top;

  store: Store;
  writer: MapWriter;

  private constructor(directory: string, store: Store, writer: MapWriter) {
    this.#directory = directory;
    this.store = store;
    this.writer = writer;
    this.#top = changeTop([], writer.packedTop());
  }

  static async create(directory: string): Promise<TwoMaps> {
    const store = await createLevelStore(directory);
    await store.commit({ puts: MapWriter.create() });
    return new TwoMaps(directory, store, await MapWriter.open(store, 0, new Uint8Array(32)));
  }

  async closeEpoch(indices: readonly Hash[], isSettling: boolean): Promise<void> {
    this.epoch += 1;
    const sorted = [...indices].sort(compareBytes);
    const rows: ChangeRow[] = [];
    const leaves: StoredLeaf[] = sorted.map((index, row) => {
      const before = this.#tips.get(encodeHex(index)) ?? EMPTY_TIP;
      const [position, commitment] = [positionOf(this.epoch, row), sha256(utf8(`${this.epoch}/${row}`))];
      const tip = appendToTip(before, commitment, position);
      this.#tips.set(encodeHex(index), tip);
      rows.push({ index, before, commitments: [commitment] });
      return { index, n: tip.size, historyRoot: rootOfTip(tip), position };
    });
    const expected = this.tree.proveBatch(sorted);
    const change = this.writer.apply(leaves, { epoch: this.epoch, isSettling, settledBefore: this.#settledBefore });
    assert.deepEqual(new Uint8Array(change.proof), expected, "batch proof");
    for (const { index, n, historyRoot } of leaves) this.tree.set(index, n, historyRoot);
    assert.equal(encodeHex(change.root), encodeHex(this.tree.root));
    this.#top = changeTop(this.#top, change.changedTop);
    await this.store.commit({
      puts: [...change.puts, ...encodeChanges(this.epoch, rows).puts],
      deletes: change.deletes,
    });
    if (!isSettling) return;
    this.#settledBefore = this.epoch;
    this.settled.set(this.epoch, { tree: new PrefixTree(this.tree), root: this.tree.root });
  }

  async restart(): Promise<void> {
    await this.store.close();
    this.store = await openLevelStore(this.#directory);
    const { epochsBelowTop: before } = this.writer;
    this.writer = await MapWriter.open(this.store, this.epoch, this.tree.root);
    assert.equal(Buffer.compare(Buffer.from(before.buffer), Buffer.from(this.writer.epochsBelowTop.buffer)), 0);
    this.#top = changeTop([], this.writer.packedTop());
  }

  /** Keeps the stored tiles below the top on the way to an index, down to the one that has its leaf. */
  readTiles(index: Hash, tiles: Map<Hash, readonly StoredForm[]>): void {
    const forms = this.formsTowards(index);
    if (forms.length === 0) return;
    tiles.set(index, forms);
    const end = findInStored(forms.at(-1)!.bytes, TOP_DEPTH + TILE_HEIGHT * (forms.length - 1), index);
    assert.deepEqual(end, this.read().find(index));
    if (end === undefined) return;
    if (forms.length > 1) this.foundInDeeper += 1;
    else this.foundInTiles += 1;
  }

  /** The newest stored tiles below the top on the way to an index, the uppermost first. */
  formsTowards(index: Hash): readonly StoredForm[] {
    const forms: StoredForm[] = [];
    let next: ReturnType<typeof findInStored> = this.writer.epochsBelowTop[bitsOf(index, TOP_DEPTH)];
    for (let depth = TOP_DEPTH; typeof next === "number"; depth += TILE_HEIGHT) {
      const bytes = this.store.get(tileKey(next, { prefix: index, depth }));
      if (bytes === undefined) {
        assert(depth === TOP_DEPTH && next === 0, "only where there is no tile");
        break;
      }
      forms.push({ writtenIn: next, bytes });
      next = findInStored(bytes, depth, index);
    }
    return forms;
  }

  /** Keys of the forms that a stored tile leads to, with its own; those below the top only if `isWhole`. */
  reachedFrom(epoch: number, place: TilePlace, isWhole: boolean, reached = new Set<string>()): Set<string> {
    const key = tileKey(epoch, place);
    const tile = new Tile(place.prefix, place.depth);
    readTile(tile, this.store.get(key)!, []);
    reached.add(encodeHex(key));
    for (let slot = 1; slot < SLOTS; slot++) {
      if (tile.kinds[slot] !== LINK || (leadsOut(tile, slot) && !isWhole)) continue;
      const below = { prefix: tile.childPrefix(slot), depth: tile.depth + TILE_HEIGHT };
      this.reachedFrom(tile.epochBelow(slot), below, isWhole, reached);
    }
    return reached;
  }

  /** Every stored form is one of the newest map, or named once among those that were superseded, and needed by a settled map. */
  async checkForms(): Promise<number> {
    const ofKind = async (kind: string): Promise<readonly KeyValue[]> =>
      await this.store.range(kindKey(kind), afterKind(kind), 100_000);
    const [saved = NaN] = numbersOfKey(this.store.get(TOP_KEY)!);
    const newest = this.reachedFrom(saved, emptyTile(), false);
    for (const tile of this.#top) {
      if (tile === undefined) continue;
      for (let slot = 1; slot < SLOTS; slot++) {
        if (!leadsOut(tile, slot)) continue;
        const below = { prefix: tile.childPrefix(slot), depth: TOP_DEPTH };
        this.reachedFrom(tile.epochBelow(slot), below, true, newest);
      }
    }
    const settled = new Set<string>();
    for (const [epoch, { tree }] of this.settled) {
      if (epoch > 0 || tree.root.some((byte) => byte > 0)) this.reachedFrom(epoch, emptyTile(), true, settled);
    }
    // The map of epoch 0, which is a settling one.
    settled.add(encodeHex(tileKey(0, emptyTile())));
    const superseded = (await ofKind(SUPERSEDED_KIND)).flatMap(({ value }) => parseSuperseded(value).map(encodeHex));
    assert.deepEqual(
      (await ofKind(TILE_KIND)).map(({ key }) => encodeHex(key)),
      [...newest, ...superseded].sort(),
    );
    for (const form of superseded) assert(settled.has(form), "no settled map needs it");
    return superseded.length;
  }

  /** The map of the newest epoch. */
  read(): MapReader {
    return readMap(this.#top, this.tree.root, this.store, this.#cache);
  }

  check(indices: readonly Hash[]): void {
    checkReader(this.read(), this.tree, indices);
    for (const [epoch, { tree, root }] of this.settled) {
      checkReader(readSettledMap(epoch, root, this.store, this.#cache), tree, indices);
    }
  }
}

function checkReader(reader: MapReader, tree: PrefixTree, indices: readonly Hash[]): void {
  for (const index of indices) {
    // First, while its tiles are still to be read.
    const walked = reader.prove(index);
    const leaf = tree.get(index);
    const found = reader.find(index);
    assert.equal(found?.n, leaf?.n);
    const proof = encodeMapProof(proveMap(reader, index));
    assert.deepEqual(proof, encodeMapProof(tree.prove(index)));
    assert.deepEqual([encodeHex(walked.proof), walked.leaf], [encodeHex(proof), found]);
    assert.deepEqual(verifyMapProof(parseMapProof(proof), index, leaf), tree.root);
  }
}

describe("the map in tiles", () => {
  let directory: string;
  let maps: TwoMaps;
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), "ckv-map-"));
    maps = await TwoMaps.create(join(directory, "db"));
  });
  afterEach(async () => {
    await maps.store.close();
    rmSync(directory, { recursive: true, force: true });
  });

  for (const seed of ["sparse", "deep", "long"]) {
    it(`has the roots and proofs of the prefix tree: ${seed}`, async () => {
      const roll = dice(seed);
      const indices =
        seed === "sparse" ? Array.from({ length: 300 }, (_, i) => sha256(utf8(`${i}`))) : crowdedIndices(70, roll);
      const readBefore = new Map<Hash, readonly StoredForm[]>();
      for (let epoch = 1; epoch <= (seed === "long" ? 40 : 15); epoch++) {
        const changed = indices.filter(() => roll(seed === "long" ? 20 : 6) === 0);
        maps.writer.load(changed.map((index) => ({ index, forms: readBefore.get(index) ?? [] })));
        for (const index of indices) if (roll(3) === 0) maps.readTiles(index, readBefore);
        await maps.closeEpoch(changed, roll(4) === 0);
        if (roll(4) === 0) await maps.restart();
      }
      assert(seed === "sparse" || (maps.foundInTiles > 0 && maps.foundInDeeper > 0));
      maps.check(indices);
      assert((await maps.checkForms()) > 0);
      await maps.restart();
      maps.check(indices);
      await maps.checkForms();
    });
  }

  it("keeps the map of a settling epoch that came before every leaf", async () => {
    await maps.closeEpoch([], true);
    const index = sha256(utf8("first"));
    await maps.closeEpoch([index], false);
    await maps.closeEpoch([index, sha256(utf8("second"))], true);
    await maps.closeEpoch([index], false);
    maps.check([index, sha256(utf8("second")), sha256(utf8("none"))]);
  });

  it("keeps the maps of settling epochs between which nothing changed, and opens after them", async () => {
    const indices = crowdedIndices(20, dice("quiet"));
    await maps.closeEpoch(indices, true);
    for (let i = 0; i < 2; i++) await maps.closeEpoch([], true);
    maps.check(indices);
    await maps.restart();
    await maps.closeEpoch(indices.slice(0, 3), false);
    maps.check(indices);
    await maps.checkForms();
  });

  it("is walked to its end whatever is asked meanwhile", async () => {
    const indices = crowdedIndices(70, dice("meanwhile"));
    await maps.closeEpoch(indices, false);
    const reader = maps.read();
    const found: string[] = [];
    const walk = (node: MapNode): void => {
      const seen = reader.look(node);
      if (seen.kind === "leaf") found.push(encodeHex(seen.leaf.index));
      if (seen.kind !== "inner") return;
      // Lookups interrupt a walk, as that of a dump, when it has just entered a tile that one of them had read before.
      if (seen.left.slot === 2) for (const index of indices.slice(0, 20)) reader.prove(index);
      walk(seen.left);
      walk(seen.right);
    };
    walk(reader.top);
    assert.deepEqual(found, indices.map(encodeHex).sort());
  });

  it("builds on no hash and no leaf of which a bit flipped in memory since it was checked", async () => {
    const indices = Array.from({ length: 12 }, (_, i) => sha256(utf8(`${i}`)));
    await maps.closeEpoch(indices, false);
    const [tile] = maps.writer.top;
    const target = indices[0]!;
    const path: number[] = [];
    for (let slot = tile!.slotOf(target); slot >= 1; slot >>= 1) path.push(slot);
    const needed = path
      .flatMap((slot) => (slot > 1 ? [slot, slot ^ 1] : [slot]))
      .filter((slot) => tile!.kinds[slot]! > 0);
    assert(needed.length > 4);
    const refused = async (): Promise<void> => {
      const root = tile!.hashAt(1);
      await assert.rejects(maps.closeEpoch([target], false), {
        name: "IntegrityError",
        message: /came out differently/,
      });
      maps.epoch -= 1;
      assert.deepEqual(tile!.hashAt(1), root, "nothing was changed");
    };
    for (const slot of needed) {
      for (let bit = 0; bit < 256; bit += 5) {
        tile!.hashes[8 * slot + (bit >> 5)]! ^= 1 << (bit & 31);
        await refused();
        tile!.hashes[8 * slot + (bit >> 5)]! ^= 1 << (bit & 31);
      }
    }
    const leaf = tile!.leaves[path[0]!]!;
    for (let bit = 0; bit < 72 * 8; bit += 7) {
      // A bit of the index that leads elsewhere is no longer this leaf's, and the one found is a damaged neighbour.
      leaf[bit >> 3]! ^= 1 << (bit & 7);
      await refused();
      leaf[bit >> 3]! ^= 1 << (bit & 7);
    }
    maps.writer = await MapWriter.open(maps.store, maps.epoch, maps.tree.root);
    await maps.closeEpoch([target], false);
  });

  it("builds on no tile below the top of which a bit flipped while it waited for its epoch", async () => {
    const index = sha256(utf8("one"));
    const neighbour = Uint8Array.from(index);
    neighbour[TOP_DEPTH >> 3]! ^= 1;
    await maps.closeEpoch([index, neighbour], false);
    const [form] = maps.formsTowards(index);
    const leafAt = Buffer.from(form!.bytes).indexOf(index);
    for (let bit = 0; bit < 8 * LEAF_CONTENT_BYTES; bit += 7) {
      const bytes = Uint8Array.from(form!.bytes);
      maps.writer.load([{ index, forms: [{ ...form!, bytes }] }]);
      bytes[leafAt + (bit >> 3)]! ^= 1 << (bit & 7);
      await assert.rejects(maps.closeEpoch([index], false), {
        name: "IntegrityError",
        message: /does not have the hash/,
      });
      maps.epoch -= 1;
      maps.writer = await MapWriter.open(maps.store, maps.epoch, maps.tree.root);
    }
    maps.writer.load([{ index, forms: [form!] }]);
    await maps.closeEpoch([index], false);
  });

  it("takes no earlier form of a tile for the one that the map has, wherever it is read", async () => {
    const index = sha256(utf8("one"));
    const neighbour = Uint8Array.from(index);
    neighbour[TOP_DEPTH >> 3]! ^= 1;
    await maps.closeEpoch([index, neighbour], true);
    const [earlier] = maps.formsTowards(index);
    await maps.closeEpoch([index], true);
    await maps.restart();
    const [newest] = maps.formsTowards(index);
    assert.deepEqual([earlier!.writtenIn, newest!.writtenIn], [1, 2]);
    const key = tileKey(newest!.writtenIn, { prefix: index, depth: TOP_DEPTH });
    await maps.store.commit({ puts: [{ key, value: earlier!.bytes }] });
    const refusal = { name: "IntegrityError", message: /does not have the hash/ };
    assert.throws(() => maps.read().prove(index), refusal);
    assert.throws(() => readSettledMap(2, maps.tree.root, maps.store, new TileCache(50)).prove(index), refusal);
    await assert.rejects(maps.closeEpoch([index], false), refusal);
  });

  it("does not read again what was loaded, however deep", async () => {
    const index = sha256(utf8("one"));
    const neighbour = Uint8Array.from(index);
    const depths = [TOP_DEPTH, TOP_DEPTH + TILE_HEIGHT, TOP_DEPTH + 2 * TILE_HEIGHT];
    const last = TOP_DEPTH + 2 * TILE_HEIGHT + 1;
    neighbour[last >> 3]! ^= 0x80 >> (last & 7);
    await maps.closeEpoch([index, neighbour], false);
    const forms = maps.formsTowards(index);
    assert.equal(forms.length, depths.length);
    const [tileKind] = kindKey(TILE_KIND);
    const read: number[] = [];
    const reads = {
      get: (key: Uint8Array) => {
        if (key[0] === tileKind) read.push(key.at(-1)!);
        return maps.store.get(key);
      },
      range: maps.store.range.bind(maps.store),
    };
    for (let loaded = 0; loaded <= depths.length; loaded++) {
      maps.writer = await MapWriter.open(reads, maps.epoch, maps.tree.root);
      read.length = 0;
      maps.writer.load([{ index, forms: forms.slice(0, loaded) }]);
      assert.equal(maps.writer.find(index)?.n, 1);
      assert.deepEqual(read, depths.slice(loaded));
    }
    const [upper, lower] = forms;
    maps.writer = await MapWriter.open(reads, maps.epoch, maps.tree.root);
    read.length = 0;
    maps.writer.load([{ index, forms: [upper!, { ...lower!, writtenIn: 0 }] }]);
    assert.equal(maps.writer.find(index)?.n, 1);
    assert.deepEqual(read, depths.slice(1), "what is not the one that the tile above says");
  });

  it("keeps what changed in the top until that is saved, and opens with nothing else", async () => {
    const indices = crowdedIndices(40, dice("links"));
    const stored = async (): Promise<readonly KeyValue[]> =>
      await maps.store.range(topEditsKey(0), topEditsKey(maps.epoch + 1), 100);
    for (let i = 0; i < 3; i++) await maps.closeEpoch(indices, false);
    assert.deepEqual(
      (await stored()).map(({ key }) => numbersOfKey(key)),
      [[1], [2], [3]],
    );
    const open = async (change: Commit): Promise<MapWriter> => {
      const before = await stored();
      await maps.store.commit(change);
      try {
        return await MapWriter.open(maps.store, maps.epoch, maps.tree.root);
      } finally {
        await maps.store.commit({ puts: before });
      }
    };
    assert.deepEqual((await open({})).packedTop(), maps.writer.packedTop());
    const [last] = (await stored()).slice(-1);
    const { leaves } = parseTopEdits(last!.value);
    const positions = leaves.map((_, i) => 4 + LEAF_BYTES * (i + 1) - 8);
    for (let at = 0; at < last!.value.length; at++) {
      // Which row set a leaf is no part of the root; `fsck` looks at that.
      if (positions.some((start) => at >= start && at < start + 8)) continue;
      const value = Uint8Array.from(last!.value);
      value[at]! ^= 1 << (at & 7);
      await assert.rejects(open({ puts: [{ key: last!.key, value }] }), IntegrityError, `byte ${at}`);
    }
    await assert.rejects(open({ puts: [{ key: last!.key, value: last!.value.subarray(1) }] }), IntegrityError);
    await assert.rejects(open({ deletes: [last!.key] }), IntegrityError);
    await maps.closeEpoch(indices, true);
    assert.deepEqual(await stored(), []);
    await maps.restart();
    maps.check(indices);
  });

  it("saves the top after many changes", async () => {
    const { store, writer } = maps;
    const saved: (number | undefined)[] = [];
    for (let epoch = 1; epoch <= 7; epoch++) {
      const indices = Array.from({ length: 9_500 }, (_, i) => sha256(utf8(`${epoch % 3}/${i}`))).sort(compareBytes);
      const rows = indices.map((index) => ({ index, before: EMPTY_TIP, commitments: [index] }));
      const leaves = indices.map((index, row) => {
        const position = positionOf(epoch, row);
        return { index, n: 1, historyRoot: rootOfTip(appendToTip(EMPTY_TIP, index, position)), position };
      });
      const { puts, deletes, root } = writer.apply(leaves, { epoch, isSettling: false, settledBefore: 0 });
      await store.commit({ puts: [...puts, ...encodeChanges(epoch, rows).puts], deletes });
      saved.push(numbersOfKey(store.get(TOP_KEY)!)[0]);
      const edits = await store.range(topEditsKey(0), topEditsKey(epoch + 1), 10);
      assert.equal(edits.length, epoch - (saved.at(-1) ?? 0));
      assert.deepEqual((await MapWriter.open(store, epoch, root)).packedTop(), writer.packedTop());
    }
    assert.deepEqual(saved, [0, 0, 0, 0, 0, 0, 7]);
  });

  it("joins no batch proof that lacks a tile", () => {
    const [index, tile, prover] = [sha256(utf8("below")), new Tile(new Uint8Array(32), 0), new BatchProver()];
    tile.setLink(1, new Int32Array(8), 0, 0);
    assert.throws(() => prover.join({ proof: prover.prove(tile, [index], 0, 1), below: [] }), RangeError);
  });

  it("refuses to open with another root than the signed one", async () => {
    await maps.closeEpoch([sha256(utf8("a")), sha256(utf8("b"))], false);
    await assert.rejects(MapWriter.open(maps.store, maps.epoch, sha256(utf8("other"))), IntegrityError);
  });
});
