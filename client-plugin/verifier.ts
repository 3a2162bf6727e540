/**
 * A lookup answer and the crypto store become a verdict. The steps of protocol 3.1 in order: the head, record, index, map
 * and entry are checked by the log view; history, settling, every key ever used, pins and statement follow here.
 */
import { parseEntry } from "../shared/directory/entry.ts";
import { fromUtf8, utf8 } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import { serverOfUser } from "../shared/messages.ts";
import { HOUR_MS, UNCHECKED_LONG_AFTER_MS } from "../shared/parameters.ts";
import type { AcceptedLeaf } from "../shared/proofs/settling.ts";
import { VerdictError, classOf } from "../shared/verdict-codes.ts";
import type { VerdictCode } from "../shared/verdict-codes.ts";
import { nextLookMs } from "./clock.ts";
import type { Clock } from "./clock.ts";
import {
  acceptedLeaf,
  acceptedOf,
  failureOf,
  hasMoved,
  readMemory,
  standingOf,
  writeMemory,
} from "./contact-memory.ts";
import type { Accepted, ContactMemory, Standing } from "./contact-memory.ts";
import type { AccountState, Pin } from "./contacts.ts";
import { judge } from "./judge.ts";
import { ServiceFailure, VERSIONS_PER_PAGE } from "./log-client.ts";
import type { KnownOfUser, LogView, LogViews, Looked } from "./log-view.ts";
import type { ClientLike, StoreKeys } from "./matrix.ts";
import { fetchKeys, readStore } from "./matrix.ts";
import type { Outcome } from "./monitor.ts";
import { checkPromises, nextPromiseMs } from "./promises.ts";
import { keysOfEntry, keysOfStore, noteSeen } from "./seen-keys.ts";
import type { SeenKey } from "./seen-keys.ts";
import type { Storage } from "./storage.ts";
import type { Finding, Verdict } from "./verdict.ts";
import { unchecked } from "./verdict.ts";
import { sharedRooms } from "./warnings.ts";

export interface VerifierOptions {
  readonly client: ClientLike;
  readonly clock: Clock;
  readonly storage: Storage;
  readonly state: AccountState;
  readonly logs: LogViews;
  readonly slackMs: number;
  /** Brings findings to people; resolves when they are recorded, and only then is what was accepted recorded. */
  readonly raise: (userId: string, findings: readonly Finding[]) => Promise<void>;
  /** All keys that were ever seen of this user are in the log. */
  readonly confirmed: (userId: string) => Promise<void>;
}

/** A failed request is tried again after this, and then ever more rarely. */
const RETRY_MS = 5_000;
/** Keys that changed while the log can't be asked are told after this. */
const CHANGED_UNCHECKED_AFTER_MS = 10_000;
/** Older versions read at most to find keys of a contact met for the first time. */
const MAX_OLDER_VERSIONS = 500;
/** Unsettled states kept per contact. */
const MAX_UNSETTLED = 64;

/** Checks of all users but the own one. Owns their memories. */
export class Verifier {
  readonly #options: VerifierOptions;
  readonly #memories = new Map<string, ContactMemory>();
  /** Users whom encryption was asked to follow. */
  readonly #tracked = new Set<string>();

  constructor(options: VerifierOptions) {
    this.#options = options;
  }

  /** One complete check. Throws only on a bug. */
  async check(userId: string): Promise<Outcome> {
    const { clock, storage, raise } = this.#options;
    const memory = await this.#memory(userId);
    const store = await this.#readStore(userId);
    const held = keysOfStore(store);
    // What was found in the history once is in it for good, though its content may be erased by now.
    for (const id of memory.foundKeys ?? []) held.delete(id);
    if (store.tracked) noteSeen(memory.seen, held, clock.now(), true);
    const outcome = await this.#judged(userId, memory, store);
    await raise(userId, outcome.findings);
    await writeMemory(storage, userId, memory);
    return { ...outcome, masterKey: store.masterKey };
  }

