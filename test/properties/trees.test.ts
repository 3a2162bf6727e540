/** Append-only trees at every size up to 300: what a log of that many epochs, or a history of that many versions, proves. */
import assert from "node:assert/strict";
import { sha256 } from "../../shared/crypto/hash.ts";
import type { Hash } from "../../shared/crypto/hash.ts";
import { proveConsistency, verifyConsistency } from "../../shared/merkle/consistency.ts";
import { proveInclusion, verifyInclusion } from "../../shared/merkle/inclusion.ts";
import {
  appendToFrontier,
  emptyFrontier,
  emptyRoot,
  frontierRoot,
  hashReaderOf,
  LOG_DOMAINS,
} from "../../shared/merkle/tree.ts";
import { assertRefused } from "../support/mutations.ts";

const MAX_SIZE = 300;
const leaves: readonly Hash[] = Array.from({ length: MAX_SIZE }, (_, i) => sha256(Uint8Array.of(i >> 8, i & 255)));
const read = hashReaderOf(LOG_DOMAINS, leaves);
/** Root of the first n leaves, grown leaf by leaf. */
const roots: readonly Hash[] = (() => {
  const grown: Hash[] = [emptyRoot];
  let frontier = emptyFrontier;
  for (const leaf of leaves) {
    frontier = appendToFrontier(LOG_DOMAINS, frontier, leaf);
    grown.push(frontierRoot(LOG_DOMAINS, frontier));
  }
  return grown;
})();

describe("trees of every size up to 300", () => {
  it("only grow: every pair of sizes is consistent, by its own proof and under its own roots alone", () => {
    for (let size2 = 1; size2 <= MAX_SIZE; size2++) {
      for (let size1 = 1; size1 <= size2; size1++) {
        const path = proveConsistency(LOG_DOMAINS, read, size1, size2);
        const proof = { size1, root1: roots[size1]!, size2, root2: roots[size2]!, path };
        verifyConsistency(LOG_DOMAINS, proof);
        if ((size1 * 7 + size2) % 41 !== 0) continue;
        const [name, other] = [`${size1} to ${size2}`, roots[size1 - 1]!];
        assertRefused(
          () => {
            verifyConsistency(LOG_DOMAINS, { ...proof, root1: other });
          },
          "bad-consistency",
          name,
        );
        if (size1 === size2) continue;
        assertRefused(
          () => {
            verifyConsistency(LOG_DOMAINS, { ...proof, size1: size2, size2: size1 });
          },
          "bad-consistency",
          name,
        );
        assertRefused(
          () => {
            verifyConsistency(LOG_DOMAINS, { ...proof, path: [...path, roots[1]!] });
          },
          "bad-consistency",
          name,
        );
      }
    }
  });

  it("hold every leaf at its place", () => {
    const sizes = leaves
      .map((_, i) => i + 1)
      .filter((size) => size <= 64 || [127, 128, 129, 255, 256, 257, 300].includes(size));
    for (const size of sizes) {
      for (let index = 0; index < size; index++) {
        const path = proveInclusion(LOG_DOMAINS, read, index, size);
        verifyInclusion(LOG_DOMAINS, { leafHash: leaves[index]!, index, size, root: roots[size]!, path });
      }
    }
  });

  it("prove nothing at size 0, and equal sizes by equal roots alone", () => {
    for (const size of [0, 1, 2, 3, 127, 128, 129, 255, 256, 257]) {
      const same = { size1: size, root1: roots[size]!, size2: size, root2: roots[size]!, path: [] };
      const from0 = { size1: 0, root1: emptyRoot, size2: size, root2: roots[size]!, path: [] };
      assertRefused(() => {
        verifyConsistency(LOG_DOMAINS, from0);
      }, "bad-consistency");
      if (size === 0) continue;
      verifyConsistency(LOG_DOMAINS, same);
      for (const changed of [
        { ...same, root2: roots[size - 1]! },
        { ...same, path: [roots[size]!] },
      ]) {
        assertRefused(() => {
          verifyConsistency(LOG_DOMAINS, changed);
        }, "bad-consistency");
      }
    }
    assert.deepEqual(roots[0], sha256(new Uint8Array()));
  });
});
