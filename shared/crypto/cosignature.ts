import { concat, Reader, utf8, Writer } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import { publicKeyOf, SIGNATURE_BYTES, signEd25519, verifyEd25519 } from "./ed25519.ts";
import {
  COSIGNATURE_KEY,
  formatSignatureLine,
  type NoteKey,
  noteKeyOf,
  parseNote,
  signaturesBy,
} from "./signed-note.ts";

/** A cosigner's word about a checkpoint, verified, and when it was given by the cosigner's clock. */
export interface Cosignature {
  readonly key: NoteKey;
  readonly timestampS: number;
}

/** The bytes that a cosigner signs (C2SP tlog-cosignature, cosignature/v1). */
function cosignedMessage(text: string, timestampS: number): Uint8Array {
  return utf8(`cosignature/v1\ntime ${timestampS}\n${text}`);
}

/**
 * The signature line (without newline) by which the Ed25519 key of `seed` cosigns the checkpoint of a note under `name`, at
 * `timestampS` seconds since 1970. The caller has verified the note, and stored the head before asking.
 */
export function cosign(
  checkpointNote: string,
  cosigner: { readonly name: string; readonly seed: Uint8Array; readonly timestampS: number },
): string {
  const { name, seed, timestampS } = cosigner;
  const { keyId } = noteKeyOf({ name, type: COSIGNATURE_KEY, publicKey: publicKeyOf(seed) });
  const signature = signEd25519(seed, cosignedMessage(parseNote(checkpointNote).text, timestampS));
  return formatSignatureLine({ name, keyId, signature: concat(new Writer().u64(timestampS).finish(), signature) });
}

/**
 * The cosignatures of a note by known cosigners, each cosigner once, with its latest time. Lines of other keys are ignored; a
 * line of a known key that does not verify refuses the note with `bad-signature`. None is no error: policy decides how many
 * are enough. Throws `malformed` as `parseNote`.
 */
export function openCosignatures(note: string, keys: readonly NoteKey[]): Cosignature[] {
  const parsed = parseNote(note);
  return keys.flatMap((key) => {
    const times = signaturesBy(parsed, key).map(({ signature }) => verifyCosignature(key, parsed.text, signature));
    return times.length === 0 ? [] : [{ key, timestampS: Math.max(...times) }];
  });
}

/** Returns the time of a cosignature, in seconds since 1970. */
function verifyCosignature(key: NoteKey, text: string, timestamped: Uint8Array): number {
  if (key.type !== COSIGNATURE_KEY) throw new RangeError("a key that does not cosign");
  const reader = new Reader(timestamped);
  if (reader.remaining !== 8 + SIGNATURE_BYTES) {
    throw new VerificationError("bad-signature", "a cosignature has 72 bytes");
  }
  const timestampS = reader.u64();
  verifyEd25519(key.publicKey, cosignedMessage(text, timestampS), reader.bytes(SIGNATURE_BYTES));
  return timestampS;
}