  /** The store's view; whoever shares an encrypted room is followed from now on, before the first message. */
  async #readStore(userId: string): Promise<StoreKeys> {
    const { client } = this.#options;
    const store = await readStore(client, userId);
    if (store.tracked || this.#tracked.has(userId) || sharedRooms(client, userId).length === 0) return store;
    this.#tracked.add(userId);
    await fetchKeys(client, userId);
    return await readStore(client, userId);
  }

  /** Keys that stood in an answer given to the SDK. Only users that are watched are remembered. */
  async noteAnswer(userId: string, keys: StoreKeys): Promise<boolean> {
    const memory = await this.#memory(userId);
    const before = memory.seen.length;
    const ids = keysOfStore(keys);
    const logged = memory.entry === undefined ? [] : keysOfEntry(parseEntry(utf8(memory.entry), userId));
    for (const id of [...(memory.foundKeys ?? []), ...logged]) ids.delete(id);
    noteSeen(memory.seen, ids, this.#options.clock.now(), false);
    if (memory.seen.length !== before) await writeMemory(this.#options.storage, userId, memory);
    return memory.seen.length !== before;
  }

  /** Whether the store still holds exactly what passed the last complete check. */
  async isUnchanged(userId: string): Promise<boolean> {
    const { checkedKeys, seen } = await this.#memory(userId);
    const held = keysOfStore(await readStore(this.#options.client, userId));
    return seen.length === 0 && checkedKeys?.length === held.size && checkedKeys.every((id) => held.has(id));
  }

  /** An own device sent an encrypted event to these users. Returns those for whom an unlogged key makes that matter. */
  async noteSent(userIds: readonly string[]): Promise<string[]> {
    const { clock, storage } = this.#options;
    const concerned: string[] = [];
    for (const userId of userIds) {
      const memory = this.#memories.get(userId);
      if (memory === undefined) continue;
      const open = memory.seen.filter(({ told, inStore }) => told === undefined || inStore);
      const uncheckedMs = clock.now() - greySince(memory);
      if (open.length === 0 && uncheckedMs < UNCHECKED_LONG_AFTER_MS) continue;
      for (const key of open) key.sentMs ??= clock.now();
      if (uncheckedMs >= UNCHECKED_LONG_AFTER_MS) memory.sentUncheckedMs ??= clock.now();
      await writeMemory(storage, userId, memory);
      if (open.length > 0) concerned.push(userId);
    }
    return concerned;
  }

  /** A person dismissed what was told: keys that are gone no longer weigh on the verdict. */
  async forgetTold(userId: string): Promise<void> {
    const memory = await this.#memory(userId);
    memory.seen = memory.seen.filter(({ told, inStore }) => told === undefined || inStore);
    await writeMemory(this.#options.storage, userId, memory);
  }

  /** A contact's own device holds a head of the same log and sees what we see. */
  async noteAgreement(userId: string): Promise<void> {
    const memory = await this.#memory(userId);
    memory.agreedMs = this.#options.clock.now();
    await writeMemory(this.#options.storage, userId, memory);
  }

  /** What was last accepted about a user: for gossip and for showing. */
  async accepted(userId: string): Promise<Standing | undefined> {
    return standingOf(userId, await this.#memory(userId));
  }

  async #memory(userId: string): Promise<ContactMemory> {
    const known = this.#memories.get(userId);
    if (known !== undefined) return known;
    const memory = await readMemory(this.#options.storage, userId);
    const current = this.#memories.get(userId) ?? memory;
    this.#memories.set(userId, current);
    return current;
  }

  /** Sorts what can go wrong: the network, the log's answer, or nothing. */
  async #judged(userId: string, memory: ContactMemory, store: StoreKeys): Promise<Outcome> {
    try {
      const view = await this.#options.logs.of(serverOfUser(userId));
      if (view === undefined) return this.#withoutLog(userId, memory, store);
      const outcome = await this.#checked(view, userId, memory, store);
      memory.greySince = {};
      delete memory.sentUncheckedMs;
      return outcome;
    } catch (error) {
      if (error instanceof ServiceFailure) return this.#unreachable(userId, memory, store, error);
      if (error instanceof VerdictError) return this.#refuted(userId, memory, store, error);
      if (!(error instanceof VerificationError)) throw error;
      return this.#refuted(userId, memory, store, new VerdictError("bad-answer", error.message, { cause: error }));
    }
  }

  /** No log at that server. A pin still holds or fails; nothing else can be said. */
  #withoutLog(userId: string, memory: ContactMemory, store: StoreKeys): Outcome {
    memory.seen = [];
    const { verdict, finding } = this.#byPinAlone(userId, store, "no-log");
    return { verdict, findings: finding, enrolled: false };
  }

  /** Where no log speaks of the user: what was compared in person against what encryption uses now. */
  #byPinAlone(userId: string, store: StoreKeys, otherwise: VerdictCode): { verdict: Verdict; finding: Finding[] } {
    const { clock, state } = this.#options;
    const pin = state.pinOf(userId);
    if (pin === undefined || store.masterKey === undefined) return { verdict: unchecked(otherwise), finding: [] };
    const { masterKey, method, atMs } = pin;
    if (masterKey === store.masterKey) return { verdict: { kind: "verified", method, atMs }, finding: [] };
    const about = { code: "pin-mismatch", sinceMs: clock.now() } as const;
    const finding: Finding = { ...about, class: "warning", key: `master ${store.masterKey}` };
    return { verdict: { kind: "warning", ...about }, finding: [finding] };
  }

  /** Grey, and never an accusation; but keys that changed meanwhile are told. */
  #unreachable(userId: string, memory: ContactMemory, store: StoreKeys, { reason }: ServiceFailure): Outcome {
    const nowMs = this.#options.clock.now();
    const sinceMs = (memory.greySince[reason] ??= nowMs);
    const changed = this.#changedMeanwhile(userId, memory, store, sinceMs);
    const againMs = Math.min(changed.dueMs ?? Infinity, nextLookMs(sinceMs, nowMs, RETRY_MS));
    const findings = [...changed.findings, ...this.#uncheckedLong(memory)];
    return { verdict: unchecked(reason), findings, enrolled: memory.accepted !== undefined, againMs };
  }

  /**
   * Nothing was confirmed for a week, an own device wrote nevertheless, and an hour later it still was so: a device that
   * has slept for that week tells nobody.
   */
  #uncheckedLong(memory: ContactMemory): Finding[] {
    const { accepted, sentUncheckedMs } = memory;
    const sinceMs = greySince(memory);
    const lasts = sentUncheckedMs !== undefined && this.#options.clock.now() - sentUncheckedMs >= HOUR_MS;
    if (accepted === undefined || !lasts) return [];
    return [{ code: "unchecked-long", class: "notice", key: String(sinceMs), sinceMs }];
  }

  /** Keys that changed while the log confirms nothing are told after a moment, whether it is silent or answers nonsense. */
  #changedMeanwhile(
    userId: string,
    memory: ContactMemory,
    store: StoreKeys,
    sinceMs: number,
  ): { findings: Finding[]; dueMs?: number } {
    const nowMs = this.#options.clock.now();
    const pin = this.#options.state.pinOf(userId);
    const changed = changedKeys(userId, memory, store, pin);
    const [first] = changed;
    if (first === undefined) return { findings: [] };
    const dueMs = Math.max(sinceMs, first.firstSeenMs) + CHANGED_UNCHECKED_AFTER_MS;
    if (nowMs < dueMs) return { findings: [], dueMs };
    const key = changed.map(({ id }) => id).join(" ");
    const weight = pin === undefined ? "notice" : "warning";
    return { findings: [{ code: "changed-unchecked", class: weight, key, sinceMs: first.firstSeenMs }] };
  }

  /** The answer does not hold. Portable proof is told at once, anything else when it has lasted. */
  #refuted(userId: string, memory: ContactMemory, store: StoreKeys, error: VerdictError): Outcome {
    const nowMs = this.#options.clock.now();
    const { code } = error;
    const { class: weight } = classOf(code);
    const { sinceMs, told } = failureOf(memory, error, nowMs);
    const file = told?.evidence === undefined ? {} : { evidence: told.evidence };
    const verdict = told === undefined ? unchecked(code) : ({ kind: "warning", code, sinceMs, ...file } as const);
    const changed = this.#changedMeanwhile(userId, memory, store, sinceMs);
    const findings: Finding[] = told === undefined ? [] : [told];
    if (weight === "notice") findings.push({ code, class: weight, key: String(sinceMs), sinceMs });
    if (told?.class !== weight) findings.push(...changed.findings);
    if (told === undefined) findings.push(...this.#uncheckedLong(memory));
    const againMs = Math.min(changed.dueMs ?? Infinity, nextLookMs(sinceMs, nowMs, RETRY_MS));
    return { verdict, findings, enrolled: memory.accepted !== undefined, againMs };
  }

  async #checked(view: LogView, userId: string, memory: ContactMemory, store: StoreKeys): Promise<Outcome> {
    const { clock, state, slackMs } = this.#options;
    // What the answer lacks, it lacks as of now: a device may sleep for hours before the answer is judged.
    const nowMs = clock.now();
    const looked = await view.lookup(userId, knownOf(memory));
    const head = headOf(looked);
    if (looked.leaf === undefined) return await this.#absent(view, memory, looked, store);
    const previous = memory.entry === undefined ? undefined : parseEntry(utf8(memory.entry), userId);
    const older = await this.#olderKeys(view, looked, memory);
    const patienceMs = looked.head.configuration.merge_delay_ms + slackMs;
    const promised = await checkPromises({ view, looked, memory, older, nowMs });
    const withheld = await view.isWithheld(looked, looked.leaf);
    const known = { userId, nowMs, store, pin: state.pinOf(userId), memory, previous, older, patienceMs, withheld };
    const { content, n } = looked.leaf;
    const { headReason, quorumMet } = looked;
    const judged = judge({ ...known, entry: content?.entry, n, headReason, quorumMet });
    accept(memory, looked, clock.now());
    if (memory.seen.length === 0) await this.#options.confirmed(userId);
    const findings = [...looked.findings, ...promised, ...judged.findings];
    const againMs = earlier(judged.againMs, nextPromiseMs(memory, nowMs));
    return { verdict: judged.verdict, findings, head, enrolled: true, againMs };
  }

  /** Proven absent, and never seen present. A pin still holds or fails. */
  async #absent(view: LogView, memory: ContactMemory, looked: Looked, store: StoreKeys): Promise<Outcome> {
    const { clock } = this.#options;
    const promised = await checkPromises({ view, looked, memory, older: new Set(), nowMs: clock.now() });
    const about = { findings: [...looked.findings, ...promised], head: headOf(looked), enrolled: false };
    memory.seen = memory.seen.filter(({ inStore }) => inStore);
    const { verdict, finding } = this.#byPinAlone(looked.userId, store, looked.headReason ?? "not-enrolled");
    return { ...about, verdict, findings: [...about.findings, ...finding] };
  }

