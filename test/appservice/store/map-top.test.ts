/** The top of the map for readers: what is held never changes, and memory is used again only when nobody holds it. */
import assert from "node:assert/strict";
import { describe, it } from "mocha";
import { HASH_WORDS } from "../../../appservice/store/fixed-hash.ts";
import { changeTop, leadsOut, ReaderTops, TopPacker } from "../../../appservice/store/map-top.ts";
import type { HeldTop, Top, TopChanges } from "../../../appservice/store/map-top.ts";
import { EDGE, LEAF, LEAF_BYTES, LINK, NONE, SLOTS } from "../../../appservice/store/map-tiles.ts";
import type { Tile } from "../../../appservice/store/map-tiles.ts";

/** Numbers of tiles, the last of them on the lower edge of the top. */
const TILES = [0, 1, 2, 3, 4, 5, 64, 65, 66, 67, 4_159, 4_160];
/** The first on that edge. */
const LOWEST = 65;

/** Deterministic numbers below `bound`, so that a failure can be repeated. */
function dice(seed: number): (bound: number) => number {
  let state = seed;
  return (bound) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}

/** Some slots of some tiles, each with something new in it. */
function randomChanges(roll: (bound: number) => number): TopChanges {
  const [tiles, slots, hashes, leaves, epochs]: number[][] = [[], [], [], [], []];
  for (const number of TILES) {
    if (roll(3) > 0) continue;
    const chosen = Array.from({ length: SLOTS }, (_, slot) => slot).filter((slot) => slot > 0 && roll(20) === 0);
    tiles!.push(number, chosen.length);
    for (const slot of chosen) {
      const kind = [NONE, LEAF, slot < EDGE ? NONE : LINK][roll(3)]!;
      slots!.push(slot, kind);
      for (let word = 0; word < HASH_WORDS; word++) hashes!.push(roll(2 ** 31));
      if (kind === LEAF) for (let i = 0; i < LEAF_BYTES; i++) leaves!.push(roll(256));
      if (kind === LINK && number >= LOWEST) epochs!.push(roll(2 ** 30));
    }
  }
  return {
    tiles: Uint16Array.from(tiles!),
    slots: Uint8Array.from(slots!),
    hashes: Int32Array.from(hashes!),
    leaves: Uint8Array.from(leaves!),
    epochs: Float64Array.from(epochs!),
  };
}

function contentOf(top: Top): unknown {
  return top.map(
    (tile) =>
      tile && {
        place: [Buffer.from(tile.prefix).toString("hex"), tile.depth],
        kinds: Buffer.from(tile.kinds).toString("hex"),
        hashes: Buffer.from(tile.hashes.buffer, tile.hashes.byteOffset, tile.hashes.byteLength).toString("hex"),
        leaves: Array.from({ length: SLOTS }, (_, slot) => Buffer.from(tile.leaves[slot] ?? []).toString("hex")),
        epochs: Array.from({ length: SLOTS }, (_, slot) => (leadsOut(tile, slot) ? tile.epochBelow(slot) : undefined)),
      },
  );
}

describe("the top of the map for readers", () => {
  for (const seed of [1, 2]) {
    it(`stays as it was for whoever holds it, run ${seed}`, () => {
      const roll = dice(seed);
      const tops = new ReaderTops();
      let [expected, changes]: [Top, number] = [[], 0];
      let held: { readonly mine: HeldTop; readonly expected: Top }[] = [];
      const seen = new Set<Tile>();
      for (let epoch = 0; epoch < 30; epoch++) {
        const change = randomChanges(roll);
        changes += change.tiles.length / 2;
        expected = changeTop(expected, change);
        held.push({ mine: tops.change(change), expected });
        for (const tile of held.at(-1)!.mine.top) if (tile !== undefined) seen.add(tile);
        // The newest is always held; others are let go in any order, and some stay for long.
        const kept = held.filter((_, i) => i === held.length - 1 || (i === 0 ? roll(8) > 0 : roll(2) === 0));
        for (const each of held) if (!kept.includes(each)) each.mine.release();
        held = kept;
        for (const each of held) assert.deepEqual(contentOf(each.mine.top), contentOf(each.expected));
      }
      assert(seen.size < 0.8 * changes, `memory is used again: ${seen.size} tiles for ${changes} changed ones`);
    });
  }

  it("is what was packed", () => {
    const roll = dice(3);
    let top: Top = [];
    for (let epoch = 0; epoch < 40; epoch++) top = changeTop(top, randomChanges(roll));
    const packer = new TopPacker();
    for (const tile of top) if (tile !== undefined) packer.addWhole(tile);
    const packed = packer.finish();
    assert(packed.epochs.length > 10);
    // Of an empty slot that was something else before, a hash is left.
    for (const tile of top) {
      tile?.kinds.forEach((kind, slot) => {
        if (kind === NONE) tile.setNone(slot);
      });
    }
    assert.deepEqual(contentOf(changeTop([], packed)), contentOf(top));
  });

  it("can be released twice", () => {
    const tops = new ReaderTops();
    const [first, second] = [tops.change(randomChanges(dice(4))), tops.change(randomChanges(dice(5)))];
    const before = contentOf(second.top);
    first.release();
    first.release();
    tops.change(randomChanges(dice(6)));
    assert.deepEqual(contentOf(second.top), before);
  });
});
