import assert from "node:assert/strict";
import fc from "fast-check";
import { encodeHex, utf8 } from "../../../shared/encoding.ts";
import {
  appendToFrontier,
  emptyFrontier,
  emptyRoot,
  frontierLength,
  frontierRoot,
  hashReaderOf,
  HISTORY_DOMAINS,
  leafHash,
  LOG_DOMAINS,
  nodesOfRange,
  rangeHash,
  rootOf,
  splitPoint,
} from "../../../shared/merkle/tree.ts";
import { frozenVectors } from "../../support/vectors.ts";

const { roots } = frozenVectors("ckv.json") as { roots: { log: string[]; history: string[] } };

describe("shared/merkle/tree", () => {
  for (const [name, domains, expected] of [
    ["log", LOG_DOMAINS, roots.log],
    ["history", HISTORY_DOMAINS, roots.history],
  ] as const) {
    it(`gives every tree of up to 33 leaves the root that RFC 6962 defines, with the domains of the ${name}`, () => {
      const leaves = Array.from({ length: 33 }, (_, i) => leafHash(domains, utf8(`leaf ${i}`)));
      let frontier = emptyFrontier;
      for (let size = 0; size <= 33; size++) {
        assert.equal(encodeHex(rootOf(domains, leaves.slice(0, size))), expected[size]);
        assert.equal(encodeHex(frontierRoot(domains, frontier)), expected[size]);
        assert.equal(frontier.hashes.length, frontierLength(size));
        if (size > 0) {
          const read = hashReaderOf(domains, leaves.slice(0, size));
          assert.equal(encodeHex(rangeHash(domains, read, { start: 0, end: size })), expected[size]);
        }
        if (size < 33) frontier = appendToFrontier(domains, frontier, leaves[size]!);
      }
    });
  }

  it("never changes a frontier", () => {
    const one = appendToFrontier(LOG_DOMAINS, emptyFrontier, emptyRoot);
    appendToFrontier(LOG_DOMAINS, one, emptyRoot);
    assert.deepEqual(one, { size: 1, hashes: [emptyRoot] });
    assert.deepEqual(emptyFrontier, { size: 0, hashes: [] });
  });

  it("refuses frontiers of another size, and leaves that are not there, as our own mistake", () => {
    assert.throws(() => frontierRoot(LOG_DOMAINS, { size: 3, hashes: [emptyRoot] }), RangeError);
    assert.throws(() => appendToFrontier(LOG_DOMAINS, { size: 1, hashes: [] }, emptyRoot), RangeError);
    assert.throws(() => hashReaderOf(LOG_DOMAINS, [emptyRoot])(0, 1), RangeError);
  });

  it("counts without wrapping up to 2^53", () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: Number.MAX_SAFE_INTEGER }), (size) => {
        const ones = Array.from(BigInt(size).toString(2)).filter((bit) => bit === "1").length;
        assert.equal(frontierLength(size), ones);
        const half = BigInt(splitPoint(size));
        assert(half < BigInt(size) && half * 2n >= BigInt(size) && (half & (half - 1n)) === 0n);
        const nodes = nodesOfRange({ start: 0, end: size });
        assert.equal(nodes.length, ones);
        assert.equal(
          nodes.reduce((sum, { level }) => sum + 2n ** BigInt(level), 0n),
          BigInt(size),
        );
      }),
    );
  });
});
