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

/** What a consistency proof claims: the tree (size1, root1) is the beginning of the tree (size2, root2). */
export interface Consistency {
  readonly size1: number;
  readonly root1: Hash;
  readonly size2: number;
  readonly root2: Hash;
  readonly path: readonly Hash[];
}

/** The ranges whose hashes make a proof, in order (RFC 9162, "Generating a Consistency Proof"). */
function proofRanges(size1: number, size2: number): LeafRange[] {
  if (!(size1 >= 1 && size1 <= size2)) throw new RangeError(`no consistency from size ${size1} to ${size2}`);
  const ranges: LeafRange[] = [];
  let [start, end] = [0, size2];
  while (end !== size1) {
    const middle = start + splitPoint(end - start);
    ranges.unshift(size1 <= middle ? { start: middle, end } : { start, end: middle });
    [start, end] = size1 <= middle ? [start, middle] : [middle, end];
  }
  return start === 0 ? ranges : [{ start, end }, ...ranges];
}

/** The complete subtrees whose hashes `proveConsistency` reads. */
export function consistencyNodes(size1: number, size2: number): Coordinates[] {
  return proofRanges(size1, size2).flatMap(nodesOfRange);
}

/** Proves that the first `size1` leaves (at least one) of the tree of `size2` leaves are unchanged. */
export function proveConsistency(
  domains: Domains,
  source: readonly Hash[] | HashReader,
  size1: number,
  size2: number,
): Hash[] {
  const read = typeof source === "function" ? source : hashReaderOf(domains, source);
  return proofRanges(size1, size2).map((range) => rangeHash(domains, read, range));
}

/**
 * The two roots that a proof between different sizes rebuilds (RFC 9162, "Verifying Consistency between Two Tree Heads").
 * `hashes` begins with the hash of the last complete subtree of the smaller tree; a proof leaves it out where `size1` is a
 * power of two, as it is that tree's root then. Throws `bad-consistency` on sizes or lengths that can't be.
 */
export function rootsFromConsistency(
  domains: Domains,
  size1: number,
  size2: number,
  hashes: readonly Hash[],
): readonly [root1: Hash, root2: Hash] {
  const [first, ...rest] = hashes;
  if (!(size1 >= 1 && size1 < size2)) throw badConsistency(`no proof leads from size ${size1} to ${size2}`);
  if (first === undefined) throw badConsistency("the proof is empty");
  if (!haveHashLength(hashes)) throw badConsistency("a hash has 32 bytes");
  let [at, last] = [size1 - 1, size2 - 1];
  while (at % 2 === 1) [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
  let [root1, root2] = [first, first];
  for (const sibling of rest) {
    if (last === 0) throw badConsistency("the proof is too long");
    if (at % 2 === 1 || at === last) {
      root1 = nodeHash(domains, sibling, root1);
      root2 = nodeHash(domains, sibling, root2);
      while (at % 2 === 0 && at !== 0) [at, last] = [at / 2, Math.floor(last / 2)];
    } else {
      root2 = nodeHash(domains, root2, sibling);
    }
    [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
  }
  if (last !== 0) throw badConsistency("the proof is too short");
  return [root1, root2];
}

/** Checks a consistency proof. A tree is consistent with itself by an empty proof; nothing is with an empty tree. Throws `bad-consistency`. */
export function verifyConsistency(domains: Domains, { size1, root1, size2, root2, path }: Consistency): void {
  if (size1 === size2 && size1 >= 1) {
    if (path.length !== 0) throw badConsistency("a proof between equal sizes is empty");
    if (!haveHashLength([root1]) || !equalBytes(root1, root2)) throw badConsistency(`two roots for size ${size1}`);
    return;
  }
  const hashes = isPowerOfTwo(size1) ? [root1, ...path] : path;
  const [rebuilt1, rebuilt2] = rootsFromConsistency(domains, size1, size2, hashes);
  if (!equalBytes(rebuilt1, root1)) throw badConsistency(`the proof does not rebuild the root of size ${size1}`);
  if (!equalBytes(rebuilt2, root2)) throw badConsistency(`the proof does not rebuild the root of size ${size2}`);
}

/** Whether a tree of this size is one complete subtree, so that a proof from it begins with its own root. */
export function isPowerOfTwo(size: number): boolean {
  let power = 1;
  while (power < size) power *= 2;
  return power === size;
}

function badConsistency(message: string): VerificationError {
  return new VerificationError("bad-consistency", message);
}
