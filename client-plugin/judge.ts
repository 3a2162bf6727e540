/**
 * The part of a check that needs no I/O: a proven entry against what encryption uses, what this account pinned, and what
 * it accepted before. protocol 3.1, steps 8 to 10, and 3.2.
 */
import type { Entry } from "../shared/directory/entry.ts";
import { compareStatements } from "../shared/directory/statement.ts";
import { encodeUnpadded } from "../shared/encoding.ts";
import {
  OWN_HISTORY_GROUND_AFTER_MS,
  OWN_UNSIGNED_DEVICE_AFTER_MS,
  STORE_BEHIND_LONG_AFTER_MS,
} from "../shared/parameters.ts";
import { classOf } from "../shared/verdict-codes.ts";
import type { VerdictCode } from "../shared/verdict-codes.ts";
import { nextLookMs } from "./clock.ts";
import type { ContactMemory } from "./contact-memory.ts";
import type { Pin } from "./contacts.ts";
import type { StoreKeys } from "./matrix.ts";
import {
  isOtherDevice,
  keyOfDevice,
  keysOfEntry,
  keysOfStore,
  masterOf,
  statedIn,
  unsignedOfStore,
} from "./seen-keys.ts";
import type { SeenKey } from "./seen-keys.ts";
import type { Finding, Verdict } from "./verdict.ts";
import { unchecked } from "./verdict.ts";

/** Everything that is known when a lookup has passed its proofs. */
export interface Known {
  readonly userId: string;
  /** When the log was asked. */
  readonly nowMs: number;
  readonly store: StoreKeys;
  readonly pin: Pin | undefined;
  readonly memory: ContactMemory;
  /** The newest entry; undefined where its content was erased, or is withheld. */
  readonly entry: Entry | undefined;
  readonly withheld: boolean;
  /** The entry last accepted before this check. */
  readonly previous: Entry | undefined;
  readonly n: number;
  /** Ids of keys found in older versions. */
  readonly older: ReadonlySet<string>;
  /** Merge delay of the log and slack of the policy, together. */
  readonly patienceMs: number;
  /** A grey reason that the head itself gives (`stale`, `clock`, `quorum-missing`). */
  readonly headReason: VerdictCode | undefined;
  readonly quorumMet: boolean;
}

export interface Judgement {
  readonly verdict: Verdict;
  readonly findings: readonly Finding[];
  /** When to look again, if nothing changes before. */
  readonly againMs: number | undefined;
}

/** Judges, and brings the memory up to date. */
export function judge(known: Known): Judgement {
  const resets = judgeStatement(known);
  const keys = judgeKeys(known);
  const findings = [...resets, ...keys.findings, ...judgeEntry(known)];
  const due = [...(keys.againMs === undefined ? [] : [keys.againMs]), ...unsignedDue(known)];
  const againMs = due.length === 0 ? undefined : Math.min(...due);
  return { verdict: verdictOf(known, keys), findings, againMs };
}

function finding(known: Known, code: VerdictCode, key: string, more: Partial<Finding> = {}): Finding {
  const { class: weight, whenPinned = weight } = classOf(code);
  return { code, class: known.pin === undefined ? weight : whenPinned, key, sinceMs: known.nowMs, ...more };
}

// ------------------------------------------------------------------------------------------------- step 8: every key

interface KeyJudgement {
  readonly findings: readonly Finding[];
  readonly pending: readonly SeenKey[];
  readonly behind: boolean;
  readonly againMs: number | undefined;
}

