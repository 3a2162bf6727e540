/**
 * SHA-256 of four inputs at once, one in each lane of WebAssembly's vectors: more than twice as many hashes a second as one
 * after another. The module is assembled here, from the rounds, when this file loads; nothing of it depends on input.
 * FIPS 180-4, 6.2.2; WebAssembly 2.0, chapter 5 (binary format).
 */
import { INITIAL, ROUND } from "./unrolled-sha256.ts";

/** Inputs that are hashed at once. */
export const LANES = 4;
/** Blocks of an input, padded. */
const BLOCKS = 2;
const BLOCK_WORDS = 16;
const STATE_WORDS = 8;
const VECTOR_BYTES = 16;

// -------------------------------------------------------------------------------------------------------------- assembler

type Code = readonly number[];

/** A number as the binary format has it. */
function leb(number: number): Code {
  const rest = number >>> 7;
  return rest === 0 ? [number] : [(number & 0x7f) | 0x80, ...leb(rest)];
}

/** A signed number as the binary format has it. */
function signedLeb(number: number): Code {
  const rest = number >> 7;
  const isLast = rest === (number & 0x40 ? -1 : 0);
  return isLast ? [number & 0x7f] : [(number & 0x7f) | 0x80, ...signedLeb(rest)];
}

const vector = (operation: number): Code => [0xfd, ...leb(operation)];
const [LOAD, STORE, SPLAT] = [vector(0x00), vector(0x0b), vector(0x11)];
const [AND, OR, XOR] = [vector(0x4e), vector(0x50), vector(0x51)];
const [SHIFT_LEFT, SHIFT_RIGHT, ADD] = [vector(0xab), vector(0xad), vector(0xae)];
const VECTOR_ALIGNED = 4;

const [BLOCK_OF, LOOP_OF, END_OF, AGAIN, LEAVE_IF, NO_RESULT] = [0x02, 0x03, 0x0b, 0x0c, 0x0d, 0x40];
const [TEE, I32_EQUAL, I32_ADD] = [0x22, 0x46, 0x6a];

const get = (local: number): Code => [0x20, ...leb(local)];
const set = (local: number): Code => [0x21, ...leb(local)];
const constant = (number: number): Code => [0x41, ...signedLeb(number)];
const load = (address: Code, offset: number): Code => [...address, ...LOAD, VECTOR_ALIGNED, ...leb(offset)];
const store = (address: Code, value: Code, offset: number): Code => [
  ...address,
  ...value,
  ...STORE,
  VECTOR_ALIGNED,
  ...leb(offset),
];

/** All these operands, each joined to what stands before by an operation. */
const joined = (operation: Code, first: Code, ...others: readonly Code[]): Code => [
  ...first,
  ...others.flatMap((other) => [...other, ...operation]),
];
const shifted = (x: Code, by: number): Code => [...x, ...constant(by), ...SHIFT_RIGHT];
const rotated = (x: Code, by: number): Code => joined(OR, shifted(x, by), [...x, ...constant(32 - by), ...SHIFT_LEFT]);
const splat = (number: number): Code => [...constant(number), ...SPLAT];

/** Does `code`, moves a local on by `step`, and, unless that has come to `end`, does `between` and begins anew. */
const loop = (local: number, step: number, end: Code, code: Code, between: Code = []): Code => [
  ...[BLOCK_OF, NO_RESULT, LOOP_OF, NO_RESULT],
  ...[...code, ...get(local), ...constant(step), I32_ADD, TEE, ...leb(local), ...end, I32_EQUAL],
  ...[LEAVE_IF, 1, ...between, AGAIN, 0, END_OF, END_OF],
];

// ----------------------------------------------------------------------------------------------------------------- rounds

/** In memory: a vector for each constant of a round, then the places of inputs. */
const CONSTANTS_END: number = ROUND.length * VECTOR_BYTES;
const BLOCK_BYTES: number = BLOCK_WORDS * VECTOR_BYTES;
const INPUT_BYTES: number = BLOCKS * BLOCK_BYTES;

/** Locals: where the block is, and the constants; the end of the input; then vectors. */
const BLOCK = 0;
const CONSTANTS = 1;
const END = 2;
const WORDS = 3;
const VARIABLES: number = WORDS + BLOCK_WORDS;
const STATE: number = VARIABLES + STATE_WORDS;
const SUM: number = STATE + STATE_WORDS;
/** `a ^ b` of a round, which is `b ^ c` of the next: two locals in turn. */
const differing = (round: number): number => SUM + 1 + (round & 1);
const VECTORS: number = SUM + 3 - WORDS;

type Four = [Code, Code, Code, Code];

/** A word of the next sixteen rounds, in the place of the one of these. */
function expand(i: number): Code {
  const [w, w2, w7, w15] = [i, i + 14, i + 9, i + 1].map((n) => get(WORDS + (n % BLOCK_WORDS))) as Four;
  const sigma0 = joined(XOR, rotated(w15, 7), rotated(w15, 18), shifted(w15, 3));
  const sigma1 = joined(XOR, rotated(w2, 17), rotated(w2, 19), shifted(w2, 10));
  return [...joined(ADD, w, w7, sigma0, sigma1), ...set(WORDS + i)];
}

