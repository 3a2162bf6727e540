/**
 * An auditor: replays every epoch of a log in order, and cosigns a head only when all that led to it holds. What fails on
 * signed bytes is final and is kept as evidence that anybody can check; what only a server said unsigned is asked again.
 * shared/README.md, "Auditors and witnesses". Knows nothing of the service but its public HTTP interface.
 */
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { cosign } from "../shared/crypto/cosignature.ts";
import { appendSignature, parseVkey } from "../shared/crypto/signed-note.ts";
import { formatConfiguration } from "../shared/directory/configuration.ts";
import { decodeUnpadded, encodeUnpadded, equalBytes } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import { openCheckpoint } from "../shared/log/checkpoint.ts";
import { encodeEpochRecord, epochLeafHash, parseEpochRecord } from "../shared/log/epoch-record.ts";
import { isPowerOfTwo, proveConsistency, rootsFromConsistency } from "../shared/merkle/consistency.ts";
import { proveInclusion } from "../shared/merkle/inclusion.ts";
import { appendToFrontier, LOG_DOMAINS, rangeHash } from "../shared/merkle/tree.ts";
import { encodePath } from "../shared/messages.ts";
import { UNCHECKED_ESCALATES_AFTER_MS } from "../shared/parameters.ts";
import { auditCheckpoint, auditEpoch, startAudit, type AuditState, type EpochData } from "../shared/proofs/audit.ts";
import { createForkEvidence, formatEvidence, type Evidence, type ProvenRecord } from "../shared/proofs/evidence.ts";
import { VerdictError, type VerdictCode } from "../shared/verdict-codes.ts";
import { judgeFailure, type FailedEpoch } from "./audit-evidence.ts";
import { DataMissingError, type AuditSource } from "./audit-source.ts";
import { checkBeginning, formatProgress, parseProgress, startFromDump, startSuccession } from "./audit-start.ts";
import type { DumpProgress, DumpProgressJson, SignedHead } from "./audit-start.ts";
import { replaceFile } from "./replace-file.ts";

export interface AuditorOptions {
  readonly source: AuditSource;
  /** Verifier key of the log: what the auditor audits, whoever answers. */
  readonly logKey: string;
  /**
   * File of what was audited so far. Beside it, once a check has failed for good, `<file>.fault.json` with what happened,
   * and `<file>.evidence.json` where that convinces anybody.
   */
  readonly stateFile: string;
  /** Key name and seed (32 bytes) that cosign; its meaning is "audited from `from` on". */
  readonly cosigner: { readonly name: string; readonly seed: Uint8Array };
  /** Where to begin, if the state file does not say: epoch 0, or a checked dump of the map at this epoch. */
  readonly from?: number | "settling";
  /** Whether to begin with a log that took over one without a final epoch. */
  readonly acceptReplaced?: boolean;
  readonly nowMs: () => number;
  /** Told after each stretch of epochs. */
  readonly onProgress?: (what: string, done: number, of: number) => void;
}

/** What the log says does not hold, but nobody has signed it so: it is asked again. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
  readonly code: VerdictCode;
  readonly exitCode = 75;
  /** Since when nothing better came; told as a warning after a day. */
  readonly sinceMs: number;
  readonly isLong: boolean;

  constructor(code: VerdictCode, message: string, sinceMs: number, nowMs: number) {
    super(message);
    this.code = code;
    this.sinceMs = sinceMs;
    this.isLong = nowMs - sinceMs >= UNCHECKED_ESCALATES_AFTER_MS;
  }
}

/** A check failed, now or before this start. Nothing of this log is ever cosigned again. */
export class AuditFaultError extends Error {
  override readonly name = "AuditFaultError";
  readonly code: string;
  readonly exitCode = 70;
  /** The file that convicts the log before anybody; undefined if what is known convinces only this auditor. */
  readonly evidenceFile: string | undefined;

  constructor(code: string, message: string, evidenceFile: string | undefined) {
    super(message);
    this.code = code;
    this.evidenceFile = evidenceFile;
  }
}

