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

/** Writes an input into a lane, whose first word is at `to`; the others follow, `LANES` apart. */
type FillLane<Source> = (lanes: Int32Array, to: number, source: Source, from: number, second: number) => void;

/** A node over the hashes at `left` and `right`. */
const fillNode: FillLane<Int32Array> = (lanes, to, words, left, right) => {
  let at = to;
  let before = MAP_NODE << 24;
  for (let i = left; i < left + HASH_WORDS; i++, at += LANES) {
    lanes[at] = before | ((words[i] as number) >>> 8);
    before = (words[i] as number) << 24;
  }
  for (let i = right; i < right + HASH_WORDS; i++, at += LANES) {
    lanes[at] = before | ((words[i] as number) >>> 8);
    before = (words[i] as number) << 24;
  }
  lanes[at] = before | PADDING;
};

/** A leaf with the 72 bytes of content from `from` on. */
const fillLeaf: FillLane<Uint8Array> = (lanes, to, bytes, from) => {
  let at = to;
  lanes[at] = (MAP_LEAF << 24) | (wordAt(bytes, from) >>> 8);
  for (let i = 3; i < LEAF_CONTENT_BYTES - 1; i += 4) lanes[(at += LANES)] = wordAt(bytes, from + i);
  lanes[at + LANES] = ((bytes[from + LEAF_CONTENT_BYTES - 1] as number) << 24) | PADDING;
};

/** Inputs of one length, hashed as soon as there are four. */
class Lanes<Source> {
  readonly #place: LanePlace;
  readonly #fill: FillLane<Source>;
  readonly #take: TakeHash;
  readonly #sources: Source[] = [];
  readonly #from: number[] = [];
  readonly #second: number[] = [];
  readonly #words: Int32Array[] = [];
  readonly #at: number[] = [];
  #count = 0;

  constructor(place: LanePlace, fill: FillLane<Source>, take: TakeHash) {
    this.#place = place;
    this.#fill = fill;
    this.#take = take;
  }

  add(source: Source, from: number, second: number, words: Int32Array, at: number): void {
    const lane = this.#count++;
    this.#sources[lane] = source;
    this.#from[lane] = from;
    this.#second[lane] = second;
    this.#words[lane] = words;
    this.#at[lane] = at;
    if (this.#count === LANES) this.finish();
  }

  finish(): void {
    const { memory, inputAt, hashAt } = this.#place;
    const count = this.#count;
    if (count === 0) return;
    this.#count = 0;
    for (let lane = 0; lane < count; lane++) {
      const [from, second] = [this.#from[lane] as number, this.#second[lane] as number];
      this.#fill(memory, inputAt + lane, this.#sources[lane] as Source, from, second);
    }
    this.#place.hash();
    for (let lane = 0; lane < count; lane++) {
      this.#take(memory, hashAt + lane, this.#words[lane] as Int32Array, this.#at[lane] as number);
    }
  }
}

const nodes = new LanePlace(NODE_INPUT_BYTES);
const leaves = new LanePlace(LEAF_INPUT_BYTES);

/** Hashes of nodes and leaves of the map, in any order. What was added has to stay as it is until `finish`. */
export class MapHashes {
  readonly #nodes: Lanes<Int32Array>;
  readonly #leaves: Lanes<Uint8Array>;

  constructor(take: TakeHash) {
    this.#nodes = new Lanes(nodes, fillNode, take);
    this.#leaves = new Lanes(leaves, fillLeaf, take);
  }

  /** Adds a node over two hashes in `words`. Its hash goes to `at` in `out`. All count words. */
  addNode(words: Int32Array, left: number, right: number, out: Int32Array, at: number): void {
    this.#nodes.add(words, left, right, out, at);
  }

  /** Adds a leaf with its 72 bytes of content, from `from` on in `bytes`. Its hash goes to the word `at` in `out`. */
  addLeaf(bytes: Uint8Array, from: number, out: Int32Array, at: number): void {
    this.#leaves.add(bytes, from, 0, out, at);
  }

  /** Hashes what is left. */
  finish(): void {
    this.#leaves.finish();
    this.#nodes.finish();
  }
}
