/**
 * SHA-256 of four inputs at once, one in each lane of WebAssembly's vectors: more than twice as many hashes a second as one
 * after another. The module is assembled here, from the rounds, when this file loads; nothing of it depends on input.
 * FIPS 180-4, 6.2.2; WebAssembly 2.0, chapter 5 (binary format).
 */
import { INITIAL, ROUND } from "./unrolled-sha256.ts";

/** Inputs that are hashed at once. */
export const LANES = 4;
/** 32-bit words of an input, padded: two blocks. */
const INPUT_WORDS = 32;
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

// ----------------------------------------------------------------------------------------------------------------- rounds

/** Locals: the address of the inputs, then vectors: 16 words, the variables a to h, the state before, and three more. */
const ADDRESS = get(0);
const WORDS = 1;
const VARIABLES: number = WORDS + BLOCK_WORDS;
const STATE: number = VARIABLES + STATE_WORDS;
const SUM: number = STATE + STATE_WORDS;
const VECTORS: number = SUM + 2;
/** `a ^ b` of a round, which is `b ^ c` of the next: two locals in turn. */
const differing = (round: number): number => SUM + 1 + (round & 1);

/** In memory: a vector for each constant of a round, then the places of inputs. */
const PLACES_AT: number = ROUND.length * VECTOR_BYTES;

const word = (i: number): number => WORDS + (i % BLOCK_WORDS);

type Four = [Code, Code, Code, Code];

/** The word of a round from the sixteenth on, in the place of the one sixteen before. */
function expand(i: number): Code {
  const [w, w2, w7, w15] = [i, i + 14, i + 9, i + 1].map((n) => get(word(n))) as Four;
  const sigma0 = joined(XOR, rotated(w15, 7), rotated(w15, 18), shifted(w15, 3));
  const sigma1 = joined(XOR, rotated(w2, 17), rotated(w2, 19), shifted(w2, 10));
  return [...joined(ADD, w, w7, sigma0, sigma1), ...set(word(i))];
}

/** One round: the variables change their roles instead of their values. */
function round(i: number): Code {
  const role = (k: number): number => VARIABLES + ((k + ROUND.length - i) % STATE_WORDS);
  const [a, b, , d, e, f, g, h] = [0, 1, 2, 3, 4, 5, 6, 7].map((k) => get(role(k))) as [...Four, ...Four];
  const sigma1 = joined(XOR, rotated(e, 6), rotated(e, 11), rotated(e, 25));
  const choice = joined(XOR, joined(AND, joined(XOR, f, g), e), g);
  const sum = joined(ADD, h, get(word(i)), load(constant(0), VECTOR_BYTES * i), sigma1, choice);
  const sigma0 = joined(XOR, rotated(a, 2), rotated(a, 13), rotated(a, 22));
  const majority = joined(XOR, joined(AND, get(differing(i)), get(differing(i + 1))), b);
  return [
    ...[...sum, ...set(SUM)],
    ...[...joined(ADD, d, get(SUM)), ...set(role(3))],
    ...[...joined(XOR, a, b), ...set(differing(i))],
    ...[...joined(ADD, get(SUM), sigma0, majority), ...set(role(7))],
  ];
}

/** The state, in the variables and as it was, and what the first round needs besides. */
const eight = (code: (i: number) => Code): Code => Array.from({ length: STATE_WORDS }, (_, i) => code(i)).flat();

/** Compresses the block at an offset behind the address. The state is in its locals, before and after. */
function compress(offset: number): Code {
  const variable = (i: number): number => VARIABLES + i;
  return [
    ...Array.from({ length: BLOCK_WORDS }, (_, i) => [
      ...load(ADDRESS, offset + VECTOR_BYTES * i),
      ...set(word(i)),
    ]).flat(),
    ...eight((i) => [...get(STATE + i), ...set(variable(i))]),
    ...[...joined(XOR, get(variable(1)), get(variable(2))), ...set(differing(1))],
    ...ROUND.flatMap((_, i) => [...(i < BLOCK_WORDS ? [] : expand(i)), ...round(i)]),
    ...eight((i) => [...joined(ADD, get(STATE + i), get(variable(i))), ...set(STATE + i)]),
  ];
}

const RESULT_AT: number = INPUT_WORDS * VECTOR_BYTES;

const FUNCTION: Code = [
  ...[1, ...leb(VECTORS), 0x7b],
  ...eight((i) => [...splat(INITIAL[i] ?? 0), ...set(STATE + i)]),
  ...compress(0),
  ...compress(BLOCK_WORDS * VECTOR_BYTES),
  ...eight((i) => store(ADDRESS, get(STATE + i), RESULT_AT + VECTOR_BYTES * i)),
  0x0b,
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
    ...section(10, [1, ...leb(FUNCTION.length), ...FUNCTION]),
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
  static #next = PLACES_AT;

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
    LanePlace.#next += RESULT_AT + STATE_WORDS * VECTOR_BYTES;
    this.inputAt = this.#address / 4;
    this.hashAt = (this.#address + RESULT_AT) / 4;
    memory.fill(8 * bytes, this.hashAt - LANES, this.hashAt);
  }

  /** Hashes the inputs. */
  hash(): void {
    f(this.#address);
  }
}
