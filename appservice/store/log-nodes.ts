/** The hashes of the log: every complete subtree, written once. */
import type { Hash } from "../../shared/crypto/hash.ts";
import { LOG_DOMAINS, nodeHash, nodesOfRange } from "../../shared/merkle/tree.ts";
import type { Frontier, HashReader } from "../../shared/merkle/tree.ts";
import { nodeKey } from "./records.ts";
import { getReferenced, IntegrityError } from "./store.ts";
import type { KeyValue, Reads } from "./store.ts";

/** The log with one more leaf, and the hashes that became complete by it. */
export function appendLeaf(
  { size, hashes }: Frontier,
  leaf: Hash,
): { readonly frontier: Frontier; readonly puts: readonly KeyValue[] } {
  const left = [...hashes];
  const puts = [{ key: nodeKey(0, size), value: leaf }];
  let joined = leaf;
  for (let [level, rest] = [1, size]; rest % 2 === 1; level++) {
    rest = Math.floor(rest / 2);
    const sibling = left.pop();
    if (sibling === undefined) throw new IntegrityError("the log is short of hashes");
    joined = nodeHash(LOG_DOMAINS, sibling, joined);
    puts.push({ key: nodeKey(level, rest), value: joined });
  }
  return { frontier: { size: size + 1, hashes: [...left, joined] }, puts };
}

/** Hashes of the log as its provers ask for them. */
export function logHashes(reads: Reads): HashReader {
  return (level, index) => getReferenced(reads, nodeKey(level, index), "a hash of the log");
}

/** The log of `size` epochs, ready for the next. */
export function readFrontier(reads: Reads, size: number): Frontier {
  const read = logHashes(reads);
  return { size, hashes: nodesOfRange({ start: 0, end: size }).map(({ level, index }) => read(level, index)) };
}
