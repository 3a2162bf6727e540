/**
 * The head of a log as a client judges it, once for all lookups under it: steps 1 to 3 of shared/README.md, "Steps". Each
 * failed step is a VerdictError with its own code.
 */
import type { Cosignature } from "../crypto/cosignature.ts";
import type { Hash } from "../crypto/hash.ts";
import { formatVkey, parseNote } from "../crypto/signed-note.ts";
import type { NoteKey } from "../crypto/signed-note.ts";
import { configurationHash, fixedFieldChanged, parseConfiguration } from "../directory/configuration.ts";
import type { Configuration } from "../directory/configuration.ts";
import { decodeUnpadded, encodeHex, equalBytes } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import { openCheckpoint, parseCheckpoint } from "../log/checkpoint.ts";
import type { Checkpoint } from "../log/checkpoint.ts";
import { parseEpochRecord, verifyRecord } from "../log/epoch-record.ts";
import type { EpochRecord } from "../log/epoch-record.ts";
import { verifyConsistency } from "../merkle/consistency.ts";
import { LOG_DOMAINS } from "../merkle/tree.ts";
import { decodePath } from "../messages.ts";
import type { HeadPart } from "../messages.ts";
import { CLOCK_AHEAD_MAX_MS, CLOCK_OFF_WITNESSES_MAX_MS, STALE_EXTRA_MS, STALE_HEARTBEATS } from "../parameters.ts";
import { VerdictError } from "../verdict-codes.ts";
import {
  attemptEvidence,
  createConfigurationEvidence,
  createForkEvidence,
  createOrderEvidence,
  withoutKnownRoot,
} from "./evidence.ts";
import type { ProvenRecord } from "./evidence.ts";
import { inStep } from "./step.ts";

/** What a client knows of a log before an answer. */
export interface KnownLog {
  /** Pinned; its name is the origin. */
  readonly logKey: NoteKey;
  /** Accepted configurations by their hash in hexadecimal. */
  readonly configurations: ReadonlyMap<string, Configuration>;
  /** The newest head that any device of this account holds, as it was served. */
  readonly newest?: HeadPart;
  /** The client's own policy: the cosignatures of a note, enough of them, or VerdictError `quorum-...`. */
  readonly cosignatures: (note: string) => readonly Cosignature[];
  readonly nowMs: number;
}

/** A head that passed steps 1 to 3. */
export interface VerifiedHead {
  readonly logKey: NoteKey;
  readonly part: HeadPart;
  readonly checkpoint: Checkpoint;
  readonly record: EpochRecord;
  readonly configuration: Configuration;
  readonly cosignatures: readonly Cosignature[];
  /** Smaller than the newest known head (and proven a prefix of it): ask again. */
  readonly behind: boolean;
  /** Too old to confirm anything new. */
  readonly stale: boolean;
}

/**
 * Steps 1 to 3. `path`: consistency proof between this head and the newest known one, from the smaller to the larger,
 * empty where they are equal or none is known. It may begin with the smaller tree's root even where that tree is complete
 * (`withoutKnownRoot`); only so does a fork at such a size leave evidence.
 */
export function verifyHead(known: KnownLog, part: HeadPart, path: readonly Hash[]): VerifiedHead {
  const checkpoint = verifyCheckpoint(known.logKey, part.checkpoint);
  const cosignatures = inStep("quorum-missing", () => known.cosignatures(part.checkpoint));
  verifySameLog(known, checkpoint, part, path);
  const record = verifyLastRecord(checkpoint, part);
  verifyOrder(known, record, part);
  const configuration = known.configurations.get(encodeHex(record.configurationHash));
  if (configuration === undefined)
    throw new VerdictError("config-unknown", "the configuration of the head is not known");
  checkClock(record, cosignatures, known.nowMs);
  return {
    logKey: known.logKey,
    part,
    checkpoint,
    record,
    configuration,
    cosignatures,
    behind: checkpoint.size < sizeOf(known.newest),
    stale: known.nowMs - record.timestampMs > STALE_HEARTBEATS * configuration.heartbeat_ms + STALE_EXTRA_MS,
  };
}

/** Step 1: the pinned key signed it, and its origin is that of the log. */
function verifyCheckpoint(logKey: NoteKey, note: string): Checkpoint {
  const { origin } = inStep("head-signature", () => parseCheckpoint(parseNote(note).text));
  if (origin !== logKey.name) throw new VerdictError("head-origin", "the head is of another log");
  return inStep("head-signature", () => openCheckpoint(note, logKey));
}

function sizeOf(head: HeadPart | undefined): number {
  return head === undefined ? 0 : parseCheckpoint(parseNote(head.checkpoint).text).size;
}

