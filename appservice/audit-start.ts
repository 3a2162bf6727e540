/** Where an auditor begins: at epoch 0, also of a log that took over another, or at a whole map, each checked against the signed head. */
import type { Hash } from "../shared/crypto/hash.ts";
import { parseVkey } from "../shared/crypto/signed-note.ts";
import { compareBytes, decodeUnpadded, encodeHex, encodeUnpadded, equalBytes } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import { parseConfiguration, type Configuration } from "../shared/directory/configuration.ts";
import type { Checkpoint } from "../shared/log/checkpoint.ts";
import { changesHash } from "../shared/log/change-list.ts";
import { epochLeafHash, parseEpochRecord, type EpochRecord } from "../shared/log/epoch-record.ts";
import { DUMP_PAGE_LEAVES, RootBuilder, type RootState } from "../shared/map/dump.ts";
import type { MapLeaf } from "../shared/map/map-proof.ts";
import { proveConsistency, verifyConsistency } from "../shared/merkle/consistency.ts";
import { proveInclusion, verifyInclusion } from "../shared/merkle/inclusion.ts";
import { appendToFrontier, emptyFrontier, frontierRoot, LOG_DOMAINS, nodesOfRange } from "../shared/merkle/tree.ts";
import type { Frontier } from "../shared/merkle/tree.ts";
import { startAudit, startAuditAt, type AuditState } from "../shared/proofs/audit.ts";
import { openPredecessor, parsePredecessor, parseSuccessionPage } from "../shared/proofs/succession.ts";
import { SUCCESSION_PAGE_USERS } from "../shared/proofs/succession.ts";
import { VerdictError } from "../shared/verdict-codes.ts";
import { DataMissingError, type AuditSource } from "./audit-source.ts";

/** A head whose signature was checked. */
export type SignedHead = Checkpoint & { readonly note: string };

/** A dump that is on its way. Records and hashes in it are tied to a signed head; leaves are not before all are there. */
export interface DumpProgress {
  readonly epoch: number;
  readonly root: RootState;
}

export interface DumpOptions {
  readonly source: AuditSource;
  readonly head: SignedHead;
  /** The epoch to begin at, or the newest settling epoch. */
  readonly from: number | "settling";
  /** Where an earlier run stopped. */
  readonly progress: DumpProgress | undefined;
  /** Keeps the progress, after each page; undefined: it led nowhere. */
  readonly save: (progress: DumpProgress | undefined) => Promise<void>;
  readonly onPage: (leaves: number, labels: number) => void;
}

/**
 * The state of an audit that has taken everything up to the epoch of a dump on trust in the leaves' root alone: what the
 * auditor says from then on means "from there". Throws DataMissingError, also when the dump does not give the signed root.
 */
export async function startFromDump(options: DumpOptions): Promise<AuditState> {
  const { source, head, from, progress, save } = options;
  const epoch = progress?.epoch ?? (from === "settling" ? await newestSettlingEpoch(source, head) : from);
  if (epoch >= head.size) throw new DataMissingError(`the log has no epoch ${epoch} yet`);
  const bytes = await provenRecord(source, epoch, head);
  const record = parseEpochRecord(bytes);
  const configuration = await source.configuration(record.configurationHash);
  const log = await provenFrontier(source, epoch + 1, head);
  const builder = new RootBuilder(progress?.root);
  await readLeaves(options, { epoch, record, builder });
  try {
    const { labels } = builder.state;
    return startAuditAt({ configuration, record: bytes, log, mapRoot: builder.root(), labels });
  } catch (error) {
    if (!(error instanceof VerdictError)) throw error;
    // Leaves are signed by nobody: whoever served them may be at fault, so they are asked for again.
    await save(undefined);
    throw new DataMissingError(`${error.message} (${error.code}); it is asked for again`, { cause: error });
  }
}

