/** Whether a database may be signed on at all, as far as backups are concerned. Nothing is stored while it may. */
import { fromUtf8, utf8 } from "../../shared/encoding.ts";
import { textKey } from "./records.ts";
import { IntegrityError } from "./store.ts";
import type { KeyValue, Reads } from "./store.ts";

/**
 * `moved`: "backup --move" took the log away; it goes on elsewhere.
 * `copy`: restored from a backup of a log that went on, so that heads were signed that it does not know.
 * `arrived`: restored from a backup made with --move; signs once it was compared with everything outside.
 */
export type Custody = "moved" | "copy" | "arrived";

/** Never part of a backup: what a restored database is depends on the backup, not on the records in it. */
export const CUSTODY_KEY: Uint8Array = textKey("m", "custody");

export function encodeCustody(custody: Custody): KeyValue {
  return { key: CUSTODY_KEY, value: utf8(custody) };
}

/** Undefined: nothing was said, and the log is its own. Throws `IntegrityError`. */
export function readCustody(reads: Reads): Custody | undefined {
  const value = reads.get(CUSTODY_KEY);
  if (value === undefined) return undefined;
  const custody = fromUtf8(value);
  if (custody === "moved" || custody === "copy" || custody === "arrived") return custody;
  throw new IntegrityError("what the database says of its backups can't be read");
}
