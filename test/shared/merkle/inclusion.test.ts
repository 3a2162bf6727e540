import assert from "node:assert/strict";
import { decodeBase64, utf8 } from "../../../shared/encoding.ts";
import { pathNodes, proveInclusion, rootFromInclusion, verifyInclusion } from "../../../shared/merkle/inclusion.ts";
import {
  emptyRoot,
  hashReaderOf,
  leafHash,
  LOG_DOMAINS,
  HISTORY_DOMAINS,
  rootOf,
} from "../../../shared/merkle/tree.ts";
import { assertRefused, flippedBits, mutatedPaths } from "../../support/mutations.ts";
import { frozenVectors, itWithVectors } from "../../support/vectors.ts";

const MAX_SIZE = 33;
const leaves = Array.from({ length: MAX_SIZE + 1 }, (_, i) => leafHash(LOG_DOMAINS, utf8(`leaf ${i}`)));

function* everyProof(): Generator<Parameters<typeof verifyInclusion>[1]> {
  for (let size = 1; size <= MAX_SIZE; size++) {
    const root = rootOf(LOG_DOMAINS, leaves.slice(0, size));
    const read = hashReaderOf(LOG_DOMAINS, leaves.slice(0, size));
    for (let index = 0; index < size; index++) {
      yield { leafHash: leaves[index]!, index, size, root, path: proveInclusion(LOG_DOMAINS, read, index, size) };
    }
  }
}

function refuses(claim: Parameters<typeof verifyInclusion>[1], name: string): void {
  assertRefused(
    () => {
      verifyInclusion(LOG_DOMAINS, claim);
    },
    "bad-inclusion",
    name,
  );
}

interface InclusionCase {
  readonly file: string;
  readonly leafIdx: number;
  readonly treeSize: number;
  readonly root: string;
  readonly leafHash: string;
  readonly proof: string[] | null;
  readonly wantErr: boolean;
}

function runCases(vectors: unknown): void {
  for (const c of (vectors as { inclusion: InclusionCase[] }).inclusion) {
    const claim = {
      leafHash: decodeBase64(c.leafHash),
      index: c.leafIdx,
      size: c.treeSize,
      root: decodeBase64(c.root),
      path: (c.proof ?? []).map(decodeBase64),
    };
    if (c.wantErr) refuses(claim, c.file);
    else verifyInclusion(LOG_DOMAINS, claim);
  }
}

describe("shared/merkle/inclusion", () => {
  it("proves every leaf of every tree of up to 33 leaves", () => {
    for (const claim of everyProof()) verifyInclusion(LOG_DOMAINS, claim);
  });

  it("refuses every flipped bit, and every dropped, doubled, swapped or added element", () => {
    for (const claim of everyProof()) {
      // Every single bit in trees of up to 12 leaves and of 33, every ninth (another place in each byte) between.
      const stride = claim.size <= 12 || claim.size === MAX_SIZE ? 1 : 9;
      for (const { name, value } of mutatedPaths(claim.path, stride)) {
        refuses({ ...claim, path: value }, `${claim.index}/${claim.size} ${name}`);
      }
    }
  });

  it("refuses every flipped bit of leaf and root", () => {
    for (const claim of everyProof()) {
      if (claim.size > 9) return;
      for (const { name, value } of flippedBits(claim.leafHash)) refuses({ ...claim, leafHash: value }, name);
      for (const { name, value } of flippedBits(claim.root)) refuses({ ...claim, root: value }, name);
    }
  });

  it("refuses every other index, the leaf beside, and indices that no tree has", () => {
    for (const claim of everyProof()) {
      for (let index = -1; index <= claim.size + 1; index++) {
        if (index !== claim.index) refuses({ ...claim, index }, `${claim.index} as ${index} of ${claim.size}`);
      }
      refuses({ ...claim, leafHash: leaves[claim.index + 1]! }, "neighbour leaf");
      refuses({ ...claim, index: NaN }, "no index");
    }
  });

  it("refuses a neighbour size wherever the path of that size is another", () => {
    for (const claim of everyProof()) {
      for (const size of [claim.size - 1, claim.size + 1]) {
        const { index, leafHash: leaf, path, root } = claim;
        const lengths = index < size ? pathNodes(index, size).length : -1;
        if (lengths === -1) refuses({ ...claim, size }, `size ${size}`);
        else if (index === claim.size - 1)
          refuses({ leafHash: leaf, index, size, path, root }, `last leaf, size ${size}`);
      }
    }
  });

  it("keeps the domains apart", () => {
    for (const claim of everyProof()) {
      if (claim.path.length === 0) continue;
      assertRefused(() => {
        verifyInclusion(HISTORY_DOMAINS, claim);
      }, "bad-inclusion");
    }
  });

  it("works on sizes up to 2^53 - 1 without wrapping", () => {
    const size = Number.MAX_SAFE_INTEGER;
    for (const index of [0, 2 ** 31, 2 ** 32 + 1, size - 1]) {
      const path = proveInclusion(LOG_DOMAINS, () => emptyRoot, index, size);
      assert.equal(rootFromInclusion(LOG_DOMAINS, emptyRoot, index, size, path).length, 32);
      assertRefused(() => rootFromInclusion(LOG_DOMAINS, emptyRoot, index, size, path.slice(1)), "bad-inclusion");
    }
  });

  it("proves nothing about leaves that are not there", () => {
    assert.throws(() => proveInclusion(LOG_DOMAINS, leaves, 5, 5), RangeError);
    assert.throws(() => proveInclusion(LOG_DOMAINS, leaves, 0, 0), RangeError);
  });

  it("agrees with the frozen RFC 6962 cases", () => {
    runCases(frozenVectors("rfc6962-sample.json"));
  });
  itWithVectors("agrees with all 98 RFC 6962 cases", "rfc6962-proofs.json", runCases);
});
