import assert from "node:assert/strict";
import { sha256 } from "../../../shared/crypto/hash.ts";
import type { Hash } from "../../../shared/crypto/hash.ts";
import { compareBytes, equalBytes, Writer } from "../../../shared/encoding.ts";
import {
  encodeMapProof,
  parseBatchProof,
  parseMapProof,
  terminalsOf,
  verifyBatchProof,
  verifyMapProof,
} from "../../../shared/map/map-proof.ts";
import type { BatchNode, LeafChange, MapLeaf } from "../../../shared/map/map-proof.ts";
import { PrefixTree } from "../../../shared/map/prefix-tree.ts";
import { Choices, changedBytes } from "../edits.ts";
import type { FuzzTarget } from "../target.ts";
import { unlessRefused } from "../target.ts";

const hashOf = (n: number): Hash => sha256(Uint8Array.of(n));
const LEAVES: readonly MapLeaf[] = Array.from({ length: 12 }, (_, i) => ({
  index: hashOf(i),
  n: i + 1,
  historyRoot: hashOf(100 + i),
}));
/** Indices in the map and not in it. */
const INDICES: readonly Hash[] = Array.from({ length: 24 }, (_, i) => hashOf(i));
const tree = new PrefixTree();
for (const { index, n, historyRoot } of LEAVES) tree.set(index, n, historyRoot);

/**
 * First byte: bit 0 a single or a batch proof, bit 1 bytes as they are or an edit of a true proof; second byte: for which
 * indices. A proof has one form, and one that leads to the root of the map says what is in the map.
 */
export const target: FuzzTarget = {
  seeds: () => [
    ...[0, 5, 13, 20].map((i) => Uint8Array.of(0, i, ...encodeMapProof(tree.prove(INDICES[i] ?? hashOf(i))))),
    ...[1, 3, 9, 200].map((i) => Uint8Array.of(1, i, ...tree.proveBatch(indicesOf(i)))),
    ...[2, 3].flatMap((mode) => [1, 14].map((i) => Uint8Array.of(mode, i, 0, 3, 1, 1, 40))),
  ],
  run(input) {
    const choices = new Choices(input);
    const [mode, which] = [choices.u8(), choices.u8()];
    if (mode % 2 === 0) runSingle(mode, INDICES[which % INDICES.length] ?? hashOf(0), choices);
    else runBatch(mode, indicesOf(which), choices);
  },
};

/** Up to eight indices, by the bits of a number, in order. */
function indicesOf(which: number): readonly Hash[] {
  return INDICES.filter((_, i) => ((which >> (i % 8)) & 1) === 1 && (i + which) % 3 === 0).sort(compareBytes);
}

function bytesOf(mode: number, truth: Uint8Array, choices: Choices): Uint8Array {
  return mode % 4 < 2 ? choices.rest() : changedBytes(truth, choices.u8() % 3, choices);
}

function runSingle(mode: number, index: Hash, choices: Choices): void {
  const bytes = bytesOf(mode, encodeMapProof(tree.prove(index)), choices);
  const proof = unlessRefused(() => parseMapProof(bytes), "malformed");
  if (proof === undefined) return;
  assert(equalBytes(encodeMapProof(proof), bytes), "another encoding of the same proof");
  const truth = tree.get(index);
  for (const claim of [undefined, ...LEAVES]) {
    const root = unlessRefused(() => verifyMapProof(proof, index, claim), "bad-map-proof");
    if (root === undefined || !equalBytes(root, tree.root)) continue;
    assert.equal(claim?.n, truth?.n, "a claim that is not what the map holds");
    assert.deepEqual(bytes, encodeMapProof(tree.prove(index)), "another proof of the same claim");
  }
}

function runBatch(mode: number, indices: readonly Hash[], choices: Choices): void {
  const bytes = bytesOf(mode, tree.proveBatch(indices), choices);
  const proof = unlessRefused(() => parseBatchProof(bytes, indices), "malformed");
  if (proof === undefined) return;
  assert(equalBytes(encodeBatch(proof), bytes), "another encoding of the same proof");
  assert.equal(
    terminalsOf(proof).reduce((sum, { first, end }) => sum + end - first, 0),
    indices.length,
  );
  const changes = indices.map((index): LeafChange => ({
    index,
    old: tree.get(index),
    new: { n: 99, historyRoot: index },
  }));
  const roots = unlessRefused(() => verifyBatchProof(proof, changes), "bad-map-proof");
  if (roots === undefined || !equalBytes(roots.oldRoot, tree.root)) return;
  const after = new PrefixTree(tree);
  for (const change of changes) after.set(change.index, change.new.n, change.new.historyRoot);
  assert.deepEqual(roots.newRoot, after.root, "a proof that leads to another map");
}

function encodeBatch(proof: BatchNode): Uint8Array {
  const writer = new Writer();
  const write = (node: BatchNode): void => {
    if (node.kind === "untouched") writer.bytes(node.hash);
    else if (node.kind === "inner") {
      writer.u8(3);
      write(node.left);
      write(node.right);
    } else if (node.terminal.kind === "foreign") {
      const { index, n, historyRoot } = node.terminal.leaf;
      writer.u8(2).bytes(index).u64(n).bytes(historyRoot);
    } else writer.u8(node.terminal.kind === "leaf" ? 0 : 1);
  };
  write(proof);
  return writer.finish();
}
