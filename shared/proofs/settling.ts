/**
 * Settling epochs: the one epoch of each interval that everybody looks at, so that two readers can't be kept apart on one
 * log. shared/README.md, "Settling".
 */
import type { Hash } from "../crypto/hash.ts";
import { formatVkey } from "../crypto/signed-note.ts";
import { decodeUnpadded, encodeUnpadded } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import { verifyAncestor } from "../history/history.ts";
import type { HistoryHead } from "../history/history.ts";
import { parseEpochRecord, verifyRecord } from "../log/epoch-record.ts";
import type { EpochRecord } from "../log/epoch-record.ts";
import { decodePath } from "../messages.ts";
import type { ProvenLeaf, SettlingPart, SettlingRecords } from "../messages.ts";
import { VerdictError } from "../verdict-codes.ts";
import type { VerdictCode } from "../verdict-codes.ts";
import { attemptEvidence, createLeafEvidence, leafConflict, verifyMapLeaf, withoutKnownRoot } from "./evidence.ts";
import type { Evidence, ProvenRecord } from "./evidence.ts";
import { checkRising } from "./head.ts";
import type { TiedRecord, VerifiedHead } from "./head.ts";
import { inStep } from "./step.ts";

/** A settling epoch, verified under a head of its log, and the record before it; epoch 0 has none. */
export interface VerifiedSettling extends TiedRecord {
  readonly before?: TiedRecord;
}

/** A leaf of the map that this account accepted, with what proves it to others. `timestampMs`: of its record. */
export interface AcceptedLeaf extends HistoryHead {
  readonly epoch: number;
  readonly timestampMs: number;
  readonly proven: ProvenLeaf;
}

/** The number of the time interval of a record. */
export function settlingInterval({ timestampMs }: EpochRecord, settleMs: number): number {
  return Math.floor(timestampMs / settleMs);
}

/**
 * Of all records of a log up to a head, in order, the epoch of the newest settling epoch: the first one in the interval
 * of the last. Undefined for an empty log.
 */
export function settlingEpochOf(records: readonly EpochRecord[], settleMs: number): number | undefined {
  const last = records.at(-1);
  if (last === undefined) return undefined;
  const interval = settlingInterval(last, settleMs);
  return records.find((record) => settlingInterval(record, settleMs) === interval)?.epoch;
}

/**
 * `epoch` is a settling epoch: its record and the one before it stand in the head's tree, and that one in an earlier
 * interval. Throws VerdictError `settle-overdue`, `bad-answer`, or `time-backwards` with evidence.
 */
export function verifySettlingRecords(head: VerifiedHead, epoch: number, answer: SettlingRecords): VerifiedSettling {
  return inStep("settle-overdue", () => {
    const settling = recordAt(head, epoch, answer.record, answer.record_proof);
    if (epoch === 0) return settling;
    const { previous_record, previous_proof } = answer;
    if (previous_record === undefined || previous_proof === undefined) throw overdue("the record before it is missing");
    const before = recordAt(head, epoch - 1, previous_record, previous_proof);
    checkTime(head, before, settling);
    const { settle_ms } = head.configuration;
    if (settlingInterval(before.record, settle_ms) === settlingInterval(settling.record, settle_ms)) {
      throw overdue(`epoch ${epoch} is not the first of its interval`);
    }
    return { ...settling, before };
  });
}

/**
 * Two settling epochs of one log, in any order, which time may have in one order only: else there could be two of one
 * interval, and two readers would be shown one each. Returns the second. Throws VerdictError `time-backwards`.
 */
export function checkOneSettling(
  head: VerifiedHead,
  known: VerifiedSettling,
  settling: VerifiedSettling,
): VerifiedSettling {
  const [earlier, later] = known.record.epoch < settling.record.epoch ? [known, settling] : [settling, known];
  for (const tied of [later.before, later]) {
    if (tied !== undefined && tied.record.epoch > earlier.record.epoch) checkTime(head, earlier, tied);
  }
  return settling;
}

/** What else is wrong between the two is told of the user whose leaf shows it. */
function checkTime({ logKey }: VerifiedHead, earlier: TiedRecord, later: TiedRecord): void {
  if (later.record.timestampMs <= earlier.record.timestampMs) checkRising(logKey, earlier, later);
}

/** Returns the settling epoch if it is the newest one of this head, else throws `settle-overdue`. */
export function checkNewestSettling(head: VerifiedHead, settling: VerifiedSettling): VerifiedSettling {
  const { settle_ms } = head.configuration;
  if (settling.record.epoch >= head.checkpoint.size) throw overdue("the settling epoch lies beyond the head");
  if (settlingInterval(settling.record, settle_ms) === settlingInterval(head.record, settle_ms)) return settling;
  throw overdue("the settling epoch is of another interval than the head");
}

function recordAt({ checkpoint, part }: VerifiedHead, epoch: number, encoded: string, proof: string): TiedRecord {
  const bytes = decodeUnpadded(encoded);
  const record = parseEpochRecord(bytes);
  if (record.epoch !== epoch) throw overdue("the record is of another epoch");
  verifyRecord(bytes, epoch, checkpoint, decodePath(proof));
  return { record, proven: { checkpoint: part.checkpoint, record: encoded, record_proof: proof } };
}

