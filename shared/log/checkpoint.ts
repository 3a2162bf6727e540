import { decodeBase64, encodeBase64, equalBytes } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import { type Hash, HASH_BYTES } from "../crypto/hash.ts";
import { type NoteKey, openNote, signNote } from "../crypto/signed-note.ts";
import { emptyRoot } from "../merkle/tree.ts";

/** The head of a log: its origin, how many epochs it has, and the root over their records. */
export interface Checkpoint {
  readonly origin: string;
  readonly size: number;
  readonly root: Hash;
}

/** The text that is signed: three lines (C2SP tlog-checkpoint, without extension lines). */
export function formatCheckpoint({ origin, size, root }: Checkpoint): string {
  return `${origin}\n${size}\n${encodeBase64(root)}\n`;
}

/**
 * A checkpoint from the text of a note. Throws `malformed`, also on extension lines, which no log of this protocol writes,
 * and on an empty log whose root is not that of the empty tree.
 */
export function parseCheckpoint(text: string): Checkpoint {
  const lines = /^([^\n]+)\n(0|[1-9][0-9]{0,15})\n([A-Za-z0-9+/=]+)\n$/.exec(text);
  if (lines === null) throw malformed("not a checkpoint");
  const [, origin = "", decimal = "", encoded = ""] = lines;
  const [size, root] = [Number(decimal), decodeBase64(encoded)];
  if (!Number.isSafeInteger(size)) throw malformed("a tree size from 2^53 on");
  if (root.length !== HASH_BYTES) throw malformed("a root that has not 32 bytes");
  if (size === 0 && !equalBytes(root, emptyRoot)) throw malformed("an empty log with a root");
  return { origin, size, root };
}

/** A signed note over the checkpoint, by the log's key, whose name is the origin. `seed` has 32 bytes. */
export function signCheckpoint(checkpoint: Checkpoint, { seed }: { readonly seed: Uint8Array }): string {
  return signNote(formatCheckpoint(checkpoint), { name: checkpoint.origin, seed });
}

/**
 * The checkpoint of a note that the log's key signed. Throws `bad-signature`; `malformed` if it is no checkpoint, or its
 * origin is not the name of the key. Cosignatures are checked apart.
 */
export function openCheckpoint(note: string, logKey: NoteKey): Checkpoint {
  const checkpoint = parseCheckpoint(openNote(note, [logKey]).text);
  if (checkpoint.origin !== logKey.name) throw malformed("a checkpoint whose origin is not the name of its key");
  return checkpoint;
}

/** A Matrix server name, then `/ckv/` and the number of the log. */
const ORIGIN = /^([A-Za-z0-9.:[\]-]+)\/ckv\/[1-9][0-9]{0,14}$/;

/** The origin of a server's log of this number (from 1). */
export function originOf(serverName: string, number: number): string {
  const origin = `${serverName}/ckv/${number}`;
  if (!ORIGIN.test(origin)) throw new RangeError("not a server name and a number from 1");
  return origin;
}

/** The server whose users a log of this origin speaks for. Throws `malformed` if it is no origin of this protocol. */
export function serverOfOrigin(origin: string): string {
  const [, serverName] = ORIGIN.exec(origin) ?? [];
  if (serverName === undefined) throw malformed("not the origin of a log of keys");
  return serverName;
}

function malformed(message: string): VerificationError {
  return new VerificationError("malformed", message);
}