function judgeKeys(known: Known): KeyJudgement {
  const { memory, nowMs, patienceMs, withheld } = known;
  dropFound(known);
  for (const key of memory.seen) key.missingSinceMs ??= nowMs;
  const overdue = memory.seen.filter((key) => nowMs >= missingSince(key, nowMs) + patienceMs);
  const findings = batches(overdue).map((batch) => neverLogged(known, batch));
  const behind = withheld || (memory.seen.length === 0 && isBehind(known));
  if (behind) memory.behindSinceMs ??= nowMs;
  else delete memory.behindSinceMs;
  const long = behind && nowMs - (memory.behindSinceMs ?? nowMs) >= STORE_BEHIND_LONG_AFTER_MS;
  if (long)
    findings.push(
      finding(known, withheld ? "commitment" : "store-behind-long", String(known.n), {
        class: "warning",
        sinceMs: memory.behindSinceMs ?? nowMs,
      }),
    );
  if (behind && hasLeftPin(known))
    findings.push(finding(known, "pin-mismatch", `master ${known.store.masterKey ?? ""}`));
  if (memory.seen.length === 0 && !behind) {
    memory.checkedKeys = [...keysOfStore(known.store).keys()];
    const newest = known.entry === undefined ? new Set<string>() : keysOfEntry(known.entry);
    memory.foundKeys = memory.checkedKeys.filter((id) => newest.has(id));
  }
  return { findings, pending: memory.seen, behind, againMs: nextLook(known) };
}

function missingSince({ missingSinceMs }: SeenKey, nowMs: number): number {
  return missingSinceMs ?? nowMs;
}

/** Only a version that contains a key clears it. Devices whose object in the entry is unreadable are told as such. */
function dropFound({ memory, entry, older }: Known): void {
  const newest = entry === undefined ? new Set<string>() : keysOfEntry(entry);
  memory.seen = memory.seen.filter(({ id, deviceId }) => {
    const unreadable = deviceId !== undefined && entry?.devices.get(deviceId)?.kind === "unreadable";
    return !newest.has(id) && !older.has(id) && !unreadable;
  });
}

/** Keys first seen at one moment are one fact. */
function batches(keys: readonly SeenKey[]): SeenKey[][] {
  const byTime = new Map<number, SeenKey[]>();
  for (const key of keys) byTime.set(key.firstSeenMs, [...(byTime.get(key.firstSeenMs) ?? []), key]);
  return [...byTime.values()];
}

function neverLogged(known: Known, batch: readonly SeenKey[]): Finding {
  const devices = batch.map(({ deviceId }) => deviceId).filter((deviceId) => deviceId !== undefined);
  const master = batch.find(({ id }) => id.startsWith("master "));
  const first = master ?? batch[0];
  const key = first?.id ?? "";
  const sinceMs = first?.firstSeenMs ?? known.nowMs;
  const about = devices.length === 0 ? { sinceMs } : { sinceMs, devices };
  if (master !== undefined && known.pin !== undefined) return finding(known, "pin-mismatch", key, about);
  const replaced =
    master === undefined && devices.some((deviceId) => known.entry?.devices.get(deviceId)?.kind === "device");
  if (replaced) return finding(known, "device-key-changed", key, about);
  const sent = batch.some(({ sentMs }) => sentMs !== undefined);
  for (const seen of batch) seen.told = sent ? "warning" : "notice";
  return finding(known, "key-never-logged", key, { ...about, class: sent ? "warning" : "notice" });
}

/** The store is what an older version said, or lacks something of the newest. */
function isBehind({ entry, store }: Known): boolean {
  if (entry?.kind !== "keys" || !store.tracked) return false;
  const [newest, held] = [keysOfEntry(entry), keysOfStore(store)];
  const unreadable = (deviceId: string | undefined): boolean =>
    deviceId !== undefined && entry.devices.get(deviceId)?.kind === "unreadable";
  const extra = [...held].some(([id, { deviceId }]) => !newest.has(id) && !unreadable(deviceId));
  return extra || [...newest].some((id) => !held.has(id));
}

/** Encryption used the pinned master key here, and now uses one from before: no lag ever does that. */
function hasLeftPin({ memory, pin, store }: Known): boolean {
  if (pin === undefined || store.masterKey === undefined) return false;
  const pinned = `master ${pin.masterKey}`;
  return memory.checkedKeys?.includes(pinned) === true && !keysOfStore(store).has(pinned);
}

