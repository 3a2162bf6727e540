/**
 * An auditor: replays every epoch of a log in order, and cosigns a head only when all that led to it holds. A failed check
 * is final and is written down with the bytes; missing data is a delay. shared/README.md, "Auditors, witnesses, gossip".
 * Knows nothing of the service but its public HTTP interface.
 */
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { cosign } from "../shared/crypto/cosignature.ts";
import { appendSignature, parseNote } from "../shared/crypto/signed-note.ts";
import { formatConfiguration } from "../shared/directory/configuration.ts";
import { decodeUnpadded, encodeHex, encodeUnpadded, equalBytes } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import { parseEpochChanges } from "../shared/log/change-list.ts";
import { parseCheckpoint } from "../shared/log/checkpoint.ts";
import { encodeEpochRecord, parseEpochRecord } from "../shared/log/epoch-record.ts";
import { entryTile, parseEntryBundle, TILE_WIDTH, tilePath } from "../shared/log/tiles.ts";
import { auditCheckpoint, auditEpoch, startAudit, type AuditState, type EpochData } from "../shared/proofs/audit.ts";
import { VerdictError } from "../shared/verdict-codes.ts";
import { replaceFile } from "./replace-file.ts";

const REQUEST_TIMEOUT_MS = 30_000;
const MAX_ANSWER_BYTES = 64 * 2 ** 20;

export interface AuditorOptions {
  /** Base URL of the log, without trailing slash. */
  readonly serviceUrl: string;
  /** Verifier key of the log: what the auditor audits, whoever answers at the URL. */
  readonly logKey: string;
  /** File of what was audited so far. Beside it, `<file>.fault.json` once a check has failed. */
  readonly stateFile: string;
  /** Key name and seed (32 bytes) that cosign; its meaning is "audited from epoch 0". */
  readonly cosigner: { readonly name: string; readonly seed: Uint8Array };
  readonly nowMs: () => number;
  /** Told after each stretch of epochs. */
  readonly onProgress?: (audited: number, size: number) => void;
}

/** The log cannot be asked, or does not give what an epoch needs: code `audit-data-missing`. A delay, no fault. */
export class DataMissingError extends Error {
  override readonly name = "DataMissingError";
  readonly code = "audit-data-missing";
  readonly exitCode = 75;
}

/** A check failed, now or before this start. Nothing of this log is ever cosigned again. */
export class AuditFaultError extends Error {
  override readonly name = "AuditFaultError";
  readonly code: string;
  readonly exitCode = 70;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

interface Stored {
  readonly state: AuditState;
  /** The newest head, with the cosignature of this auditor. */
  readonly cosigned: string | undefined;
}

export class Auditor {
  readonly #options: AuditorOptions;
  #stored: Stored | undefined;

  /** Goes on where the state file ends. Throws AuditFaultError when an earlier run found a fault. */
  constructor(options: AuditorOptions) {
    this.#options = options;
    const faultFile = faultFileOf(options.stateFile);
    if (existsSync(faultFile)) {
      const { code } = JSON.parse(readFileSync(faultFile, "utf8")) as { readonly code: string };
      throw new AuditFaultError(code, `an earlier audit failed (${code}); see ${faultFile}`);
    }
    if (existsSync(options.stateFile)) this.#stored = parseStored(readFileSync(options.stateFile, "utf8"));
  }

  /** The newest head audited, cosigned; undefined before the first. */
  get cosigned(): string | undefined {
    return this.#stored?.cosigned;
  }

  /**
   * Audits up to the head the log serves now, stores that, and returns the note with one more cosignature.
   * Throws DataMissingError (try again later) or AuditFaultError (for good).
   */
  async advance(): Promise<string> {
    const note = await this.#text("/log/checkpoint");
    let context: FaultContext = { checkpoint: note };
    try {
      const { size } = parseCheckpoint(parseNote(note).text);
      let state = this.#stored?.state ?? (await this.#start(size));
      while (state.log.size < size) {
        const from = state.log.size;
        for (const data of await this.#stretch(state, size)) {
          context = contextOf(note, data);
          state = auditEpoch(state, data, this.#options.nowMs());
        }
        if (state.log.size === from) throw new DataMissingError(`the log gives no epoch ${from}`);
        if (state.log.size < size) await this.#store({ state, cosigned: this.#stored?.cosigned });
        this.#options.onProgress?.(state.log.size, size);
      }
      // A head below what was audited is old news, not a fault: the next one will be above.
      if (state.log.size > size)
        throw new DataMissingError(`the log serves ${size} epochs, ${state.log.size} are audited`);
      auditCheckpoint(state, note);
      return await this.#cosign(state, note);
    } catch (error) {
      if (error instanceof VerdictError && error.code === "audit-data-missing")
        throw new DataMissingError(error.message);
      if (error instanceof VerdictError) throw await this.#fault(error, context);
      if (error instanceof VerificationError) throw new DataMissingError(`an answer is malformed: ${error.message}`);
      throw error;
    }
  }

  /** Store, then cosign: no cosignature leaves for a head that a restart could forget. */
  async #cosign(state: AuditState, note: string): Promise<string> {
    const before = this.#stored;
    if (before?.cosigned !== undefined && before.state.log.size === state.log.size) return before.cosigned;
    await this.#store({ state, cosigned: before?.cosigned });
    const { cosigner, nowMs } = this.#options;
    const line = cosign(note, { ...cosigner, timestampS: Math.floor(nowMs() / 1000) });
    const cosigned = appendSignature(note, line);
    await this.#store({ state, cosigned });
    return cosigned;
  }

