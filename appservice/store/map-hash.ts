/**
 * SHA-256 for the two fixed inputs of the map, without allocating: nodes (65 bytes) and leaves (73). The general libraries
 * spend most of their time around the hash, and the map computes tens of thousands per epoch. Same results as
 * `mapNodeHash` and `mapLeafHash` of the core; a hash is eight 32-bit words in an `Int32Array`.
 */

/** Words in a hash. */
export const HASH_WORDS = 8;
/** Bytes of a leaf that are hashed: index, u64 n, history root. */
export const LEAF_CONTENT_BYTES = 72;

const NODE_DOMAIN = 0x03;
const LEAF_DOMAIN = 0x02;

/** The fractional parts of the square roots (initial state) and cube roots (round constants) of the first primes. */
function fractionalWords(count: number, root: (prime: number) => number): Int32Array {
  const words = new Int32Array(count);
  for (let [found, candidate] = [0, 2]; found < count; candidate++) {
    if (!isPrime(candidate)) continue;
    words[found] = Math.floor((root(candidate) % 1) * 2 ** 32);
    found += 1;
  }
  return words;
}
function isPrime(n: number): boolean {
  for (let divisor = 2; divisor * divisor <= n; divisor++) if (n % divisor === 0) return false;
  return true;
}

const INITIAL = fractionalWords(8, Math.sqrt);
const ROUND = fractionalWords(64, Math.cbrt);

/** Used by one call at a time: each runs to its end. */
const schedule = new Int32Array(64);
const state = new Int32Array(8);

/** Writes the hash of the node over two hashes; each `at` counts words. `words` may be the same for all three. */
export function hashNode(words: Int32Array, left: number, right: number, out: Int32Array, outAt: number): void {
  const w = schedule;
  let carried = NODE_DOMAIN;
  for (let i = 0; i < HASH_WORDS; i++) {
    const word = words[left + i] as number;
    w[i] = (carried << 24) | (word >>> 8);
    carried = word;
  }
  for (let i = 0; i < HASH_WORDS; i++) {
    const word = words[right + i] as number;
    w[8 + i] = (carried << 24) | (word >>> 8);
    carried = word;
  }
  state.set(INITIAL);
  compress(expand());
  const tail = (carried & 0xff) * 64;
  compress(NODE_TAILS.subarray(tail, tail + 64));
  out.set(state, outAt);
}

/** Writes the hash of a leaf from its 72 bytes of content. */
export function hashLeaf(content: Uint8Array, out: Int32Array, outAt: number): void {
  const w = schedule;
  let previous = LEAF_DOMAIN;
  for (let i = 0; i < 16; i++) {
    const at = 4 * i - 1;
    const first = i === 0 ? previous : (content[at] as number);
    w[i] =
      (first << 24) |
      ((content[at + 1] as number) << 16) |
      ((content[at + 2] as number) << 8) |
      (content[at + 3] as number);
    previous = 0;
  }
  state.set(INITIAL);
  compress(expand());
  w.fill(0, 0, 16);
  for (let i = 0; i < 9; i++) {
    const at = i >> 2;
    w[at] = (w[at] as number) | ((content[63 + i] as number) << (24 - 8 * (i & 3)));
  }
  w[2] = (w[2] as number) | 0x80_00_00;
  w[15] = (LEAF_CONTENT_BYTES + 1) * 8;
  compress(expand());
  out.set(state, outAt);
}

function expand(): Int32Array {
  const w = schedule;
  for (let i = 16; i < 64; i++) {
    const x = w[i - 15] as number;
    const y = w[i - 2] as number;
    const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
    const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
    w[i] = ((w[i - 16] as number) + s0 + (w[i - 7] as number) + s1) | 0;
  }
  return w;
}

function compress(w: Int32Array): void {
  let [a, b, c, d] = [state[0] as number, state[1] as number, state[2] as number, state[3] as number];
  let [e, f, g, h] = [state[4] as number, state[5] as number, state[6] as number, state[7] as number];
  for (let i = 0; i < 64; i++) {
    const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const t1 = (h + s1 + (g ^ (e & (f ^ g))) + (ROUND[i] as number) + (w[i] as number)) | 0;
    const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const t2 = (s0 + ((a & b) | (c & (a | b)))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b;
    b = a;
    a = (t1 + t2) | 0;
  }
  state[0] = ((state[0] as number) + a) | 0;
  state[1] = ((state[1] as number) + b) | 0;
  state[2] = ((state[2] as number) + c) | 0;
  state[3] = ((state[3] as number) + d) | 0;
  state[4] = ((state[4] as number) + e) | 0;
  state[5] = ((state[5] as number) + f) | 0;
  state[6] = ((state[6] as number) + g) | 0;
  state[7] = ((state[7] as number) + h) | 0;
}

/** The second block of a node holds its last byte, the padding and the length: 256 schedules, expanded once. */
const NODE_TAILS = ((): Int32Array => {
  const tails = new Int32Array(256 * 64);
  for (let byte = 0; byte < 256; byte++) {
    schedule.fill(0);
    schedule[0] = (byte << 24) | 0x80_00_00;
    schedule[15] = 65 * 8;
    tails.set(expand(), byte * 64);
  }
  return tails;
})();

/** The 32 bytes of a hash. */
export function hashBytes(words: Int32Array, at: number): Uint8Array {
  const bytes = new Uint8Array(32);
  for (let i = 0; i < HASH_WORDS; i++) {
    const word = words[at + i] as number;
    bytes[4 * i] = word >>> 24;
    bytes[4 * i + 1] = word >>> 16;
    bytes[4 * i + 2] = word >>> 8;
    bytes[4 * i + 3] = word;
  }
  return bytes;
}

/** Writes 32 bytes, from `at` on in `bytes`, as words. */
export function setHashWords(words: Int32Array, wordsAt: number, bytes: Uint8Array, at: number): void {
  for (let i = 0; i < HASH_WORDS; i++) {
    const from = at + 4 * i;
    words[wordsAt + i] =
      ((bytes[from] as number) << 24) |
      ((bytes[from + 1] as number) << 16) |
      ((bytes[from + 2] as number) << 8) |
      (bytes[from + 3] as number);
  }
}

export function sameHash(a: Int32Array, aAt: number, b: Int32Array, bAt: number): boolean {
  for (let i = 0; i < HASH_WORDS; i++) if (a[aAt + i] !== b[bAt + i]) return false;
  return true;
}
