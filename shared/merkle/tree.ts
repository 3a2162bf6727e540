import { concat } from "../encoding.ts";
import { type Hash, HASH_BYTES, sha256 } from "../crypto/hash.ts";

/** The bytes that keep leaves and nodes of one kind of tree apart from each other and from every other tree. */
export interface Domains {
  readonly leaf: number;
  readonly node: number;
}

/** The log of epochs: plain RFC 6962. */
export const LOG_DOMAINS: Domains = { leaf: 0x00, node: 0x01 };
/** The history of one user: the same shape under its own domains. */
export const HISTORY_DOMAINS: Domains = { leaf: 0x04, node: 0x05 };

/** The root of a tree without leaves: SHA-256 of nothing. */
export const emptyRoot: Hash = sha256(new Uint8Array());

/** The hash at (level, index): root of the complete subtree over leaves `index * 2^level` up to the next multiple. */
export type HashReader = (level: number, index: number) => Hash;

/** Where a complete subtree stands: level 0 are the leaves. */
export interface Coordinates {
  readonly level: number;
  readonly index: number;
}

/** Leaves from `start` up to, not including, `end`. */
export interface LeafRange {
  readonly start: number;
  readonly end: number;
}

/** Hash of a leaf's bytes. */
export function leafHash(domains: Domains, bytes: Uint8Array): Hash {
  return sha256(concat(Uint8Array.of(domains.leaf), bytes));
}

/** Hash of an inner node, from the hashes (32 bytes each) of its children. */
export function nodeHash(domains: Domains, left: Hash, right: Hash): Hash {
  return sha256(concat(Uint8Array.of(domains.node), left, right));
}

/** Whether each has the length of a hash, without which two of them could be read apart in more than one way. */
export function haveHashLength(hashes: readonly Uint8Array[]): boolean {
  return hashes.every(({ length }) => length === HASH_BYTES);
}

/** The largest power of two below `size`, for `size` of 2 or more: where RFC 6962 divides a tree. */
export function splitPoint(size: number): number {
  let half = 1;
  while (half * 2 < size) half *= 2;
  return half;
}

/** The root of a tree from all its leaf hashes. */
export function rootOf(domains: Domains, leafHashes: readonly Hash[]): Hash {
  return frontierRoot(
    domains,
    leafHashes.reduce((frontier, leaf) => appendToFrontier(domains, frontier, leaf), emptyFrontier),
  );
}

/** Reads hashes from a list of all leaf hashes, remembering what it has computed. */
export function hashReaderOf(domains: Domains, leafHashes: readonly Hash[]): HashReader {
  const levels: Hash[][] = [[...leafHashes]];
  return function read(level, index): Hash {
    const row = (levels[level] ??= []);
    const known = row[index];
    if (known !== undefined) return known;
    if (level === 0) throw new RangeError(`the tree has no leaf ${index}`);
    return (row[index] = nodeHash(domains, read(level - 1, 2 * index), read(level - 1, 2 * index + 1)));
  };
}

/**
 * The complete subtrees, largest and leftmost first, that make up a range whose start is a multiple of the largest of
 * them. Every range that RFC 6962 hashes is of that kind.
 */
export function nodesOfRange({ start, end }: LeafRange): Coordinates[] {
  const nodes: Coordinates[] = [];
  for (let at = start; at < end;) {
    let [width, level] = [1, 0];
    while (width * 2 <= end - at) {
      width *= 2;
      level += 1;
    }
    nodes.push({ level, index: at / width });
    at += width;
  }
  return nodes;
}

/** The hash that RFC 6962 gives to a range: its complete subtrees joined from the right. */
export function rangeHash(domains: Domains, read: HashReader, range: LeafRange): Hash {
  return joinRight(
    domains,
    nodesOfRange(range).map(({ level, index }) => read(level, index)),
  );
}

/** A tree as the roots of its maximal complete subtrees, largest and leftmost first: all that appending needs. Immutable. */
export interface Frontier {
  readonly size: number;
  readonly hashes: readonly Hash[];
}

/** The tree without leaves. */
export const emptyFrontier: Frontier = { size: 0, hashes: [] };

/** How many hashes the frontier of a tree has: the ones in the binary form of its size. */
export function frontierLength(size: number): number {
  let ones = 0;
  for (let rest = size; rest > 0; rest = Math.floor(rest / 2)) ones += rest % 2;
  return ones;
}

/** The frontier with one more leaf. */
export function appendToFrontier(domains: Domains, { size, hashes }: Frontier, leaf: Hash): Frontier {
  const next = [...hashes];
  let joined = leaf;
  for (let rest = size; rest % 2 === 1; rest = Math.floor(rest / 2)) {
    const left = next.pop();
    if (left === undefined) throw new RangeError(`a frontier of size ${size} is short of hashes`);
    joined = nodeHash(domains, left, joined);
  }
  next.push(joined);
  return { size: size + 1, hashes: next };
}

/** The root of the tree that a frontier stands for. `RangeError` if the hashes are not as many as the size asks for. */
export function frontierRoot(domains: Domains, { size, hashes }: Frontier): Hash {
  if (hashes.length !== frontierLength(size)) throw new RangeError(`not the frontier of a tree of size ${size}`);
  return size === 0 ? emptyRoot : joinRight(domains, hashes);
}

function joinRight(domains: Domains, hashes: readonly Hash[]): Hash {
  return hashes.reduceRight((right, left) => nodeHash(domains, left, right));
}