/** One of sixteen rounds: the variables change their roles instead of their values. */
function round(i: number): Code {
  const role = (k: number): number => VARIABLES + ((k + BLOCK_WORDS - i) % STATE_WORDS);
  const [a, b, , d, e, f, g, h] = [0, 1, 2, 3, 4, 5, 6, 7].map((k) => get(role(k))) as [...Four, ...Four];
  const sigma1 = joined(XOR, rotated(e, 6), rotated(e, 11), rotated(e, 25));
  const choice = joined(XOR, joined(AND, joined(XOR, f, g), e), g);
  const sum = joined(ADD, h, get(WORDS + i), load(get(CONSTANTS), VECTOR_BYTES * i), sigma1, choice);
  const sigma0 = joined(XOR, rotated(a, 2), rotated(a, 13), rotated(a, 22));
  const majority = joined(XOR, joined(AND, get(differing(i)), get(differing(i + 1))), b);
  return [
    ...[...sum, ...set(SUM)],
    ...[...joined(ADD, d, get(SUM)), ...set(role(3))],
    ...[...joined(XOR, a, b), ...set(differing(i))],
    ...[...joined(ADD, get(SUM), sigma0, majority), ...set(role(7))],
  ];
}

const each = (count: number, code: (i: number) => Code): Code =>
  Array.from({ length: count }, (_, i) => code(i)).flat();

/** All rounds, sixteen in each turn: written out they would fill the processor's cache for code. */
const ROUNDS: Code = loop(
  CONSTANTS,
  BLOCK_BYTES,
  constant(CONSTANTS_END),
  each(BLOCK_WORDS, round),
  each(BLOCK_WORDS, expand),
);

/** Compresses a block. */
const COMPRESS: Code = [
  ...each(BLOCK_WORDS, (i) => [...load(get(BLOCK), VECTOR_BYTES * i), ...set(WORDS + i)]),
  ...each(STATE_WORDS, (i) => [...get(STATE + i), ...set(VARIABLES + i)]),
  ...[...joined(XOR, get(VARIABLES + 1), get(VARIABLES + 2)), ...set(differing(1))],
  ...[...constant(0), ...set(CONSTANTS), ...ROUNDS],
  ...each(STATE_WORDS, (i) => [...joined(ADD, get(STATE + i), get(VARIABLES + i)), ...set(STATE + i)]),
];

/** Reads the input at an address, block by block, and writes the hash behind it. */
const HASH_FUNCTION: Code = [
  ...[2, 2, 0x7f, ...leb(VECTORS), 0x7b],
  ...[...get(BLOCK), ...constant(INPUT_BYTES), I32_ADD, ...set(END)],
  ...each(STATE_WORDS, (i) => [...splat(INITIAL[i] ?? 0), ...set(STATE + i)]),
  ...loop(BLOCK, BLOCK_BYTES, get(END), COMPRESS),
  ...each(STATE_WORDS, (i) => store(get(END), get(STATE + i), VECTOR_BYTES * i)),
  END_OF,
];

/** A module with one page of memory, exported as `m`, and one function of an address, exported as `f`. */
function assemble(): Uint8Array<ArrayBuffer> {
  const section = (id: number, content: Code): Code => [id, ...leb(content.length), ...content];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 1, 0x7f, 0]),
    ...section(3, [1, 0]),
    ...section(5, [1, 0, 1]),
    ...section(7, [2, 1, 0x6d, 2, 0, 1, 0x66, 0, 0]),
    ...section(10, [1, ...leb(HASH_FUNCTION.length), ...HASH_FUNCTION]),
  ]);
}

/** What is needed of the host here; its own types for it come only with those of browsers. */
declare const WebAssembly: {
  readonly Module: new (binary: Uint8Array<ArrayBuffer>) => object;
  readonly Instance: new (module: object) => { readonly exports: unknown };
};

const { m, f } = new WebAssembly.Instance(new WebAssembly.Module(assemble())).exports as {
  readonly m: { readonly buffer: ArrayBuffer };
  readonly f: (address: number) => void;
};
const memory = new Int32Array(m.buffer);
ROUND.forEach((number, i) => memory.fill(number, LANES * i, LANES * (i + 1)));

// ----------------------------------------------------------------------------------------------------------------- places

/** The place of four inputs of one length, in the memory that all share. */
export class LanePlace {
  static #next = CONSTANTS_END;

  /** Word `i` of the input in lane `k` is at `inputAt + LANES * i + k`; of its hash, at `hashAt + LANES * i + k`. */
  readonly memory: Int32Array = memory;
  readonly inputAt: number;
  readonly hashAt: number;
  readonly #address: number;

  /**
   * `bytes`: the length of the inputs, 56 to 119, which ends their padding and is written here. A place is for good: a module
   * makes its own once.
   */
  constructor(bytes: number) {
    this.#address = LanePlace.#next;
    LanePlace.#next += INPUT_BYTES + STATE_WORDS * VECTOR_BYTES;
    this.inputAt = this.#address / 4;
    this.hashAt = (this.#address + INPUT_BYTES) / 4;
    memory.fill(8 * bytes, this.hashAt - LANES, this.hashAt);
  }

  /** Hashes the inputs. */
  hash(): void {
    f(this.#address);
  }
}
