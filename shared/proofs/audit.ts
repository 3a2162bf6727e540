/**
 * What an auditor does: take every epoch in order, and replay its changes on the roots alone. shared/README.md,
 * "Auditors, witnesses, gossip". Every failed check is a VerdictError with an `audit-` code; the caller stores the new
 * state before it cosigns.
 */
import { parseVkey } from "../crypto/signed-note.ts";
import type { Hash } from "../crypto/hash.ts";
import { configurationHash, fixedFieldChanged, parseConfiguration } from "../directory/configuration.ts";
import type { Configuration } from "../directory/configuration.ts";
import { encodeHex, equalBytes } from "../encoding.ts";
import { appendVersion } from "../history/history.ts";
import { changeListProblem, changesHash, parseChangeList } from "../log/change-list.ts";
import type { Change, EpochChanges } from "../log/change-list.ts";
import { openCheckpoint } from "../log/checkpoint.ts";
import type { Checkpoint } from "../log/checkpoint.ts";
import { epochLeafHash, parseEpochRecord } from "../log/epoch-record.ts";
import type { EpochRecord } from "../log/epoch-record.ts";
import { EMPTY, parseBatchProof, terminalProblem, terminalsOf, verifyBatchProof } from "../map/map-proof.ts";
import type { BatchNode, LeafChange } from "../map/map-proof.ts";
import { appendToFrontier, emptyFrontier, frontierRoot, HISTORY_DOMAINS, LOG_DOMAINS } from "../merkle/tree.ts";
import type { Frontier } from "../merkle/tree.ts";
import { CLOCK_AHEAD_MAX_MS, DAY_MS, MAX_VERSIONS_PER_DAY } from "../parameters.ts";
import { VerdictError } from "../verdict-codes.ts";
import type { VerdictCode } from "../verdict-codes.ts";
import { inStep } from "./step.ts";

/** What an auditor remembers between epochs. Immutable; all of it is needed to go on after a restart. */
export interface AuditState {
  readonly configuration: Configuration;
  readonly configurationHash: Hash;
  /** The last epoch taken; undefined before epoch 0. */
  readonly record: EpochRecord | undefined;
  /** The log's tree up to and including that epoch. */
  readonly log: Frontier;
  /** Versions merged on the UTC day of that epoch, by index in hexadecimal. */
  readonly versionsToday: ReadonlyMap<string, number>;
}

/** One epoch as the log serves it. `configuration`: its canonical text, needed where the record carries a new hash. */
export interface EpochData {
  readonly record: Uint8Array;
  readonly changes: EpochChanges;
  readonly configuration?: string;
}

/** Before the first epoch of a log. Throws `malformed`, `bad-signature` or `bad-vrf` on a configuration that is none. */
export function startAudit(configurationText: string): AuditState {
  return {
    configuration: parseConfiguration(configurationText),
    configurationHash: configurationHash(configurationText),
    record: undefined,
    log: emptyFrontier,
    versionsToday: new Map(),
  };
}

/** A map and the tree of records before it, with which an auditor starts in the middle of a log. */
export interface Dump {
  readonly configuration: string;
  /** The last epoch the dump includes, and the tree of all records up to it. */
  readonly record: Uint8Array;
  readonly log: Frontier;
  /** What all leaves of the dump give: their root, and how many they are. */
  readonly mapRoot: Hash;
  readonly labels: number;
}

/**
 * The state after the epoch of a dump. The caller checks it with `auditCheckpoint` against the signed head of that size.
 * Versions merged earlier on that day are not known and not counted.
 */
export function startAuditAt(dump: Dump): AuditState {
  const start = startAudit(dump.configuration);
  const record = inStep("audit-record", () => parseEpochRecord(dump.record), "audit-record");
  if (!equalBytes(record.configurationHash, start.configurationHash))
    throw fault("audit-config", "the dump has another");
  if (record.epoch + 1 !== dump.log.size) throw fault("audit-gap", "the dump is not of this epoch");
  if (record.labels !== dump.labels) throw fault("audit-labels", "the dump has another number of leaves");
  if (!equalBytes(dump.mapRoot, record.mapRoot)) throw fault("audit-old-leaf", "the dump does not give the map root");
  return { ...start, record, log: dump.log };
}

/** The state after one more epoch, every check of it passed. `nowMs`: the auditor's clock. */
export function auditEpoch(state: AuditState, data: EpochData, nowMs: number): AuditState {
  const record = checkRecord(state, data.record, nowMs);
  const configuration = checkConfiguration(state, record, data.configuration);
  const changes = checkList(record, data.changes.list);
  checkMap(state.record, record, changes, data.changes.proof);
  return {
    ...configuration,
    record,
    log: appendToFrontier(LOG_DOMAINS, state.log, epochLeafHash(data.record)),
    versionsToday: countVersions(state, record, changes),
  };
}

/** The checkpoint of a note, signed by the log and with the root that the epochs taken give. Throws `audit-log-root`. */
export function auditCheckpoint(state: AuditState, note: string): Checkpoint {
  const logKey = parseVkey(state.configuration.log_key);
  const checkpoint = inStep("audit-log-root", () => openCheckpoint(note, logKey), "audit-log-root");
  const same = checkpoint.size === state.log.size && equalBytes(checkpoint.root, frontierRoot(LOG_DOMAINS, state.log));
  if (!same) throw fault("audit-log-root", `the log signed another head of size ${checkpoint.size}`);
  return checkpoint;
}

