/**
 * How a client judges what a log says of one user: steps 4 to 7 of shared/README.md, "Steps", and settling. Steps 8 to 10
 * need the crypto store. Each failed step is a VerdictError with its own code.
 */
import { verifyCommitment } from "../crypto/commitment.ts";
import type { Hash } from "../crypto/hash.ts";
import type { NoteKey } from "../crypto/signed-note.ts";
import { verifyVrf, vrfOutput } from "../crypto/vrf.ts";
import type { Configuration } from "../directory/configuration.ts";
import { readEntry } from "../directory/entry.ts";
import type { Entry } from "../directory/entry.ts";
import { decodeUnpadded, equalBytes, utf8 } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import { verifyVersion } from "../history/history.ts";
import type { HistoryHead } from "../history/history.ts";
import { serverOfOrigin } from "../log/checkpoint.ts";
import { decodePath, serverOfUser } from "../messages.ts";
import type { LeafPart, LookupAnswer, ProvenLeaf, UserPart } from "../messages.ts";
import { DAY_MS, MAX_VERSIONS_PER_DAY } from "../parameters.ts";
import { VerdictError } from "../verdict-codes.ts";
import { leafConflict } from "./evidence.ts";
import { verifyHead } from "./head.ts";
import type { KnownLog, VerifiedHead } from "./head.ts";
import {
  checkAncestor,
  checkNewestSettling,
  leafEvidence,
  provenLeafOf,
  verifyLeafUnder,
  verifySettled,
} from "./settling.ts";
import type { AcceptedLeaf, VerifiedSettled, VerifiedSettling } from "./settling.ts";
import { inStep } from "./step.ts";

/** What this account knows of a user before an answer. */
export interface KnownUser {
  /** Verified before under the same VRF key: the proof is then compared with it instead of verified anew. */
  readonly index?: Hash | undefined;
  /** The leaf last accepted, its content, and the history path from it to the leaf of the answer (empty if n is the same). */
  readonly accepted?: (AcceptedLeaf & { readonly content?: VerifiedContent }) | undefined;
  readonly path?: readonly Hash[];
  /** The newest settling epoch, verified; undefined where the client's policy does without. */
  readonly settling?: VerifiedSettling;
  /** The newest leaf accepted at or before that epoch. */
  readonly acceptedBySettling?: AcceptedLeaf | undefined;
}

/** The content of one version, opened. */
export interface VerifiedContent {
  readonly commitment: Hash;
  readonly entry: Entry;
  readonly bytes: Uint8Array;
}

/** The newest version of a user at a head. `content` is absent once the log has erased it. */
export interface VerifiedLeaf extends AcceptedLeaf {
  /** The epoch that merged version n; `epoch` is that of the head. */
  readonly mergedIn: number;
  readonly commitment: Hash;
  readonly content?: VerifiedContent;
}

/** What a log says of a user at a head; `leaf` absent: proven absent. */
export interface VerifiedLookup {
  readonly userId: string;
  readonly head: VerifiedHead;
  readonly index: Hash;
  readonly leaf?: VerifiedLeaf;
  /** The leaf or its absence with its proof, to keep. */
  readonly proven: ProvenLeaf;
  readonly settled?: VerifiedSettled;
}

/** A whole lookup: the head, then the user under it. `userId` is the one that was asked for. */
export function verifyLookup(
  log: KnownLog,
  logPath: readonly Hash[],
  user: KnownUser,
  userId: string,
  answer: LookupAnswer,
): VerifiedLookup {
  checkAuthority(log.logKey, userId);
  return verifyUser(verifyHead(log, answer.head, logPath), user, userId, answer.user);
}

/** The log speaks for the users of one server alone: VerdictError `log-not-authoritative`. */
export function checkAuthority(logKey: NoteKey, userId: string): void {
  if (serverOfOrigin(logKey.name) !== serverOfUser(userId)) {
    throw new VerdictError("log-not-authoritative", "the log is not that of the user's server");
  }
}

/** Steps 4 to 7, and settling, for the user that was asked for, under a verified head. */
export function verifyUser(head: VerifiedHead, known: KnownUser, userId: string, part: UserPart): VerifiedLookup {
  checkAuthority(head.logKey, userId);
  const index = verifyIndex(head.configuration, known.index, userId, part.vrf_proof);
  const leafHead = part.leaf && historyHeadOf(part.leaf);
  verifyLeafUnder(head.record, index, leafHead, part.map_proof);
  const proven = provenLeafOf(head.part, index, part.map_proof, leafHead);
  const leaf = part.leaf && verifyLeaf({ head, known, userId, proven }, part.leaf);
  if (known.accepted !== undefined) verifyDescent(head, known.accepted, known.path ?? [], { leaf: leafHead, proven });
  const settled = known.settling && verifySettledPart(head, known, { index, leaf: leafHead, proven }, part);
  return {
    userId,
    head,
    index,
    proven,
    ...(leaf === undefined ? {} : { leaf }),
    ...(settled === undefined ? {} : { settled }),
  };
}

