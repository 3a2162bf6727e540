import assert from "node:assert/strict";
import { sha256 } from "../../../shared/crypto/hash.ts";
import { appendVersion, historyLeaf, verifyAncestor, verifyVersion } from "../../../shared/history/history.ts";
import type { HistoryVersion } from "../../../shared/history/history.ts";
import { proveConsistency } from "../../../shared/merkle/consistency.ts";
import { proveInclusion } from "../../../shared/merkle/inclusion.ts";
import { emptyFrontier, frontierRoot, HISTORY_DOMAINS, rootOf } from "../../../shared/merkle/tree.ts";
import { assertRefused, mutatedPaths } from "../../support/mutations.ts";

const SIZES = Array.from({ length: 33 }, (_, i) => i + 1);
const versions: readonly HistoryVersion[] = SIZES.map((version) => ({
  version,
  epoch: 10 * version,
  commitment: sha256(Uint8Array.of(version)),
}));
const leaves = versions.map(historyLeaf);
const headOf = (n: number) => ({ n, root: rootOf(HISTORY_DOMAINS, leaves.slice(0, n)) });
const pathOf = (version: number, n: number) => proveInclusion(HISTORY_DOMAINS, leaves, version - 1, n);
const growth = (from: number, to: number) => (from === to ? [] : proveConsistency(HISTORY_DOMAINS, leaves, from, to));

describe("history", () => {
  it("grows by appending to its frontier", () => {
    let frontier = emptyFrontier;
    for (const version of versions) {
      frontier = appendVersion(frontier, version);
      assert.deepEqual(frontierRoot(HISTORY_DOMAINS, frontier), headOf(version.version).root);
    }
    assert.throws(() => appendVersion(frontier, { ...versions[0]!, version: 1 }), RangeError);
  });

  it("proves every version of every length", () => {
    for (const n of SIZES) {
      for (const version of versions.slice(0, n)) verifyVersion(version, pathOf(version.version, n), headOf(n));
    }
  });

  it("refuses a version with another number, epoch or commitment, or outside the history", () => {
    for (const n of SIZES) {
      for (const version of versions.slice(0, n)) {
        const path = pathOf(version.version, n);
        const refuse = (change: Partial<HistoryVersion>, name: string): void => {
          assertRefused(
            () => {
              verifyVersion({ ...version, ...change }, path, headOf(n));
            },
            "bad-inclusion",
            name,
          );
        };
        refuse({ version: version.version + 1 }, "version-plus-1");
        if (version.version > 1) refuse({ version: version.version - 1 }, "version-minus-1");
        refuse({ version: 0 }, "version-0");
        refuse({ version: n + 1 }, "beyond-the-end");
        refuse({ epoch: version.epoch + 1 }, "epoch-plus-1");
        refuse({ commitment: sha256(version.commitment) }, "other-commitment");
      }
    }
  });

  it("refuses every mutated path of a version", () => {
    for (const n of [1, 2, 3, 7, 8, 13]) {
      for (const version of versions.slice(0, n)) {
        for (const { name, value } of mutatedPaths(pathOf(version.version, n), 5)) {
          assertRefused(
            () => {
              verifyVersion(version, value, headOf(n));
            },
            "bad-inclusion",
            `${n}/${version.version} ${name}`,
          );
        }
      }
    }
  });

  it("proves every ancestor, and refuses every mutated proof, another length, another root", () => {
    for (const to of SIZES) {
      for (const from of SIZES.slice(0, to)) {
        const path = growth(from, to);
        verifyAncestor(headOf(from), headOf(to), path);
        assertRefused(() => {
          verifyAncestor({ n: from, root: leaves[0]! }, { n: to, root: leaves[1]! }, path);
        }, "bad-consistency");
        if (to - from !== 1) continue;
        for (const { name, value } of mutatedPaths(path, 37)) {
          assertRefused(
            () => {
              verifyAncestor(headOf(from), headOf(to), value);
            },
            "bad-consistency",
            `${from}-${to} ${name}`,
          );
        }
      }
    }
    assertRefused(
      () => {
        verifyAncestor({ n: 0, root: leaves[0]! }, headOf(3), []);
      },
      "bad-consistency",
      "from nothing",
    );
    assertRefused(
      () => {
        verifyAncestor(headOf(3), headOf(2), growth(2, 3));
      },
      "bad-consistency",
      "shrunk",
    );
  });
});