async function readLeaves(
  { source, save, onPage }: DumpOptions,
  { epoch, record, builder }: { readonly epoch: number; readonly record: EpochRecord; readonly builder: RootBuilder },
): Promise<void> {
  while (builder.state.labels < record.labels) {
    const page = await source.dump(epoch, builder.state.last?.index);
    try {
      for (const leaf of page) builder.add(leaf);
    } catch (error) {
      if (error instanceof VerificationError) await save(undefined);
      throw error;
    }
    const isLast = page.length < DUMP_PAGE_LEAVES;
    if (isLast && builder.state.labels < record.labels) {
      await save(undefined);
      throw new DataMissingError(`the dump of epoch ${epoch} is short`);
    }
    await save({ epoch, root: builder.state });
    onPage(builder.state.labels, record.labels);
  }
}

export interface SuccessionOptions {
  readonly source: AuditSource;
  readonly head: SignedHead;
  /** Whether to begin although the log before has no final epoch that names this one. */
  readonly acceptReplaced: boolean;
  readonly onPage: (users: number, labels: number) => void;
}

/**
 * The state after epoch 0 of a log that took over another: every leaf under the final head of that one stands in epoch 0
 * with the same length and root. Throws DataMissingError; VerdictError where the two signed records alone contradict.
 */
export async function startSuccession(options: SuccessionOptions): Promise<AuditState> {
  const { source, head, acceptReplaced } = options;
  const bytes = await provenRecord(source, 0, head);
  const record = parseEpochRecord(bytes);
  const configuration = await source.configuration(record.configurationHash);
  const { log_key, predecessor } = parseConfiguration(configuration);
  if (predecessor === undefined) return startAudit(configuration);
  const part = parsePredecessor(await source.text("/v1/predecessor"));
  const old = openPredecessor(part, parseVkey(predecessor.log_key), log_key);
  if (!old.isFinal && !acceptReplaced) {
    const cause = `${predecessor.origin} has no final epoch that names this log (log-replaced)`;
    throw new DataMissingError(`${cause}. Next: ask its operator why; --accept-replaced begins here all the same`);
  }
  if (record.labels !== old.record.labels) {
    throw new VerdictError("audit-labels", "epoch 0 has another number of leaves than the log before had at its end");
  }
  if (!equalBytes(record.changesHash, changesHash(new Uint8Array()))) {
    throw new VerdictError("audit-not-new", "epoch 0 has changes");
  }
  const mapRoot = await readSuccession(options, old.record);
  const log = appendToFrontier(LOG_DOMAINS, emptyFrontier, epochLeafHash(bytes));
  try {
    return startAuditAt({ configuration, record: bytes, log, mapRoot, labels: record.labels });
  } catch (error) {
    // Where each user went is signed by nobody, so it is asked for again.
    if (error instanceof VerdictError) throw new DataMissingError(`${error.message} (${error.code})`, { cause: error });
    throw error;
  }
}

/** The root of the new map, from pages that give the old one. Throws DataMissingError. */
async function readSuccession({ source, onPage }: SuccessionOptions, old: EpochRecord): Promise<Hash> {
  const before = new RootBuilder();
  const leaves: MapLeaf[] = [];
  while (leaves.length < old.labels) {
    const after = before.state.last?.index;
    const query = after === undefined ? "" : `?after=${encodeHex(after)}`;
    const page = parseSuccessionPage(await source.bytes(`/v1/succession${query}`));
    for (const { oldIndex, leaf } of page) {
      before.add({ ...leaf, index: oldIndex });
      leaves.push(leaf);
    }
    onPage(leaves.length, old.labels);
    if (page.length < SUCCESSION_PAGE_USERS) break;
  }
  if (before.state.labels !== old.labels || !equalBytes(before.root(), old.mapRoot)) {
    throw new DataMissingError("the users that were taken over do not give the map with which the log before ended");
  }
  const now = new RootBuilder();
  for (const leaf of leaves.sort((a, b) => compareBytes(a.index, b.index))) now.add(leaf);
  return now.root();
}

