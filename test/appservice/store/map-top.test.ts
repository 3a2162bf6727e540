/** The top of the map for readers: what is held never changes, and memory is used again only when nobody holds it. */
import assert from "node:assert/strict";
import { describe, it } from "mocha";
import { HASH_WORDS } from "../../../appservice/store/fixed-hash.ts";
import { changeTop, ReaderTops } from "../../../appservice/store/map-top.ts";
import type { HeldTop, Top, TopChanges } from "../../../appservice/store/map-top.ts";
import { LEAF, LEAF_BYTES, LINK, NONE, SLOTS } from "../../../appservice/store/map-tiles.ts";
import type { Tile } from "../../../appservice/store/map-tiles.ts";

const TILES = 12;

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
  const [tiles, slots, hashes, leaves]: number[][] = [[], [], [], []];
  for (let number = 0; number < TILES; number++) {
    if (roll(3) > 0) continue;
    const chosen = Array.from({ length: SLOTS }, (_, slot) => slot).filter((slot) => slot > 0 && roll(20) === 0);
    tiles!.push(number, chosen.length);
    for (const slot of chosen) {
      const kind = [NONE, LEAF, LINK][roll(3)]!;
      slots!.push(slot, kind);
      for (let word = 0; word < HASH_WORDS; word++) hashes!.push(roll(2 ** 31));
      if (kind === LEAF) for (let i = 0; i < LEAF_BYTES; i++) leaves!.push(roll(256));
    }
  }
  return {
    tiles: Uint16Array.from(tiles!),
    slots: Uint8Array.from(slots!),
    hashes: Int32Array.from(hashes!),
    leaves: Uint8Array.from(leaves!),
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
