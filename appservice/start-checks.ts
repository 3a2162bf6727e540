/**
 * Whether a log may sign when its process starts: the database, the anchor and the room must tell one story. What they can
 * say is a table, and each row of it a test; the failures behind the rows have ended real logs.
 */
import type { Hash } from "../shared/crypto/hash.ts";
import { equalBytes } from "../shared/encoding.ts";
import type { Checkpoint } from "../shared/log/checkpoint.ts";

/** Where the log stands by one witness: how many epochs, and the root over them. */
export type Head = Pick<Checkpoint, "size" | "root">;

export type AnchorVerdict =
  | { readonly action: "go" }
  /** The process ended between the database and the anchor: the anchor is brought up. */
  | { readonly action: "roll-forward" }
  | { readonly action: "refuse"; readonly reason: string };

/** `rootAt`: the root of the stored log when it had that many epochs, at most `database.size`. */
export function judgeAnchor(database: Head, anchor: Head | undefined, rootAt: (size: number) => Hash): AnchorVerdict {
  if (anchor === undefined) return refuse("the anchor is missing; it is never made again");
  if (database.size < anchor.size) return refuse("the database is older than the anchor: it was rolled back");
  if (database.size > anchor.size + 1) return refuse("the database is more than one epoch ahead of the anchor");
  if (!equalBytes(rootAt(anchor.size), anchor.root))
    return refuse("the anchor belongs to another log: its root differs");
  return { action: database.size === anchor.size ? "go" : "roll-forward" };
}

/** What is known of the log outside this machine: the newest head in the epochs room, or that the room holds none. */
export type ExternalHead = Head | "room-empty";

export type ExternalVerdict = { readonly action: "go" } | { readonly action: "refuse"; readonly reason: string };

/** `wasPosted`: whether the store says that a head was ever posted into the room. */
export function judgeExternalHead(
  database: Head,
  external: ExternalHead,
  wasPosted: boolean,
  rootAt: (size: number) => Hash,
): ExternalVerdict {
  if (external === "room-empty") {
    return wasPosted ? refuse("the room holds no head, but heads were posted into it") : { action: "go" };
  }
  if (external.size > database.size) {
    return refuse(`the room has seen ${external.size} epochs, the database holds ${database.size}: it was rolled back`);
  }
  if (!equalBytes(rootAt(external.size), external.root)) {
    return refuse(`the room holds another head of size ${external.size}: two heads were signed`);
  }
  return { action: "go" };
}

function refuse(reason: string): { readonly action: "refuse"; readonly reason: string } {
  return { action: "refuse", reason };
}