/** Step 4: the index of this user, proven, or known and named by the proof. */
export function verifyIndex(
  configuration: Configuration,
  known: Hash | undefined,
  userId: string,
  vrfProof: string,
): Hash {
  return inStep("index-proof", () => {
    const proof = decodeUnpadded(vrfProof);
    if (known === undefined) return verifyVrf(decodeUnpadded(configuration.vrf_key), utf8(userId), proof);
    if (!equalBytes(vrfOutput(proof).slice(0, known.length), known)) {
      throw new VerificationError("bad-vrf", "the proof names another index than before");
    }
    return known;
  });
}

function historyHeadOf(part: LeafPart): HistoryHead {
  return { n: part.n, root: inStep("map-proof", () => decodeUnpadded(part.history_root)) };
}

interface LeafQuestion {
  readonly head: VerifiedHead;
  readonly known: KnownUser;
  readonly userId: string;
  readonly proven: ProvenLeaf;
}

/** Step 6: the last leaf of the history, its commitment, the entry. */
function verifyLeaf({ head, known, userId, proven }: LeafQuestion, part: LeafPart): VerifiedLeaf {
  const { n, root } = historyHeadOf(part);
  const commitment = inStep("history-leaf", () => decodeUnpadded(part.commitment));
  inStep("history-leaf", () => {
    verifyVersion({ version: n, epoch: part.epoch, commitment }, decodePath(part.last_leaf_proof), { n, root });
    // A version taken over from the log before keeps the number of the epoch that merged it there.
    const isOwn = head.configuration.predecessor === undefined;
    if (isOwn && part.epoch > head.record.epoch) throw new VerificationError("bad-inclusion", "merged after the head");
  });
  const content = verifyContent(known.accepted?.content, userId, n, commitment, part);
  const { epoch, timestampMs } = head.record;
  const leaf = { n, root, epoch, timestampMs, proven, mergedIn: part.epoch, commitment };
  return content === undefined ? leaf : { ...leaf, content };
}

/** The entry behind a commitment; one that was opened before is not opened again. Undefined: erased. */
export function verifyContent(
  known: VerifiedContent | undefined,
  userId: string,
  version: number,
  commitment: Hash,
  part: { readonly opening?: string; readonly entry?: string },
): VerifiedContent | undefined {
  if (known !== undefined && equalBytes(known.commitment, commitment)) return known;
  const { opening, entry: text } = part;
  if (opening === undefined || text === undefined) return undefined;
  const bytes = inStep("entry-not-canonical", () => utf8(text));
  inStep("commitment", () => {
    verifyCommitment(commitment, { userId, version, entry: bytes, opening: decodeUnpadded(opening) });
  });
  const entry = inStep("entry-not-canonical", () => readEntry(bytes), "entry-not-canonical");
  if (entry.userId !== userId) throw new VerdictError("entry-subject", "the entry is about another user");
  return { commitment, entry, bytes };
}

/** Step 7: what was accepted is in the history now. */
function verifyDescent(
  head: VerifiedHead,
  accepted: AcceptedLeaf,
  path: readonly Hash[],
  now: { readonly leaf: HistoryHead | undefined; readonly proven: ProvenLeaf },
): void {
  const { leaf, proven } = now;
  if (accepted.epoch > head.record.epoch) {
    verifyPast(head, accepted, path, now);
    return;
  }
  const conflict = leafConflict(accepted, leaf);
  if (conflict !== undefined) {
    const evidence = leafEvidence(head, accepted.proven, proven);
    throw new VerdictError(conflict, "the log shows no more what it showed", evidence);
  }
  if (leaf === undefined) return;
  checkAncestor(head, "history-other", { head: accepted, proven: accepted.proven }, { head: leaf, proven }, path);
  checkFlood(head, accepted, leaf);
}

/** A head older than the one of the accepted leaf: then the leaf at this head is the ancestor. */
function verifyPast(
  head: VerifiedHead,
  accepted: AcceptedLeaf,
  path: readonly Hash[],
  { leaf, proven }: { readonly leaf: HistoryHead | undefined; readonly proven: ProvenLeaf },
): void {
  if (leaf === undefined) return;
  const conflict = leafConflict(leaf, accepted);
  if (conflict !== undefined) {
    const evidence = leafEvidence(head, proven, accepted.proven);
    throw new VerdictError(conflict, "the log showed more before than it had", evidence);
  }
  checkAncestor(head, "history-other", { head: leaf, proven }, { head: accepted, proven: accepted.proven }, path);
}

/** More versions than a log may merge in the days since. */
function checkFlood({ record }: VerifiedHead, accepted: AcceptedLeaf, leaf: HistoryHead): void {
  const days = Math.floor(record.timestampMs / DAY_MS) - Math.floor(accepted.timestampMs / DAY_MS) + 1;
  if (leaf.n - accepted.n <= MAX_VERSIONS_PER_DAY * days) return;
  throw new VerdictError("history-flood", `${leaf.n - accepted.n} new versions in ${days} days`);
}

function verifySettledPart(
  head: VerifiedHead,
  known: KnownUser,
  now: { readonly index: Hash; readonly leaf: HistoryHead | undefined; readonly proven: ProvenLeaf },
  part: UserPart,
): VerifiedSettled | undefined {
  if (known.settling === undefined) return undefined;
  const settling = checkNewestSettling(head, known.settling);
  const { index, leaf: headLeaf, proven: headProven } = now;
  return verifySettled(
    head,
    settling,
    { index, headLeaf, headProven, accepted: known.acceptedBySettling },
    part.settling,
  );
}
