/** The map held in memory: for auditors' dumps and tests. Nodes never change, so a copy costs nothing. */
import type { Hash } from "../crypto/hash.ts";
import { equalBytes } from "../encoding.ts";
import { bitAt, EMPTY, mapLeafHash, mapNodeHash, proveMap, proveMapBatch } from "./map-proof.ts";
import type { MapLeaf, MapProof, MapView } from "./map-proof.ts";

type Tree =
  | { readonly kind: "empty"; readonly hash: Hash }
  | { readonly kind: "leaf"; readonly hash: Hash; readonly leaf: MapLeaf }
  | { readonly kind: "inner"; readonly hash: Hash; readonly left: Tree; readonly right: Tree };

const EMPTY_TREE: Tree = { kind: "empty", hash: EMPTY };

const leafTree = (leaf: MapLeaf): Tree => ({ kind: "leaf", hash: mapLeafHash(leaf), leaf });
const innerTree = (left: Tree, right: Tree): Tree => ({
  kind: "inner",
  hash: mapNodeHash(left.hash, right.hash),
  left,
  right,
});

function insert(tree: Tree, depth: number, leaf: MapLeaf): Tree {
  if (tree.kind === "empty") return leafTree(leaf);
  if (tree.kind === "leaf") {
    if (equalBytes(tree.leaf.index, leaf.index)) return leafTree(leaf);
    const split = bitAt(tree.leaf.index, depth) === 0 ? innerTree(tree, EMPTY_TREE) : innerTree(EMPTY_TREE, tree);
    return insert(split, depth, leaf);
  }
  return bitAt(leaf.index, depth) === 0
    ? innerTree(insert(tree.left, depth + 1, leaf), tree.right)
    : innerTree(tree.left, insert(tree.right, depth + 1, leaf));
}

function find(tree: Tree, depth: number, index: Hash): MapLeaf | undefined {
  if (tree.kind === "inner") return find(bitAt(index, depth) === 0 ? tree.left : tree.right, depth + 1, index);
  return tree.kind === "leaf" && equalBytes(tree.leaf.index, index) ? tree.leaf : undefined;
}

/** A prefix tree. Written only through `set`. */
export class PrefixTree {
  #top: Tree;

  constructor(other?: PrefixTree) {
    this.#top = other === undefined ? EMPTY_TREE : other.#top;
  }

  /** Gives an index its leaf, new or in place of the one before. `index` and `historyRoot` are 32 bytes, n >= 1. */
  set(index: Hash, n: number, historyRoot: Hash): void {
    this.#top = insert(this.#top, 0, { index, n, historyRoot });
  }

  get(index: Hash): MapLeaf | undefined {
    return find(this.#top, 0, index);
  }

  get root(): Hash {
    return this.#top.hash;
  }

  prove(index: Hash): MapProof {
    return proveMap(this.#view(), index);
  }

  /** Batch proof for strictly increasing indices. */
  proveBatch(indices: readonly Hash[]): Uint8Array {
    return proveMapBatch(this.#view(), indices);
  }

  #view(): MapView<Tree> {
    return { top: this.#top, look: (node) => node, hash: (node) => node.hash };
  }
}
