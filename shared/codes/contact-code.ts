import { concat, equalBytes, taggedHash, utf8, Writer } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import { type Hash, hkdfSha256, sha256 } from "../crypto/hash.ts";

/** Session ids and nonces are this many random bytes. */
export const NONCE_BYTES = 32;
const KEY_BYTES = 32;
const CODES = 100_000_000n;

/** One side of a comparison, as this device knows it: never taken from a message. Keys are raw, 32 bytes each. */
export interface ComparedParty {
  readonly userId: string;
  readonly deviceId: string;
  readonly deviceKey: Uint8Array;
  readonly masterKey: Uint8Array;
  /** The text of the log's verifier key; absent where this party's server has no log. */
  readonly logVkey?: string;
}

/** What both sides mean: the session (32 bytes), who sent the request, and who accepted it. */
export interface Comparison {
  readonly session: Uint8Array;
  readonly initiator: ComparedParty;
  readonly responder: ComparedParty;
}

/** SHA-256 of the transcript T, over which commitment and code are made. Rule: protocol, "Contact code and public code". */
export function transcriptHash({ session, initiator: a, responder: b }: Comparison): Hash {
  checkLength(session, NONCE_BYTES, "a session id");
  for (const key of [a.deviceKey, b.deviceKey, a.masterKey, b.masterKey]) checkLength(key, KEY_BYTES, "a key");
  const transcript = new Writer().ascii("ckv/compare-transcript/v1").u8(0).bytes(session);
  transcript.lp16(a.userId).lp16(b.userId).lp16(a.deviceId).lp16(b.deviceId);
  transcript.bytes(a.deviceKey).bytes(b.deviceKey).bytes(a.masterKey).bytes(b.masterKey);
  transcript.lp16(a.logVkey ?? "").lp16(b.logVkey ?? "");
  return sha256(transcript.finish());
}

/** The commitment c (32 bytes) by which the initiator fixes its nonce before it sees the responder's. */
export function commitToNonce(transcript: Hash, initiatorNonce: Uint8Array): Hash {
  checkLength(initiatorNonce, NONCE_BYTES, "a nonce");
  return taggedHash("ckv/compare-commit/v1", transcript, initiatorNonce);
}

/** Checks that the revealed nonce opens the commitment. Throws `bad-commitment`: the two devices do not mean the same keys. */
export function openNonce(commitment: Hash, transcript: Hash, initiatorNonce: Uint8Array): void {
  if (!equalBytes(commitment, commitToNonce(transcript, initiatorNonce))) {
    throw new VerificationError("bad-commitment", "the revealed nonce does not open the commitment");
  }
}

/** The 8 digits, leading zeros kept, that both people compare. */
export function contactCode(transcript: Hash, initiatorNonce: Uint8Array, responderNonce: Uint8Array): string {
  checkLength(initiatorNonce, NONCE_BYTES, "a nonce");
  checkLength(responderNonce, NONCE_BYTES, "a nonce");
  const bytes = hkdfSha256(concat(initiatorNonce, responderNonce), transcript, utf8("ckv/compare/v1"), 8);
  const number = bytes.reduce((value, byte) => value * 256n + BigInt(byte), 0n);
  return (number % CODES).toString().padStart(8, "0");
}

/** The code as it is shown: `1234 5678`. */
export function formatContactCode(code: string): string {
  return `${code.slice(0, 4)} ${code.slice(4)}`;
}

function checkLength(bytes: Uint8Array, length: number, name: string): void {
  if (bytes.length !== length) throw new VerificationError("malformed", `${name} has ${length} bytes`);
}
