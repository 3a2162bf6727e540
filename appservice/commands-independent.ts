/** The commands of people who do not run the service: auditors, witnesses, and whoever is handed evidence. */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { publicKeyOf } from "../shared/crypto/ed25519.ts";
import { COSIGNATURE_KEY, formatVkey, parseVkey } from "../shared/crypto/signed-note.ts";
import { decodeBase64, encodeBase64 } from "../shared/encoding.ts";
import { verifyEvidence } from "../shared/proofs/evidence.ts";
import { openAuditSession, type AuditorAccount } from "./audit-session.ts";
import { AuditSource, DataMissingError } from "./audit-source.ts";
import { Auditor, AuditFaultError, RefusedError, serveAuditor } from "./auditor.ts";
import { systemClock } from "./clock.ts";
import { serveWitness, Witness } from "./witness.ts";

const ALERT_TIMEOUT_MS = 30_000;

/** Aborted by SIGINT or SIGTERM. */
export function endSignal(): AbortSignal {
  const end = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.once(name, () => {
      end.abort();
    });
  }
  return end.signal;
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** The seed in a key file; makes the file, mode 0600, when it is missing. */
function openSeed(file: string): Uint8Array {
  if (!existsSync(file)) writeFileSync(file, `${encodeBase64(randomBytes(32))}\n`, { flag: "wx", mode: 0o600 });
  return decodeBase64(readFileSync(file, "utf8").trim());
}

function printVkey(name: string, seed: Uint8Array): void {
  print(`verifier key: ${formatVkey({ name, type: COSIGNATURE_KEY, publicKey: publicKeyOf(seed) })}`);
}

interface AuditArguments {
  readonly serviceUrl: readonly string[];
  readonly logKey: string;
  readonly name: string;
  readonly key: string;
  readonly state: string;
  readonly from?: number | "settling";
  readonly acceptReplaced?: true;
  readonly alert?: string;
  readonly matrixUser?: string;
  readonly matrixUrl?: string;
  readonly matrixToken?: string;
  readonly pollMs: number;
  readonly listen?: { readonly host: string; readonly port: number };
  readonly once?: true;
}

export async function runAudit(options: AuditArguments): Promise<void> {
  const { name, once: isOnce, listen, pollMs } = options;
  const seed = openSeed(options.key);
  const auditor = openAuditor(options, seed);
  if (isOnce === true) {
    process.stdout.write(await alertOnFault(options, async () => await auditor.advance()));
    return;
  }
  printVkey(name, seed);
  const signal = endSignal();
  if (listen !== undefined) await serveAuditor(auditor, listen, signal);
  let toldMs: number | undefined;
  while (!signal.aborted) {
    toldMs = await alertOnFault(options, async () => await advance(auditor, options, toldMs));
    await systemClock.sleep(pollMs, signal);
  }
}

function openAuditor(options: AuditArguments, seed: Uint8Array): Auditor {
  const { serviceUrl: urls, logKey, name, state: stateFile, from, acceptReplaced = false } = options;
  const account = accountOf(options);
  const session = account && (async (): Promise<string> => await openAuditSession(source.url, account));
  const source: AuditSource = new AuditSource({ urls, ...(session === undefined ? {} : { session }) });
  const cosigner = { name, seed };
  const onProgress = (what: string, done: number, of: number): void => {
    process.stderr.write(`${what}: ${done} of ${of}\n`);
  };
  const begin = from === undefined ? {} : { from };
  return new Auditor({
    source,
    logKey,
    stateFile,
    cosigner,
    acceptReplaced,
    nowMs: systemClock.now,
    onProgress,
    ...begin,
  });
}

function accountOf({ matrixUser, matrixUrl, matrixToken }: AuditArguments): AuditorAccount | undefined {
  if (matrixUser === undefined || matrixUrl === undefined || matrixToken === undefined) return undefined;
  return { userId: matrixUser, homeserverUrl: matrixUrl, accessToken: readFileSync(matrixToken, "utf8").trim() };
}

/** One round; returns since when the log has been refused and that was told, if it still is. */
async function advance(
  auditor: Auditor,
  options: AuditArguments,
  toldMs: number | undefined,
): Promise<number | undefined> {
  try {
    const before = auditor.from;
    await auditor.advance();
    if (before === undefined) print(`auditing from epoch ${auditor.from ?? 0} on: that is what the key means`);
    return undefined;
  } catch (error) {
    if (!(error instanceof DataMissingError) && !(error instanceof RefusedError)) throw error;
    process.stderr.write(`${error.code}: ${error.message}\n`);
    if (!(error instanceof RefusedError) || !error.isLong || error.sinceMs === toldMs) return toldMs;
    await raiseAlert(options, [error.code, options.state]);
    return error.sinceMs;
  }
}

/** Runs the operator's alert when a fault is found, and goes on to fail with it. */
async function alertOnFault<Result>(options: AuditArguments, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof AuditFaultError) {
      await raiseAlert(options, [error.code, error.evidenceFile ?? `${options.state}.fault.json`]);
    }
    throw error;
  }
}

/** Runs the program of `--alert` with a code and a file. That it fails is told, and hides nothing. */
async function raiseAlert({ alert }: AuditArguments, args: readonly string[]): Promise<void> {
  if (alert === undefined) return;
  await promisify(execFile)(alert, [...args], { timeout: ALERT_TIMEOUT_MS }).catch((error: unknown) => {
    process.stderr.write(`--alert ${alert}: ${error instanceof Error ? error.message : "failed"}\n`);
  });
}

interface WitnessArguments {
  readonly name: string;
  readonly key: string;
  readonly state: string;
  readonly log: readonly string[];
  readonly listen: { readonly host: string; readonly port: number };
}

export async function runWitness({ name, key, state, log, listen }: WitnessArguments): Promise<void> {
  const seed = openSeed(key);
  const logs = log.map((vkey) => parseVkey(vkey));
  const witness = new Witness({ name, seed, logs, stateDirectory: state, nowMs: systemClock.now });
  const signal = endSignal();
  const port = await serveWitness(witness, listen, signal);
  printVkey(name, seed);
  print(`serving http://${listen.host}:${port}/add-checkpoint for ${logs.length} logs`);
  if (!signal.aborted) await once(signal, "abort");
}

/** Prints what the file proves. Throws VerificationError or VerdictError when it proves nothing. */
export function runVerifyEvidence(file: string): void {
  const { code, kind, origin, logKey, says } = verifyEvidence(readFileSync(file, "utf8"));
  print(`${kind} ${code}: ${says}\nlog: ${origin}\nkey: ${logKey}`);
  print("Compare the key with the one your own devices have pinned: evidence convicts a key, not a name.");
}