  /** Ids of keys in versions older than the newest, as far back as keys that were seen make it necessary. */
  async #olderKeys(view: LogView, looked: Looked, memory: ContactMemory): Promise<Set<string>> {
    const found = new Set<string>();
    if (looked.leaf === undefined) return found;
    const newest = looked.leaf.content === undefined ? new Set<string>() : keysOfEntry(looked.leaf.content.entry);
    const missing = (): boolean => memory.seen.some(({ id }) => !newest.has(id) && !found.has(id));
    const lowest = Math.max(1, looked.leaf.n - MAX_OLDER_VERSIONS);
    for (let to = looked.leaf.n - 1; to >= lowest && missing(); to -= VERSIONS_PER_PAGE) {
      const from = Math.max(lowest, to - VERSIONS_PER_PAGE + 1);
      for (const { entry } of await view.versions(looked, from, to)) {
        if (entry !== undefined) for (const id of keysOfEntry(entry)) found.add(id);
      }
    }
    return found;
  }
}

function earlier(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? (a ?? b) : Math.min(a, b);
}

/** Since when nothing was confirmed; never: `Infinity`. */
function greySince({ greySince: since }: ContactMemory): number {
  return Math.min(...Object.values(since));
}

/** Keys seen since the last complete check, oldest first; before any such check, a master key that is not the pinned one. */
function changedKeys(
  userId: string,
  { checkedKeys, seen, entry }: ContactMemory,
  { masterKey }: StoreKeys,
  pin: Pin | undefined,
): SeenKey[] {
  if (checkedKeys === undefined) {
    if (pin === undefined || masterKey === undefined || masterKey === pin.masterKey) return [];
    return seen.filter(({ id }) => id === `master ${masterKey}`);
  }
  const logged = entry === undefined ? [] : keysOfEntry(parseEntry(utf8(entry), userId));
  const known = new Set([...checkedKeys, ...logged]);
  return seen
    .filter(({ id, told, inStore }) => !known.has(id) && (told === undefined || inStore))
    .sort((a, b) => a.firstSeenMs - b.firstSeenMs);
}

