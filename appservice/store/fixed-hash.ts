/**
 * SHA-256 for the few inputs of fixed length that are hashed by the ten thousand in every epoch, without allocating: nodes
 * (65 bytes), leaves of the map (73) and of histories (49). The general libraries spend most of their time around the
 * hash. Same results as the core; here a hash is eight 32-bit words in an `Int32Array`.
 */

/** Words in a hash. */
export const HASH_WORDS = 8;
/** Bytes of a leaf that are hashed: index, u64 n, history root. */
export const LEAF_CONTENT_BYTES = 72;

const MAP_LEAF = 0x02;
const MAP_NODE = 0x03;
const HISTORY_LEAF = 0x04;
const HISTORY_NODE = 0x05;

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

/** Writes the hash of a node of the map over two hashes; each `at` counts words, `words` and `out` may be the same. */
export function hashNode(words: Int32Array, left: number, right: number, out: Int32Array, outAt: number): void {
  digestNode(MAP_NODE, words, left, right);
  out.set(state, outAt);
}

/** The hash of a node of a history over two hashes of 32 bytes. */
export function hashHistoryNode(left: Uint8Array, right: Uint8Array): Uint8Array {
  setHashWords(children, 0, left, 0);
  setHashWords(children, HASH_WORDS, right, 0);
  digestNode(HISTORY_NODE, children, 0, HASH_WORDS);
  return hashBytes(state, 0);
}
const children = new Int32Array(2 * HASH_WORDS);

/** The hash of a version in its history. */
export function hashHistoryLeaf(version: number, epoch: number, commitment: Uint8Array): Uint8Array {
  const block = historyLeaf;
  block.writeUInt32BE(Math.floor(version / 2 ** 32), 1);
  block.writeUInt32BE(version % 2 ** 32, 5);
  block.writeUInt32BE(Math.floor(epoch / 2 ** 32), 9);
  block.writeUInt32BE(epoch % 2 ** 32, 13);
  block.set(commitment, 17);
  setHashWords(schedule, 0, block, 0);
  setHashWords(schedule, HASH_WORDS, block, 32);
  state.set(INITIAL);
  compress(expand(), 0);
  return hashBytes(state, 0);
}
/** One block: the domain, two numbers, the commitment, then padding and length, which stay. */
const historyLeaf = Buffer.alloc(64);
historyLeaf[0] = HISTORY_LEAF;
historyLeaf[49] = 0x80;
historyLeaf.writeUInt32BE(49 * 8, 60);

function digestNode(domain: number, words: Int32Array, left: number, right: number): void {
  const w = schedule;
  let carried = domain;
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
  compress(expand(), 0);
  compress(NODE_TAILS, (carried & 0xff) * 64);
}

/** Writes the hash of a leaf of the map from its 72 bytes of content. */
export function hashLeaf(content: Uint8Array, out: Int32Array, outAt: number): void {
  const w = schedule;
  let previous = MAP_LEAF;
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
  compress(expand(), 0);
  w.fill(0, 0, 16);
  for (let i = 0; i < 9; i++) {
    const at = i >> 2;
    w[at] = (w[at] as number) | ((content[63 + i] as number) << (24 - 8 * (i & 3)));
  }
  w[2] = (w[2] as number) | 0x80_00_00;
  w[15] = (LEAF_CONTENT_BYTES + 1) * 8;
  compress(expand(), 0);
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

/** Eight rounds per turn of the loop, after which every working variable is back in its place. */
function compress(w: Int32Array, from: number): void {
  let a = state[0] as number;
  let b = state[1] as number;
  let c = state[2] as number;
  let d = state[3] as number;
  let e = state[4] as number;
  let f = state[5] as number;
  let g = state[6] as number;
  let h = state[7] as number;
  for (let i = 0; i < 64; i += 8) {
    const at = from + i;
    h = (h + (w[at + 0] as number) + (ROUND[i + 0] as number) + mix1(e, f, g)) | 0;
    d = (d + h) | 0;
    h = (h + mix0(a, b, c)) | 0;
    g = (g + (w[at + 1] as number) + (ROUND[i + 1] as number) + mix1(d, e, f)) | 0;
    c = (c + g) | 0;
    g = (g + mix0(h, a, b)) | 0;
    f = (f + (w[at + 2] as number) + (ROUND[i + 2] as number) + mix1(c, d, e)) | 0;
    b = (b + f) | 0;
    f = (f + mix0(g, h, a)) | 0;
    e = (e + (w[at + 3] as number) + (ROUND[i + 3] as number) + mix1(b, c, d)) | 0;
    a = (a + e) | 0;
    e = (e + mix0(f, g, h)) | 0;
    d = (d + (w[at + 4] as number) + (ROUND[i + 4] as number) + mix1(a, b, c)) | 0;
    h = (h + d) | 0;
    d = (d + mix0(e, f, g)) | 0;
    c = (c + (w[at + 5] as number) + (ROUND[i + 5] as number) + mix1(h, a, b)) | 0;
    g = (g + c) | 0;
    c = (c + mix0(d, e, f)) | 0;
    b = (b + (w[at + 6] as number) + (ROUND[i + 6] as number) + mix1(g, h, a)) | 0;
    f = (f + b) | 0;
    b = (b + mix0(c, d, e)) | 0;
    a = (a + (w[at + 7] as number) + (ROUND[i + 7] as number) + mix1(f, g, h)) | 0;
    e = (e + a) | 0;
    a = (a + mix0(b, c, d)) | 0;
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

/** The second large sigma and the choice of FIPS 180-4. */
function mix1(e: number, f: number, g: number): number {
  return ((((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7))) + (g ^ (e & (f ^ g)))) | 0;
}

/** The first large sigma and the majority. */
function mix0(a: number, b: number, c: number): number {
  return (
    ((((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10))) + ((a & b) | (c & (a | b)))) | 0
  );
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
  putHashBytes(bytes, 0, words, at);
  return bytes;
}

/** Writes a hash as 32 bytes, from `bytesAt` on. */
export function putHashBytes(bytes: Uint8Array, bytesAt: number, words: Int32Array, at: number): void {
  for (let i = 0; i < HASH_WORDS; i++) {
    const word = words[at + i] as number;
    const to = bytesAt + 4 * i;
    bytes[to] = word >>> 24;
    bytes[to + 1] = word >>> 16;
    bytes[to + 2] = word >>> 8;
    bytes[to + 3] = word;
  }
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
