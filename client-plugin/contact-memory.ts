/** What this device remembers about one user between checks. Local; written by the verifier alone. */
import { parseEntry } from "../shared/directory/entry.ts";
import { decodeUnpadded, encodeUnpadded, utf8 } from "../shared/encoding.ts";
import type { HeadPart, ProvenLeaf } from "../shared/messages.ts";
import { SETTLE_OVERDUE_AFTER_MS, UNCHECKED_ESCALATES_AFTER_MS } from "../shared/parameters.ts";
import { formatEvidence } from "../shared/proofs/evidence.ts";
import type { AcceptedLeaf } from "../shared/proofs/settling.ts";
import { classOf } from "../shared/verdict-codes.ts";
import type { VerdictCode, VerdictError } from "../shared/verdict-codes.ts";
import type { SeenKey } from "./seen-keys.ts";
import type { Storage } from "./storage.ts";
import type { Finding } from "./verdict.ts";

/** A state of a user's history that passed every check: an accepted leaf as JSON. */
export interface Accepted {
  readonly n: number;
  /** Unpadded base64. */
  readonly root: string;
  /** Of the head it was proven at, and that head's record. */
  readonly epoch: number;
  readonly timestampMs: number;
  readonly proven: ProvenLeaf;
}

/** The same as shared/proofs/ takes it. */
export function acceptedLeaf({ n, root, epoch, timestampMs, proven }: Accepted): AcceptedLeaf {
  return { n, root: decodeUnpadded(root), epoch, timestampMs, proven };
}

export function acceptedOf({ n, root, epoch, timestampMs, proven }: AcceptedLeaf): Accepted {
  return { n, root: encodeUnpadded(root), epoch, timestampMs, proven };
}

/** Whether the newest accepted state was shown by another log than the one of this origin. */
export function hasMoved({ accepted }: ContactMemory, origin: string): boolean {
  return accepted?.proven.checkpoint.startsWith(`${origin}\n`) === false;
}

/** A master key that took the place of another one. */
export interface Reset {
  /** As what it was told. Absent while the old key may yet give its word for the new one; its word counts later, too. */
  code?: "reset-signed" | "reset-unsigned";
  readonly from: string;
  readonly to: string;
  /** The first key of an unbroken line of words that ends with `from`. */
  readonly root: string;
  readonly atMs: number;
}

/** A promise that was taken, with the configuration that names its key: a later one may name another. */
export interface HeldPromise {
  readonly note: string;
  readonly configuration: string;
  readonly configured: HeadPart;
}

export interface ContactMemory {
  accepted?: Accepted;
  /** Canonical JSON of the newest entry that was shown. */
  entry?: string;
  /** Since when the history has been followed without a gap. */
  followedSinceMs?: number;
  /** The newest accepted state that has settled, then those that have not, oldest first. */
  unsettled: Accepted[];
  seen: SeenKey[];
  /** Promises that were taken and are not due yet. */
  promises: HeldPromise[];
  /** Ids of the keys that were in the store at the last complete check. */
  checkedKeys?: string[];
  /** Those of them that the newest entry held, and did not only call unreadable. */
  foundKeys?: string[];
  reset?: Reset;
  /** Since when each grey code has stood without a break. */
  greySince: Partial<Record<VerdictCode, number>>;
  /** When an own device first wrote to them after a week of that. */
  sentUncheckedMs?: number;
  /** Since when the store holds older keys than the newest entry, or that is withheld. */
  behindSinceMs?: number;
  /** First sight of each unsigned device, by key id. */
  unsignedSince: Record<string, number>;
  /** A contact's gossip agreed with the head known here. */
  agreedMs?: number;
  /** The first epoch at which the own account was seen here: settling epochs before it are none of ours. */
  followedFromEpoch?: number;
}

/** What is accepted about a user, and whether the user's statement says on. */
export interface Standing {
  readonly state: Accepted;
  readonly on: boolean;
}

/** Undefined where nothing was accepted yet. */
export function standingOf(userId: string, { accepted, entry }: ContactMemory): Standing | undefined {
  if (accepted === undefined) return undefined;
  return { state: accepted, on: entry !== undefined && parseEntry(utf8(entry), userId).statement?.ckv === "on" };
}

export function emptyMemory(): ContactMemory {
  return { unsettled: [], seen: [], promises: [], greySince: {}, unsignedSince: {} };
}

export async function readMemory(storage: Storage, userId: string): Promise<ContactMemory> {
  const stored = await storage.get(`contact:${userId}`);
  return stored === undefined ? emptyMemory() : { ...emptyMemory(), ...(JSON.parse(stored) as ContactMemory) };
}

export async function writeMemory(storage: Storage, userId: string, memory: ContactMemory): Promise<void> {
  await storage.set(`contact:${userId}`, JSON.stringify(memory));
}

/** What a service may fail to answer for a while before that is told. */
const PATIENCE_MS: Partial<Record<VerdictCode, number>> = {
  "settle-overdue": SETTLE_OVERDUE_AFTER_MS,
  "own-version-hidden": UNCHECKED_ESCALATES_AFTER_MS,
};

/** A proof that fails: portable proof and warnings are told at once, most of the rest when it has lasted. */
export function failureOf(
  memory: ContactMemory,
  { code, evidence }: VerdictError,
  nowMs: number,
): { readonly sinceMs: number; readonly told: Finding | undefined } {
  const { class: weight, escalatesAfterMs = Infinity } = classOf(code);
  const sinceMs = (memory.greySince[code] ??= nowMs);
  const isGrave = weight === "warning" || weight === "evidence";
  const patienceMs = isGrave ? (PATIENCE_MS[code] ?? 0) : escalatesAfterMs;
  if (nowMs - sinceMs < patienceMs) return { sinceMs, told: undefined };
  const file = evidence === undefined ? {} : { evidence: formatEvidence(evidence) };
  return { sinceMs, told: { code, class: isGrave ? weight : "warning", key: "", sinceMs, ...file } };
}
