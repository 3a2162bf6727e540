/**
 * The heads of one log: the newest this account knows, and whatever signed heads come in from elsewhere (own devices,
 * the epochs room, contacts). Any two must be of one log. protocol 3.1, step 2.
 */
import {
  rootsFromConsistency,
  isPowerOfTwo,
  proveConsistency,
  verifyConsistency,
} from "../shared/merkle/consistency.ts";
import type { NoteKey } from "../shared/crypto/signed-note.ts";
import type { HashReader } from "../shared/merkle/tree.ts";
import { LOG_DOMAINS, rangeHash } from "../shared/merkle/tree.ts";
import { decodeUnpadded, encodeUnpadded, equalBytes } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import type { Tile } from "../shared/log/tiles.ts";
import { TILE_WIDTH, hashReaderFromTiles, tilePath, tilesForConsistency } from "../shared/log/tiles.ts";
import { openCheckpoint } from "../shared/log/checkpoint.ts";
import { createForkEvidence } from "../shared/proofs/evidence.ts";
import { inStep } from "../shared/proofs/step.ts";
import { VerdictError } from "../shared/verdict-codes.ts";
import { ServiceFailure } from "./log-client.ts";

/** A head whose signature was checked: the note as it came, its size, and its root as unpadded base64. Stored as JSON. */
export interface SignedHead {
  readonly checkpoint: string;
  readonly size: number;
  readonly root: string;
}

/** A head signed by this key of a log. Throws `head-signature`. */
export function openHead(checkpoint: string, key: NoteKey): SignedHead {
  const { size, root } = inStep("head-signature", () => openCheckpoint(checkpoint, key));
  return { checkpoint, size, root: encodeUnpadded(root) };
}

/** Where tiles come from. Throws `ServiceFailure`. */
export type TileSource = (path: string) => Promise<Uint8Array>;

/** Hashes of the log at `size`, from the tiles a consistency proof needs. */
export async function readerFor(tiles: TileSource, needed: readonly Tile[], size: number): Promise<HashReader> {
  const read = new Map<string, Uint8Array>();
  for (const tile of needed) read.set(tilePath(tile), await readTile(tiles, tile));
  return hashReaderFromTiles(read, size);
}

/** A partial tile may be gone once it is full: then its beginning is the same (C2SP tlog-tiles, "Partial tiles"). */
export async function readTile(tiles: TileSource, tile: Tile): Promise<Uint8Array> {
  try {
    return await tiles(tilePath(tile));
  } catch (error) {
    if (!(error instanceof ServiceFailure) || error.status !== 404 || tile.width === TILE_WIDTH) throw error;
    return (await tiles(tilePath({ ...tile, width: TILE_WIDTH }))).slice(0, tile.width * 32);
  }
}

/**
 * The path that shows `older` to be the beginning of `newer`, from the service's tiles. Throws `head-fork` with evidence
 * when the two exclude each other, `heads-unreconciled` when nothing shows either, `ServiceFailure` when the tiles can't
 * be had.
 */
export async function consistencyPath(
  tiles: TileSource,
  logKey: string,
  older: SignedHead,
  newer: SignedHead,
): Promise<readonly Uint8Array[]> {
  if (older.size === newer.size) {
    if (older.root !== newer.root) throw fork(logKey, older, newer);
    return [];
  }
  const needed = tilesForConsistency(older.size, newer.size);
  const path = proveConsistency(LOG_DOMAINS, await readerFor(tiles, needed, newer.size), older.size, newer.size);
  const [root1, root2] = [decodeUnpadded(older.root), decodeUnpadded(newer.root)];
  try {
    verifyConsistency(LOG_DOMAINS, { size1: older.size, root1, size2: newer.size, root2, path });
    return path;
  } catch (error) {
    if (!(error instanceof VerificationError)) throw error;
    const hashes = await completeProof(tiles, older.size, newer.size, path);
    const [rebuilt1, rebuilt2] = rootsFromConsistency(LOG_DOMAINS, older.size, newer.size, hashes);
    if (equalBytes(rebuilt2, root2) && !equalBytes(rebuilt1, root1)) throw fork(logKey, older, newer, hashes);
    throw new VerdictError("heads-unreconciled", "no consistency path between two signed heads", { cause: error });
  }
}

/** The path with the other branch's own root first where a proof leaves it out. */
async function completeProof(
  tiles: TileSource,
  size1: number,
  size2: number,
  path: readonly Uint8Array[],
): Promise<readonly Uint8Array[]> {
  if (!isPowerOfTwo(size1)) return path;
  const read = await readerFor(tiles, [...tilesForConsistency(size1, size2), ...tilesOfBeginning(size1, size2)], size2);
  return [rangeHash(LOG_DOMAINS, read, { start: 0, end: size1 }), ...path];
}

/** Tiles that give the root of the first `size1` leaves, a power of two, in a log of `size2`. */
function tilesOfBeginning(size1: number, size2: number): Tile[] {
  const level = Math.floor(Math.log2(size1) / 8);
  const width = Math.min(TILE_WIDTH, Math.floor(size2 / TILE_WIDTH ** level));
  return [{ level, index: 0, width }];
}

function fork(logKey: string, older: SignedHead, newer: SignedHead, hashes?: readonly Uint8Array[]): VerdictError {
  const message = `two heads of one log exclude each other: ${String(older.size)}, ${String(newer.size)}`;
  return new VerdictError("head-fork", message, {
    evidence: createForkEvidence(logKey, older.checkpoint, newer.checkpoint, hashes),
  });
}
