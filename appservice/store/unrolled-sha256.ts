/**
 * The compression function of SHA-256 with its 64 rounds written out: twice as fast as a loop, because every word is a
 * local variable. The source is made here, from the loop, when the module loads; nothing of it depends on input.
 */
import { compileFunction } from "node:vm";

/** Replaces `state` (8 words) by its compression with the block of 16 words at `at` in `block`. FIPS 180-4, 6.2.2. */
export type CompressBlock = (state: Int32Array, block: Int32Array, at: number) => void;

/**
 * Writes the hash of `u8 domain || hash || hash`, 65 bytes, which are two blocks. All `at` count words; `hashes` and `out`
 * may be the same.
 */
export type HashPair = (
  domain: number,
  hashes: Int32Array,
  leftAt: number,
  rightAt: number,
  out: Int32Array,
  outAt: number,
) => void;

/** The first 32 bits of the fractional parts of roots of the first primes: square roots, and cube roots. */
function fractions(count: number, root: (prime: number) => number): number[] {
  const words: number[] = [];
  for (let candidate = 2; words.length < count; candidate++) {
    if (isPrime(candidate)) words.push(Math.floor((root(candidate) % 1) * 2 ** 32) | 0);
  }
  return words;
}
function isPrime(n: number): boolean {
  for (let divisor = 2; divisor * divisor <= n; divisor++) if (n % divisor === 0) return false;
  return true;
}

/** The initial state. */
export const INITIAL: readonly number[] = fractions(8, Math.sqrt);
/** The constants of the rounds. */
export const ROUND: readonly number[] = fractions(64, Math.cbrt);

const VARIABLES = ["a", "b", "c", "d", "e", "f", "g", "h"];
const eight = (line: (i: number) => string): string => Array.from({ length: 8 }, (_, i) => line(i)).join("");
const rotated = (x: string, ...by: readonly number[]): string =>
  by.map((n) => `(${x}>>>${n}|${x}<<${32 - n})`).join("^");

/** One round: the variables change their roles instead of their values. */
function round(i: number, word: string): string {
  const [a, b, c, d, e, f, g, h] = VARIABLES.map((_, k) => VARIABLES[(k + 64 - i) % 8] ?? "");
  const choice = `(${g}^(${e}&(${f}^${g})))`;
  const majority = `((${a}&${b})|(${c}&(${a}|${b})))`;
  return (
    `${h}=(${h}+${word}+(${rotated(e ?? "", 6, 11, 25)})+${choice})|0;${d}=(${d}+${h})|0;` +
    `${h}=(${h}+(${rotated(a ?? "", 2, 13, 22)})+${majority})|0;`
  );
}

/** All rounds over the words w0 to w15, which are expanded in place. */
function rounds(): string {
  return ROUND.map((constant, i) => {
    const [w, w2, w7, w15] = [i, i + 14, i + 9, i + 1].map((n) => `w${n % 16}`);
    const sigma0 = `(${rotated(w15 ?? "", 7, 18)}^${w15}>>>3)`;
    const sigma1 = `(${rotated(w2 ?? "", 17, 19)}^${w2}>>>10)`;
    const expand = i < 16 ? "" : `${w}=(${w}+${w7}+${sigma0}+${sigma1})|0;`;
    return expand + round(i, `${w}+(${constant})`);
  }).join("");
}

const COMPRESS_BLOCK = [
  eight((i) => `const s${i}=state[${i}]|0;let ${VARIABLES[i] ?? ""}=s${i};`),
  eight((i) => `let w${i}=block[at+${i}]|0,w${i + 8}=block[at+${i + 8}]|0;`),
  rounds(),
  eight((i) => `state[${i}]=(${VARIABLES[i] ?? ""}+s${i})|0;`),
].join("");

/** The input moved by one byte, behind the domain; then the last byte's block, whose expanded words are known (`tails`). */
const HASH_PAIR = [
  eight((i) => `const h${i}=hashes[leftAt+${i}]|0;`),
  eight((i) => `const h${i + 8}=hashes[rightAt+${i}]|0;`),
  eight((i) => `let w${i}=(${i === 0 ? "domain" : `h${i - 1}`}<<24)|(h${i}>>>8);`),
  eight((i) => `let w${i + 8}=(h${i + 7}<<24)|(h${i + 8}>>>8);`),
  eight((i) => `let ${VARIABLES[i] ?? ""}=${INITIAL[i] ?? 0};`),
  rounds(),
  eight((i) => `const s${i}=(${VARIABLES[i] ?? ""}+(${INITIAL[i] ?? 0}))|0;${VARIABLES[i] ?? ""}=s${i};`),
  "const tail=(h15&255)*64;",
  ROUND.map((_, i) => round(i, `(tails[tail+${i}]|0)`)).join(""),
  eight((i) => `out[outAt+${i}]=(${VARIABLES[i] ?? ""}+s${i})|0;`),
].join("");

/** For each last byte of 65 the 64 words of the second block (byte, padding, length), with the round constants added. */
function tailWords(): Int32Array {
  const tails = new Int32Array(256 * 64);
  for (let byte = 0; byte < 256; byte++) {
    const w = new Int32Array(64);
    w[0] = (byte << 24) | 0x80_00_00;
    w[15] = 65 * 8;
    for (let i = 16; i < 64; i++) w[i] = expanded(w, i);
    w.forEach((word, i) => (tails[byte * 64 + i] = word + (ROUND[i] ?? 0)));
  }
  return tails;
}

function expanded(w: Int32Array, i: number): number {
  const [x, y] = [w[i - 15] ?? 0, w[i - 2] ?? 0];
  const sigma0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
  const sigma1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
  return (w[i - 16] ?? 0) + sigma0 + (w[i - 7] ?? 0) + sigma1;
}

export const compressBlock: CompressBlock = compileFunction(COMPRESS_BLOCK, ["state", "block", "at"]) as CompressBlock;

const withTails = compileFunction(`return (domain,hashes,leftAt,rightAt,out,outAt)=>{${HASH_PAIR}}`, ["tails"]) as (
  tails: Int32Array,
) => HashPair;
export const hashPair: HashPair = withTails(tailWords());
