/**
 * The log's word that a change it holds will be merged: a signed note by the promise key. shared/README.md, "Promise".
 */
import { verifyCommitment } from "../crypto/commitment.ts";
import type { Hash } from "../crypto/hash.ts";
import { HASH_BYTES } from "../crypto/hash.ts";
import { openNote, parseVkey, signNote } from "../crypto/signed-note.ts";
import type { NoteKey } from "../crypto/signed-note.ts";
import type { Configuration } from "../directory/configuration.ts";
import { parseEntry } from "../directory/entry.ts";
import type { Entry } from "../directory/entry.ts";
import { checkSafeInteger, decodeBase64, decodeUnpadded, encodeBase64, equalBytes, utf8 } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import type { HistoryHead, HistoryVersion } from "../history/history.ts";
import { verifyVersion } from "../history/history.ts";
import type { EpochRecord } from "../log/epoch-record.ts";
import type { PromisePart } from "../messages.ts";
import { CLOCK_AHEAD_MAX_MS, MERGE_DELAY_MAX_MS } from "../parameters.ts";
import { VerdictError } from "../verdict-codes.ts";
import { inStep } from "./step.ts";

/** `version` of `index` has this commitment, and stands in every head from `mergeByMs` on. */
export interface MergePromise {
  readonly index: Hash;
  readonly version: number;
  readonly commitment: Hash;
  readonly receivedMs: number;
  readonly mergeByMs: number;
}

/** The name of a log's promise key. */
export function promiseName(origin: string): string {
  return `${origin}/promise`;
}

/** The note of a promise. Only for a change that is durable. `seed`: of the promise key. */
export function signPromise(promise: MergePromise, { origin, seed }: { origin: string; seed: Uint8Array }): string {
  const { index, version, commitment, receivedMs, mergeByMs } = promise;
  const lines = [promiseName(origin), encodeBase64(index), version, encodeBase64(commitment), receivedMs, mergeByMs];
  return signNote(`${lines.join("\n")}\n`, { name: promiseName(origin), seed });
}

/** The promise of a note, signed by `promiseKey`, whose name is its first line. Throws `malformed`, `bad-signature`. */
export function openPromise(note: string, promiseKey: NoteKey): MergePromise {
  const { text } = openNote(note, [promiseKey]);
  const [name, index = "", version = "", commitment = "", received = "", mergeBy = "", ...rest] = text.split("\n");
  if (name !== promiseKey.name || rest.length !== 1 || rest[0] !== "") throw malformed("not a promise of this log");
  return {
    index: hashOf(index),
    version: decimal(version, 1),
    commitment: hashOf(commitment),
    receivedMs: decimal(received, 0),
    mergeByMs: decimal(mergeBy, 0),
  };
}

function hashOf(text: string): Hash {
  const hash = decodeBase64(text);
  if (hash.length !== HASH_BYTES) throw malformed("a promise with a hash of another length");
  return hash;
}

function decimal(text: string, minimum: number): number {
  if (!/^(0|[1-9][0-9]{0,15})$/.test(text) || Number(text) < minimum)
    throw malformed("a promise with a number in another form");
  return checkSafeInteger(Number(text), "a number of a promise");
}

function malformed(message: string): VerificationError {
  return new VerificationError("malformed", message);
}

/** What the client holds before it takes a promise. `index`: verified for this user; `newestN`: 0 when absent. */
export interface PromiseContext {
  readonly configuration: Configuration;
  readonly userId: string;
  readonly index: Hash;
  readonly newestN: number;
  readonly nowMs: number;
}
export interface VerifiedPromise {
  readonly promise: MergePromise;
  readonly note: string;
  readonly entry: Entry;
}

/**
 * A promise that counts. Whether its entry holds the key in question is for the caller to see. Throws VerdictError
 * `promise-invalid` whatever is wrong.
 */
export function verifyPromise(known: PromiseContext, part: PromisePart): VerifiedPromise {
  return inStep("promise-invalid", () => takePromise(known, part), "promise-invalid");
}

function takePromise(known: PromiseContext, part: PromisePart): VerifiedPromise {
  const { configuration, userId, index, newestN, nowMs } = known;
  const promise = openPromise(part.note, parseVkey(configuration.promise_key));
  const { version, commitment, receivedMs, mergeByMs } = promise;
  const entry = utf8(part.entry);
  if (!equalBytes(promise.index, index)) throw invalid("is about another user");
  if (version <= newestN) throw invalid("is about a version already seen");
  verifyCommitment(commitment, { userId, version, entry, opening: decodeUnpadded(part.opening) });
  const delayMs = mergeByMs - receivedMs;
  if (delayMs !== configuration.merge_delay_ms || delayMs > MERGE_DELAY_MAX_MS)
    throw invalid("has another merge delay");
  if (receivedMs > nowMs + CLOCK_AHEAD_MAX_MS) throw invalid("comes from the future");
  if (mergeByMs < nowMs) throw invalid("is past its time");
  return { promise, note: part.note, entry: parseEntry(entry, userId) };
}

function invalid(problem: string): VerdictError {
  return new VerdictError("promise-invalid", `the promise ${problem}`);
}

/** Whether a head is one by which the promise is due: its record's time, or that it is the last of its log. */
export function isDue(promise: MergePromise, record: EpochRecord, isFinal: boolean): boolean {
  return isFinal || record.timestampMs >= promise.mergeByMs;
}

/** How a log broke a promise: the promised version is absent at a head by which it was due, or another one. */
export type BrokenPromise = "absent" | "other-version";

/** The map leaf at a head by which the promise is due, and of a leaf that reaches the version the proof of that version. */
export interface DueLeaf {
  readonly leaf: HistoryHead | undefined;
  readonly version?: HistoryVersion;
  readonly path?: readonly Hash[];
}

/**
 * How a due promise is broken, undefined when it is kept. Throws `bad-inclusion` when the version is not proven, for then
 * nothing is known.
 */
export function brokenPromise(promise: MergePromise, { leaf, version, path }: DueLeaf): BrokenPromise | undefined {
  if (leaf === undefined || leaf.n < promise.version) return "absent";
  if (version?.version !== promise.version || path === undefined) {
    throw new VerificationError("bad-inclusion", "the promised version is not shown");
  }
  verifyVersion(version, path, leaf);
  return equalBytes(version.commitment, promise.commitment) ? undefined : "other-version";
}