interface Stored {
  /** Undefined while a dump is on its way. */
  readonly state: AuditState | undefined;
  readonly progress: DumpProgress | undefined;
  /** The first epoch that was audited; what the cosignatures mean. */
  readonly from: number;
  /** The newest head that was verified to lie on the log audited. */
  readonly head: string | undefined;
  /** The newest head audited to its end, with the cosignature of this auditor. */
  readonly cosigned: string | undefined;
  readonly refused: Refused | undefined;
}

interface Refused {
  readonly code: VerdictCode;
  readonly sinceMs: number;
}

const NOTHING: Stored = {
  state: undefined,
  progress: undefined,
  from: 0,
  head: undefined,
  cosigned: undefined,
  refused: undefined,
};

/** Thrown inside, to be told with the time since when it goes on. */
class Refusal extends Error {
  readonly code: VerdictCode;
  constructor({ code, message }: VerdictError) {
    super(message);
    this.code = code;
  }
}

export class Auditor {
  readonly #options: AuditorOptions;
  #stored: Stored = NOTHING;

  /** Goes on where the state file ends. Throws AuditFaultError when an earlier run found a fault. */
  constructor(options: AuditorOptions) {
    this.#options = options;
    const faultFile = faultFileOf(options.stateFile);
    if (existsSync(faultFile)) {
      const { code, evidence } = JSON.parse(readFileSync(faultFile, "utf8")) as FaultJson;
      const message = `an earlier audit failed (${code}), and a log that has lied is never cosigned again; see ${faultFile}`;
      throw new AuditFaultError(code, message, evidence ?? undefined);
    }
    if (existsSync(options.stateFile)) this.#stored = parseStored(readFileSync(options.stateFile, "utf8"));
  }

  /** The newest head audited, cosigned; undefined before the first. */
  get cosigned(): string | undefined {
    return this.#stored.cosigned;
  }

  /** The first epoch that this auditor has replayed; undefined before it has begun. */
  get from(): number | undefined {
    return this.#stored.state === undefined ? undefined : this.#stored.from;
  }

  /**
   * Audits up to the head the log serves now, stores that, and returns the note with one more cosignature; asks each server
   * once. Throws DataMissingError or RefusedError (try again later), or AuditFaultError (for good).
   */
  async advance(): Promise<string> {
    const { source } = this.#options;
    for (let asked = 1; ; asked++) {
      try {
        const note = await this.#advance();
        if (this.#stored.refused !== undefined) await this.#store({ refused: undefined });
        return note;
      } catch (error) {
        const delay = this.#delayOf(error);
        source.turn();
        if (asked < source.mirrors) continue;
        if (delay instanceof RefusedError) await this.#store({ refused: delay });
        throw delay;
      }
    }
  }

  /** What may be better the next time, or from another server; everything else is thrown on. */
  #delayOf(error: unknown): DataMissingError | RefusedError {
    const nowMs = this.#options.nowMs();
    if (error instanceof DataMissingError) return error;
    if (error instanceof VerificationError) return new DataMissingError(`an answer does not hold: ${error.message}`);
    if (!(error instanceof Refusal)) throw error;
    return new RefusedError(error.code, error.message, this.#stored.refused?.sinceMs ?? nowMs, nowMs);
  }

  async #advance(): Promise<string> {
    const head = await this.#head();
    const begun = this.#stored.state ?? (await this.#begin(head));
    if (begun.log.size > head.size) {
      // A head below what was audited is old news, not a fault: the next one will be above.
      throw new DataMissingError(`the log serves ${head.size} epochs, ${begun.log.size} are audited`);
    }
    let state = begun;
    while (state.log.size < head.size) {
      state = await this.#stretch(state, head);
      await this.#store({ state, head: head.note });
      this.#options.onProgress?.("audited epochs", state.log.size, head.size);
    }
    auditCheckpoint(state, head.note);
    return await this.#cosign(state, head);
  }

