/**
 * What the map of one epoch proves: that an index has this leaf, or none (a single proof), and that a list of changes
 * leads from one root to the next (a batch proof). Prover and verifier share one view of the tree. shared/README.md,
 * "Map".
 */
import type { Hash } from "../crypto/hash.ts";
import { sha256 } from "../crypto/hash.ts";
import { compareBytes, concat, equalBytes, isZero, Reader, Writer } from "../encoding.ts";
import { VerificationError } from "../errors.ts";

/** An empty child, and the root of the empty tree. */
export const EMPTY: Hash = new Uint8Array(32);
/** Indices have 256 bits; nothing lies deeper. */
export const MAX_DEPTH = 256;

/** Content of a leaf: newest version and history root of the user behind `index`. */
export interface MapLeaf {
  readonly index: Hash;
  readonly n: number;
  readonly historyRoot: Hash;
}
export type LeafValue = Omit<MapLeaf, "index">;

/** What stands where the walk towards an index ends: its leaf, nothing, or the leaf of another index. */
export type Terminal =
  { readonly kind: "leaf" } | { readonly kind: "empty" } | { readonly kind: "foreign"; readonly leaf: MapLeaf };

/** `siblings[i]` is the sibling at depth i + 1, EMPTY where the child is empty; the terminal sits below the last one. */
export interface MapProof {
  readonly siblings: readonly Hash[];
  readonly terminal: Terminal;
}

const KIND_LEAF = 0;
const KIND_EMPTY = 1;
const KIND_FOREIGN = 2;
const KIND_INNER = 3;

/** SHA-256(0x02 || index || u64 n || history root). */
export function mapLeafHash({ index, n, historyRoot }: MapLeaf): Hash {
  return sha256(new Writer().u8(2).bytes(index).u64(n).bytes(historyRoot).finish());
}

/** SHA-256(0x03 || left || right). */
export function mapNodeHash(left: Hash, right: Hash): Hash {
  return sha256(concat(Uint8Array.of(3), left, right));
}

/** Bit `depth` of an index, most significant first: the child taken below `depth`. */
export function bitAt(index: Hash, depth: number): 0 | 1 {
  return (((index[depth >> 3] ?? 0) >> (7 - (depth & 7))) & 1) === 0 ? 0 : 1;
}

/** Whether two indices agree in their first `depth` bits. */
function sharesPrefix(a: Hash, b: Hash, depth: number): boolean {
  for (let bit = 0; bit < depth; bit++) if (bitAt(a, bit) !== bitAt(b, bit)) return false;
  return true;
}

// ---------------------------------------------------------------------------------------------------------------------
// Single proof

/** A prefix tree as the provers read it. `Node` is whatever the holder of the tree knows nodes by. */
export interface MapView<Node> {
  readonly top: Node;
  look(
    node: Node,
  ):
    | { readonly kind: "empty" }
    | { readonly kind: "leaf"; readonly leaf: MapLeaf }
    | { readonly kind: "inner"; readonly left: Node; readonly right: Node };
  hash(node: Node): Hash;
}

/** Proof of what `index` has in the tree. */
export function proveMap<Node>(view: MapView<Node>, index: Hash): MapProof {
  const siblings: Hash[] = [];
  let node = view.look(view.top);
  while (node.kind === "inner") {
    const right = bitAt(index, siblings.length) === 1;
    siblings.push(view.hash(right ? node.left : node.right));
    node = view.look(right ? node.right : node.left);
  }
  if (node.kind === "empty") return { siblings, terminal: { kind: "empty" } };
  const own = equalBytes(node.leaf.index, index);
  return { siblings, terminal: own ? { kind: "leaf" } : { kind: "foreign", leaf: node.leaf } };
}

/**
 * `u16 depth || ceil(depth / 8) bytes: bit i set when the sibling at depth i + 1 is not empty || those siblings, root
 * side first || u8 kind || for a foreign leaf: index, u64 n, history root`.
 */
export function encodeMapProof({ siblings, terminal }: MapProof): Uint8Array {
  const present = new Uint8Array(Math.ceil(siblings.length / 8));
  siblings.forEach((sibling, depth) => {
    if (!isZero(sibling)) present[depth >> 3] = (present[depth >> 3] ?? 0) | (0x80 >> (depth & 7));
  });
  const writer = new Writer().u16(siblings.length).bytes(present);
  for (const sibling of siblings) if (!isZero(sibling)) writer.bytes(sibling);
  return writeTerminal(writer, terminal).finish();
}

