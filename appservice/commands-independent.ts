/** The commands of people who do not run the service: auditors, witnesses, and whoever is handed evidence. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { publicKeyOf } from "../shared/crypto/ed25519.ts";
import { COSIGNATURE_KEY, formatVkey, parseVkey } from "../shared/crypto/signed-note.ts";
import { decodeBase64, encodeBase64 } from "../shared/encoding.ts";
import { verifyEvidence } from "../shared/proofs/evidence.ts";
import { Auditor, DataMissingError, serveAuditor } from "./auditor.ts";
import { systemClock } from "./clock.ts";
import { serveWitness, Witness } from "./witness.ts";

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
  readonly serviceUrl: string;
  readonly logKey: string;
  readonly name: string;
  readonly key: string;
  readonly state: string;
  readonly pollMs: number;
  readonly listen?: { readonly host: string; readonly port: number };
  readonly once?: true;
}

export async function runAudit(options: AuditArguments): Promise<void> {
  const { serviceUrl, logKey, name, state: stateFile } = options;
  const cosigner = { name, seed: openSeed(options.key) };
  const onProgress = (audited: number, size: number): void => {
    process.stderr.write(`audited ${audited} of ${size} epochs\n`);
  };
  const auditor = new Auditor({ serviceUrl, logKey, stateFile, cosigner, nowMs: systemClock.now, onProgress });
  if (options.once === true) {
    process.stdout.write(await auditor.advance());
    return;
  }
  printVkey(name, cosigner.seed);
  const signal = endSignal();
  if (options.listen !== undefined) await serveAuditor(auditor, options.listen, signal);
  while (!signal.aborted) {
    await advance(auditor);
    await systemClock.sleep(options.pollMs, signal);
  }
}

async function advance(auditor: Auditor): Promise<void> {
  try {
    await auditor.advance();
  } catch (error) {
    if (!(error instanceof DataMissingError)) throw error;
    process.stderr.write(`${error.code}: ${error.message}\n`);
  }
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