  /** The head that is served, signed, and of the same log as the one before. */
  async #head(): Promise<SignedHead> {
    const head = this.#open(await this.#options.source.checkpoint());
    const { head: known } = this.#stored;
    if (known !== undefined) await this.#checkContinues(this.#open(known), head);
    return head;
  }

  #open(note: string): SignedHead {
    return { note, ...openCheckpoint(note, parseVkey(this.#options.logKey)) };
  }

  /** Two signed heads lie on one log, or convict it. */
  async #checkContinues(known: SignedHead, head: SignedHead): Promise<void> {
    const [earlier, later] = known.size <= head.size ? [known, head] : [head, known];
    const { source, logKey } = this.#options;
    if (earlier.size === later.size) {
      if (equalBytes(earlier.root, later.root)) return;
      throw await this.#fork(createForkEvidence(logKey, earlier.note, later.note), later.size);
    }
    const read = await source.consistencyHashes(earlier.size, later.size);
    const path = proveConsistency(LOG_DOMAINS, read, earlier.size, later.size);
    const own = isPowerOfTwo(earlier.size) ? await this.#rootAt(earlier.size, later.size) : [];
    const hashes = [...own, ...path];
    const [root1, root2] = rootsFromConsistency(LOG_DOMAINS, earlier.size, later.size, hashes);
    if (!equalBytes(root2, later.root)) throw new DataMissingError("the tiles served are not those of the signed head");
    if (equalBytes(root1, earlier.root)) return;
    throw await this.#fork(createForkEvidence(logKey, earlier.note, later.note, hashes), later.size);
  }

  async #rootAt(size: number, of: number): Promise<readonly Uint8Array[]> {
    const range = { start: 0, end: size };
    return [rangeHash(LOG_DOMAINS, await this.#options.source.rangeHashes(range, of), range)];
  }

  async #fork(evidence: Evidence, size: number): Promise<AuditFaultError> {
    return await this.#fault("audit-log-root", `the log signed two histories, up to size ${size}`, evidence, {});
  }

  async #begin(head: SignedHead): Promise<AuditState> {
    const state = await this.#beginning(head);
    if (state.configuration.log_key !== this.#options.logKey) {
      throw new DataMissingError("what answers here is another log than the one to audit");
    }
    await this.#store({ state, progress: undefined, from: state.record?.epoch ?? 0, head: head.note });
    return state;
  }

  async #beginning(head: SignedHead): Promise<AuditState> {
    const { source, from, acceptReplaced = false, onProgress } = this.#options;
    const { progress } = this.#stored;
    const onPage = (done: number, of: number): void => onProgress?.("read leaves", done, of);
    if (from !== undefined || progress !== undefined) {
      const save = async (next: DumpProgress | undefined): Promise<void> => {
        await this.#store({ progress: next });
      };
      return await startFromDump({ source, head, from: from ?? "settling", progress, save, onPage });
    }
    try {
      return await startSuccession({ source, head, acceptReplaced, onPage });
    } catch (error) {
      if (!(error instanceof VerdictError)) throw error;
      throw await this.#fault(error.code, error.message, undefined, { checkpoint: head.note });
    }
  }

  /** The state after the epochs up to the end of one bundle, or of the log. */
  async #stretch(before: AuditState, head: SignedHead): Promise<AuditState> {
    const records = await this.#records(before, head);
    let state = before;
    for (const [offset, record] of records.entries()) {
      const changes = await this.#options.source.changes(before.log.size + offset);
      const configuration = await this.#newConfiguration(record, state.configurationHash);
      const data: EpochData = { record, changes, ...(configuration === undefined ? {} : { configuration }) };
      try {
        state = auditEpoch(state, data, this.#options.nowMs());
      } catch (error) {
        if (!(error instanceof VerdictError)) throw error;
        throw await this.#judge(error, state, data, head);
      }
    }
    return state;
  }

  /** Records that follow, proven to be those under the signed head before anybody looks into them. */
  async #records({ log }: AuditState, head: SignedHead): Promise<readonly Uint8Array[]> {
    const { source } = this.#options;
    const records = await source.records(log.size, head.size);
    if (records.length === 0) throw new DataMissingError(`the log gives no epoch ${log.size}`);
    const grown = records.reduce(
      (frontier, record) => appendToFrontier(LOG_DOMAINS, frontier, epochLeafHash(record)),
      log,
    );
    await checkBeginning(source, grown, head);
    return records;
  }

  /** The configuration that a record carries, if it is not the known one. A record that is none is left to the audit. */
  async #newConfiguration(record: Uint8Array, known: Uint8Array): Promise<string | undefined> {
    const hash = configurationHashOf(record);
    return hash === undefined || equalBytes(hash, known) ? undefined : await this.#options.source.configuration(hash);
  }

  async #judge(error: VerdictError, state: AuditState, data: EpochData, head: SignedHead): Promise<Error> {
    if (error.code === "audit-data-missing") return new DataMissingError(error.message);
    const failed: FailedEpoch = { code: error.code, state, data, ...(await this.#tied(state, data, head)) };
    const judgement = judgeFailure(failed);
    if (judgement.kind === "refused") return new Refusal(error);
    return await this.#fault(error.code, error.message, judgement.evidence, {
      checkpoint: head.note,
      record: encodeUnpadded(data.record),
      changes: encodeUnpadded(data.changes.list),
      map_proof: encodeUnpadded(data.changes.proof),
      configuration: data.configuration ?? formatConfiguration(state.configuration),
    });
  }

  /** Both records of a failed epoch with their paths under the head, where their numbers are those of their places. */
  async #tied(
    { record: previous, log }: AuditState,
    { record }: EpochData,
    head: SignedHead,
  ): Promise<Pick<FailedEpoch, "previous" | "epoch">> {
    if (previous === undefined || epochIn(record) !== log.size) return {};
    const part = async (epoch: number, bytes: Uint8Array): Promise<ProvenRecord> => {
      const hashes = await this.#options.source.inclusionHashes(epoch, head.size);
      const path = proveInclusion(LOG_DOMAINS, hashes, epoch, head.size);
      return { checkpoint: head.note, record: encodeUnpadded(bytes), record_proof: encodePath(path) };
    };
    return {
      previous: await part(log.size - 1, encodeEpochRecord(previous)),
      epoch: await part(log.size, record),
    };
  }

  /** Store, then cosign: no cosignature leaves for a head that a restart could forget. */
  async #cosign(state: AuditState, { note }: SignedHead): Promise<string> {
    const { cosigned } = this.#stored;
    if (cosigned !== undefined && this.#open(cosigned).size === state.log.size) return cosigned;
    await this.#store({ state, head: note });
    const { cosigner, nowMs } = this.#options;
    const line = cosign(note, { ...cosigner, timestampS: Math.floor(nowMs() / 1000) });
    const own = appendSignature(note, line);
    await this.#store({ cosigned: own });
    return own;
  }

  async #store(change: Partial<Stored>): Promise<void> {
    const stored = { ...this.#stored, ...change };
    await replaceFile(this.#options.stateFile, formatStored(stored));
    this.#stored = stored;
  }

  /** Keeps what was found, evidence first. Returns what ends the auditor. */
  async #fault(
    code: VerdictCode,
    message: string,
    evidence: Evidence | undefined,
    bytes: { readonly [name: string]: string },
  ): Promise<AuditFaultError> {
    const { stateFile, source, logKey, nowMs } = this.#options;
    const evidenceFile = evidence === undefined ? undefined : `${stateFile}.evidence.json`;
    if (evidence !== undefined) await replaceFile(`${stateFile}.evidence.json`, `${formatEvidence(evidence)}\n`);
    const fault: FaultJson = {
      code,
      message,
      evidence: evidenceFile ?? null,
      service_url: source.url,
      log_key: logKey,
      found_ms: nowMs(),
      ...bytes,
    };
    await replaceFile(faultFileOf(stateFile), `${JSON.stringify(fault, null, 2)}\n`);
    const next =
      evidenceFile === undefined
        ? `Next: the bytes are in ${faultFileOf(stateFile)}; ${code === "audit-observed" ? "if the clock here was wrong, set it and remove that file; else publish it" : "publish them"}`
        : `Next: publish ${evidenceFile}, which "matrix-ckv verify-evidence" checks for anybody`;
    return new AuditFaultError(code, `${message} (${code}). ${next}`, evidenceFile);
  }
}

