/** What is not in the map is proven not to be, and no proof of it shows anything else. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { sha256 } from "../../shared/crypto/hash.ts";
import { compareBytes, equalBytes, utf8 } from "../../shared/encoding.ts";
import {
  encodeMapProof,
  parseBatchProof,
  parseMapProof,
  verifyBatchProof,
  verifyMapProof,
} from "../../shared/map/map-proof.ts";
import { PrefixTree } from "../../shared/map/prefix-tree.ts";
import { assertRefused } from "../support/mutations.ts";

const indexOf = (label: string): Uint8Array => sha256(utf8(label));
const labels = fc.uniqueArray(fc.string({ maxLength: 6 }), { maxLength: 40 });

describe("map: random labels", () => {
  it("proves every label that is there and none that is not", () => {
    fc.assert(
      fc.property(labels, fc.string({ maxLength: 8 }), (present, asked) => {
        const tree = new PrefixTree();
        for (const [i, label] of present.entries()) tree.set(indexOf(label), i + 1, sha256(utf8(`root ${label}`)));
        for (const label of [...present, asked]) {
          const index = indexOf(label);
          const proof = parseMapProof(encodeMapProof(tree.prove(index)));
          const leaf = tree.get(index);
          assert(equalBytes(verifyMapProof(proof, index, leaf), tree.root));
          const claim = leaf === undefined ? { n: 1, historyRoot: index } : undefined;
          assertRefused(() => verifyMapProof(proof, index, claim), "bad-map-proof");
        }
      }),
      { numRuns: 100 },
    );
  });

  it("leads to one root in whatever order labels come, one by one or as a batch", () => {
    fc.assert(
      fc.property(labels, fc.infiniteStream(fc.nat()), (present, order) => {
        const leaves = present.map((label, i) => ({
          index: indexOf(label),
          n: i + 1,
          historyRoot: indexOf(`r${label}`),
        }));
        const half = leaves.slice(0, leaves.length / 2);
        const [before, after, shuffled] = [new PrefixTree(), new PrefixTree(), new PrefixTree()];
        for (const { index, n, historyRoot } of half) before.set(index, n, historyRoot);
        for (const { index, n, historyRoot } of leaves) after.set(index, n, historyRoot);
        const keyed = leaves.map((leaf) => ({ leaf, key: Number(order.next().value) }));
        for (const { leaf } of keyed.sort((a, b) => a.key - b.key)) shuffled.set(leaf.index, leaf.n, leaf.historyRoot);
        assert.deepEqual(shuffled.root, after.root);
        const changes = leaves
          .map(({ index, n, historyRoot }) => ({ index, old: before.get(index), new: { n, historyRoot } }))
          .sort((a, b) => compareBytes(a.index, b.index));
        const indices = changes.map(({ index }) => index);
        const roots = verifyBatchProof(parseBatchProof(before.proveBatch(indices), indices), changes);
        assert.deepEqual([roots.oldRoot, roots.newRoot], [before.root, after.root]);
      }),
      { numRuns: 100 },
    );
  });
});
