import assert from "node:assert/strict";
import fc from "fast-check";
import { concat, utf8 } from "../../../shared/encoding.ts";
import {
  encodeEntryBundle,
  entryTile,
  hashReaderFromTiles,
  hashTile,
  parseEntryBundle,
  parseTilePath,
  type Tile,
  TILE_WIDTH,
  tileOfNode,
  tilePath,
  tilesForConsistency,
  tilesForInclusion,
} from "../../../shared/log/tiles.ts";
import { proveConsistency } from "../../../shared/merkle/consistency.ts";
import { proveInclusion } from "../../../shared/merkle/inclusion.ts";
import { hashReaderOf, leafHash, LOG_DOMAINS } from "../../../shared/merkle/tree.ts";
import { assertOnlyMalformed, assertRefused } from "../../support/mutations.ts";

const SIZE = 70_000;
const leaves = Array.from({ length: SIZE }, (_, i) => leafHash(LOG_DOMAINS, utf8(`entry ${i}`)));
const read = hashReaderOf(LOG_DOMAINS, leaves);

function tileBytes({ level, index, width }: Tile): Uint8Array {
  const row = Number(level) * 8;
  return concat(...Array.from({ length: width }, (_, i) => read(row, index * TILE_WIDTH + i)));
}

function fetched(tiles: readonly Tile[]): Map<string, Uint8Array> {
  return new Map(tiles.map((tile) => [tilePath(tile), tileBytes(tile)]));
}

describe("shared/log/tiles", () => {
  it("names tiles as the specification does", () => {
    const names: readonly (readonly [Tile, string])[] = [
      [{ level: 0, index: 0, width: 256 }, "tile/0/000"],
      [{ level: 3, index: 1_234_067, width: 8 }, "tile/3/x001/x234/067.p/8"],
      [{ level: "entries", index: 273, width: 1 }, "tile/entries/273.p/1"],
      [{ level: 0, index: 1_000, width: 256 }, "tile/0/x001/000"],
    ];
    for (const [tile, path] of names) {
      assert.equal(tilePath(tile), path);
      assert.deepEqual(parseTilePath(path), tile);
    }
  });

  it("takes one path for one tile", () => {
    const level = fc.oneof(fc.integer({ min: 0, max: 6 }), fc.constant("entries" as const));
    const index = fc.oneof(fc.integer({ min: 0, max: 2_000 }), fc.integer({ min: 0, max: 2 ** 53 - 1 }));
    fc.assert(
      fc.property(level, index, fc.integer({ min: 1, max: 256 }), (anyLevel, anyIndex, width) => {
        const tile = { level: anyLevel, index: anyIndex, width };
        assert.deepEqual(parseTilePath(tilePath(tile)), tile);
      }),
    );
    for (const path of [
      "tile/0/0",
      "tile/0/x000/000",
      "tile/0/001/000",
      "tile/7/000",
      "tile/-1/000",
      "tile/0/000.p/0",
      "tile/0/000.p/256",
      "tile/0/000.p/01",
      "tile/0/000.p/",
      "/tile/0/000",
      "tile/0/000/",
      "tile/0/x999/x999/x999/x999/x999/999",
      "tile/entries/000\n",
    ]) {
      assertRefused(() => parseTilePath(path), "malformed", path);
    }
    assertOnlyMalformed(
      fc.string({ unit: fc.constantFrom("tile/", "0", "x", "/", "000", ".p/", "entries") }),
      parseTilePath,
      3_000,
    );
  });

  it("proves from tiles what is proven from all leaves", () => {
    const sizes = [1, 2, 255, 256, 257, 511, 1_000, 65_535, 65_536, 65_537, SIZE];
    for (const size of sizes) {
      for (const index of [0, 1, 254, 255, 256, 65_535, size - 1].filter((i) => i < size)) {
        const fromTiles = hashReaderFromTiles(fetched(tilesForInclusion(index, size)), size);
        assert.deepEqual(
          proveInclusion(LOG_DOMAINS, fromTiles, index, size),
          proveInclusion(LOG_DOMAINS, read, index, size),
        );
      }
      for (const size1 of sizes.filter((s) => s <= size)) {
        const fromTiles = hashReaderFromTiles(fetched(tilesForConsistency(size1, size)), size);
        assert.deepEqual(
          proveConsistency(LOG_DOMAINS, fromTiles, size1, size),
          proveConsistency(LOG_DOMAINS, read, size1, size),
        );
      }
    }
  });

  it("refuses tiles that are absent or of another length", () => {
    const tiles = tilesForConsistency(1_000, SIZE);
    const all = fetched(tiles);
    const prove = (some: Map<string, Uint8Array>): unknown =>
      proveConsistency(LOG_DOMAINS, hashReaderFromTiles(some, SIZE), 1_000, SIZE);
    for (const path of all.keys()) {
      const without = new Map(all);
      without.delete(path);
      assertRefused(() => prove(without), "malformed", `without ${path}`);
      assertRefused(() => prove(new Map(all).set(path, all.get(path)!.slice(32))), "malformed", `short ${path}`);
      assertRefused(
        () => prove(new Map(all).set(path, concat(all.get(path)!, new Uint8Array(32)))),
        "malformed",
        `long ${path}`,
      );
    }
  });

  it("knows how wide a tile is at a size", () => {
    assert.deepEqual(hashTile(0, 273, 70_000), { level: 0, index: 273, width: 112 });
    assert.deepEqual(hashTile(1, 1, 70_000), { level: 1, index: 1, width: 17 });
    assert.deepEqual(entryTile(69_999, 70_000), { level: "entries", index: 273, width: 112 });
    assert.deepEqual(tileOfNode({ level: 9, index: 2 }, 70_000), { level: 1, index: 0, width: 256 });
    assert.throws(() => hashTile(0, 274, 70_000), RangeError);
  });

  it("reads back the entries of a bundle", () => {
    const entries = fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(entries, (any) => {
        assert.deepEqual(parseEntryBundle(encodeEntryBundle(any), any.length), any);
        assertRefused(() => parseEntryBundle(encodeEntryBundle(any), any.length + 1), "malformed");
        assertRefused(() => parseEntryBundle(encodeEntryBundle(any), any.length - 1), "malformed");
      }),
    );
    assertOnlyMalformed(fc.uint8Array(), (bytes) => parseEntryBundle(bytes, 2));
  });
});
