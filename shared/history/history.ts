/**
 * The history of one user: an append-only RFC 6962 tree over its versions 1..n, with domain bytes 0x04 and 0x05. Leaf i
 * of the tree is version i + 1. shared/README.md, "History".
 */
import type { Hash } from "../crypto/hash.ts";
import { checkSafeInteger, equalBytes, Writer } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import { verifyConsistency } from "../merkle/consistency.ts";
import { rootFromInclusion } from "../merkle/inclusion.ts";
import { appendToFrontier, HISTORY_DOMAINS, leafHash } from "../merkle/tree.ts";
import type { Frontier } from "../merkle/tree.ts";

/** How far a history reached, and its root: what a leaf of the map says of it. */
export interface HistoryHead {
  readonly n: number;
  readonly root: Hash;
}

/** One version as the history holds it: merged by `epoch`, its content under `commitment`. */
export interface HistoryVersion {
  readonly version: number;
  readonly epoch: number;
  readonly commitment: Hash;
}

/** Leaf hash of a version: SHA-256(0x04 || u64 version || u64 epoch || commitment). */
export function historyLeaf({ version, epoch, commitment }: HistoryVersion): Hash {
  return leafHash(HISTORY_DOMAINS, new Writer().u64(version).u64(epoch).bytes(commitment).finish());
}

/** The history with one more version. Throws RangeError unless the version is the next one. */
export function appendVersion(frontier: Frontier, version: HistoryVersion): Frontier {
  if (version.version !== frontier.size + 1) throw new RangeError("a history grows by its next version");
  return appendToFrontier(HISTORY_DOMAINS, frontier, historyLeaf(version));
}

/** `version` stands in the history `head`, or `bad-inclusion`. */
export function verifyVersion(version: HistoryVersion, path: readonly Hash[], head: HistoryHead): void {
  checkSafeInteger(version.version, "version");
  if (version.version < 1 || version.version > head.n) {
    throw new VerificationError("bad-inclusion", "the version lies outside the history");
  }
  const root = rootFromInclusion(HISTORY_DOMAINS, historyLeaf(version), version.version - 1, head.n, path);
  if (!equalBytes(root, head.root)) {
    throw new VerificationError("bad-inclusion", "the path leads to another history root");
  }
}

/** `from` is an ancestor of `to` (or equal to it), or `bad-consistency`. Histories start at version 1. */
export function verifyAncestor(from: HistoryHead, to: HistoryHead, path: readonly Hash[]): void {
  if (from.n < 1) throw new VerificationError("bad-consistency", "an absent history has no root");
  verifyConsistency(HISTORY_DOMAINS, { size1: from.n, root1: from.root, size2: to.n, root2: to.root, path });
}
