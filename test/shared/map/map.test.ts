import assert from "node:assert/strict";
import fc from "fast-check";
import { sha256 } from "../../../shared/crypto/hash.ts";
import type { Hash } from "../../../shared/crypto/hash.ts";
import { compareBytes, equalBytes } from "../../../shared/encoding.ts";
import {
  bitAt,
  EMPTY,
  encodeMapProof,
  mapLeafHash,
  mapNodeHash,
  parseBatchProof,
  parseMapProof,
  rootOfLeaves,
  verifyBatchProof,
  verifyMapProof,
} from "../../../shared/map/map-proof.ts";
import type { LeafChange, LeafValue, MapLeaf } from "../../../shared/map/map-proof.ts";
import { PrefixTree } from "../../../shared/map/prefix-tree.ts";
import { VerificationError } from "../../../shared/errors.ts";
import { assertOnlyMalformed, assertRefused, flippedBits } from "../../support/mutations.ts";

const hashOf = (n: number): Hash => sha256(Uint8Array.of(n >> 8, n & 255));
const leafOf = (i: number): MapLeaf => ({ index: hashOf(i), n: i + 1, historyRoot: hashOf(1_000 + i) });
const treeOf = (leaves: readonly MapLeaf[]): PrefixTree => {
  const tree = new PrefixTree();
  for (const { index, n, historyRoot } of leaves) tree.set(index, n, historyRoot);
  return tree;
};
const SIZES = Array.from({ length: 34 }, (_, i) => i);
const leavesOf = (size: number): MapLeaf[] => Array.from({ length: size }, (_, i) => leafOf(i));
/** Two indices that part at the very last bit. */
const twins = [new Uint8Array(32), new Uint8Array(32).with(31, 1)] as const;

function assertProves(tree: PrefixTree, index: Hash, leaf: LeafValue | undefined): void {
  const bytes = encodeMapProof(tree.prove(index));
  const proof = parseMapProof(bytes);
  assert.deepEqual(encodeMapProof(proof), bytes);
  assert.deepEqual(verifyMapProof(proof, index, leaf), tree.root);
}

/** The mutated proof gives no claim on this root, and nothing but typed errors. */
function assertNoClaim(bytes: Uint8Array, index: Hash, leaf: LeafValue | undefined, root: Hash, name: string): void {
  try {
    assert(!equalBytes(verifyMapProof(parseMapProof(bytes), index, leaf), root), name);
  } catch (error) {
    if (!(error instanceof VerificationError)) throw error;
    assert(["malformed", "bad-map-proof"].includes(error.code), name);
  }
}