/** Step 2: one log, whichever of the two heads is the larger. */
function verifySameLog(known: KnownLog, checkpoint: Checkpoint, part: HeadPart, path: readonly Hash[]): void {
  if (known.newest === undefined) return;
  const newest = parseCheckpoint(parseNote(known.newest.checkpoint).text);
  const isOlder = checkpoint.size < newest.size;
  const [earlier, later] = isOlder ? [checkpoint, newest] : [newest, checkpoint];
  const notes = isOlder ? [part.checkpoint, known.newest.checkpoint] : [known.newest.checkpoint, part.checkpoint];
  try {
    const { size: size1, root: root1 } = earlier;
    const rest = withoutKnownRoot({ n: size1, root: root1 }, path);
    verifyConsistency(LOG_DOMAINS, { size1, root1, size2: later.size, root2: later.root, path: rest });
  } catch (cause) {
    if (!(cause instanceof VerificationError)) throw cause;
    const [first = "", second = ""] = notes;
    const { evidence } = attemptEvidence(() =>
      createForkEvidence(formatVkey(known.logKey), first, second, earlier.size === later.size ? undefined : path),
    );
    const code = evidence === undefined ? "heads-unreconciled" : "head-fork";
    throw new VerdictError(code, cause.message, evidence === undefined ? { cause } : { cause, evidence });
  }
}

/** Step 3: the record of the last epoch. */
function verifyLastRecord(checkpoint: Checkpoint, part: HeadPart): EpochRecord {
  const bytes = inStep("record-invalid", () => decodeUnpadded(part.record));
  const record = inStep("record-invalid", () => parseEpochRecord(bytes), "record-invalid");
  const path = inStep("record-not-last", () => decodePath(part.record_proof));
  inStep("record-not-last", () => {
    verifyRecord(bytes, checkpoint.size - 1, checkpoint, path);
  });
  if (record.epoch !== checkpoint.size - 1) throw new VerdictError("record-invalid", "the record names another epoch");
  return record;
}

/** Step 3: time and labels in order with the newest record seen. */
function verifyOrder(known: KnownLog, record: EpochRecord, part: HeadPart): void {
  if (known.newest === undefined) return;
  const newest = { record: parseEpochRecord(decodeUnpadded(known.newest.record)), proven: known.newest };
  const shown = { record, proven: part };
  if (record.epoch < newest.record.epoch) checkRising(known.logKey, shown, newest);
  else if (record.epoch > newest.record.epoch) checkRising(known.logKey, newest, shown);
}

/** A record in the tree of a head of its log. Good under every later head of the log. */
export interface TiedRecord {
  readonly record: EpochRecord;
  readonly proven: ProvenRecord;
}

/** The time of the later record is later, its labels no fewer. Throws VerdictError with evidence E7. */
export function checkRising(logKey: NoteKey, earlier: TiedRecord, later: TiedRecord): void {
  const backwards = later.record.timestampMs <= earlier.record.timestampMs;
  if (!backwards && later.record.labels >= earlier.record.labels) return;
  const evidence = attemptEvidence(() => createOrderEvidence(formatVkey(logKey), earlier.proven, later.proven));
  const code = backwards ? "time-backwards" : "labels-shrank";
  throw new VerdictError(code, "the records of the log are out of order", evidence);
}

/** Step 3: a clock that differs this much accuses nobody. */
function checkClock(record: EpochRecord, cosignatures: readonly Cosignature[], nowMs: number): void {
  const ahead = record.timestampMs > nowMs + CLOCK_AHEAD_MAX_MS;
  const offWitness = cosignatures.some(({ timestampS }) => timestampS * 1_000 > nowMs + CLOCK_OFF_WITNESSES_MAX_MS);
  if (ahead || offWitness) throw new VerdictError("clock", "the clock here is off");
}

/**
 * A configuration that a head's record names, as acceptable for this log: the pinned key's, and reached from the one
 * before (undefined: none known) by allowed changes. Throws VerdictError `bad-answer`, `vrf-key`, `log-key-differs`, or
 * `config-fixed-field`, with evidence where the records prove it.
 */
export function acceptConfiguration(
  logKey: NoteKey,
  previous: { readonly text: string; readonly proven: ProvenRecord } | undefined,
  next: { readonly text: string; readonly proven: ProvenRecord },
): Configuration {
  const record = inStep("record-invalid", () => parseEpochRecord(decodeUnpadded(next.proven.record)));
  if (!equalBytes(configurationHash(next.text), record.configurationHash)) {
    throw new VerdictError("bad-answer", "the configuration is not the one of the record");
  }
  const configuration = inStep("vrf-key", () => parseConfiguration(next.text));
  if (configuration.log_key !== formatVkey(logKey)) {
    throw new VerdictError("log-key-differs", "the configuration names another log key");
  }
  if (previous === undefined) return configuration;
  const field = fixedFieldChanged(parseConfiguration(previous.text), configuration);
  if (field === undefined) return configuration;
  const evidence = attemptEvidence(() =>
    createConfigurationEvidence(formatVkey(logKey), {
      earlier: previous.proven,
      earlier_configuration: previous.text,
      later: next.proven,
      later_configuration: next.text,
    }),
  );
  throw new VerdictError("config-fixed-field", `${field} of a log can't change like this`, evidence);
}
