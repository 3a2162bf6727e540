import { concat, decodeBase64, decodeHex, encodeBase64, encodeHex, equalBytes, utf8 } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import { MAX_NOTE_BYTES, MAX_NOTE_SIGNATURES } from "../parameters.ts";
import { checkPublicKey, PUBLIC_KEY_BYTES, publicKeyOf, signEd25519, verifyEd25519 } from "./ed25519.ts";
import { sha256 } from "./hash.ts";

/** Kinds of keys that this protocol knows (C2SP signed-note, "Signature types"). */
export const ED25519_KEY = 0x01;
export const COSIGNATURE_KEY = 0x04;

const KEY_ID_BYTES = 4;

/** A key that signs notes under a name. `keyId` is 8 digits of lower-case hexadecimal. */
export interface NoteKey {
  readonly name: string;
  readonly type: number;
  readonly publicKey: Uint8Array;
  readonly keyId: string;
}

/** One signature line as it stands, unchecked. */
export interface NoteSignature {
  readonly name: string;
  readonly keyId: string;
  readonly signature: Uint8Array;
}

/** A note taken apart, unchecked. `text` ends with a newline and is what is signed. */
export interface Note {
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

/** A note whose signatures by known keys verified, and those keys: at least one, each once. */
export interface OpenedNote {
  readonly text: string;
  readonly verified: readonly NoteKey[];
}

function malformed(message: string): VerificationError {
  return new VerificationError("malformed", message);
}

// ----------------------------------------------------------------------------------------------------------------- keys

function checkName(name: string): string {
  // eslint-disable-next-line no-control-regex -- the specification names them
  if (name === "" || /[\s\u0000-\u001f\u0085+]/u.test(name) || !name.isWellFormed()) throw malformed("not a key name");
  return name;
}

/** A key with its id: the first 4 bytes of SHA-256 over name, newline, type and key (C2SP signed-note, "Signatures"). */
export function noteKeyOf(key: {
  readonly name: string;
  readonly type: number;
  readonly publicKey: Uint8Array;
}): NoteKey {
  const { name, type, publicKey } = key;
  const id = sha256(concat(utf8(`${checkName(name)}\n`), Uint8Array.of(type), publicKey)).slice(0, KEY_ID_BYTES);
  return { name, type, publicKey, keyId: encodeHex(id) };
}

/** The text of a verifier key: name, key id and typed key, joined by plus signs. */
export function formatVkey(key: {
  readonly name: string;
  readonly type: number;
  readonly publicKey: Uint8Array;
}): string {
  const { name, keyId, type, publicKey } = noteKeyOf(key);
  return `${name}+${keyId}+${encodeBase64(concat(Uint8Array.of(type), publicKey))}`;
}

/**
 * A verifier key from its text. Only the two types of this protocol, whose keys are Ed25519 points, are taken. Throws
 * `malformed`, or `bad-signature` where the key itself is not a canonical point of large order.
 */
export function parseVkey(text: string): NoteKey {
  const parts = /^([^+]*)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(text);
  if (parts === null) throw malformed("not a verifier key");
  const [, name = "", keyId = "", encoded = ""] = parts;
  const typed = decodeBase64(encoded);
  const [type = 0, publicKey] = [typed[0], typed.slice(1)];
  if (type !== ED25519_KEY && type !== COSIGNATURE_KEY) throw malformed(`a verifier key of unknown type ${type}`);
  if (publicKey.length !== PUBLIC_KEY_BYTES) throw malformed("a verifier key of wrong length");
  const key = noteKeyOf({ name, type, publicKey: checkPublicKey(publicKey) });
  if (key.keyId !== keyId) throw malformed("a verifier key whose id is not its own");
  return key;
}

/** Whether two keys are the same key under the same name. */
export function isSameKey(a: NoteKey, b: NoteKey): boolean {
  return a.name === b.name && a.type === b.type && equalBytes(a.publicKey, b.publicKey);
}

// ---------------------------------------------------------------------------------------------------------------- notes

function checkText(text: string): string {
  // eslint-disable-next-line no-control-regex -- the specification names them
  if (!text.endsWith("\n") || /[\u0000-\u0009\u000b-\u001f]/.test(text) || !text.isWellFormed()) {
    throw malformed("not the text of a note");
  }
  return text;
}

/** Takes a note apart (C2SP signed-note, "Format"). Throws `malformed`; checks no signature. */
export function parseNote(note: string): Note {
  if (note.length > MAX_NOTE_BYTES || utf8(note).length > MAX_NOTE_BYTES) throw malformed("a note too long");
  checkText(note);
  const division = note.lastIndexOf("\n\n");
  if (division < 0) throw malformed("a note without signatures");
  const lines = note.slice(division + 2, -1).split("\n");
  if (lines.length > MAX_NOTE_SIGNATURES) throw malformed("a note with too many signatures");
  return { text: note.slice(0, division + 1), signatures: lines.map(parseSignatureLine) };
}

function parseSignatureLine(line: string): NoteSignature {
  const parts = /^\u2014 ([^ ]+) ([A-Za-z0-9+/=]+)$/.exec(line);
  if (parts === null) throw malformed("not a signature line");
  const [, name = "", encoded = ""] = parts;
  const bytes = decodeBase64(encoded);
  if (bytes.length <= KEY_ID_BYTES) throw malformed("a signature line without a signature");
  const [id, signature] = [bytes.slice(0, KEY_ID_BYTES), bytes.slice(KEY_ID_BYTES)];
  return { name: checkName(name), keyId: encodeHex(id), signature };
}

/** The lines of a note that carry this key's name and id. */
export function signaturesBy(note: Note, key: NoteKey): NoteSignature[] {
  return note.signatures.filter(({ name, keyId }) => name === key.name && keyId === key.keyId);
}

/**
 * Opens a note with known Ed25519 keys. Lines of other keys are ignored; a line of a known key that does not verify refuses
 * the whole note, and so does the absence of any known key: both throw `bad-signature`. `malformed` as `parseNote`.
 */
export function openNote(note: string, keys: readonly NoteKey[]): OpenedNote {
  const parsed = parseNote(note);
  const message = utf8(parsed.text);
  const verified = keys.filter((key) => {
    if (key.type !== ED25519_KEY) throw new RangeError("a key that does not sign notes as such");
    const signatures = signaturesBy(parsed, key);
    for (const { signature } of signatures) verifyEd25519(key.publicKey, message, signature);
    return signatures.length > 0;
  });
  if (verified.length === 0) throw new VerificationError("bad-signature", "a note signed by no known key");
  return { text: parsed.text, verified };
}

/** One signature line, without its newline. */
export function formatSignatureLine({ name, keyId, signature }: NoteSignature): string {
  return `\u2014 ${checkName(name)} ${encodeBase64(concat(decodeHex(keyId), signature))}`;
}

/** Signs `text`, which ends with a newline, by the Ed25519 key of `seed` (32 bytes) under `name`: a whole note. */
export function signNote(text: string, { name, seed }: { readonly name: string; readonly seed: Uint8Array }): string {
  const key = noteKeyOf({ name, type: ED25519_KEY, publicKey: publicKeyOf(seed) });
  const signature = signEd25519(seed, utf8(checkText(text)));
  return `${text}\n${formatSignatureLine({ name, keyId: key.keyId, signature })}\n`;
}

/** The note with one more signature line. Throws `malformed` if either is none. */
export function appendSignature(note: string, line: string): string {
  parseNote(note);
  parseSignatureLine(line);
  return `${note}${line}\n`;
}
