/** Two heads that the log's own key signed and that exclude each other, as a file that convicts the key. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { isPowerOfTwo, proveConsistency } from "../shared/merkle/consistency.ts";
import { LOG_DOMAINS, rangeHash } from "../shared/merkle/tree.ts";
import type { HashReader } from "../shared/merkle/tree.ts";
import { createForkEvidence, formatEvidence } from "../shared/proofs/evidence.ts";
import { replaceFileSync } from "./replace-file.ts";

/** A signed note and the size of its tree. */
export interface SizedNote {
  readonly note: string;
  readonly size: number;
}

/**
 * E1 if both have one size, else E2. `hashes`: the tree of the later head. Throws VerificationError unless the two exclude
 * each other.
 */
export function forkEvidence(logKey: string, earlier: SizedNote, later: SizedNote, hashes: HashReader): string {
  if (earlier.size === later.size) return formatEvidence(createForkEvidence(logKey, earlier.note, later.note));
  const path = proveConsistency(LOG_DOMAINS, hashes, earlier.size, later.size);
  // A proof leaves the root of a complete tree out, as the verifier has it; here it is the point.
  const own = isPowerOfTwo(earlier.size) ? [rangeHash(LOG_DOMAINS, hashes, { start: 0, end: earlier.size })] : [];
  return formatEvidence(createForkEvidence(logKey, earlier.note, later.note, [...own, ...path]));
}

/** Writes evidence below the data directory, durably, under a name that stays the same; returns the path. */
export function keepEvidence(dataDirectory: string, name: string, evidence: string): string {
  const directory = join(dataDirectory, "evidence");
  mkdirSync(directory, { recursive: true });
  const file = join(directory, `${name}.json`);
  replaceFileSync(file, `${evidence}\n`);
  return file;
}