function overdue(problem: string): VerdictError {
  return new VerdictError("settle-overdue", problem);
}

/** What is compared at a settling epoch. `head`: the leaf at the head, proven. `accepted`: the newest accepted by then. */
export interface SettledContext {
  readonly index: Hash;
  readonly headLeaf: HistoryHead | undefined;
  readonly headProven: ProvenLeaf;
  readonly accepted: AcceptedLeaf | undefined;
}
export interface VerifiedSettled {
  readonly leaf: HistoryHead | undefined;
  readonly proven: ProvenLeaf;
}

/**
 * The user's leaf at a settling epoch: not shorter than what was accepted by then, and an ancestor of the leaf at the
 * head. What was accepted is an ancestor of the head's leaf, too (the lookup has shown it), so of two such prefixes of
 * one history the shorter is an ancestor of the longer. Throws VerdictError.
 */
export function verifySettled(
  head: VerifiedHead,
  settling: VerifiedSettling,
  context: SettledContext,
  part: SettlingPart,
): VerifiedSettled {
  if (part.epoch !== settling.record.epoch) throw overdue("the answer is about another settling epoch");
  const leaf = part.leaf && {
    n: part.leaf.n,
    root: inStep("map-proof", () => decodeUnpadded(part.leaf?.history_root ?? "")),
  };
  verifyLeafUnder(settling.record, context.index, leaf, part.map_proof);
  const proven = provenLeafOf(settling.proven, context.index, part.map_proof, leaf);
  const { accepted, headLeaf, headProven } = context;
  if (accepted !== undefined) checkNoConflict(head, accepted, accepted.proven, leaf, proven);
  if (leaf !== undefined) {
    checkNoConflict(head, leaf, proven, headLeaf, headProven);
    const path = inStep("history-unproven", () => decodePath(part.leaf?.consistency ?? ""));
    if (headLeaf !== undefined) {
      checkAncestor(head, "settle-vanished", { head: leaf, proven }, { head: headLeaf, proven: headProven }, path);
    }
  }
  return { leaf, proven };
}

/** `index` has `leaf` in the map of this record, or VerdictError `map-proof`. */
export function verifyLeafUnder(
  record: EpochRecord,
  index: Hash,
  leaf: HistoryHead | undefined,
  mapProof: string,
): void {
  inStep("map-proof", () => {
    verifyMapLeaf(record, index, leaf, mapProof);
  });
}

/** A leaf with what ties it to a signed head, to keep and to show. */
export function provenLeafOf(
  record: ProvenRecord,
  index: Hash,
  mapProof: string,
  leaf: HistoryHead | undefined,
): ProvenLeaf {
  const { checkpoint, record: bytes, record_proof } = record;
  return {
    checkpoint,
    record: bytes,
    record_proof,
    index: encodeUnpadded(index),
    map_proof: mapProof,
    ...(leaf === undefined ? {} : { leaf: { n: leaf.n, history_root: encodeUnpadded(leaf.root) } }),
  };
}

function checkNoConflict(
  head: VerifiedHead,
  earlier: HistoryHead,
  earlierProven: ProvenLeaf,
  later: HistoryHead | undefined,
  laterProven: ProvenLeaf,
): void {
  if (leafConflict(earlier, later) === undefined) return;
  const evidence = leafEvidence(head, earlierProven, laterProven);
  throw new VerdictError("settle-vanished", "what was shown is not in what settled", evidence);
}

/** One proven leaf of a history. */
export interface ProvenHistory {
  readonly head: HistoryHead;
  readonly proven: ProvenLeaf;
}

/**
 * The earlier leaf (n >= 1) is an ancestor of the later one, which is not shorter. A proof that shows another ancestor
 * throws VerdictError `code` with evidence E4, one that shows nothing `history-unproven`.
 */
export function checkAncestor(
  head: VerifiedHead,
  code: VerdictCode,
  earlier: ProvenHistory,
  later: ProvenHistory,
  path: readonly Hash[],
): void {
  try {
    verifyAncestor(earlier.head, later.head, withoutKnownRoot(earlier.head, path));
  } catch (cause) {
    if (!(cause instanceof VerificationError)) throw cause;
    const { evidence } = leafEvidence(head, earlier.proven, later.proven, path);
    if (evidence === undefined) throw new VerdictError("history-unproven", cause.message, { cause });
    throw new VerdictError(code, "the history holds another past", { cause, evidence });
  }
}

/** E3, or with hashes E4, if the leaves prove it. */
export function leafEvidence(
  { logKey }: VerifiedHead,
  earlier: ProvenLeaf,
  later: ProvenLeaf,
  hashes?: readonly Hash[],
): { readonly evidence?: Evidence } {
  return attemptEvidence(() => createLeafEvidence(formatVkey(logKey), earlier, later, hashes));
}