/** Inverse of `encodeMapProof`; every element in its one form and consumed, or `malformed`. */
export function parseMapProof(bytes: Uint8Array): MapProof {
  const reader = new Reader(bytes);
  const depth = reader.u16();
  if (depth > MAX_DEPTH) throw new VerificationError("malformed", "a map proof is deeper than an index has bits");
  const present = reader.bytes(Math.ceil(depth / 8));
  const bits = Array.from(
    { length: present.length * 8 },
    (_, bit) => ((present[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1,
  );
  if (bits.slice(depth).includes(1)) throw new VerificationError("malformed", "a map proof has bits below its depth");
  const siblings = bits.slice(0, depth).map((bit) => (bit === 1 ? readSibling(reader) : EMPTY));
  const terminal = readTerminal(reader, reader.u8());
  reader.end();
  return { siblings, terminal };
}

/**
 * The map root under which `index` has `leaf` (undefined: is absent). The caller compares it with the root it trusts.
 * Throws `bad-map-proof` when the proof is of another kind, or its foreign leaf is the target or off the path.
 */
export function verifyMapProof(proof: MapProof, index: Hash, leaf: LeafValue | undefined): Hash {
  const { siblings, terminal } = proof;
  if ((terminal.kind === "leaf") !== (leaf !== undefined)) {
    throw new VerificationError("bad-map-proof", "a proof of another kind");
  }
  if (terminal.kind === "foreign") checkForeign(terminal.leaf, index, siblings.length);
  let hash = terminal.kind === "foreign" ? mapLeafHash(terminal.leaf) : EMPTY;
  if (leaf !== undefined) hash = mapLeafHash({ index, n: leaf.n, historyRoot: leaf.historyRoot });
  for (let depth = siblings.length - 1; depth >= 0; depth--) {
    const sibling = siblings[depth] ?? EMPTY;
    hash = bitAt(index, depth) === 1 ? mapNodeHash(sibling, hash) : mapNodeHash(hash, sibling);
  }
  return hash;
}

function checkForeign(leaf: MapLeaf, index: Hash, depth: number): void {
  if (equalBytes(leaf.index, index))
    throw new VerificationError("bad-map-proof", "the foreign leaf is the target's own");
  if (!sharesPrefix(leaf.index, index, depth)) {
    throw new VerificationError("bad-map-proof", "the foreign leaf lies off the path");
  }
}

function writeTerminal(writer: Writer, terminal: Terminal): Writer {
  if (terminal.kind === "leaf") return writer.u8(KIND_LEAF);
  if (terminal.kind === "empty") return writer.u8(KIND_EMPTY);
  const { index, n, historyRoot } = terminal.leaf;
  return writer.u8(KIND_FOREIGN).bytes(index).u64(n).bytes(historyRoot);
}

function readTerminal(reader: Reader, kind: number): Terminal {
  if (kind === KIND_LEAF) return { kind: "leaf" };
  if (kind === KIND_EMPTY) return { kind: "empty" };
  if (kind !== KIND_FOREIGN) throw new VerificationError("malformed", "a map proof ends in an unknown kind");
  const leaf = { index: reader.bytes(32), n: reader.u64(), historyRoot: reader.bytes(32) };
  if (leaf.n < 1) throw new VerificationError("malformed", "a leaf of the map has no version");
  return { kind: "foreign", leaf };
}

/** Copied, so that a proof held for long does not hold the whole answer. Zero has a shorter form, hence malformed. */
function readSibling(reader: Reader): Hash {
  const sibling = reader.bytes(32);
  if (isZero(sibling)) throw new VerificationError("malformed", "an empty sibling is written out");
  return sibling;
}

// ---------------------------------------------------------------------------------------------------------------------
// Batch proof

/** A batch proof, parsed: the part of the old tree that the targets `first..end-1` (in order) run through. */
export type BatchNode =
  | { readonly kind: "untouched"; readonly hash: Hash }
  | { readonly kind: "inner"; readonly left: BatchNode; readonly right: BatchNode }
  | BatchTerminal;
export interface BatchTerminal {
  readonly kind: "terminal";
  readonly depth: number;
  readonly first: number;
  readonly end: number;
  readonly terminal: Terminal;
}

/** A change of one leaf: `old` undefined where the index had none. */
export interface LeafChange {
  readonly index: Hash;
  readonly old: LeafValue | undefined;
  readonly new: LeafValue;
}

/**
 * Batch proof of the old tree for strictly increasing `indices`: a pre-order walk, left first. A subtree without target
 * is its hash (an empty one 32 zero bytes); one with targets is a u8: 3 for a node (its two children follow), else the
 * kind of the terminal as in a single proof. No targets: the root alone.
 */
export function proveMapBatch<Node>(view: MapView<Node>, indices: readonly Hash[]): Uint8Array {
  checkIncreasing(indices);
  const writer = new Writer();
  const walk = (node: Node, depth: number, targets: readonly Hash[]): void => {
    if (targets.length === 0) {
      writer.bytes(view.hash(node));
      return;
    }
    const seen = view.look(node);
    if (seen.kind === "inner") {
      writer.u8(KIND_INNER);
      walk(
        seen.left,
        depth + 1,
        targets.filter((index) => bitAt(index, depth) === 0),
      );
      walk(
        seen.right,
        depth + 1,
        targets.filter((index) => bitAt(index, depth) === 1),
      );
    } else if (seen.kind === "leaf" && !targets.some((index) => equalBytes(index, seen.leaf.index))) {
      writeTerminal(writer, { kind: "foreign", leaf: seen.leaf });
    } else {
      writeTerminal(writer, seen.kind === "leaf" ? { kind: "leaf" } : { kind: "empty" });
    }
  };
  walk(view.top, 0, indices);
  return writer.finish();
}

/** Inverse of `proveMapBatch` for the same strictly increasing indices; anything else is `malformed`. */
export function parseBatchProof(bytes: Uint8Array, indices: readonly Hash[]): BatchNode {
  checkIncreasing(indices);
  const reader = new Reader(bytes);
  const walk = (depth: number, first: number, end: number): BatchNode => {
    if (first === end) return { kind: "untouched", hash: reader.bytes(32) };
    const kind = reader.u8();
    if (kind !== KIND_INNER) return { kind: "terminal", depth, first, end, terminal: readTerminal(reader, kind) };
    if (depth === MAX_DEPTH) throw new VerificationError("malformed", "a batch proof is deeper than an index has bits");
    const middle = firstRight(indices, depth, first, end);
    return { kind: "inner", left: walk(depth + 1, first, middle), right: walk(depth + 1, middle, end) };
  };
  const proof = walk(0, 0, indices.length);
  reader.end();
  return proof;
}

/** Where, among the sorted indices `first..end-1` that agree above `depth`, those with bit 1 begin. */
function firstRight(indices: readonly Hash[], depth: number, first: number, end: number): number {
  let [low, high] = [first, end];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (bitAt(indices[middle] ?? EMPTY, depth) === 1) high = middle;
    else low = middle + 1;
  }
  return low;
}

function checkIncreasing(indices: readonly Hash[]): void {
  indices.forEach((index, position) => {
    const previous = indices[position - 1];
    if (previous !== undefined && compareBytes(previous, index) >= 0) {
      throw new VerificationError("malformed", "the indices of a batch are not strictly increasing");
    }
  });
}

/** All terminals of a batch proof, in the order of the indices. */
export function terminalsOf(proof: BatchNode): readonly BatchTerminal[] {
  if (proof.kind === "untouched") return [];
  return proof.kind === "terminal" ? [proof] : [...terminalsOf(proof.left), ...terminalsOf(proof.right)];
}

/**
 * What is wrong between a terminal and the changes that end there: `old-leaf` when a change starts from a leaf that is
 * not the one there, `not-new` when a change calls an index new that has a leaf there, undefined when they agree.
 */
export function terminalProblem(
  { first, end, depth, terminal }: BatchTerminal,
  changes: readonly LeafChange[],
): "old-leaf" | "not-new" | undefined {
  const here = changes.slice(first, end);
  const existing = here.filter((change) => change.old !== undefined).length;
  if (terminal.kind === "leaf") return existing === 0 ? "not-new" : existing === 1 ? undefined : "old-leaf";
  if (existing !== 0) return "old-leaf";
  if (terminal.kind === "empty") return undefined;
  if (here.some((change) => equalBytes(change.index, terminal.leaf.index))) return "not-new";
  return here.every((change) => sharesPrefix(change.index, terminal.leaf.index, depth)) ? undefined : "old-leaf";
}

/**
 * The map roots before and after `changes` (in the order of the proof's indices), from the same siblings. The caller
 * compares both. Throws `bad-map-proof` when a terminal contradicts a change.
 */
export function verifyBatchProof(
  proof: BatchNode,
  changes: readonly LeafChange[],
): { readonly oldRoot: Hash; readonly newRoot: Hash } {
  switch (proof.kind) {
    case "untouched":
      return { oldRoot: proof.hash, newRoot: proof.hash };
    case "inner": {
      const left = verifyBatchProof(proof.left, changes);
      const right = verifyBatchProof(proof.right, changes);
      return {
        oldRoot: mapNodeHash(left.oldRoot, right.oldRoot),
        newRoot: mapNodeHash(left.newRoot, right.newRoot),
      };
    }
    case "terminal":
      return terminalRoots(proof, changes);
  }
}

function terminalRoots(
  proof: BatchTerminal,
  changes: readonly LeafChange[],
): { readonly oldRoot: Hash; readonly newRoot: Hash } {
  if (terminalProblem(proof, changes) !== undefined) {
    throw new VerificationError("bad-map-proof", "a terminal of the batch contradicts its change");
  }
  const here = changes.slice(proof.first, proof.end);
  const foreign = proof.terminal.kind === "foreign" ? [proof.terminal.leaf] : [];
  const before = here.flatMap(({ index, old }) => (old === undefined ? [] : [{ index, ...old }]));
  const after = here.map((change) => ({ index: change.index, ...change.new }));
  return {
    oldRoot: rootOfLeaves([...before, ...foreign], proof.depth),
    newRoot: rootOfLeaves([...after, ...foreign], proof.depth),
  };
}

/** A single proof, and the leaf that it shows; undefined: it shows that there is none. */
export interface ShownLeaf {
  readonly index: Hash;
  readonly proof: MapProof;
  readonly leaf: LeafValue | undefined;
}

/**
 * Out of a batch proof, a single one of what really stands where the first change that contradicts it starts. Undefined
 * where the batch contradicts no change, or does not itself say what stands there: the content of a target's own leaf is
 * not in a batch. The caller verifies the proof under the root it trusts.
 */
export function disprove(proof: BatchNode, changes: readonly LeafChange[]): ShownLeaf | undefined {
  const walk = (node: BatchNode, siblings: readonly BatchNode[]): ShownLeaf | undefined => {
    if (node.kind === "untouched") return undefined;
    if (node.kind === "terminal") return disproveAt(node, changes, siblings);
    return walk(node.left, [...siblings, node.right]) ?? walk(node.right, [...siblings, node.left]);
  };
  return walk(proof, []);
}

function disproveAt(
  node: BatchTerminal,
  changes: readonly LeafChange[],
  beside: readonly BatchNode[],
): ShownLeaf | undefined {
  const { terminal } = node;
  if (terminal.kind === "leaf" || terminalProblem(node, changes) === undefined) return undefined;
  const here = changes.slice(node.first, node.end);
  const siblings = beside.map((sibling) => rootBefore(sibling, changes));
  if (!siblings.every((hash) => hash !== undefined)) return undefined;
  const own = terminal.kind === "foreign" ? terminal.leaf : undefined;
  const present = own && here.find(({ index }) => equalBytes(index, own.index));
  if (own !== undefined && present !== undefined) {
    const leaf = { n: own.n, historyRoot: own.historyRoot };
    return { index: own.index, proof: { siblings, terminal: { kind: "leaf" } }, leaf };
  }
  const absent = here.find(({ old }) => old !== undefined);
  return absent && { index: absent.index, proof: { siblings, terminal }, leaf: undefined };
}

/** The hash that a part of a batch proof says its subtree had before; undefined where a target's leaf is not known. */
function rootBefore(node: BatchNode, changes: readonly LeafChange[]): Hash | undefined {
  if (node.kind === "untouched") return node.hash;
  if (node.kind === "inner") {
    const [left, right] = [rootBefore(node.left, changes), rootBefore(node.right, changes)];
    return left && right && mapNodeHash(left, right);
  }
  if (node.terminal.kind === "empty") return EMPTY;
  if (node.terminal.kind === "foreign") return mapLeafHash(node.terminal.leaf);
  const existing = changes.slice(node.first, node.end).find(({ old }) => old !== undefined);
  return existing?.old && mapLeafHash({ index: existing.index, ...existing.old });
}

/** Root of the subtree at `depth` that holds exactly these leaves (distinct indices with a common prefix). */
export function rootOfLeaves(leaves: readonly MapLeaf[], depth: number): Hash {
  const [first] = leaves;
  if (first === undefined) return EMPTY;
  if (leaves.length === 1) return mapLeafHash(first);
  if (depth === MAX_DEPTH) throw new VerificationError("bad-map-proof", "two leaves have one index");
  const side = (bit: 0 | 1): Hash =>
    rootOfLeaves(
      leaves.filter((leaf) => bitAt(leaf.index, depth) === bit),
      depth + 1,
    );
  return mapNodeHash(side(0), side(1));
}
