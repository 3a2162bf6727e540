import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { beforeEach, describe, it } from "mocha";
import { HASH_WORDS, setHashWords } from "../../../appservice/store/fixed-hash.ts";
import { EDGE, encodeLeaf, encodeTile, INNER, LEAF, LINK, SLOTS, Tile } from "../../../appservice/store/map-tiles.ts";
import { parseTile, readInto, TileChecks, TileHashes } from "../../../appservice/store/tile-hashes.ts";
import { sha256 } from "../../../shared/crypto/hash.ts";
import { encodeHex, utf8 } from "../../../shared/encoding.ts";
import { PrefixTree } from "../../../shared/map/prefix-tree.ts";

const FIRST = { prefix: new Uint8Array(32), depth: 0 };
const EVERY_SLOT = Array.from({ length: SLOTS - 1 }, (_, i) => i + 1);

/** A tile with these leaves, but for those whose slot on the edge would be another's, and a tree of the same. */
function tileOf(names: readonly string[]): { tile: Tile; tree: PrefixTree } {
  const [tile, tree] = [new Tile(FIRST.prefix, FIRST.depth), new PrefixTree()];
  const taken = new Set<number>();
  names.forEach((name, i) => {
    const leaf = { index: sha256(utf8(name)), n: i + 1, historyRoot: sha256(utf8(`root of ${name}`)), position: i };
    const edge = leaf.index[0]! >> 2;
    if (taken.has(edge)) return;
    taken.add(edge);
    let slot = tile.slotOf(leaf.index);
    while (tile.kinds[slot] === LEAF) {
      tile.splitLeaf(slot);
      slot = tile.slotOf(leaf.index);
    }
    tile.setLeaf(slot, encodeLeaf(leaf));
    tree.set(leaf.index, leaf.n, leaf.historyRoot);
  });
  return { tile, tree };
}

describe("hashes of tiles", () => {
  it("are those of the prefix tree, of one tile or of many together", () => {
    const [many, expected] = [new TileHashes(), [] as string[]];
    const tiles = Array.from({ length: 40 }, (_, count) => {
      const { tile, tree } = tileOf(Array.from({ length: count }, (_each, i) => `${count}/${i}`));
      const stored = encodeTile(tile);
      assert.equal(encodeHex(parseTile(FIRST, stored).hashAt(1)), encodeHex(tree.root));
      expected.push(encodeHex(tree.root));
      // Whatever was in that memory before.
      const used = new Tile(FIRST.prefix, FIRST.depth);
      used.hashes.fill(-1);
      used.kinds.fill(INNER);
      readInto(used, stored, many);
      return used;
    });
    many.compute();
    assert.deepEqual(
      tiles.map((tile) => encodeHex(tile.hashAt(1))),
      expected,
    );
  });

  describe("are checked", () => {
    let tile: Tile;
    let stored: Uint8Array;
    let leaves: readonly Uint8Array[];
    beforeEach(() => {
      const some = tileOf(Array.from({ length: 60 }, (_, i) => `${i}`)).tile;
      const edge = EVERY_SLOT.find((slot) => slot >= EDGE && some.kinds[slot] === LEAF)!;
      leaves = EVERY_SLOT.flatMap((slot) => some.leaves[slot] ?? []);
      const below = new Int32Array(HASH_WORDS);
      setHashWords(below, 0, randomBytes(32), 0);
      some.setLink(edge, below, 0, 1);
      stored = encodeTile(some);
      tile = parseTile(FIRST, stored);
    });

    const check = (add: (checks: TileChecks) => void): void => {
      const checks = new TileChecks();
      add(checks);
      checks.finish();
    };
    const everyCheck: readonly (readonly [string, () => void])[] = [
      [
        "on the way to leaves",
        (): void => {
          check((checks) => {
            checks.addPaths(tile, leaves, 0, leaves.length);
          });
        },
      ],
      [
        "in slots that changed",
        (): void => {
          check((checks) => {
            checks.addSlots(tile, EVERY_SLOT);
          });
        },
      ],
      [
        "against the stored form",
        (): void => {
          check((checks) => {
            checks.addStored(tile, EVERY_SLOT, stored);
          });
        },
      ],
    ];

    for (const [where, run] of everyCheck) {
      it(`${where}: no bit of a hash or of a leaf may differ`, () => {
        run();
        const refused = (): void => {
          assert.throws(run, { name: "IntegrityError", message: /came out differently/ });
        };
        const there = EVERY_SLOT.filter((slot) => isOnPath(tile, slot));
        assert(there.some((slot) => tile.kinds[slot] === LINK) && there.length > 60);
        for (const slot of there) {
          for (let bit = 0; bit < 256; bit += 3) {
            tile.hashes[HASH_WORDS * slot + (bit >> 5)]! ^= 1 << (bit & 31);
            refused();
            tile.hashes[HASH_WORDS * slot + (bit >> 5)]! ^= 1 << (bit & 31);
          }
          const leaf = tile.kinds[slot] === LEAF ? tile.leafAt(slot) : [];
          for (let bit = 8; bit < 8 * Math.min(leaf.length, 72); bit += 5) {
            leaf[bit >> 3]! ^= 1 << (bit & 7);
            refused();
            leaf[bit >> 3]! ^= 1 << (bit & 7);
          }
        }
        run();
      });
    }

    it("against the stored form, of which no bit may differ, nor its length", () => {
      for (let bit = 8 * 16; bit < 8 * stored.length; bit++) {
        const other = Uint8Array.from(stored);
        other[bit >> 3]! ^= 1 << (bit & 7);
        assert.throws(
          () => {
            check((checks) => {
              checks.addStored(tile, EVERY_SLOT, other);
            });
          },
          { name: "IntegrityError" },
        );
      }
      const longer = Uint8Array.from([...stored, 0]);
      assert.throws(
        () => {
          check((checks) => {
            checks.addStored(tile, EVERY_SLOT, longer);
          });
        },
        { name: "IntegrityError" },
      );
    });
  });
});

/** Whether a slot is part of the tile, and not an empty one. */
function isOnPath(tile: Tile, slot: number): boolean {
  for (let above = slot >> 1; above >= 1; above >>= 1) if (tile.kinds[above] !== INNER) return false;
  return [INNER, LEAF, LINK].includes(tile.kinds[slot]!);
}
