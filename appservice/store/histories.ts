/**
 * Histories live in the change lists: a row holds the frontier before it, and for each of its hashes the row where that
 * subtree ends, so that any version or inner hash is found in a number of steps that grows with the logarithm of n.
 */
import type { Hash } from "../../shared/crypto/hash.ts";
import type { HashReader } from "../../shared/merkle/tree.ts";
import { hashHistoryLeaf, hashHistoryNode } from "./fixed-hash.ts";
import { chunkOf, epochOf, isBefore, parseChunkRow } from "./records.ts";
import type { ChangeRow, Position, Tip, VersionContent } from "./records.ts";
import { getReferenced, IntegrityError } from "./store.ts";
import type { Reads } from "./store.ts";

export const EMPTY_TIP: Tip = { size: 0, hashes: [], positions: [] };

/** The history with one more version, merged in the row at `position`. */
export function appendToTip(tip: Tip, commitment: Hash, position: Position): Tip {
  const [hashes, positions] = [[...tip.hashes], [...tip.positions]];
  let joined: Hash = hashHistoryLeaf(tip.size + 1, epochOf(position), commitment);
  for (let rest = tip.size; rest % 2 === 1; rest = Math.floor(rest / 2)) {
    const left = hashes.pop();
    positions.pop();
    if (left === undefined) throw new IntegrityError("a history is short of hashes");
    joined = hashHistoryNode(left, joined);
  }
  hashes.push(joined);
  positions.push(position);
  return { size: tip.size + 1, hashes, positions };
}

/** The root of a history of at least one version. */
export function rootOfTip(tip: Tip): Hash {
  return tip.hashes.reduceRight((right, left) => hashHistoryNode(left, right));
}

/** The row at a position. */
export function readRow(reads: Reads, position: Position): ChangeRow {
  const { key, row } = chunkOf(position);
  const found = parseChunkRow(getReferenced(reads, key, "a change list"), row);
  if (found === undefined) throw new IntegrityError("a change list is shorter than a position in it");
  return found;
}

/** One history, from its newest row. Rows are read once and remembered; so is each hash. */
export class HistoryReader {
  readonly #reads: Reads;
  readonly #newest: Position;
  readonly #content: VersionContent | undefined;
  readonly #rows = new Map<Position, ChangeRow>();
  readonly #nodes = new Map<string, Hash>();

  /** `content`: that of the newest version, if it was read; for that version no row is. */
  constructor(reads: Reads, newest: Position, content?: VersionContent) {
    this.#reads = reads;
    this.#newest = newest;
    this.#content = content;
  }

  /** Where a version was merged, and its commitment. `RangeError` if the history has no such version. */
  version(version: number): { readonly position: Position; readonly commitment: Hash } {
    if (version === this.#content?.version) return { position: this.#newest, commitment: this.#content.commitment };
    const { position, row } = this.#rowOf(version);
    const commitment = row.commitments[version - row.before.size - 1];
    if (commitment === undefined) throw new RangeError(`the history has no version ${version}`);
    return { position, commitment };
  }

  /** The history just before a version. */
  before(version: number): Tip {
    if (version === this.#content?.version) return this.#content.before;
    const { position, row } = this.#rowOf(version);
    const earlier = row.commitments.slice(0, version - row.before.size - 1);
    return earlier.reduce((tip, commitment) => appendToTip(tip, commitment, position), row.before);
  }

  /** The root when the history had this many versions; undefined if it never had. */
  rootAt(size: number): Hash | undefined {
    if (size < 1) return undefined;
    const { position, row } = this.#rowOf(size);
    const commitment = row.commitments[size - row.before.size - 1];
    return commitment === undefined ? undefined : rootOfTip(appendToTip(this.before(size), commitment, position));
  }

  /** Hashes of complete subtrees, as the provers of `shared/merkle` ask for them. */
  readonly hash: HashReader = (level, index) => {
    const name = `${level}/${index}`;
    const known = this.#nodes.get(name) ?? this.#compute(level, index);
    this.#nodes.set(name, known);
    return known;
  };

  /** The subtree's last leaf, joined with what the frontier before it holds to its left. */
  #compute(level: number, index: number): Hash {
    const last = (index + 1) * 2 ** level;
    const { position, commitment } = this.version(last);
    const left = [...this.before(last).hashes];
    let joined: Hash = hashHistoryLeaf(last, epochOf(position), commitment);
    for (let i = 0; i < level; i++) {
      const sibling = left.pop();
      if (sibling === undefined) throw new IntegrityError("a history is short of hashes");
      joined = hashHistoryNode(sibling, joined);
    }
    return joined;
  }

  #rowOf(version: number): { readonly position: Position; readonly row: ChangeRow } {
    let position = this.#newest;
    for (;;) {
      const row = this.#row(position);
      if (version > row.before.size) return { position, row };
      const next = subtreeEnd(row.before, version);
      if (!isBefore(next, position)) throw new IntegrityError("a history leads forward");
      position = next;
    }
  }

  #row(position: Position): ChangeRow {
    const row = this.#rows.get(position) ?? readRow(this.#reads, position);
    this.#rows.set(position, row);
    return row;
  }
}

/** The row in which the frontier subtree that holds `version` ends. */
function subtreeEnd(tip: Tip, version: number): Position {
  let covered = 0;
  for (const [i, width] of subtreeWidths(tip.size).entries()) {
    covered += width;
    const position = tip.positions[i];
    if (version <= covered && position !== undefined) return position;
  }
  throw new IntegrityError("a history is short of hashes");
}

/** Leaves in each subtree of a frontier: the powers of two that sum to `size`, largest first. */
function subtreeWidths(size: number): number[] {
  const widths: number[] = [];
  for (let [rest, width] = [size, 1]; rest > 0; rest = Math.floor(rest / 2), width *= 2) {
    if (rest % 2 === 1) widths.unshift(width);
  }
  return widths;
}
