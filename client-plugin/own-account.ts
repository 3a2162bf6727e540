/**
 * The own account in the log, against what its devices did: table of protocol 3.4. Every version since the one the account
 * acknowledged is looked at, and every settling epoch since the last one checked.
 */
import type { Device, Entry } from "../shared/directory/entry.ts";
import { compareStatements } from "../shared/directory/statement.ts";
import { decodeUnpadded, encodeUnpadded, equalBytes, fromUtf8 } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import { verifyAncestor } from "../shared/history/history.ts";
import type { HistoryHead } from "../shared/history/history.ts";
import { serverOfUser } from "../shared/messages.ts";
import { OWN_CHECK_EVERY_MS, OWN_UNSIGNED_DEVICE_AFTER_MS, SETTLED_MAPS_KEPT_MS } from "../shared/parameters.ts";
import { inStep } from "../shared/proofs/step.ts";
import { VerdictError, classOf } from "../shared/verdict-codes.ts";
import type { VerdictCode } from "../shared/verdict-codes.ts";
import { nextLookMs } from "./clock.ts";
import type { Clock } from "./clock.ts";
import { failureOf, hasMoved, readMemory, standingOf, writeMemory } from "./contact-memory.ts";
import type { ContactMemory, Standing } from "./contact-memory.ts";
import type { AccountState } from "./contacts.ts";
import { ServiceFailure, VERSIONS_PER_PAGE } from "./log-client.ts";
import type { LogView, LogViews, Looked, VerifiedVersion } from "./log-view.ts";
import type { ClientLike, StoreKeys } from "./matrix.ts";
import { cachedPrivateKey, readOwn } from "./matrix.ts";
import { acknowledge } from "./own-keys.ts";
import { openPrivateKey } from "./private-key.ts";
import { isOtherDevice, keysOfEntry, keysOfStore, noteSeen, statedIn, unsignedOfStore } from "./seen-keys.ts";
import type { SeenKey } from "./seen-keys.ts";
import type { Storage } from "./storage.ts";
import type { Finding } from "./verdict.ts";
import type { AcceptedLeaf, VerifiedSettled } from "../shared/proofs/settling.ts";
import { follow, knownOf } from "./verifier.ts";

/** What the host shows about the own account. */
export interface OwnStatus {
  /** `on`: enrolled and said so. `off`: enrolled, and said off or nothing. `absent`: not in the log. */
  readonly state: "unknown" | "no-log" | "absent" | "off" | "on";
  /** Why nothing could be confirmed at the last check. */
  readonly reason?: VerdictCode;
  readonly checkedAtMs?: number;
  /** Newest own version in the log. */
  readonly version?: number;
  /** Doubts about the state that devices share. */
  readonly doubt?: "state-lost" | "state-unconfirmed" | "state-unstored" | "state-rolled-back";
}

export interface OwnAccountOptions {
  readonly client: ClientLike;
  readonly clock: Clock;
  readonly storage: Storage;
  readonly state: AccountState;
  readonly logs: LogViews;
  readonly slackMs: number;
  readonly raise: (userId: string, findings: readonly Finding[]) => Promise<void>;
}

/** Settling epochs read back at most in one check: 400 days of four a day. */
const MAX_SETTLINGS_PER_CHECK = 1_600;

export interface OwnOutcome {
  readonly status: OwnStatus;
  readonly againMs: number;
}
/** With what is left to do once the check's results are stored. */
interface Judged extends OwnOutcome {
  readonly afterwards?: (() => Promise<void>) | undefined;
}

export class OwnAccount {
  readonly #options: OwnAccountOptions;
  /** Own keys that stood in answers since the last check. */
  readonly #answered = new Map<string, SeenKey>();
  /** Own devices in those answers. Which of them an own key has signed, the next entry shows. */
  readonly #answeredDevices = new Set<string>();
  /** Roots that own devices acknowledged, and that were found in the history that is accepted here. */
  readonly #found = new Set<string>();

  constructor(options: OwnAccountOptions) {
    this.#options = options;
  }

