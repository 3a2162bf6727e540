import assert from "node:assert/strict";
import { equalBytes } from "../../../shared/encoding.ts";
import { VerificationError } from "../../../shared/errors.ts";
import {
  encodeEntryBundle,
  hashReaderFromTiles,
  parseEntryBundle,
  parseTilePath,
  tilePath,
} from "../../../shared/log/tiles.ts";
import { testLog } from "../fixtures.ts";
import { Choices } from "../edits.ts";
import type { FuzzTarget } from "../target.ts";
import { seedsOf, textOf, unlessRefused } from "../target.ts";

/** The path of a tile, a bundle of entries (first byte: its width), and a hash tile read at any place. */
export const target: FuzzTarget = {
  seeds: () => [
    ...seedsOf("tile/0/000", "tile/entries/x001/067.p/3", "tile/1/x123/x456/789.p/255", "tile/8/000.p/1"),
    Uint8Array.of(7, ...encodeEntryBundle(testLog().epochs.map(({ bytes }) => bytes))),
    Uint8Array.of(0, 1, 0, 1, 0),
  ],
  run(input) {
    const path = textOf(input);
    const tile = unlessRefused(() => parseTilePath(path), "malformed");
    if (tile !== undefined) assert.equal(tilePath(tile), path, "another path of the same tile");
    const choices = new Choices(input);
    const width = choices.u8() + 1;
    const bytes = choices.rest();
    const entries = unlessRefused(() => parseEntryBundle(bytes, width), "malformed");
    if (entries !== undefined) {
      assert.equal(entries.length, width);
      assert(equalBytes(encodeEntryBundle(entries), bytes), "another encoding of the same bundle");
    }
    readHash(new Choices(input));
  },
};

/** A hash of a tree whose only tile is what the fuzzer made: 32 bytes, or a refusal. */
function readHash(choices: Choices): void {
  const size = choices.below(256) + 1;
  const [level, index] = [choices.below(9), choices.below(256)];
  const inside = (index + 1) * 2 ** level <= size;
  if (!inside) return;
  const tiles = new Map([[size === 256 ? "tile/0/000" : `tile/0/000.p/${size}`, choices.rest()]]);
  try {
    assert.equal(hashReaderFromTiles(tiles, size)(level, index).length, 32);
  } catch (error) {
    if (!(error instanceof VerificationError && error.code === "malformed")) throw error;
  }
}
