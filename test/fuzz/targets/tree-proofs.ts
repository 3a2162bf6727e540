import assert from "node:assert/strict";
import { sha256 } from "../../../shared/crypto/hash.ts";
import type { Hash } from "../../../shared/crypto/hash.ts";
import { equalBytes } from "../../../shared/encoding.ts";
import { encodeEpochRecord, parseEpochRecord } from "../../../shared/log/epoch-record.ts";
import { proveConsistency, verifyConsistency } from "../../../shared/merkle/consistency.ts";
import { proveInclusion, verifyInclusion } from "../../../shared/merkle/inclusion.ts";
import { HISTORY_DOMAINS, LOG_DOMAINS, rootOf } from "../../../shared/merkle/tree.ts";
import { Choices } from "../edits.ts";
import { testLog } from "../fixtures.ts";
import type { FuzzTarget } from "../target.ts";
import { unlessRefused } from "../target.ts";

const LEAVES: readonly Hash[] = Array.from({ length: 33 }, (_, i) => sha256(Uint8Array.of(i)));
const ROOTS = [LOG_DOMAINS, HISTORY_DOMAINS].map((domains) =>
  Array.from({ length: LEAVES.length + 1 }, (_, size) => rootOf(domains, LEAVES.slice(0, size))),
);

/**
 * Domains, sizes, then how a true path is changed. A path is taken only between the true roots in the true domains, and
 * only if it is the one true path; sizes may be anything. The whole input is an epoch record, too.
 */
export const target: FuzzTarget = {
  seeds: () => [
    ...testLog().epochs.map(({ bytes }) => bytes),
    Uint8Array.of(0, 8, 13, 0),
    Uint8Array.of(1, 7, 7, 0),
    Uint8Array.of(2, 5, 21, 2, 0, 9),
    Uint8Array.of(3, 0, 5, 1, 0),
    Uint8Array.of(2, 31, 33, 3, 1),
  ],
  run(input) {
    const record = unlessRefused(() => parseEpochRecord(input), "malformed");
    if (record !== undefined)
      assert(equalBytes(encodeEpochRecord(record), input), "another encoding of the same record");
    const choices = new Choices(input);
    const mode = choices.u8();
    const [a, b] = [choices.below(35), choices.below(34)];
    if (mode % 2 === 0) checkConsistency(mode, a, b, choices);
    else checkInclusion(mode, a, b, choices);
  },
};

const domainsOf = (mode: number) => (mode % 4 < 2 ? LOG_DOMAINS : HISTORY_DOMAINS);
const rootAt = (mode: number, size: number): Hash => ROOTS[mode % 4 < 2 ? 0 : 1]?.[size] ?? new Uint8Array(32);

function changedPath(path: readonly Hash[], choices: Choices): readonly Uint8Array[] {
  const at = choices.u8() % (path.length + 1);
  switch (choices.u8() % 6) {
    case 0:
      return path;
    case 1:
      return path.toSpliced(at, 1);
    case 2:
      return path.toSpliced(at, 0, path[choices.below(path.length)] ?? sha256(choices.rest()));
    case 3:
      return path.toReversed();
    case 4:
      return path.map((hash, i) => (i === at ? hash.with(choices.below(32), choices.u8()) : hash));
    default:
      return path.map((hash, i) => (i === at ? hash.slice(0, choices.below(40)) : hash));
  }
}

function samePath(a: readonly Uint8Array[], b: readonly Uint8Array[]): boolean {
  return a.length === b.length && a.every((hash, i) => equalBytes(hash, b[i] ?? new Uint8Array()));
}

function checkConsistency(mode: number, size1: number, size2: number, choices: Choices): void {
  const domains = domainsOf(mode);
  const possible = size1 >= 1 && size1 <= size2;
  const truth = possible ? proveConsistency(domains, LEAVES, size1, size2) : [];
  const path = changedPath(truth, choices);
  const proof = { size1, root1: rootAt(mode, size1), size2, root2: rootAt(mode, size2), path };
  const taken = unlessRefused(() => {
    verifyConsistency(domains, proof);
    return true;
  }, "bad-consistency");
  assert.equal(taken === true, possible && samePath(path, truth), `${size1} to ${size2}`);
}

function checkInclusion(mode: number, index: number, size: number, choices: Choices): void {
  const domains = domainsOf(mode);
  const possible = index < size;
  const truth = possible ? proveInclusion(domains, LEAVES, index, size) : [];
  const path = changedPath(truth, choices);
  const leafHash = LEAVES[index] ?? new Uint8Array(32);
  const taken = unlessRefused(() => {
    verifyInclusion(domains, { leafHash, index, size, root: rootAt(mode, size), path });
    return true;
  }, "bad-inclusion");
  assert.equal(taken === true, possible && samePath(path, truth), `${index} in ${size}`);
}
