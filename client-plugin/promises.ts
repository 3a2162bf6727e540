/**
 * What the log promised about a user, and whether it kept its word. A promise is asked for when a key is not in the log
 * yet, taken only if it passes every rule, and checked at the first head by which it is due. protocol "Promise".
 */
import { parseVkey } from "../shared/crypto/signed-note.ts";
import { parseConfiguration } from "../shared/directory/configuration.ts";
import { equalBytes } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import { decodePath } from "../shared/messages.ts";
import type { PromisePart } from "../shared/messages.ts";
import { PROMISE_OVERDUE_AFTER_MS } from "../shared/parameters.ts";
import {
  createBrokenPromiseEvidence,
  createPromiseConflictEvidence,
  formatEvidence,
} from "../shared/proofs/evidence.ts";
import { brokenPromise, isDue, openPromise, verifyPromise } from "../shared/proofs/promise.ts";
import type { MergePromise } from "../shared/proofs/promise.ts";
import { VerdictError } from "../shared/verdict-codes.ts";
import type { ContactMemory, HeldPromise } from "./contact-memory.ts";
import { ServiceFailure } from "./log-client.ts";
import type { LogView, Looked } from "./log-view.ts";
import { keysOfEntry } from "./seen-keys.ts";
import type { Finding } from "./verdict.ts";

export interface PromiseCheck {
  readonly view: LogView;
  readonly looked: Looked;
  readonly memory: ContactMemory;
  /** Ids of keys found in older versions. */
  readonly older: ReadonlySet<string>;
  readonly nowMs: number;
}

/** Checks the promises that are due, then asks for one where a key is not in the log yet. */
export async function checkPromises(check: PromiseCheck): Promise<Finding[]> {
  const findings: Finding[] = [];
  const open: HeldPromise[] = [];
  for (const held of check.memory.promises) {
    const { kept, finding } = await checkPromise(check, held);
    if (finding !== undefined) findings.push(finding);
    if (!kept && finding?.class !== "evidence") open.push(held);
  }
  check.memory.promises = open;
  return [...findings, ...(await askForPromise(check))];
}

/** When a promise comes due, or overdue; undefined where none is held. */
export function nextPromiseMs({ promises }: ContactMemory, nowMs: number): number | undefined {
  const times = promises.map((held) => opened(held).mergeByMs).flatMap((ms) => [ms, ms + PROMISE_OVERDUE_AFTER_MS]);
  const later = times.filter((ms) => ms > nowMs);
  return later.length === 0 ? undefined : Math.min(...later);
}

function opened({ note, configuration }: HeldPromise): MergePromise {
  return openPromise(note, parseVkey(parseConfiguration(configuration).promise_key));
}

async function checkPromise(check: PromiseCheck, held: HeldPromise): Promise<{ kept: boolean; finding?: Finding }> {
  const { looked, view, nowMs } = check;
  const promise = opened(held);
  const key = String(promise.version);
  const isFinal = looked.head.configuration.successor !== undefined;
  if (!isDue(promise, looked.head.record, isFinal)) {
    if (nowMs < promise.mergeByMs + PROMISE_OVERDUE_AFTER_MS) return { kept: false };
    return { kept: false, finding: { code: "promise-overdue", class: "warning", key, sinceMs: promise.mergeByMs } };
  }
  const reached = looked.leaf !== undefined && looked.leaf.n >= promise.version;
  const [version] = reached ? await view.versions(looked, promise.version, promise.version) : [];
  const shown = version === undefined ? {} : { version, path: decodePath(version.part.proof) };
  const broken = brokenPromise(promise, { leaf: looked.leaf, ...shown });
  if (broken === undefined) return { kept: true };
  const part = version === undefined ? {} : { version: version.part };
  const evidence = createBrokenPromiseEvidence(view.logKey, {
    configuration: held.configuration,
    configured: held.configured,
    promise: held.note,
    due: looked.proven,
    ...part,
    ...(isFinal ? { final: looked.configurationText } : {}),
  });
  const file = formatEvidence(evidence);
  return { kept: false, finding: { code: "promise-broken", class: "evidence", key, sinceMs: nowMs, evidence: file } };
}

async function askForPromise(check: PromiseCheck): Promise<Finding[]> {
  const { looked, memory, view, older, nowMs } = check;
  const newest = looked.leaf?.content === undefined ? new Set<string>() : keysOfEntry(looked.leaf.content.entry);
  const missing = memory.seen.filter(({ id, promised }) => promised !== true && !newest.has(id) && !older.has(id));
  if (missing.length === 0) return [];
  const part = await refreshed(view, looked.userId);
  if (part === undefined) return [];
  try {
    const { userId, index, head } = looked;
    const { configuration } = head;
    const known = { configuration, userId, index, newestN: looked.leaf?.n ?? 0, nowMs };
    const { promise, entry } = verifyPromise(known, part);
    const promised = keysOfEntry(entry);
    for (const key of missing) if (promised.has(key.id)) key.promised = true;
    return keep(check, promise, part.note);
  } catch (error) {
    // An invalid promise confirms nothing: the key stays pending.
    if (error instanceof VerdictError || error instanceof VerificationError) return [];
    throw error;
  }
}

/** A service that can't or won't look again now is no failure of the lookup. */
async function refreshed(view: LogView, userId: string): Promise<PromisePart | undefined> {
  try {
    return await view.service.refresh(userId);
  } catch (error) {
    if (error instanceof ServiceFailure) return undefined;
    throw error;
  }
}

/** Remembers a promise; two for one version that differ convict at once. */
function keep(check: PromiseCheck, promise: MergePromise, note: string): Finding[] {
  const { memory, looked, view, nowMs } = check;
  if (memory.promises.some((known) => known.note === note)) return [];
  const proof = { configuration: looked.configurationText, configured: looked.head.part };
  const other = memory.promises.find((known) => {
    const { version, commitment } = opened(known);
    return version === promise.version && !equalBytes(commitment, promise.commitment);
  });
  memory.promises.push({ note, ...proof });
  if (other === undefined || keyOf(other) !== keyOf(proof)) return [];
  const evidence = createPromiseConflictEvidence(view.logKey, { ...proof, first: other.note, second: note });
  const key = String(promise.version);
  return [{ code: "promise-conflict", class: "evidence", key, sinceMs: nowMs, evidence: formatEvidence(evidence) }];
}

function keyOf({ configuration }: { readonly configuration: string }): string {
  return parseConfiguration(configuration).promise_key;
}
