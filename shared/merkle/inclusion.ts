import { equalBytes } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import { type Hash } from "../crypto/hash.ts";
import {
  type Coordinates,
  type Domains,
  hashReaderOf,
  haveHashLength,
  type HashReader,
  type LeafRange,
  nodeHash,
  nodesOfRange,
  rangeHash,
  splitPoint,
} from "./tree.ts";

/** What an inclusion proof claims: the leaf at `index` of the tree of `size` leaves with this root; `path` from the leaf up. */
export interface Inclusion {
  readonly leafHash: Hash;
  readonly index: number;
  readonly size: number;
  readonly root: Hash;
  readonly path: readonly Hash[];
}

/** The siblings on the way from a leaf to the root, leaf side first (RFC 9162, "Generating an Inclusion Proof"). */
function siblingRanges(index: number, size: number): LeafRange[] {
  if (!(index >= 0 && index < size)) throw new RangeError(`a tree of ${size} leaves has no leaf ${index}`);
  const ranges: LeafRange[] = [];
  let [start, end] = [0, size];
  while (end - start > 1) {
    const middle = start + splitPoint(end - start);
    ranges.unshift(index < middle ? { start: middle, end } : { start, end: middle });
    [start, end] = index < middle ? [start, middle] : [middle, end];
  }
  return ranges;
}

/** The complete subtrees whose hashes `proveInclusion` reads. */
export function pathNodes(index: number, size: number): Coordinates[] {
  return siblingRanges(index, size).flatMap(nodesOfRange);
}

/** Proves that the leaf at `index` is in the tree of `size` leaves. `RangeError` if there is no such leaf. */
export function proveInclusion(
  domains: Domains,
  source: readonly Hash[] | HashReader,
  index: number,
  size: number,
): Hash[] {
  const read = typeof source === "function" ? source : hashReaderOf(domains, source);
  return siblingRanges(index, size).map((range) => rangeHash(domains, read, range));
}

/**
 * The root to which a path leads from a leaf (RFC 9162, "Verifying an Inclusion Proof"). Throws `bad-inclusion` if there is
 * no such leaf or the path has not exactly the length it must have. The caller compares the root.
 */
export function rootFromInclusion(
  domains: Domains,
  leafHash: Hash,
  index: number,
  size: number,
  path: readonly Hash[],
): Hash {
  if (!(index >= 0 && index < size)) throw badInclusion(`a tree of ${size} leaves has no leaf ${index}`);
  if (!haveHashLength([leafHash, ...path])) throw badInclusion("a hash has 32 bytes");
  let [at, last, hash] = [index, size - 1, leafHash];
  for (const sibling of path) {
    if (last === 0) throw badInclusion("the path is too long");
    if (at % 2 === 1 || at === last) {
      hash = nodeHash(domains, sibling, hash);
      while (at % 2 === 0 && at !== 0) [at, last] = [at / 2, Math.floor(last / 2)];
    } else {
      hash = nodeHash(domains, hash, sibling);
    }
    [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
  }
  if (last !== 0) throw badInclusion("the path is too short");
  return hash;
}

/** Checks an inclusion proof. Throws `bad-inclusion`. */
export function verifyInclusion(domains: Domains, { leafHash, index, size, root, path }: Inclusion): void {
  if (!equalBytes(rootFromInclusion(domains, leafHash, index, size, path), root)) {
    throw badInclusion(`leaf ${index} of ${size} does not lead to the root`);
  }
}

function badInclusion(message: string): VerificationError {
  return new VerificationError("bad-inclusion", message);
}