interface FaultJson {
  readonly code: string;
  readonly message: string;
  /** Path of the portable evidence. */
  readonly evidence: string | null;
  readonly service_url: string;
  readonly log_key: string;
  readonly found_ms: number;
  /** The bytes in which the fault was found; binary as unpadded base64. */
  readonly [name: string]: unknown;
}

function epochIn(record: Uint8Array): number | undefined {
  try {
    return parseEpochRecord(record).epoch;
  } catch (error) {
    if (error instanceof VerificationError) return undefined;
    throw error;
  }
}

function configurationHashOf(record: Uint8Array): Uint8Array | undefined {
  return epochIn(record) === undefined ? undefined : parseEpochRecord(record).configurationHash;
}

function faultFileOf(stateFile: string): string {
  return `${stateFile}.fault.json`;
}

interface StoredJson {
  readonly from: number;
  readonly state: {
    readonly configuration: string;
    readonly record: string | null;
    readonly size: number;
    readonly hashes: readonly string[];
    readonly versions_today: readonly (readonly [string, number])[];
  } | null;
  readonly progress: DumpProgressJson | null;
  readonly head: string | null;
  readonly cosigned: string | null;
  readonly refused: { readonly code: VerdictCode; readonly since_ms: number } | null;
}

function formatStored({ state, progress, from, head, cosigned, refused }: Stored): string {
  const stored: StoredJson = {
    from,
    state:
      state === undefined
        ? null
        : {
            configuration: formatConfiguration(state.configuration),
            record: state.record === undefined ? null : encodeUnpadded(encodeEpochRecord(state.record)),
            size: state.log.size,
            hashes: state.log.hashes.map((hash) => encodeUnpadded(hash)),
            versions_today: [...state.versionsToday],
          },
    progress: progress === undefined ? null : formatProgress(progress),
    head: head ?? null,
    cosigned: cosigned ?? null,
    refused: refused === undefined ? null : { code: refused.code, since_ms: refused.sinceMs },
  };
  return `${JSON.stringify(stored)}\n`;
}