function nextLook(known: Known): number | undefined {
  const { memory, nowMs, patienceMs } = known;
  const { reset } = memory;
  const times = [
    ...memory.seen.map((key) => missingSince(key, nowMs)),
    ...(reset === undefined || reset.code !== undefined ? [] : [reset.atMs]),
  ]
    .filter((sinceMs) => nowMs < sinceMs + patienceMs)
    .map((sinceMs) => Math.min(sinceMs + patienceMs, nextLookMs(sinceMs, nowMs)));
  if (memory.behindSinceMs !== undefined) times.push(nextLookMs(memory.behindSinceMs, nowMs));
  return times.length === 0 ? undefined : Math.min(...times);
}

// ----------------------------------------------------------------------------------------- steps 9 and 10: the entry

/** The statement and the master key, compared with those last accepted. */
function judgeStatement(known: Known): Finding[] {
  const { entry, previous, memory, nowMs } = known;
  if (entry === undefined || entry.kind === "closed") return [];
  const [from, to] = [masterOf(previous) ?? "", masterOf(entry) ?? ""];
  const findings: Finding[] = [];
  for (const code of compareStatements(previous && statedIn(previous), statedIn(entry))) {
    if (code === "reset-signed" || code === "reset-unsigned") {
      const { reset } = memory;
      if (reset !== undefined && reset.code === undefined)
        findings.push(finding(known, "reset-unsigned", reset.to, { sinceMs: reset.atMs }));
      const root = reset?.code === "reset-signed" && reset.to === from ? reset.root : from;
      memory.reset = { from, to, root, atMs: nowMs };
    } else findings.push(finding(known, code, `${to} ${String(entry.statement?.counter ?? 0)}`));
  }
  return [...findings, ...judgeReset(known)];
}

/** A statement follows the key that signs it: whether the old key gave its word for the new one shows a moment later. */
function judgeReset(known: Known): Finding[] {
  const { memory, entry, nowMs, patienceMs } = known;
  const { reset } = memory;
  if (reset === undefined || reset.to !== masterOf(entry) || reset.code === "reset-signed") return [];
  const isSigned = entry?.statement?.continues?.master_key === reset.from;
  const code = isSigned ? "reset-signed" : "reset-unsigned";
  if (code === reset.code || (!isSigned && nowMs < reset.atMs + patienceMs)) return [];
  reset.code = code;
  return [finding(known, code, reset.to, { sinceMs: reset.atMs })];
}

/** What another master key than the one that was compared means; undefined where that one gave its word for it. */
function codeOfOtherKey({ memory: { reset } }: Known, { masterKey }: Pin, master: string): VerdictCode | undefined {
  if (reset?.to !== master) return "pin-mismatch";
  if (reset.code !== "reset-signed") return reset.code ?? "key-pending";
  return reset.root === masterKey ? undefined : "pin-mismatch";
}

/** What the entry itself shows to be wrong. */
function judgeEntry(known: Known): Finding[] {
  const { entry, store, pin } = known;
  if (entry === undefined) return [];
  if (entry.kind === "closed") return [finding(known, "account-closed", String(known.n))];
  const found: Finding[] = [];
  if (entry.kind === "refused") {
    const grave = pin !== undefined || [...store.devices].length > (known.previous?.devices.size ?? 0);
    found.push(finding(known, "entry-refused", String(known.n), { class: grave ? "warning" : "notice" }));
  }
  const master = masterOf(entry);
  if (entry.selfSigningKey?.kind === "key" && !entry.selfSigningKey.signedByMaster) {
    found.push(finding(known, "chain-broken", master ?? ""));
  }
  const compared = pin === undefined || master === undefined || pin.masterKey === master;
  if (!compared && codeOfOtherKey(known, pin, master) === "pin-mismatch")
    found.push(finding(known, "pin-mismatch", `master ${master}`));
  for (const [deviceId, device] of entry.devices) {
    if (device.kind === "device") {
      const changed = isOtherDevice(known.previous?.devices.get(deviceId), device);
      if (changed)
        found.push(finding(known, "device-key-changed", keyOfDevice(deviceId, device), { devices: [deviceId] }));
      continue;
    }
    found.push(
      finding(known, "device-unreadable", `${deviceId} ${encodeUnpadded(device.digest)}`, { devices: [deviceId] }),
    );
  }
  return [...found, ...judgeUnsigned(known, entry)];
}