function headOf({ head: { checkpoint, record } }: Looked): { size: number; timestampMs: number } {
  return { size: checkpoint.size, timestampMs: record.timestampMs };
}

/** What the log must not contradict: the state accepted last, and per settling epoch the newest accepted by then. */
export function knownOf({ accepted, unsettled }: Pick<ContactMemory, "accepted" | "unsettled">): KnownOfUser & {
  acceptedBy: (epoch: number) => AcceptedLeaf | undefined;
} {
  const acceptedBy = (settling: number): AcceptedLeaf | undefined => {
    const last = unsettled.findLast(({ epoch }) => epoch <= settling);
    return last === undefined ? undefined : acceptedLeaf(last);
  };
  return { acceptedBy, ...(accepted === undefined ? {} : { accepted: acceptedLeaf(accepted) }) };
}

/** Everything passed: this is now the state that all later ones must descend from. */
function accept(memory: ContactMemory, looked: Looked, nowMs: number): void {
  const { leaf } = looked;
  if (leaf === undefined) return;
  follow(memory, looked);
  // Whoever comes back, after the account was closed or a version did not open, is held against what was before.
  if (leaf.content !== undefined && leaf.content.entry.kind !== "closed") memory.entry = fromUtf8(leaf.content.bytes);
  memory.followedSinceMs ??= nowMs;
}

/** Takes a state as the newest accepted. What another log has shown holds, but its epochs have other numbers. */
export function follow(memory: ContactMemory, { head, leaf, settledEpoch }: Looked): void {
  if (leaf === undefined) return;
  const accepted = acceptedOf(leaf);
  if (hasMoved(memory, head.checkpoint.origin)) {
    memory.unsettled = [];
    memory.followedFromEpoch = 0;
  }
  if (memory.unsettled.at(-1)?.n !== accepted.n) memory.unsettled.push(accepted);
  memory.unsettled = keepSettled(memory.unsettled, settledEpoch);
  memory.accepted = accepted;
}

/** Of what has settled the newest is enough: it descends from the others. */
function keepSettled(states: readonly Accepted[], settling: number): Accepted[] {
  const settled = states.filter(({ epoch }) => epoch <= settling).slice(-1);
  return [...settled, ...states.filter(({ epoch }) => epoch > settling)].slice(-MAX_UNSETTLED);
}
