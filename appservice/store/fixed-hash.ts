/**
 * SHA-256 for nodes (65 bytes) and leaves (49) of histories, of which every epoch has thousands: the general libraries spend
 * most of their time around the hash. And the form of hashes in the map: eight 32-bit words in an `Int32Array`.
 */

import { compressBlock, hashPair, INITIAL } from "./unrolled-sha256.ts";

/** Words in a hash. */
export const HASH_WORDS = 8;

const HISTORY_LEAF = 0x04;
const HISTORY_NODE = 0x05;

/** Used by one call at a time: each runs to its end. */
const state = new Int32Array(HASH_WORDS);
const block = new Int32Array(16);
const pair = new Int32Array(2 * HASH_WORDS);

/** The hash of a node of a history over two hashes of 32 bytes. */
export function hashHistoryNode(left: Uint8Array, right: Uint8Array): Uint8Array {
  setHashWords(pair, 0, left, 0);
  setHashWords(pair, HASH_WORDS, right, 0);
  hashPair(HISTORY_NODE, pair, 0, HASH_WORDS, state, 0);
  return hashBytes(state, 0);
}

/** The hash of a version in its history. */
export function hashHistoryLeaf(version: number, epoch: number, commitment: Uint8Array): Uint8Array {
  historyLeaf.writeUInt32BE(Math.floor(version / 2 ** 32), 1);
  historyLeaf.writeUInt32BE(version % 2 ** 32, 5);
  historyLeaf.writeUInt32BE(Math.floor(epoch / 2 ** 32), 9);
  historyLeaf.writeUInt32BE(epoch % 2 ** 32, 13);
  historyLeaf.set(commitment, 17);
  state.set(INITIAL);
  compressBytes(historyLeaf, 0);
  return hashBytes(state, 0);
}
/** One block: the domain, two numbers, the commitment, then padding and length, which stay. */
const historyLeaf = Buffer.alloc(64);
historyLeaf[0] = HISTORY_LEAF;
historyLeaf[49] = 0x80;
historyLeaf.writeUInt32BE(49 * 8, 60);

function compressBytes(bytes: Uint8Array, at: number): void {
  setHashWords(block, 0, bytes, at);
  setHashWords(block, HASH_WORDS, bytes, at + 32);
  compressBlock(state, block, 0);
}

/** The 32 bytes of a hash. */
export function hashBytes(words: Int32Array, at: number): Uint8Array {
  const bytes = new Uint8Array(32);
  putHashBytes(bytes, 0, words, at);
  return bytes;
}

/** Writes a hash as 32 bytes, from `bytesAt` on. */
export function putHashBytes(bytes: Uint8Array, bytesAt: number, words: Int32Array, at: number): void {
  for (let i = 0; i < HASH_WORDS; i++) {
    const word = words[at + i] as number;
    const to = bytesAt + 4 * i;
    bytes[to] = word >>> 24;
    bytes[to + 1] = word >>> 16;
    bytes[to + 2] = word >>> 8;
    bytes[to + 3] = word;
  }
}

/** Writes 32 bytes, from `at` on in `bytes`, as words. */
export function setHashWords(words: Int32Array, wordsAt: number, bytes: Uint8Array, at: number): void {
  for (let i = 0; i < HASH_WORDS; i++) words[wordsAt + i] = wordAt(bytes, at + 4 * i);
}

/** Four bytes as a word. */
export function wordAt(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)
  );
}

export function sameHash(a: Int32Array, aAt: number, b: Int32Array, bAt: number): boolean {
  for (let i = 0; i < HASH_WORDS; i++) if (a[aAt + i] !== b[bAt + i]) return false;
  return true;
}