describe("map", () => {
  it("has the root of its definition", () => {
    assert.deepEqual(new PrefixTree().root, EMPTY);
    const [a, b] = [leafOf(0), leafOf(1)];
    assert.deepEqual(treeOf([a]).root, mapLeafHash(a));
    for (const size of SIZES) assert.deepEqual(treeOf(leavesOf(size)).root, rootOfLeaves(leavesOf(size), 0));
    let expected = mapNodeHash(
      mapLeafHash({ index: twins[0], n: 1, historyRoot: a.index }),
      mapLeafHash({ index: twins[1], n: 1, historyRoot: b.index }),
    );
    for (let depth = 0; depth < 255; depth++) expected = mapNodeHash(expected, EMPTY);
    const deep = new PrefixTree();
    deep.set(twins[1], 1, b.index);
    deep.set(twins[0], 1, a.index);
    assert.deepEqual(deep.root, expected);
    assertProves(deep, twins[0], { n: 1, historyRoot: a.index });
    assert.equal(deep.prove(twins[0]).siblings.length, 256);
  });

  it("proves presence and absence in every size", () => {
    for (const size of SIZES) {
      const tree = treeOf(leavesOf(size));
      for (const leaf of leavesOf(size)) assertProves(tree, leaf.index, leaf);
      for (let i = 100; i < 140; i++) assertProves(tree, hashOf(i), undefined);
    }
  });

  it("refuses presence for absence and the reverse, other n, other root, other index", () => {
    for (const size of SIZES.slice(1)) {
      const tree = treeOf(leavesOf(size));
      for (const leaf of leavesOf(size)) {
        const proof = tree.prove(leaf.index);
        assertRefused(() => verifyMapProof(proof, leaf.index, undefined), "bad-map-proof", "presence as absence");
        assert(!equalBytes(verifyMapProof(proof, leaf.index, { ...leaf, n: leaf.n + 1 }), tree.root));
        assert(!equalBytes(verifyMapProof(proof, leaf.index, { ...leaf, historyRoot: EMPTY }), tree.root));
        assert(!equalBytes(verifyMapProof(proof, hashOf(500), leaf), tree.root));
      }
      const absent = hashOf(200);
      assertRefused(
        () => verifyMapProof(tree.prove(absent), absent, leafOf(0)),
        "bad-map-proof",
        "absence as presence",
      );
    }
  });

  it("refuses every flipped bit, cut and addition of a proof", () => {
    for (const size of [1, 2, 3, 8, 33]) {
      const tree = treeOf(leavesOf(size));
      for (const [index, leaf] of [
        [leafOf(0).index, leafOf(0)],
        [hashOf(200), undefined],
        [hashOf(203), undefined],
      ] as const) {
        const bytes = encodeMapProof(tree.prove(index));
        for (const { name, value } of flippedBits(bytes))
          assertNoClaim(value, index, leaf, tree.root, `${size} ${name}`);
        for (let cut = 0; cut < bytes.length; cut++) {
          assertRefused(() => parseMapProof(bytes.subarray(0, cut)), "malformed", `cut-to-${cut}`);
        }
        assertRefused(() => parseMapProof(Uint8Array.of(...bytes, 0)), "malformed", "trailing-garbage");
        assertRefused(() => parseMapProof(Uint8Array.of(...bytes, ...EMPTY)), "malformed", "sibling-left-over");
      }
    }
  });

  it("refuses a foreign leaf that is the target, is off the path, or has no version; and depth 257", () => {
    const tree = treeOf(leavesOf(33));
    const foreign = Array.from({ length: 40 }, (_, i) => hashOf(100 + i)).find(
      (index) => tree.prove(index).terminal.kind === "foreign",
    );
    assert(foreign !== undefined);
    const { siblings, terminal } = tree.prove(foreign);
    assert(terminal.kind === "foreign");
    const own = { siblings, terminal };
    assertRefused(() => verifyMapProof(own, terminal.leaf.index, undefined), "bad-map-proof", "foreign = target");
    const off = foreign.with(0, foreign[0]! ^ 0x80);
    assertRefused(() => verifyMapProof(own, off, undefined), "bad-map-proof", "off the path");
    const none = { siblings, terminal: { kind: "foreign", leaf: { ...terminal.leaf, n: 0 } } } as const;
    assertRefused(() => parseMapProof(encodeMapProof(none)), "malformed", "n = 0");
    const deep = { siblings: Array.from({ length: 257 }, () => hashOf(1)), terminal: { kind: "leaf" } } as const;
    assertRefused(() => parseMapProof(encodeMapProof(deep)), "malformed", "depth 257");
  });

  it("is the same map whatever the order", () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(500), { maxLength: 40 }), fc.infiniteStream(fc.nat()), (ids, order) => {
        const leaves = ids.map(leafOf);
        const shuffled = leaves.map((leaf) => ({ leaf, at: Number(order.next().value) })).sort((a, b) => a.at - b.at);
        assert.deepEqual(treeOf(shuffled.map(({ leaf }) => leaf)).root, treeOf(leaves).root);
      }),
      { numRuns: 50 },
    );
  });

  it("gives one terminal to an index: no proof shows another leaf or absence under one root", () => {
    const tree = treeOf(leavesOf(20));
    for (const leaf of leavesOf(20)) {
      for (let i = 0; i < 20; i++) {
        const proof = tree.prove(hashOf(i));
        const claims = [
          () => verifyMapProof(proof, leaf.index, { ...leaf, n: 99 }),
          () => verifyMapProof(proof, leaf.index, undefined),
        ];
        for (const claim of claims) {
          try {
            assert(!equalBytes(claim(), tree.root));
          } catch (error) {
            if (!(error instanceof VerificationError)) throw error;
          }
        }
      }
    }
  });

  it("parses random bytes or calls them malformed", () => {
    assertOnlyMalformed(fc.uint8Array({ maxLength: 400 }), parseMapProof);
    assertOnlyMalformed(fc.uint8Array({ maxLength: 400 }), (bytes) =>
      parseBatchProof(bytes, [hashOf(1)].sort(compareBytes)),
    );
  });
});