  async #start(size: number): Promise<AuditState> {
    const [first] = await this.#records(0, size);
    if (first === undefined) throw new DataMissingError("the log gives no epoch 0");
    const text = await this.#configuration(parseEpochRecord(first).configurationHash);
    const state = startAudit(text);
    if (state.configuration.log_key !== this.#options.logKey) {
      throw new DataMissingError("what answers here is another log than the one to audit");
    }
    return state;
  }

  /** The epochs after `state` up to the end of one bundle, or of the log. */
  async #stretch(state: AuditState, size: number): Promise<readonly EpochData[]> {
    const from = state.log.size;
    const epochs: EpochData[] = [];
    let known = state.configurationHash;
    for (const [offset, record] of (await this.#records(from, size)).entries()) {
      const changes = parseEpochChanges(await this.#bytes(`/v1/changes/${from + offset}`));
      const configuration = await this.#newConfiguration(record, known);
      known = configuration?.hash ?? known;
      epochs.push({ record, changes, ...(configuration === undefined ? {} : { configuration: configuration.text }) });
    }
    return epochs;
  }

  /** The configuration that a record carries, if it is not the known one. A record that is none is left to the audit. */
  async #newConfiguration(
    record: Uint8Array,
    known: Uint8Array,
  ): Promise<{ readonly hash: Uint8Array; readonly text: string } | undefined> {
    const hash = configurationHashOf(record);
    if (hash === undefined || equalBytes(hash, known)) return undefined;
    return { hash, text: await this.#configuration(hash) };
  }

  /** Records from epoch `from` to the end of its bundle. */
  async #records(from: number, size: number): Promise<readonly Uint8Array[]> {
    const tile = entryTile(from, size);
    const bundle = parseEntryBundle(await this.#bytes(`/log/${tilePath(tile)}`), tile.width);
    return bundle.slice(from - tile.index * TILE_WIDTH);
  }

  async #configuration(hash: Uint8Array): Promise<string> {
    return await this.#text(`/v1/configuration/${encodeHex(hash)}`);
  }

  async #text(path: string): Promise<string> {
    return new TextDecoder("utf-8", { fatal: true }).decode(await this.#bytes(path));
  }

  async #bytes(path: string): Promise<Uint8Array> {
    try {
      const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
      const response = await fetch(`${this.#options.serviceUrl}${path}`, { redirect: "error", signal });
      if (!response.ok) throw new Error(`status ${response.status}`);
      return await readBytes(response);
    } catch (error) {
      throw new DataMissingError(`${path}: ${error instanceof Error ? error.message : "?"}`, { cause: error });
    }
  }

  async #store(stored: Stored): Promise<void> {
    await replaceFile(this.#options.stateFile, formatStored(stored));
    this.#stored = stored;
  }

  async #fault({ code, message }: VerdictError, context: FaultContext): Promise<AuditFaultError> {
    const file = faultFileOf(this.#options.stateFile);
    const { serviceUrl, logKey, nowMs } = this.#options;
    const fault = { code, message, service_url: serviceUrl, log_key: logKey, found_ms: nowMs(), ...context };
    await replaceFile(file, `${JSON.stringify(fault, null, 2)}\n`);
    return new AuditFaultError(code, `${message} (${code}); the bytes are in ${file}`);
  }
}

/** The bytes in which a fault was found; binary as unpadded base64. */
interface FaultContext {
  readonly checkpoint: string;
  readonly record?: string;
  readonly changes?: string;
  readonly map_proof?: string;
  readonly configuration?: string;
}

function configurationHashOf(record: Uint8Array): Uint8Array | undefined {
  try {
    return parseEpochRecord(record).configurationHash;
  } catch (error) {
    if (error instanceof VerificationError) return undefined;
    throw error;
  }
}

function contextOf(checkpoint: string, { record, changes, configuration }: EpochData): FaultContext {
  return {
    checkpoint,
    record: encodeUnpadded(record),
    changes: encodeUnpadded(changes.list),
    map_proof: encodeUnpadded(changes.proof),
    ...(configuration === undefined ? {} : { configuration }),
  };
}

function faultFileOf(stateFile: string): string {
  return `${stateFile}.fault.json`;
}

async function readBytes(response: Response): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > MAX_ANSWER_BYTES) throw new Error("the answer is too long");
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

interface StoredJson {
  readonly configuration: string;
  readonly record: string | null;
  readonly size: number;
  readonly hashes: readonly string[];
  readonly versions_today: readonly (readonly [string, number])[];
  readonly cosigned: string | null;
}

function formatStored({ state, cosigned }: Stored): string {
  const stored: StoredJson = {
    configuration: formatConfiguration(state.configuration),
    record: state.record === undefined ? null : encodeUnpadded(encodeEpochRecord(state.record)),
    size: state.log.size,
    hashes: state.log.hashes.map((hash) => encodeUnpadded(hash)),
    versions_today: [...state.versionsToday],
    cosigned: cosigned ?? null,
  };
  return `${JSON.stringify(stored)}\n`;
}

/** The file is the auditor's own: a form that is not as written is a bug or a foreign file, and throws. */
function parseStored(text: string): Stored {
  const stored = JSON.parse(text) as StoredJson;
  const state = {
    ...startAudit(stored.configuration),
    record: stored.record === null ? undefined : parseEpochRecord(decodeUnpadded(stored.record)),
    log: { size: stored.size, hashes: stored.hashes.map((hash) => decodeUnpadded(hash)) },
    versionsToday: new Map(stored.versions_today),
  };
  return { state, cosigned: stored.cosigned ?? undefined };
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
