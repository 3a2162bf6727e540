/**
 * A whole map, leaf by leaf in the order of indices, for who starts in the middle of a log. shared/README.md, "Auditors and
 * witnesses". The root comes out of the leaves one after another, in memory that does not grow with them.
 */
import type { Hash } from "../crypto/hash.ts";
import { HASH_BYTES } from "../crypto/hash.ts";
import { compareBytes, Reader, Writer } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import { bitAt, EMPTY, mapLeafHash, mapNodeHash, MAX_DEPTH } from "./map-proof.ts";
import type { MapLeaf } from "./map-proof.ts";

/** Leaves in one page of a dump, 72 bytes each; a shorter page is the last. */
export const DUMP_PAGE_LEAVES = 4_096;

/** `index || u64 n || history root` for each leaf, in the order given. */
export function encodeDumpPage(leaves: readonly MapLeaf[]): Uint8Array {
  const writer = new Writer();
  for (const { index, n, historyRoot } of leaves) writer.bytes(index).u64(n).bytes(historyRoot);
  return writer.finish();
}

/** The leaves of a page: whole, no more than a page holds, each with a version. Throws `malformed`. */
export function parseDumpPage(bytes: Uint8Array): readonly MapLeaf[] {
  const reader = new Reader(bytes);
  const leaves: MapLeaf[] = [];
  while (reader.remaining > 0) {
    if (leaves.length === DUMP_PAGE_LEAVES) throw new VerificationError("malformed", "a page of a dump is too long");
    const leaf = { index: reader.bytes(HASH_BYTES), n: reader.u64(), historyRoot: reader.bytes(HASH_BYTES) };
    if (leaf.n < 1) throw new VerificationError("malformed", "a leaf of the map has no version");
    leaves.push(leaf);
  }
  return leaves;
}

/** Where building a root stands; all of it is needed to go on. */
export interface RootState {
  readonly labels: number;
  /** The newest leaf, whose place depends on the next. */
  readonly last: MapLeaf | undefined;
  /** How many bits it shares with the one before; -1 for the first. */
  readonly shared: number;
  /** Left children that wait for what is to their right, the deepest last. */
  readonly waiting: readonly { readonly depth: number; readonly hash: Hash }[];
}

/** Written by its own methods only. */
export class RootBuilder {
  #labels: number;
  #last: MapLeaf | undefined;
  #shared: number;
  readonly #waiting: { readonly depth: number; readonly hash: Hash }[];

  /** From the beginning, or from where another left off. */
  constructor(state: RootState = { labels: 0, last: undefined, shared: -1, waiting: [] }) {
    this.#labels = state.labels;
    this.#last = state.last;
    this.#shared = state.shared;
    this.#waiting = [...state.waiting];
  }

  get state(): RootState {
    return { labels: this.#labels, last: this.#last, shared: this.#shared, waiting: [...this.#waiting] };
  }

  /** Takes the next leaf. Throws `malformed` unless its index is above the last one's. */
  add(leaf: MapLeaf): void {
    const last = this.#last;
    if (last !== undefined) {
      if (compareBytes(last.index, leaf.index) >= 0) {
        throw new VerificationError("malformed", "the leaves of a dump are not in the order of their indices");
      }
      const shared = sharedBits(last.index, leaf.index);
      this.#waiting.push({ depth: shared + 1, hash: this.#lift(last, shared) });
      this.#shared = shared;
    }
    this.#last = leaf;
    this.#labels += 1;
  }

  /** The root of the map of all leaves taken; more may still follow. */
  root(): Hash {
    if (this.#last === undefined) return EMPTY;
    return new RootBuilder(this.state).#lift(this.#last, -1);
  }

  /** The hash of the node that holds `leaf`, just below the `above` bits that the leaf after it shares. */
  #lift(leaf: MapLeaf, above: number): Hash {
    let hash = mapLeafHash(leaf);
    for (let depth = Math.max(this.#shared, above) + 1; depth > above + 1; depth--) {
      const isRight = bitAt(leaf.index, depth - 1) === 1;
      const left = isRight && this.#waiting.at(-1)?.depth === depth ? this.#waiting.pop()?.hash : undefined;
      hash = isRight ? mapNodeHash(left ?? EMPTY, hash) : mapNodeHash(hash, EMPTY);
    }
    return hash;
  }
}

function sharedBits(a: Hash, b: Hash): number {
  let bits = 0;
  while (bits < MAX_DEPTH && bitAt(a, bits) === bitAt(b, bits)) bits++;
  return bits;
}