  /** An answer given to the SDK holds these own keys: it takes them over a moment later, and tells nobody. */
  noteAnswer(keys: StoreKeys): void {
    const nowMs = this.#options.clock.now();
    for (const [id, about] of keysOfStore(keys)) {
      if (!this.#answered.has(id)) this.#answered.set(id, { id, ...about, firstSeenMs: nowMs, inStore: false });
    }
    for (const id of unsignedOfStore(keys)) this.#answeredDevices.add(id);
  }

  /** One complete check. Throws only on a bug. */
  async check(): Promise<OwnOutcome> {
    const { client, clock, storage, raise } = this.#options;
    const userId = client.getSafeUserId();
    const memory = await readMemory(storage, userId);
    const { keys } = await readOwn(client);
    const known = new Set(memory.seen.map(({ id }) => id));
    memory.seen.push(...[...this.#answered.values()].filter(({ id }) => !known.has(id)));
    for (const id of this.#answeredDevices) memory.unsignedSince[id] ??= this.#options.clock.now();
    this.#answered.clear();
    this.#answeredDevices.clear();
    noteSeen(memory.seen, keysOfStore(keys), clock.now(), true);
    const findings: Finding[] = [];
    const { afterwards, ...outcome } = await this.#judged(userId, memory, keys, findings);
    await raise(userId, findings);
    await writeMemory(storage, userId, memory);
    await afterwards?.();
    return outcome;
  }

  /** What this device accepted about the own account. */
  async accepted(): Promise<Standing | undefined> {
    const { client, storage } = this.#options;
    const userId = client.getSafeUserId();
    return standingOf(userId, await readMemory(storage, userId));
  }

  async #judged(userId: string, memory: ContactMemory, keys: StoreKeys, findings: Finding[]): Promise<Judged> {
    const nowMs = this.#options.clock.now();
    const state = memory.accepted === undefined ? "unknown" : "off";
    try {
      const view = await this.#options.logs.of(serverOfUser(userId));
      if (view === undefined)
        return { status: { state: "no-log", checkedAtMs: nowMs }, againMs: nowMs + OWN_CHECK_EVERY_MS };
      return await this.#checked(view, userId, memory, keys, findings);
    } catch (error) {
      const reason = reasonOf(error);
      const told = error instanceof VerificationError ? new VerdictError(reason, error.message) : error;
      if (told instanceof VerdictError) findings.push(...this.#told(memory, told));
      return { status: { state, reason, checkedAtMs: nowMs }, againMs: nowMs + 60_000 };
    }
  }

  /** Failures of proofs about the own account. */
  #told(memory: ContactMemory, error: VerdictError): Finding[] {
    const nowMs = this.#options.clock.now();
    const { told } = failureOf(memory, error, nowMs);
    if (told === undefined) return [];
    const vanished = told.code === "leaf-vanished" || told.code === "history-shorter";
    return [vanished ? { ...told, code: "own-vanished" } : told];
  }

  async #checked(
    view: LogView,
    userId: string,
    memory: ContactMemory,
    keys: StoreKeys,
    findings: Finding[],
  ): Promise<Judged> {
    const { clock } = this.#options;
    const looked = await view.lookup(userId, knownOf(memory));
    findings.push(...looked.findings);
    const nowMs = clock.now();
    const { leaf } = looked;
    if (leaf === undefined) {
      const acknowledged = this.#acknowledged();
      if (acknowledged > 0) findings.push(finding("own-not-enrolled", "absent", nowMs));
      memory.seen = memory.seen.filter(({ inStore }) => inStore);
      memory.greySince = {};
      return { status: { state: "absent", checkedAtMs: nowMs }, againMs: nowMs + OWN_CHECK_EVERY_MS };
    }
    await this.#checkAcknowledged(view, userId, leaf);
    for (const id of unsignedOfStore(keys)) memory.unsignedSince[id] ??= nowMs;
    findings.push(...(await this.#checkVersions(view, looked, memory)));
    if (await view.isWithheld(looked, leaf)) findings.push(finding("own-version-hidden", String(leaf.n), nowMs));
    findings.push(...(await this.#checkSettlings(view, looked, memory)));
    findings.push(...this.#checkKeys(looked, memory, keys));
    const afterwards = await this.#accept(view, looked, memory);
    memory.greySince = {};
    const on = leaf.content?.entry.statement?.ckv === "on";
    const againMs = this.#againMs(memory, looked);
    return { status: { state: on ? "on" : "off", checkedAtMs: nowMs, version: leaf.n }, againMs, afterwards };
  }

  /** The newest version that any own device acknowledged; 0: none. */
  #acknowledged(): number {
    return Math.max(0, ...this.#options.state.all("acknowledged").map(({ version }) => version));
  }

  /** What any own device acknowledged is in the history that is shown here, or VerdictError. */
  async #checkAcknowledged(view: LogView, userId: string, leaf: HistoryHead): Promise<void> {
    for (const { version: n, root } of this.#options.state.all("acknowledged")) {
      if (n > leaf.n || this.#found.has(root)) continue;
      const path = await view.historyPath(userId, n, leaf.n);
      inStep(n === leaf.n ? "own-unknown-version" : "history-unproven", () => {
        verifyAncestor({ n, root: decodeUnpadded(root) }, leaf, path);
      });
      this.#found.add(root);
    }
  }

  /** Looks again when a pending own key or an unsigned own device is due. */
  #againMs(memory: ContactMemory, looked: Looked): number {
    const { clock, slackMs } = this.#options;
    const nowMs = clock.now();
    const patienceMs = looked.head.configuration.merge_delay_ms + slackMs;
    const due = [
      ...memory.seen.flatMap(({ missingSinceMs: sinceMs }) =>
        sinceMs === undefined ? [] : [sinceMs + patienceMs, nextLookMs(sinceMs, nowMs)],
      ),
      ...Object.values(memory.unsignedSince).map((sinceMs) => sinceMs + OWN_UNSIGNED_DEVICE_AFTER_MS),
    ].filter((dueMs) => dueMs > nowMs);
    return Math.min(nowMs + OWN_CHECK_EVERY_MS, ...due);
  }

  /** All versions since the acknowledged one, each against the one before. */
  async #checkVersions(view: LogView, looked: Looked, memory: ContactMemory): Promise<Finding[]> {
    const n = looked.leaf?.n ?? 0;
    const from = Math.max(1, Math.min(this.#startOf(memory), n));
    if (from === n && memory.accepted?.n === n) return await this.#checkUnsigned(looked, memory, []);
    const versions: VerifiedVersion[] = [];
    for (let at = from; at <= n; at += VERSIONS_PER_PAGE) {
      versions.push(...(await versionsOf(view, looked, at, Math.min(n, at + VERSIONS_PER_PAGE - 1))));
    }
    const findings: Finding[] = [];
    for (const [at, version] of versions.entries()) {
      const before = versions[at - 1];
      if (before !== undefined) findings.push(...(await this.#checkChange(before, version)));
    }
    return [...findings, ...(await this.#checkUnsigned(looked, memory, versions))];
  }

  /** A device without memory of its own starts at what the account acknowledged, or at the newest version. */
  #startOf(memory: ContactMemory): number {
    const acknowledged = this.#acknowledged();
    return memory.accepted?.n ?? (acknowledged > 0 ? acknowledged : Number.MAX_SAFE_INTEGER);
  }

  /** One step of the history: what may change without this device having done it, and what may not. */
  async #checkChange(before: VerifiedVersion, now: VerifiedVersion): Promise<Finding[]> {
    const nowMs = this.#options.clock.now();
    const key = String(now.version);
    // What the account has acknowledged the log may erase; another device may have done so.
    if (now.entry === undefined)
      return now.version > this.#acknowledged() ? [finding("own-version-hidden", key, nowMs)] : [];
    if (now.entry.kind === "refused") return [finding("own-refused", key, nowMs)];
    if (before.entry === undefined) return [];
    const findings: Finding[] = [];
    if (await this.#isReplaced(before.entry, now.entry))
      findings.push(finding("own-identity-replaced", identityKey(now.entry), nowMs));
    else
      findings.push(
        ...signatureLosses(before.entry, now.entry, key, nowMs),
        ...statementChanges(before.entry, now.entry, key, nowMs),
      );
    for (const [deviceId, device] of now.entry.devices) {
      const other = before.entry.devices.get(deviceId);
      if (!isOtherDevice(other, device)) continue;
      findings.push({ ...finding("own-device-key-changed", `${key} ${deviceId}`, nowMs), devices: [deviceId] });
    }
    return findings;
  }

  /** Another master or self-signing key whose private half is not on this device: somebody else made it. */
  async #isReplaced(before: Entry, now: Entry): Promise<boolean> {
    if (identityKey(before) === identityKey(now)) return false;
    if (before.masterKey === undefined) return false;
    const { client } = this.#options;
    const made = await Promise.all(
      (
        [
          ["master", now.masterKey],
          ["self_signing", now.selfSigningKey],
        ] as const
      ).map(async ([name, key]) => {
        const seed = await cachedPrivateKey(client, name);
        if (seed === undefined || key?.kind !== "key") return false;
        return equalBytes((await openPrivateKey(seed)).publicKey, key.key);
      }),
    );
    return !made.every(Boolean);
  }

  /** A device that no own key has signed ten minutes after it appeared, or that was gone before anybody signed it. */
  async #checkUnsigned(
    looked: Looked,
    memory: ContactMemory,
    versions: readonly VerifiedVersion[],
  ): Promise<Finding[]> {
    const { client, clock } = this.#options;
    const nowMs = clock.now();
    const newest = looked.leaf?.content?.entry;
    const signed = new Set<string>();
    const unsigned = new Map<string, string>();
    const entries = [...versions.map(({ entry }) => entry), newest].filter((entry) => entry !== undefined);
    for (const [at, { devices }] of entries.entries()) {
      for (const [deviceId, device] of devices) {
        if (device.kind !== "device" || device.dehydrated) continue;
        const id = `${deviceId} ${encodeUnpadded(device.ed25519)}`;
        if (device.signedByOwner) signed.add(id);
        else if (at > 0 || memory.accepted === undefined || id in memory.unsignedSince) unsigned.set(id, deviceId);
      }
    }
    for (const id of Object.keys(memory.unsignedSince)) if (!unsigned.has(id)) unsigned.set(id, id.split(" ")[0] ?? "");
    const { deviceId: own, deviceKey } = await readOwn(client);
    const open = [...unsigned].filter(([id]) => !signed.has(id) && id !== `${own} ${deviceKey}`);
    memory.unsignedSince = Object.fromEntries(open.map(([id]) => [id, memory.unsignedSince[id] ?? nowMs]));
    return open
      .filter(([id]) => nowMs - (memory.unsignedSince[id] ?? nowMs) >= OWN_UNSIGNED_DEVICE_AFTER_MS)
      .map(([id, deviceId]) => ({
        ...finding("own-unknown-device", id, memory.unsignedSince[id] ?? nowMs),
        devices: [deviceId],
      }));
  }

  /** Own keys that are not in the newest entry when they should have been. */
  #checkKeys(looked: Looked, memory: ContactMemory, keys: StoreKeys): Finding[] {
    const { clock, slackMs, client } = this.#options;
    const nowMs = clock.now();
    const entry = looked.leaf?.content?.entry;
    if (entry?.kind !== "keys") return [];
    const logged = keysOfEntry(entry);
    const patienceMs = looked.head.configuration.merge_delay_ms + slackMs;
    const isOverdue = (key: SeenKey): boolean => nowMs >= (key.missingSinceMs ??= nowMs) + patienceMs;
    memory.seen = memory.seen.filter((key) => !logged.has(key.id) && (!isOverdue(key) || key.inStore));
    const overdue = memory.seen.filter(isOverdue);
    if (overdue.length === 0) return [];
    // A device nobody signed is a stranger, told as such, and not a gap in the log.
    const mine = overdue.filter(
      ({ deviceId }) =>
        deviceId === undefined ||
        keys.devices.get(deviceId)?.signedByOwner === true ||
        deviceId === client.getDeviceId(),
    );
    const [first] = mine;
    if (first === undefined) return [];
    // Another identity in the log is that fact, and its missing keys are not a second one.
    if (entry.masterKey !== undefined && mine.some(({ deviceId }) => deviceId === undefined)) {
      return [finding("own-identity-replaced", identityKey(entry), first.firstSeenMs)];
    }
    const devices = mine.map(({ deviceId }) => deviceId).filter((deviceId) => deviceId !== undefined);
    const key = mine.map(({ id }) => id).join(" ");
    return [{ ...finding("own-key-missing", key, first.firstSeenMs), ...(devices.length === 0 ? {} : { devices }) }];
  }

  /** All settling epochs missed, from the newest back to the last one checked. */
  async #checkSettlings(view: LogView, looked: Looked, memory: ContactMemory): Promise<Finding[]> {
    const { state, clock } = this.#options;
    const { origin: log } = looked.head.checkpoint;
    const records = state.all("settled").filter((record) => record.log === log);
    const checked = Math.max(-1, ...records.map(({ epoch }) => epoch));
    const first = Math.max(checked + 1, hasMoved(memory, log) ? 0 : (memory.followedFromEpoch ?? looked.settledEpoch));
    const { acceptedBy } = knownOf(memory);
    const findings: Finding[] = [];
    let { settledEpoch: epoch, settled } = looked;
    for (let read = 0; read < MAX_SETTLINGS_PER_CHECK && epoch > first; read += 1) {
      epoch = await view.settlingEpochBefore(looked, epoch - 1);
      if (epoch < first) break;
      settled = await this.#settledAt(view, looked, epoch, settled, acceptedBy);
      if (settled !== undefined) continue;
      const since = clock.now();
      findings.push({ code: "settle-gap", class: "notice", key: String(epoch), sinceMs: since });
      break;
    }
    const version = looked.settled?.leaf?.n ?? 0;
    if (looked.settledEpoch > checked) await state.add({ kind: "settled", log, epoch: looked.settledEpoch, version });
    return findings;
  }

  /** Undefined where the log no longer keeps that settling epoch. Throws what the proofs throw. */
  async #settledAt(
    view: LogView,
    looked: Looked,
    epoch: number,
    later: VerifiedSettled | undefined,
    acceptedBy: (epoch: number) => AcceptedLeaf | undefined,
  ): Promise<VerifiedSettled | undefined> {
    try {
      return await view.settledAt(looked, epoch, later, acceptedBy);
    } catch (error) {
      if (!(error instanceof ServiceFailure) || error.status === undefined || error.status === 429) throw error;
      const record = (await view.recordsAt(looked, [epoch])).get(epoch);
      const ageMs = looked.head.record.timestampMs - (record?.timestampMs ?? 0);
      if (error.status === 404 && ageMs > SETTLED_MAPS_KEPT_MS) return undefined;
      throw new VerdictError("settle-overdue", "the settling epoch is withheld", { cause: error });
    }
  }

  /** Everything was looked at: this is what the account knows of itself. Returns what then tells the log, if it is new. */
  async #accept(view: LogView, looked: Looked, memory: ContactMemory): Promise<Judged["afterwards"]> {
    const { leaf } = looked;
    if (leaf === undefined) return undefined;
    const { client, state } = this.#options;
    follow(memory, looked);
    memory.followedFromEpoch ??= leaf.epoch;
    if (leaf.content !== undefined) memory.entry = fromUtf8(leaf.content.bytes);
    if (leaf.n <= this.#acknowledged()) return undefined;
    await state.add({ kind: "acknowledged", version: leaf.n, root: encodeUnpadded(leaf.root) });
    return async () => {
      await acknowledgeQuietly(client, view, leaf.n, leaf.root);
    };
  }
}

/** Own versions that a log which answers otherwise won't show. */
async function versionsOf(view: LogView, looked: Looked, from: number, to: number): Promise<VerifiedVersion[]> {
  try {
    return await view.versions(looked, from, to);
  } catch (error) {
    if (!(error instanceof ServiceFailure) || error.status === undefined || error.status === 429) throw error;
    throw new VerdictError("own-version-hidden", "own versions are withheld", { cause: error });
  }
}

/** The acknowledgement only lets the log erase; a failure costs nothing and is made up for with the next version. */
async function acknowledgeQuietly(client: ClientLike, view: LogView, n: number, root: Uint8Array): Promise<void> {
  try {
    await acknowledge(client, view, n, root);
  } catch (error) {
    if (!(error instanceof ServiceFailure)) throw error;
  }
}

function reasonOf(error: unknown): VerdictCode {
  if (error instanceof ServiceFailure) return error.reason;
  if (error instanceof VerdictError) return error.cause instanceof ServiceFailure ? error.cause.reason : error.code;
  if (error instanceof VerificationError) return "bad-answer";
  throw error;
}

function finding(code: VerdictCode, key: string, sinceMs: number): Finding {
  return { code, class: "warning", key, sinceMs };
}

function identityKey({ masterKey, selfSigningKey }: Entry): string {
  return [masterKey, selfSigningKey].map((key) => (key?.kind === "key" ? encodeUnpadded(key.key) : "none")).join(" ");
}

/** Devices that lost the signature of an unchanged self-signing key. */
function signatureLosses(before: Entry, now: Entry, key: string, nowMs: number): Finding[] {
  if (identityKey(before) !== identityKey(now)) return [];
  const lost = [...now.devices].filter(([deviceId, device]) => {
    const other = before.devices.get(deviceId);
    return isSigned(other) && device.kind === "device" && !device.signedByOwner && !isOtherDevice(other, device);
  });
  return lost.map(([deviceId]) => ({
    ...finding("own-signature-lost", `${key} ${deviceId}`, nowMs),
    devices: [deviceId],
  }));
}

function isSigned(device: { readonly kind: string } | undefined): boolean {
  return device?.kind === "device" && (device as Device).signedByOwner;
}

/** A statement may only change by the master key, with a higher counter. */
function statementChanges(before: Entry, now: Entry, key: string, nowMs: number): Finding[] {
  const wrong = compareStatements(statedIn(before), statedIn(now)).filter((code) => classOf(code).class === "warning");
  return wrong.length === 0 ? [] : [finding("own-statement-changed", key, nowMs)];
}