/** The file is the auditor's own: a form that is not as written is a bug or a foreign file, and throws. */
function parseStored(text: string): Stored {
  const { from, state, progress, head, cosigned, refused } = JSON.parse(text) as StoredJson;
  return {
    from,
    state: state === null ? undefined : parseState(state),
    progress: progress === null ? undefined : parseProgress(progress),
    head: head ?? undefined,
    cosigned: cosigned ?? undefined,
    refused: refused === null ? undefined : { code: refused.code, sinceMs: refused.since_ms },
  };
}

function parseState(state: NonNullable<StoredJson["state"]>): AuditState {
  return {
    ...startAudit(state.configuration),
    record: state.record === null ? undefined : parseEpochRecord(decodeUnpadded(state.record)),
    log: { size: state.size, hashes: state.hashes.map((hash) => decodeUnpadded(hash)) },
    versionsToday: new Map(state.versions_today),
  };
}

/** Serves `GET /checkpoint`, the newest cosigned head, until `signal` is aborted. Returns the port. */
export async function serveAuditor(
  auditor: Auditor,
  { host, port }: { readonly host: string; readonly port: number },
  signal: AbortSignal,
): Promise<number> {
  const server = createServer((request, response) => {
    const note = request.url === "/checkpoint" ? auditor.cosigned : undefined;
    response.setHeader("access-control-allow-origin", "*");
    response.writeHead(note === undefined ? 404 : 200, { "content-type": "text/plain; charset=utf-8" });
    response.end(note);
  });
  server.listen({ host, port, signal });
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}