/** Changes of the leaves `changed`, some of them new, as `LeafChange`s in order. */
function changesOf(size: number, changed: readonly number[]): LeafChange[] {
  return changed
    .map((i) => {
      const old = i < size ? leafOf(i) : undefined;
      const value = { n: (old?.n ?? 0) + 3, historyRoot: hashOf(3_000 + i) };
      return { index: hashOf(i), old, new: value };
    })
    .sort((a, b) => compareBytes(a.index, b.index));
}

describe("map: batch proof", () => {
  it("leads from the old root to that of the recomputed tree", () => {
    fc.assert(
      fc.property(fc.nat(33), fc.uniqueArray(fc.nat(60), { maxLength: 30 }), (size, changed) => {
        const tree = treeOf(leavesOf(size));
        const changes = changesOf(size, changed);
        const bytes = tree.proveBatch(changes.map(({ index }) => index));
        const proof = parseBatchProof(
          bytes,
          changes.map(({ index }) => index),
        );
        const after = new PrefixTree(tree);
        for (const change of changes) after.set(change.index, change.new.n, change.new.historyRoot);
        assert.deepEqual(verifyBatchProof(proof, changes), { oldRoot: tree.root, newRoot: after.root });
      }),
      { numRuns: 150 },
    );
  });

  it("gives nothing when a bit is flipped, a byte cut or added", () => {
    const tree = treeOf(leavesOf(20));
    const changes = changesOf(20, [3, 7, 25, 31, 40]);
    const indices = changes.map(({ index }) => index);
    const bytes = tree.proveBatch(indices);
    const honest = verifyBatchProof(parseBatchProof(bytes, indices), changes);
    for (const { name, value } of flippedBits(bytes)) {
      try {
        const roots = verifyBatchProof(parseBatchProof(value, indices), changes);
        assert(!equalBytes(roots.oldRoot, honest.oldRoot), name);
      } catch (error) {
        if (!(error instanceof VerificationError)) throw error;
      }
    }
    for (let cut = 0; cut < bytes.length; cut++) {
      assertRefused(() => parseBatchProof(bytes.subarray(0, cut), indices), "malformed", `cut-to-${cut}`);
    }
    assertRefused(() => parseBatchProof(Uint8Array.of(...bytes, 0), indices), "malformed", "trailing-garbage");
  });

  it("refuses indices out of order or twice, and changes that contradict their terminal", () => {
    const tree = treeOf(leavesOf(20));
    const [a, b] = [hashOf(1), hashOf(2)].sort(compareBytes) as [Hash, Hash];
    assertRefused(() => tree.proveBatch([b, a]), "malformed", "unsorted");
    assertRefused(() => parseBatchProof(EMPTY, [a, a]), "malformed", "duplicate");
    const changes = changesOf(20, [3, 40]);
    const proof = parseBatchProof(
      tree.proveBatch(changes.map(({ index }) => index)),
      changes.map(({ index }) => index),
    );
    const asNew = changes.map((change) => ({ ...change, old: undefined }));
    assertRefused(() => verifyBatchProof(proof, asNew), "bad-map-proof", "a known index as new");
    const asOld = changes.map((change) => ({ ...change, old: change.new }));
    assertRefused(() => verifyBatchProof(proof, asOld), "bad-map-proof", "a new index as known");
  });

  it("is the root alone where nothing changes", () => {
    assert.deepEqual(treeOf(leavesOf(5)).proveBatch([]), treeOf(leavesOf(5)).root);
    assert.deepEqual(new PrefixTree().proveBatch([]), EMPTY);
  });

  it("takes bits from the front", () => {
    assert.deepEqual(
      [bitAt(Uint8Array.of(0x80), 0), bitAt(Uint8Array.of(0x01), 7), bitAt(Uint8Array.of(0x7f), 0)],
      [1, 1, 0],
    );
  });
});