function fault(code: VerdictCode, message: string): VerdictError {
  return new VerdictError(code, message);
}

function checkRecord({ record: previous }: AuditState, bytes: Uint8Array, nowMs: number): EpochRecord {
  const record = inStep("audit-record", () => parseEpochRecord(bytes), "audit-record");
  const expected = previous === undefined ? 0 : previous.epoch + 1;
  if (record.epoch !== expected) throw fault("audit-gap", `epoch ${record.epoch} stands where ${expected} belongs`);
  if (previous !== undefined && record.timestampMs <= previous.timestampMs) {
    throw fault("audit-time", `epoch ${record.epoch} is not later than the one before`);
  }
  if (record.timestampMs > nowMs + CLOCK_AHEAD_MAX_MS) {
    throw fault("audit-observed", `epoch ${record.epoch} is ahead of the auditor's clock`);
  }
  return record;
}

function checkConfiguration(
  state: AuditState,
  record: EpochRecord,
  text: string | undefined,
): Pick<AuditState, "configuration" | "configurationHash"> {
  if (equalBytes(record.configurationHash, state.configurationHash)) {
    return { configuration: state.configuration, configurationHash: state.configurationHash };
  }
  if (text === undefined || !equalBytes(configurationHash(text), record.configurationHash)) {
    throw fault("audit-data-missing", `the configuration of epoch ${record.epoch} is not at hand`);
  }
  const configuration = parseAllowed(text);
  const field = fixedFieldChanged(state.configuration, configuration);
  if (field !== undefined) throw fault("audit-config", `${field} of a log can't change like this`);
  return { configuration, configurationHash: record.configurationHash };
}

function parseAllowed(text: string): Configuration {
  return inStep("audit-config", () => parseConfiguration(text), "audit-config");
}

/** The changes of an epoch: the list its record names, in the one form a list has. */
export function checkList(record: EpochRecord, list: Uint8Array): readonly Change[] {
  if (!equalBytes(changesHash(list), record.changesHash)) throw fault("audit-list-hash", "not the list of the record");
  const changes = inStep("audit-list-hash", () => parseChangeList(list), "audit-list-hash");
  const problem = changeListProblem(changes);
  if (problem !== undefined) throw fault(problem, `the change list of epoch ${record.epoch} may not stand so`);
  return changes;
}

/** A change as the leaf it starts from (rebuilt from its frontier) and the one it leads to, merged by `epoch`. */
export function leafChangeOf({ index, old, commitments }: Change, epoch: number): LeafChange {
  const grown = commitments.reduce(
    (history, commitment) => appendVersion(history, { version: history.size + 1, epoch, commitment }),
    old,
  );
  const valueOf = (history: Frontier): LeafChange["new"] => ({
    n: history.size,
    historyRoot: frontierRoot(HISTORY_DOMAINS, history),
  });
  return { index, old: old.size === 0 ? undefined : valueOf(old), new: valueOf(grown) };
}

/** The number of leaves after an epoch, or `audit-labels`. */
export function checkLabels(previous: EpochRecord | undefined, record: EpochRecord, changes: readonly Change[]): void {
  const added = changes.filter(({ old }) => old.size === 0).length;
  if (record.labels !== (previous?.labels ?? 0) + added) throw fault("audit-labels", "labels do not add up");
}

function checkMap(
  previous: EpochRecord | undefined,
  record: EpochRecord,
  changes: readonly Change[],
  proofBytes: Uint8Array,
): void {
  if (previous === undefined && changes.length > 0) throw fault("audit-not-new", "epoch 0 has changes");
  const leafChanges = changes.map((change) => leafChangeOf(change, record.epoch));
  const indices = changes.map(({ index }) => index);
  const proof = inStep("audit-data-missing", () => parseBatchProof(proofBytes, indices), "audit-data-missing");
  checkTerminals(proof, leafChanges);
  const { oldRoot, newRoot } = verifyBatchProof(proof, leafChanges);
  if (!equalBytes(oldRoot, previous?.mapRoot ?? EMPTY))
    throw fault("audit-old-leaf", "the changes start from another map");
  if (!equalBytes(newRoot, record.mapRoot)) throw fault("audit-new-root", "the changes lead to another map");
  checkLabels(previous, record, changes);
}

function checkTerminals(proof: BatchNode, changes: readonly LeafChange[]): void {
  for (const terminal of terminalsOf(proof)) {
    const problem = terminalProblem(terminal, changes);
    if (problem === "not-new") throw fault("audit-not-new", "an index called new has a leaf");
    if (problem === "old-leaf") throw fault("audit-old-leaf", "a change starts from a leaf that is not there");
  }
}

function countVersions(
  { record: previous, versionsToday }: AuditState,
  { timestampMs }: EpochRecord,
  changes: readonly Change[],
): ReadonlyMap<string, number> {
  const day = Math.floor(timestampMs / DAY_MS);
  const sameDay = previous !== undefined && Math.floor(previous.timestampMs / DAY_MS) === day;
  const counts = new Map(sameDay ? versionsToday : []);
  for (const { index, commitments } of changes) {
    const count = (counts.get(encodeHex(index)) ?? 0) + commitments.length;
    if (count > MAX_VERSIONS_PER_DAY) throw fault("audit-limit", "an index has too many versions in one day");
    counts.set(encodeHex(index), count);
  }
  return counts;
}
