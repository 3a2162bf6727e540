/** The change list of an epoch, in pieces: rows sorted by index. */
import { concat } from "../../shared/encoding.ts";
import { chunkKey, encodeChunk, encodeRow, listOfChunk, ROWS_PER_CHUNK } from "./records.ts";
import type { ChangeRow } from "./records.ts";
import { eachInRange } from "./level-store.ts";
import type { KeyValue, Reads } from "./store.ts";

/** The protocol's change list, and the pieces in which it is stored. */
export function encodeChanges(
  epoch: number,
  rows: readonly ChangeRow[],
): { readonly list: Uint8Array; readonly puts: readonly KeyValue[] } {
  const encoded = rows.map(encodeRow);
  const puts: KeyValue[] = [];
  for (let start = 0; start < rows.length; start += ROWS_PER_CHUNK) {
    const list = Buffer.concat(encoded.slice(start, start + ROWS_PER_CHUNK));
    const positions = rows.slice(start, start + ROWS_PER_CHUNK).flatMap((row) => row.before.positions);
    puts.push({ key: chunkKey(epoch, start / ROWS_PER_CHUNK), value: encodeChunk(list, positions) });
  }
  return { list: Buffer.concat(encoded), puts };
}

/** The change list of an epoch as the protocol has it; empty for a heartbeat. The caller knows that the epoch exists. */
export async function readChanges(reads: Reads, epoch: number): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const { value } of eachInRange(reads, chunkKey(epoch, 0), chunkKey(epoch + 1, 0))) {
    pieces.push(listOfChunk(value));
  }
  return concat(...pieces);
}