/** The bytes of a record, tied to the head. Throws DataMissingError. */
export async function provenRecord(source: AuditSource, epoch: number, head: SignedHead): Promise<Uint8Array> {
  const [bytes] = await source.records(epoch, head.size);
  if (bytes === undefined) throw new DataMissingError(`the log gives no epoch ${epoch}`);
  const path = proveInclusion(LOG_DOMAINS, await source.inclusionHashes(epoch, head.size), epoch, head.size);
  const { size, root } = head;
  verifyInclusion(LOG_DOMAINS, { leafHash: epochLeafHash(bytes), index: epoch, size, root, path });
  if (parseEpochRecord(bytes).epoch !== epoch) throw new DataMissingError(`the record of epoch ${epoch} is of another`);
  return bytes;
}

async function provenFrontier(source: AuditSource, size: number, head: SignedHead): Promise<Frontier> {
  const range = { start: 0, end: size };
  const read = await source.rangeHashes(range, head.size);
  const log = { size, hashes: nodesOfRange(range).map(({ level, index }) => read(level, index)) };
  await checkBeginning(source, log, head);
  return log;
}

/** A tree of records is the beginning of the one under the head. Throws VerificationError, DataMissingError. */
export async function checkBeginning(source: AuditSource, log: Frontier, head: SignedHead): Promise<void> {
  const isWhole = log.size === head.size;
  const path = isWhole
    ? []
    : proveConsistency(LOG_DOMAINS, await source.consistencyHashes(log.size, head.size), log.size, head.size);
  const root1 = frontierRoot(LOG_DOMAINS, log);
  verifyConsistency(LOG_DOMAINS, { size1: log.size, root1, size2: head.size, root2: head.root, path });
}

/** The first epoch in the settling interval of the head. Records only become later, so it is found by halving. */
async function newestSettlingEpoch(source: AuditSource, head: SignedHead): Promise<number> {
  const newest = parseEpochRecord(await provenRecord(source, head.size - 1, head));
  const { settle_ms } = await configurationOf(source, newest);
  const intervalOf = ({ timestampMs }: EpochRecord): number => Math.floor(timestampMs / settle_ms);
  let [low, high] = [0, head.size - 1];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const [bytes] = await source.records(middle, head.size);
    if (bytes === undefined) throw new DataMissingError(`the log gives no epoch ${middle}`);
    if (intervalOf(parseEpochRecord(bytes)) === intervalOf(newest)) high = middle;
    else low = middle + 1;
  }
  return low;
}

async function configurationOf(source: AuditSource, { configurationHash }: EpochRecord): Promise<Configuration> {
  return parseConfiguration(await source.configuration(configurationHash));
}

// ---------------------------------------------------------------------------------------------------------------------
// Form in the auditor's own file

export interface DumpProgressJson {
  readonly epoch: number;
  readonly labels: number;
  readonly last: readonly [index: string, n: number, historyRoot: string] | null;
  readonly shared: number;
  readonly waiting: readonly (readonly [depth: number, hash: string])[];
}

export function formatProgress({ epoch, root }: DumpProgress): DumpProgressJson {
  const { labels, last, shared, waiting } = root;
  return {
    epoch,
    labels,
    last: last === undefined ? null : [encodeUnpadded(last.index), last.n, encodeUnpadded(last.historyRoot)],
    shared,
    waiting: waiting.map(({ depth, hash }) => [depth, encodeUnpadded(hash)]),
  };
}

/** Inverse of `formatProgress`. */
export function parseProgress({ epoch, labels, last, shared, waiting }: DumpProgressJson): DumpProgress {
  const leaf: MapLeaf | undefined =
    last === null ? undefined : { index: decodeUnpadded(last[0]), n: last[1], historyRoot: decodeUnpadded(last[2]) };
  const hashes = waiting.map(([depth, hash]) => ({ depth, hash: decodeUnpadded(hash) }));
  return { epoch, root: { labels, last: leaf, shared, waiting: hashes } };
}
