/** SHA-256 for nodes and leaves of the map, of which every epoch has ten thousands: four at once. Same results as the core. */
import { HASH_WORDS, wordAt } from "./fixed-hash.ts";
import { LanePlace, LANES } from "./sha256-lanes.ts";
import { differs } from "./store.ts";

/** Bytes of a leaf that are hashed: index, u64 n, history root. */
export const LEAF_CONTENT_BYTES = 72;

const MAP_LEAF = 0x02;
const MAP_NODE = 0x03;
/** With their domains. */
const NODE_INPUT_BYTES = 65;
const LEAF_INPUT_BYTES = 73;
/** The bit behind an input, which ends with the first byte of a word. */
const PADDING = 0x80_0000;

/** Gets the hash of one input: its words are `LANES` apart from `from` on in `lanes`; `words` and `at` came with the input. */
export type TakeHash = (lanes: Int32Array, from: number, words: Int32Array, at: number) => void;

/** Puts the hash there. */
export const writeHash: TakeHash = (lanes, from, words, at) => {
  for (let i = 0; i < HASH_WORDS; i++) words[at + i] = lanes[from + LANES * i] as number;
};

/** Throws `IntegrityError` unless the hash stands there. */
export const compareHash: TakeHash = (lanes, from, words, at) => {
  for (let i = 0; i < HASH_WORDS; i++)
    if (words[at + i] !== lanes[from + LANES * i]) throw differs("a hash of the map");
};

/** Inputs of one length, hashed as soon as there are four. */
class Lanes {
  readonly #place: LanePlace;
  readonly #take: TakeHash;
  readonly #words: Int32Array[] = [];
  readonly #at: number[] = [];
  #count = 0;

  constructor(place: LanePlace, take: TakeHash) {
    this.#place = place;
    this.#take = take;
  }

  /** Where the first word of one more input goes; the others follow, `LANES` apart. */
  begin(words: Int32Array, at: number): number {
    const lane = this.#count;
    this.#words[lane] = words;
    this.#at[lane] = at;
    return this.#place.inputAt + lane;
  }

  end(): void {
    this.#count += 1;
    if (this.#count === LANES) this.finish();
  }

  finish(): void {
    if (this.#count === 0) return;
    this.#place.hash();
    const { memory, hashAt } = this.#place;
    const count = this.#count;
    this.#count = 0;
    for (let lane = 0; lane < count; lane++) {
      this.#take(memory, hashAt + lane, this.#words[lane] as Int32Array, this.#at[lane] as number);
    }
  }
}

/** Used by one `MapHashes` at a time: each runs to its end. */
const nodes = new LanePlace(NODE_INPUT_BYTES);
const leaves = new LanePlace(LEAF_INPUT_BYTES);

/** Hashes of nodes and leaves of the map, four at once. What was added before `finish` has any order. */
export class MapHashes {
  readonly #nodes: Lanes;
  readonly #leaves: Lanes;

  constructor(take: TakeHash) {
    this.#nodes = new Lanes(nodes, take);
    this.#leaves = new Lanes(leaves, take);
  }

  /** Adds a node over two hashes in `words`, which are read now. Its hash goes to `at` in `out`. All count words. */
  addNode(words: Int32Array, left: number, right: number, out: Int32Array, at: number): void {
    const { memory } = nodes;
    let to = this.#nodes.begin(out, at);
    let before = MAP_NODE << 24;
    for (let i = left; i < left + HASH_WORDS; i++, to += LANES) {
      memory[to] = before | ((words[i] as number) >>> 8);
      before = (words[i] as number) << 24;
    }
    for (let i = right; i < right + HASH_WORDS; i++, to += LANES) {
      memory[to] = before | ((words[i] as number) >>> 8);
      before = (words[i] as number) << 24;
    }
    memory[to] = before | PADDING;
    this.#nodes.end();
  }

  /** Adds a leaf with its 72 bytes of content, which are read now, from `from` on in `bytes`. */
  addLeaf(bytes: Uint8Array, from: number, out: Int32Array, at: number): void {
    const { memory } = leaves;
    let to = this.#leaves.begin(out, at);
    memory[to] = (MAP_LEAF << 24) | (wordAt(bytes, from) >>> 8);
    for (let i = 3; i < LEAF_CONTENT_BYTES - 1; i += 4) memory[(to += LANES)] = wordAt(bytes, from + i);
    memory[to + LANES] = ((bytes[from + LEAF_CONTENT_BYTES - 1] as number) << 24) | PADDING;
    this.#leaves.end();
  }

  /** Hashes what is left. */
  finish(): void {
    this.#leaves.finish();
    this.#nodes.finish();
  }
}
