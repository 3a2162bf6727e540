import { equalBytes, Writer } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import { type Hash, HASH_BYTES, hmacSha256 } from "./hash.ts";

/** What one version of one user says, and the 32 random bytes that hide it. */
export interface Opening {
  readonly userId: string;
  readonly version: number;
  readonly entry: Uint8Array;
  readonly opening: Uint8Array;
}

/**
 * The commitment of a history leaf: 32 bytes that hide the entry until the opening is shown, and bind user and version.
 * Rule: protocol, "Entry and commitment". Throws `malformed` if the opening is not 32 bytes.
 */
export function commit({ userId, version, entry, opening }: Opening): Hash {
  if (opening.length !== HASH_BYTES) {
    throw new VerificationError("malformed", `an opening has 32 bytes, not ${opening.length}`);
  }
  const message = new Writer().ascii("ckv/entry/v1").u8(0).lp16(userId).u64(version).u32(entry.length).bytes(entry);
  return hmacSha256(opening, message.finish());
}

/** Checks that `commitment` (32 bytes) opens to this entry of this version of this user. Throws `bad-commitment`. */
export function verifyCommitment(commitment: Hash, opened: Opening): void {
  if (!equalBytes(commitment, commit(opened))) {
    throw new VerificationError("bad-commitment", `the commitment of version ${opened.version} does not open`);
  }
}
