import assert from "node:assert/strict";
import { decodeBase64, equalBytes, utf8 } from "../../../shared/encoding.ts";
import {
  isPowerOfTwo,
  proveConsistency,
  rootsFromConsistency,
  verifyConsistency,
} from "../../../shared/merkle/consistency.ts";
import {
  emptyRoot,
  hashReaderOf,
  HISTORY_DOMAINS,
  leafHash,
  LOG_DOMAINS,
  rootOf,
} from "../../../shared/merkle/tree.ts";
import { assertRefused, flippedBits, mutatedPaths } from "../../support/mutations.ts";
import { frozenVectors, itWithVectors } from "../../support/vectors.ts";

const MAX_SIZE = 33;
const leaves = Array.from({ length: MAX_SIZE }, (_, i) => leafHash(LOG_DOMAINS, utf8(`leaf ${i}`)));
const roots = Array.from({ length: MAX_SIZE + 1 }, (_, size) => rootOf(LOG_DOMAINS, leaves.slice(0, size)));

type Claim = Parameters<typeof verifyConsistency>[1];

function* everyProof(): Generator<Claim> {
  for (let size2 = 1; size2 <= MAX_SIZE; size2++) {
    const read = hashReaderOf(LOG_DOMAINS, leaves.slice(0, size2));
    for (let size1 = 1; size1 <= size2; size1++) {
      const path = proveConsistency(LOG_DOMAINS, read, size1, size2);
      yield { size1, root1: roots[size1]!, size2, root2: roots[size2]!, path };
    }
  }
}

function refuses(claim: Claim, name: string): void {
  assertRefused(
    () => {
      verifyConsistency(LOG_DOMAINS, claim);
    },
    "bad-consistency",
    `${claim.size1}..${claim.size2} ${name}`,
  );
}

interface ConsistencyCase {
  readonly file: string;
  readonly size1: number;
  readonly size2: number;
  readonly root1: string;
  readonly root2: string;
  readonly proof: string[] | null;
  readonly wantErr: boolean;
}

function runCases(vectors: unknown): void {
  for (const c of (vectors as { consistency: ConsistencyCase[] }).consistency) {
    const [root1, root2] = [decodeBase64(c.root1), decodeBase64(c.root2)];
    const claim = { size1: c.size1, root1, size2: c.size2, root2, path: (c.proof ?? []).map(decodeBase64) };
    // Our rules are stricter in two things: nothing is proven about an empty tree, and a root has 32 bytes.
    if (c.wantErr || c.size1 === 0 || root1.length !== 32) refuses(claim, c.file);
    else verifyConsistency(LOG_DOMAINS, claim);
  }
}

describe("shared/merkle/consistency", () => {
  it("proves every pair of sizes up to 33", () => {
    for (const claim of everyProof()) verifyConsistency(LOG_DOMAINS, claim);
  });

  it("refuses every flipped bit, and every dropped, doubled, swapped or added element", () => {
    for (const claim of everyProof()) {
      // Every single bit in trees of up to 12 leaves and of 33, every ninth (another place in each byte) between.
      const stride = claim.size2 <= 12 || claim.size2 === MAX_SIZE ? 1 : 9;
      for (const { name, value } of mutatedPaths(claim.path, stride)) refuses({ ...claim, path: value }, name);
    }
  });

  it("refuses every flipped bit of either root", () => {
    for (const claim of everyProof()) {
      if (claim.size2 > 9) return;
      for (const { name, value } of flippedBits(claim.root1)) refuses({ ...claim, root1: value }, name);
      for (const { name, value } of flippedBits(claim.root2)) refuses({ ...claim, root2: value }, name);
    }
  });

  it("refuses every other size, swapped sizes and swapped roots", () => {
    for (const claim of everyProof()) {
      for (let size1 = 0; size1 <= claim.size2 + 1; size1++) {
        if (size1 !== claim.size1) refuses({ ...claim, size1 }, `size1 as ${size1}`);
      }
      if (claim.size1 === claim.size2) continue;
      refuses({ ...claim, size1: claim.size2, size2: claim.size1 }, "swapped-sizes");
      refuses({ ...claim, root1: claim.root2, root2: claim.root1 }, "swapped-roots");
      refuses({ ...claim, size1: claim.size2, root1: claim.root2 }, "equal sizes with a proof");
    }
  });

  it("proves nothing about the empty tree", () => {
    refuses({ size1: 0, root1: emptyRoot, size2: 0, root2: emptyRoot, path: [] }, "empty to empty");
    refuses({ size1: 0, root1: emptyRoot, size2: 5, root2: roots[5]!, path: [] }, "empty to 5");
    assert.throws(() => proveConsistency(LOG_DOMAINS, leaves, 0, 5), RangeError);
    assert.throws(() => proveConsistency(LOG_DOMAINS, leaves, 6, 5), RangeError);
  });

  it("refuses a fork at every leaf", () => {
    for (const claim of everyProof()) {
      if (claim.size2 > 12) return;
      for (let forked = 0; forked < claim.size1; forked++) {
        const other = leaves.slice(0, claim.size1).with(forked, emptyRoot);
        refuses({ ...claim, root1: rootOf(LOG_DOMAINS, other) }, `forked at ${forked}`);
      }
    }
  });

  it("gives both roots, for evidence that one is another", () => {
    for (const { size1, size2, path, root1, root2 } of everyProof()) {
      if (size1 === size2) continue;
      const rebuilt = rootsFromConsistency(LOG_DOMAINS, size1, size2, isPowerOfTwo(size1) ? [root1, ...path] : path);
      assert(equalBytes(rebuilt[0], root1) && equalBytes(rebuilt[1], root2));
    }
  });

  it("keeps the domains apart", () => {
    for (const claim of everyProof()) {
      if (claim.size1 === claim.size2) continue;
      assertRefused(() => {
        verifyConsistency(HISTORY_DOMAINS, claim);
      }, "bad-consistency");
    }
  });

  it("works on sizes up to 2^53 - 1 without wrapping", () => {
    const size2 = Number.MAX_SAFE_INTEGER;
    for (const size1 of [2 ** 31 + 1, 2 ** 32 + 7, size2 - 1]) {
      const path = proveConsistency(LOG_DOMAINS, () => emptyRoot, size1, size2);
      assert.equal(rootsFromConsistency(LOG_DOMAINS, size1, size2, path).length, 2);
      assertRefused(() => rootsFromConsistency(LOG_DOMAINS, size1, size2, path.slice(1)), "bad-consistency");
    }
    assert(isPowerOfTwo(2 ** 52) && !isPowerOfTwo(2 ** 52 + 1) && !isPowerOfTwo(0));
  });

  it("agrees with the frozen RFC 6962 cases", () => {
    runCases(frozenVectors("rfc6962-sample.json"));
  });
  itWithVectors("agrees with all 98 RFC 6962 cases", "rfc6962-proofs.json", runCases);
});
