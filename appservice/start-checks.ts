/**
 * Whether a log may sign when its process starts: the database, the anchor and the room must tell one story. What they can
 * say is a table, and each row of it a test; the failures behind the rows have ended real logs.
 *
 * A refusal is never an end of the process: heads that are signed already stay true, so reads go on, nothing is signed, and
 * `/readyz` says why and what to do. That holds for a missing anchor too. It is never made again from the database, which
 * may be an old copy; but most often its disk is not mounted, and taking the answers away would help nobody.
 */
import type { Hash } from "../shared/crypto/hash.ts";
import { equalBytes } from "../shared/encoding.ts";
import type { Checkpoint } from "../shared/log/checkpoint.ts";

/** Where the log stands by one witness: how many epochs, and the root over them. */
export type Head = Pick<Checkpoint, "size" | "root">;

export interface Refusal {
  readonly action: "refuse";
  /** The cause, and the next step of the operator. */
  readonly reason: string;
  /** The log's key has signed a head that the database contradicts: the two notes convict it. */
  readonly isFork: boolean;
}

export type AnchorVerdict =
  | { readonly action: "go" }
  /** The process ended between the database and the anchor: the anchor is brought up. */
  | { readonly action: "roll-forward" }
  | Refusal;

const RESTORE = "put the newest database back, or restore the newest backup (matrix-ckv restore)";
const CONVICTED =
  "publish the evidence, never run either history again under this key, and begin a successor (matrix-ckv init --successor-of)";

/** `rootAt`: the root of the stored log when it had that many epochs, at most `database.size`. */
export function judgeAnchor(database: Head, anchor: Head | undefined, rootAt: (size: number) => Hash): AnchorVerdict {
  if (anchor === undefined) {
    return refuse(
      "the anchor is missing, and it is never made again from a database that may be old",
      'bring the file back ("anchor" in the configuration: right path, disk mounted?); if it is lost, begin a successor (matrix-ckv init --successor-of)',
    );
  }
  if (database.size < anchor.size) {
    const sizes = `it holds ${database.size} epochs, the anchor ${anchor.size}`;
    return refuse(`the database is older than the anchor: it was rolled back (${sizes})`, RESTORE);
  }
  if (!equalBytes(rootAt(anchor.size), anchor.root)) {
    const cause = `the anchor holds another head of ${anchor.size} epochs than the database, its root differs: two histories were signed`;
    return refuse(cause, CONVICTED, true);
  }
  if (database.size > anchor.size + 1) {
    return refuse(
      `the database is more than one epoch ahead of the anchor: ${database.size} and ${anchor.size} epochs, so the anchor is not the one this database was run with`,
      'put back the anchor that belongs to this database ("anchor" in the configuration: right path?)',
    );
  }
  return { action: database.size === anchor.size ? "go" : "roll-forward" };
}

/** What is known of the log outside this machine: the newest head in the epochs room, or that the room holds none. */
export type ExternalHead = Head | "room-empty";

export type ExternalVerdict = { readonly action: "go" } | Refusal;

/** `wasPosted`: whether the store says that a head was ever posted into the room. */
export function judgeExternalHead(
  database: Head,
  external: ExternalHead,
  wasPosted: boolean,
  rootAt: (size: number) => Hash,
): ExternalVerdict {
  if (external === "room-empty") return wasPosted ? refuse(ROOM_LOST_CAUSE, ROOM_LOST_NEXT) : { action: "go" };
  if (external.size > database.size) {
    const sizes = `the room has seen ${external.size} epochs, the database holds ${database.size}`;
    return refuse(`the database was rolled back, and the anchor with it: ${sizes}`, RESTORE);
  }
  if (!equalBytes(rootAt(external.size), external.root)) {
    return refuse(`the room holds another head of size ${external.size}: two heads were signed`, CONVICTED, true);
  }
  return { action: "go" };
}

const ROOM_LOST_CAUSE = "the epochs room holds no head of this log, although heads were posted into it";
const ROOM_LOST_NEXT =
  "is homeserver.url the homeserver of before, and was that not restored from a backup? If the room is lost for good, begin a successor (matrix-ckv init --successor-of)";
/** Why nothing is signed while a room that had heads shows none; for the whole message see `judgeExternalHead`. */
export const ROOM_LOST: string = `${ROOM_LOST_CAUSE}. Next: ${ROOM_LOST_NEXT}`;

function refuse(cause: string, next: string, isFork = false): Refusal {
  return { action: "refuse", reason: `${cause}. Next: ${next}`, isFork };
}
