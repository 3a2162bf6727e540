import { checkSafeInteger, Reader, Writer } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import { type Hash, HASH_BYTES } from "../crypto/hash.ts";
import { consistencyNodes } from "../merkle/consistency.ts";
import { pathNodes } from "../merkle/inclusion.ts";
import { type Coordinates, type HashReader, LOG_DOMAINS, nodeHash } from "../merkle/tree.ts";

/** Levels of the tree in one tile, and hashes in the lowest row of a full one, which is what a tile holds. */
export const TILE_HEIGHT = 8;
export const TILE_WIDTH = 256;

const ENTRIES = "entries";
/** Highest level that a tree of fewer than 2^53 leaves can have tiles for. */
const MAX_TILE_LEVEL = 6;

/** A tile of hashes, or of entries; `width` below 256 makes it partial. */
export interface Tile {
  readonly level: number | "entries";
  readonly index: number;
  readonly width: number;
}

/** The path of a tile below a log's prefix (C2SP tlog-tiles): digits in groups of three, all but the last after an x. */
export function tilePath({ level, index, width }: Tile): string {
  const groups =
    String(index)
      .padStart(Math.ceil(String(index).length / 3) * 3, "0")
      .match(/.{3}/g) ?? [];
  const partial = width === TILE_WIDTH ? "" : `.p/${width}`;
  const digits = groups.map((group, i) => (i < groups.length - 1 ? `x${group}` : group)).join("/");
  return `tile/${level}/${digits}${partial}`;
}

/** A tile from its path. Throws `malformed` unless `tilePath` writes that very path. */
export function parseTilePath(path: string): Tile {
  const parts = /^tile\/(entries|[0-9])\/((?:x[0-9]{3}\/){0,5}[0-9]{3})(?:\.p\/([1-9][0-9]{0,2}))?$/.exec(path);
  if (parts === null) throw malformed("not the path of a tile");
  const [, name = "", groups = "", partial] = parts;
  const level = name === ENTRIES ? ENTRIES : Number(name);
  const index = checkSafeInteger(Number(groups.replaceAll(/[x/]/g, "")), "the index of a tile");
  const tile: Tile = { level, index, width: partial === undefined ? TILE_WIDTH : Number(partial) };
  if (level !== ENTRIES && level > MAX_TILE_LEVEL) throw malformed("a tile of a level that no log reaches");
  if (tilePath(tile) !== path || tile.width > TILE_WIDTH) throw malformed("not the shortest path of a tile");
  return tile;
}

/** The tile, as wide as a log of `size` leaves has it, that holds or gives the hash at (level, index). */
export function tileOfNode({ level, index }: Coordinates, size: number): Tile {
  const tileLevel = Math.floor(level / TILE_HEIGHT);
  const firstOfRow = index * 2 ** (level % TILE_HEIGHT);
  return hashTile(tileLevel, Math.floor(firstOfRow / TILE_WIDTH), size);
}

/** The tile at (level, index), as wide as a log of `size` leaves has it. `RangeError` if it has none. */
export function hashTile(level: number, index: number, size: number): Tile {
  const hashes = Math.floor(size / TILE_WIDTH ** level);
  const width = Math.min(TILE_WIDTH, hashes - index * TILE_WIDTH);
  if (width < 1) throw new RangeError(`a log of ${size} leaves has no tile ${level}/${index}`);
  return { level, index, width };
}

/** The tile that holds the entry of leaf `leaf`, as wide as a log of `size` leaves has it. */
export function entryTile(leaf: number, size: number): Tile {
  return { ...hashTile(0, Math.floor(leaf / TILE_WIDTH), size), level: ENTRIES };
}

/** The tiles from which a proof of consistency between two sizes is read. */
export function tilesForConsistency(size1: number, size2: number): Tile[] {
  return distinct(consistencyNodes(size1, size2).map((node) => tileOfNode(node, size2)));
}

/** The tiles from which a proof of inclusion of leaf `index` is read. */
export function tilesForInclusion(index: number, size: number): Tile[] {
  return distinct(pathNodes(index, size).map((node) => tileOfNode(node, size)));
}

function distinct(tiles: readonly Tile[]): Tile[] {
  return [...new Map(tiles.map((tile) => [tilePath(tile), tile])).values()];
}

/**
 * Reads hashes from tiles, by path, of a log of `size` leaves. The tiles are unchecked: what is read makes a proof, and the
 * proof is verified. Throws `malformed` on a tile that is absent or not as long as its width says.
 */
export function hashReaderFromTiles(tiles: ReadonlyMap<string, Uint8Array>, size: number): HashReader {
  return function read(level, index): Hash {
    const height = level % TILE_HEIGHT;
    if (height !== 0) return nodeHash(LOG_DOMAINS, read(level - 1, 2 * index), read(level - 1, 2 * index + 1));
    const path = tilePath(tileOfNode({ level, index }, size));
    const hashes = tiles.get(path);
    if (hashes === undefined) throw malformed(`no tile ${path}`);
    return hashAt(
      hashes,
      index % TILE_WIDTH,
      hashTile(level / TILE_HEIGHT, Math.floor(index / TILE_WIDTH), size).width,
    );
  };
}

function hashAt(hashes: Uint8Array, at: number, width: number): Hash {
  if (hashes.length !== width * HASH_BYTES) throw malformed(`a tile of ${hashes.length} bytes for ${width} hashes`);
  return hashes.slice(at * HASH_BYTES, (at + 1) * HASH_BYTES);
}

/** The entries of a tile: each two bytes of length and its bytes (C2SP tlog-tiles). */
export function encodeEntryBundle(entries: readonly Uint8Array[]): Uint8Array {
  return entries.reduce((writer, entry) => writer.lp16(entry), new Writer()).finish();
}

/** The entries, exactly `width` of them (1 to 256). Throws `malformed`. */
export function parseEntryBundle(bytes: Uint8Array, width: number): Uint8Array[] {
  const reader = new Reader(bytes);
  const entries = Array.from({ length: width }, () => reader.bytes(reader.u16()));
  reader.end();
  return entries;
}

function malformed(message: string): VerificationError {
  return new VerificationError("malformed", message);
}