/** A new device is unsigned until its owner has verified it: told when that has not happened for ten minutes. */
function judgeUnsigned(known: Known, entry: Entry): Finding[] {
  const { memory, nowMs } = known;
  const unsigned = [...entry.devices].flatMap(([deviceId, device]) =>
    device.kind === "device" && !device.signedByOwner && !device.dehydrated && entry.selfSigningKey !== undefined
      ? [{ deviceId, id: `${deviceId} ${encodeUnpadded(device.ed25519)}` }]
      : [],
  );
  const all = new Set([...unsigned.map(({ id }) => id), ...unsignedOfStore(known.store)]);
  memory.unsignedSince = Object.fromEntries([...all].map((id) => [id, memory.unsignedSince[id] ?? nowMs]));
  return unsigned
    .map(({ deviceId, id }) => ({ deviceId, id, sinceMs: memory.unsignedSince[id] ?? nowMs }))
    .filter(({ sinceMs }) => nowMs - sinceMs >= OWN_UNSIGNED_DEVICE_AFTER_MS)
    .map(({ deviceId, id, sinceMs }) => finding(known, "device-unsigned", id, { devices: [deviceId], sinceMs }));
}

/** When an unsigned device that is not told yet is due. */
function unsignedDue({ memory, nowMs }: Known): number[] {
  return Object.values(memory.unsignedSince)
    .map((sinceMs) => sinceMs + OWN_UNSIGNED_DEVICE_AFTER_MS)
    .filter((dueMs) => dueMs > nowMs);
}

// ------------------------------------------------------------------------------------------------------ the verdict

function verdictOf(known: Known, { pending, behind }: KeyJudgement): Verdict {
  const { entry, store, headReason } = known;
  if (pending.length > 0) return pendingVerdict(known, pending);
  if (behind) return unchecked(known.withheld ? "commitment" : "store-behind");
  if (headReason !== undefined) return unchecked(headReason);
  if (entry?.kind === "closed") return unchecked("account-closed");
  if (entry?.kind === "refused") return unchecked("entry-refused");
  const master = masterOf(entry);
  if (master === undefined || (store.tracked && store.masterKey === undefined)) return unchecked("identity-missing");
  return pinVerdict(known, master) ?? groundVerdict(known);
}

function pendingVerdict(known: Known, pending: readonly SeenKey[]): Verdict {
  const promised = pending.every((key) => key.promised === true);
  return unchecked(promised ? "promise-pending" : "key-pending");
}

/** The verdict of a comparison in person; undefined where there was none, or its key gave its word for the new one. */
function pinVerdict(known: Known, master: string): Verdict | undefined {
  const { pin, memory, nowMs } = known;
  if (pin === undefined) return undefined;
  if (pin.masterKey === master) return { kind: "verified", method: pin.method, atMs: pin.atMs };
  const code = codeOfOtherKey(known, pin, master);
  if (code === undefined || code === "key-pending") return code && unchecked(code);
  return { kind: "warning", code, sinceMs: memory.reset?.to === master ? memory.reset.atMs : nowMs };
}

function groundVerdict({ quorumMet, memory, nowMs }: Known): Verdict {
  if (quorumMet) return { kind: "consistent", ground: "quorum" };
  const followedMs = nowMs - (memory.followedSinceMs ?? nowMs);
  if (followedMs >= OWN_HISTORY_GROUND_AFTER_MS) return { kind: "consistent", ground: "own-history" };
  if (memory.agreedMs !== undefined) return { kind: "consistent", ground: "contact" };
  return unchecked("first-look");
}
