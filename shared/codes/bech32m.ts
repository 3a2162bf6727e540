import { VerificationError } from "../errors.ts";

/** Bech32m of BIP-350 ("Bech32m format for v1+ witness addresses"), for bytes instead of witness programs. */

const CHARACTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const GENERATORS = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3];
const BECH32M = 0x2bc830a3;
const CHECKSUM_LENGTH = 6;

/** The text of some bytes: prefix, `1`, five bits a character, checksum. All in lower case, as `prefix` must be. */
export function encodeBech32m(prefix: string, bytes: Uint8Array): string {
  const words = regroup(bytes, 8, 5);
  const checksum = polymod([...expand(prefix), ...words, ...new Uint8Array(CHECKSUM_LENGTH)]) ^ BECH32M;
  const checks = Array.from({ length: CHECKSUM_LENGTH }, (_, i) => (checksum >>> (25 - 5 * i)) & 31);
  return `${prefix}1${[...words, ...checks].map((word) => CHARACTERS.charAt(word)).join("")}`;
}

/** The bytes of a text with this prefix, all in upper or all in lower case. Throws `malformed`. */
export function decodeBech32m(prefix: string, text: string): Uint8Array {
  const lower = text.toLowerCase();
  if (text !== lower && text !== text.toUpperCase()) throw malformed("bech32m in mixed case");
  if (!lower.startsWith(`${prefix}1`)) throw malformed("bech32m with another prefix");
  const words = Array.from(lower.slice(prefix.length + 1), (character) => CHARACTERS.indexOf(character));
  if (words.includes(-1)) throw malformed("a character outside the bech32 alphabet");
  if (polymod([...expand(prefix), ...words]) !== BECH32M) throw malformed("bech32m with a wrong checksum");
  const bytes = Uint8Array.from(regroup(words.slice(0, -CHECKSUM_LENGTH), 5, 8));
  // The bits left over must be zero and too few for a character: then it is the text that the bytes have.
  if (encodeBech32m(prefix, bytes) !== lower) throw malformed("bech32m with bits left over");
  return bytes;
}

/** Groups of `from` bits as groups of `to`. Going to fewer bits the last group is filled up, else what is left is dropped. */
function regroup(groups: Iterable<number>, from: number, to: number): number[] {
  const regrouped: number[] = [];
  let [pending, bits] = [0, 0];
  for (const group of groups) {
    pending = ((pending << from) | group) & 0xfff;
    for (bits += from; bits >= to; regrouped.push((pending >>> bits) & (2 ** to - 1))) bits -= to;
  }
  if (to < from && bits > 0) regrouped.push((pending << (to - bits)) & (2 ** to - 1));
  return regrouped;
}

function expand(prefix: string): number[] {
  const codes = Array.from(prefix, (character) => character.charCodeAt(0));
  return [...codes.map((code) => code >>> 5), 0, ...codes.map((code) => code & 31)];
}

/** The BCH code over 32 symbols that detects up to four wrong ones. */
function polymod(words: readonly number[]): number {
  return words.reduce((checksum, word) => {
    const shifted = ((checksum & 0x1ffffff) << 5) ^ word;
    return GENERATORS.reduce((sum, generator, bit) => ((checksum >>> (25 + bit)) & 1 ? sum ^ generator : sum), shifted);
  }, 1);
}

function malformed(message: string): VerificationError {
  return new VerificationError("malformed", message);
}
