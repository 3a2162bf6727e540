/**
 * From facts to warnings: at most one per fact and account, worded for people, posted where it helps. A fact found again,
 * on this device or another one, raises nothing; a warning ends only when somebody dismisses it.
 */
import { encodeHex, utf8 } from "../shared/encoding.ts";
import { sha256 } from "../shared/crypto/hash.ts";
import { MATRIX_NAMES, serverOfUser } from "../shared/messages.ts";
import type { VerdictClass, VerdictCode } from "../shared/verdict-codes.ts";
import type { Clock } from "./clock.ts";
import type { AccountState, StateRecord } from "./contacts.ts";
import type { ClientLike, RoomLike } from "./matrix.ts";
import { markLocally } from "./matrix.ts";
import type { Storage } from "./storage.ts";
import { wordingOf } from "./wording.ts";

/** Something that was found out. `key` tells two facts of one code about one user apart (a key, a version, an epoch). */
export interface Fact {
  readonly userId: string;
  readonly code: VerdictCode;
  readonly class: VerdictClass;
  readonly key: string;
  readonly sinceMs: number;
  readonly devices?: readonly string[];
  /** Evidence file as JSON text, where there is portable evidence. */
  readonly evidence?: string;
}

/** A fact as a person meets it. */
export interface Warning {
  readonly id: string;
  readonly userId: string;
  readonly code: VerdictCode;
  readonly class: VerdictClass;
  readonly sinceMs: number;
  readonly title: string;
  readonly text: string;
  readonly action: string;
  /** Evidence file as JSON text, for `matrix-ckv verify-evidence`. */
  readonly evidence?: string;
  /** Encrypted rooms shared with that user. */
  readonly roomIds: readonly string[];
}

/**
 * Where warnings may be posted: `direct` a notice in encrypted chats of two and a local mark in groups, `local` marks
 * only, `off` nothing but the event for the host.
 */
export type PostPolicy = "direct" | "local" | "off";

export interface WarningsOptions {
  readonly client: ClientLike;
  readonly state: AccountState;
  /** Keeps the evidence that is too long to be shared. */
  readonly storage: Storage;
  readonly clock: Clock;
  readonly post: PostPolicy;
  readonly signal: AbortSignal;
  readonly onWarning: (warning: Warning) => void;
  readonly onError: (error: unknown) => void;
  /** Position of this device among the own devices: later ones wait, so that one of them posts. */
  readonly rank: () => Promise<number>;
}

const CLASSES: readonly VerdictClass[] = ["information", "unchecked", "notice", "warning", "evidence"];
/** Evidence longer than this stays on this device, in its storage under this name and the warning's id. */
const EVIDENCE = "evidence:";
const MAX_SHARED_EVIDENCE_CHARACTERS = 16_384;
/** A device posts this much later per own device before it, and never more than the second. */
const POST_STEP_MS = 2_000;
const POST_WAIT_MAX_MS = 6_000;

type WarningRecord = Extract<StateRecord, { kind: "warning" }>;

/** Raised warnings of the account. Facts come in by `raise`; the account state holds what was raised. */
export class Warnings {
  readonly #options: WarningsOptions;
  /** Ids posted, or seen posted, from this device on. */
  readonly #posted = new Set<string>();
  /** Evidence of this device, which is in storage, too. */
  readonly #evidence = new Map<string, string>();
  readonly #told = new Map<string, VerdictClass>();

  constructor(options: WarningsOptions) {
    this.#options = options;
    for (const { id, class: told } of this.#records()) this.#told.set(id, told);
  }

  /** Reads the evidence that this device keeps for warnings that still stand. */
  async load(): Promise<void> {
    const { storage } = this.#options;
    const standing = new Set(this.list().map(({ id }) => id));
    for (const name of await storage.names(EVIDENCE)) {
      const id = name.slice(EVIDENCE.length);
      const file = standing.has(id) ? await storage.get(name) : undefined;
      if (file === undefined) await storage.delete(name);
      else this.#evidence.set(id, file);
    }
  }

  /** Takes a fact in. The first time, or when it has become graver, the host is told and the chat, if policy says so. */
  async raise(fact: Fact): Promise<void> {
    if (isBelow(fact.class, "notice")) return;
    const id = idOf(fact);
    const last = this.#record(id);
    const known = last !== undefined && this.#isAnotherTime(last, fact) ? undefined : last;
    if (known !== undefined && !isBelow(known.class, fact.class)) return;
    const { userId, code, devices, evidence } = fact;
    const isShared = evidence !== undefined && evidence.length <= MAX_SHARED_EVIDENCE_CHARACTERS;
    const shared = isShared ? { evidence } : {};
    if (evidence !== undefined && !isShared) {
      this.#evidence.set(id, evidence);
      await this.#options.storage.set(EVIDENCE + id, evidence);
    }
    const sinceMs = known?.sinceMs ?? fact.sinceMs;
    const named = devices === undefined ? {} : { devices };
    this.#told.set(id, fact.class);
    await this.#options.state.add({
      kind: "warning",
      id,
      userId,
      code,
      class: fact.class,
      sinceMs,
      ...named,
      ...shared,
    });
    const warning = this.#describe(this.#record(id));
    if (warning === undefined) return;
    this.#options.onWarning(warning);
    await this.#post(warning);
  }

  /** Tells the host of what other devices raised. Called when records of others arrived. */
  takeOver(): void {
    for (const record of this.#records()) {
      const told = this.#told.get(record.id);
      if (told !== undefined && !isBelow(told, record.class)) continue;
      this.#told.set(record.id, record.class);
      const warning = this.#isDismissed(record) ? undefined : this.#describe(record);
      if (warning !== undefined) this.#options.onWarning(warning);
    }
    this.mark();
  }

  /** Warnings nobody has dismissed, newest last. */
  list(): Warning[] {
    return this.#records()
      .filter((record) => !this.#isDismissed(record))
      .map((record) => this.#describe(record))
      .filter((warning) => warning !== undefined);
  }

  /** The gravest open warning about a user; notices do not count. */
  gravest(userId: string): Warning | undefined {
    return this.list()
      .filter((warning) => warning.userId === userId && !isBelow(warning.class, "warning"))
      .sort((a, b) => CLASSES.indexOf(b.class) - CLASSES.indexOf(a.class))
      .at(0);
  }

  async dismiss(id: string): Promise<void> {
    await this.#options.state.add({ kind: "dismissed", id });
  }

  /** An own notice arrived through the timeline: no device of this account posts it again. */
  sawPosted(content: Record<string, unknown>): void {
    const id = warningIdOf(content);
    if (id !== undefined) this.#posted.add(id);
  }

  /** One record per id: of several writers the gravest, with the earliest time. */
  #records(): WarningRecord[] {
    const byId = new Map<string, WarningRecord>();
    for (const record of this.#options.state.all("warning")) {
      const other = byId.get(record.id);
      const gravest = other === undefined || isBelow(other.class, record.class) ? record : other;
      byId.set(record.id, { ...gravest, sinceMs: Math.min(record.sinceMs, other?.sinceMs ?? record.sinceMs) });
    }
    return [...byId.values()];
  }

  #record(id: string): WarningRecord | undefined {
    return this.#records().find((record) => record.id === id);
  }

  /** A fault without a key of its own, which was over when it was dismissed, and began again since. */
  #isAnotherTime(record: WarningRecord, { key, sinceMs }: Fact): boolean {
    if (key !== "" || record.class === "evidence" || !this.#isDismissed(record)) return false;
    return this.#options.state.all("dismissed").every(({ id, atMs }) => id !== record.id || atMs < sinceMs);
  }

  /** Dismissed since it was raised at its present class. */
  #isDismissed({ id, atMs }: WarningRecord): boolean {
    return this.#options.state.all("dismissed").some((record) => record.id === id && record.atMs >= atMs);
  }

  #describe(record: WarningRecord | undefined): Warning | undefined {
    if (record === undefined) return undefined;
    const { id, userId, code, class: weight, sinceMs } = record;
    const { client } = this.#options;
    const roomIds = sharedRooms(client, userId).map(({ roomId }) => roomId);
    const name = userId === client.getSafeUserId() ? "you" : displayNameOf(client, userId);
    const since = new Date(sinceMs).toISOString().slice(0, 16).replace("T", " ") + " UTC";
    const words = wordingOf(code, { name, server: serverOfUser(userId), since, devices: record.devices });
    const evidence = record.evidence ?? this.#evidence.get(id);
    return {
      id,
      userId,
      code,
      class: weight,
      sinceMs,
      ...words,
      ...(evidence === undefined ? {} : { evidence }),
      roomIds,
    };
  }

  /** Puts the marks of all open warnings into this device's timelines: after a restart, and those of other own devices. */
  mark(): void {
    for (const warning of this.list()) this.#mark(warning);
  }

  #mark(warning: Warning): void {
    const { client } = this.#options;
    for (const room of this.#roomsFor(warning)) {
      if (!this.#isForNotice(room, warning)) markLocally(client, room, bodyOf(warning), contentOf(warning));
    }
  }

  async #post(warning: Warning): Promise<void> {
    this.#mark(warning);
    for (const room of this.#roomsFor(warning)) {
      if (this.#isForNotice(room, warning)) await this.#postNotice(room.roomId, warning);
    }
  }

  #roomsFor({ userId }: Warning): RoomLike[] {
    const { post, client } = this.#options;
    return post === "off" || userId === client.getSafeUserId() ? [] : sharedRooms(client, userId);
  }

  #isForNotice(room: RoomLike, { userId, class: weight }: Warning): boolean {
    return this.#options.post === "direct" && isPairOf(room, userId) && !isBelow(weight, "warning");
  }

  /** One notice from one of the own devices; the text, never a key. */
  async #postNotice(roomId: string, warning: Warning): Promise<void> {
    const { client, state, clock, signal, rank, onError } = this.#options;
    try {
      const waitMs = Math.min((await rank()) * POST_STEP_MS, POST_WAIT_MAX_MS);
      if (waitMs > 0) await clock.sleep(waitMs, signal);
      if (signal.aborted || this.#posted.has(warning.id)) return;
      if (state.all("posted").some(({ id, class: posted }) => id === warning.id && !isBelow(posted, warning.class)))
        return;
      if ((await client.getCrypto()?.isEncryptionEnabledInRoom(roomId)) !== true) return;
      this.#posted.add(warning.id);
      const content = { msgtype: "m.notice", body: bodyOf(warning), [MATRIX_NAMES.warning]: contentOf(warning) };
      await client.sendEvent(roomId, "m.room.message", content, `ckv-${warning.id}`);
      await state.add({ kind: "posted", id: warning.id, class: warning.class });
    } catch (error) {
      onError(error);
    }
  }
}

function isBelow(a: VerdictClass, b: VerdictClass): boolean {
  return CLASSES.indexOf(a) < CLASSES.indexOf(b);
}

/** Codes about a whole log: one fact, however many contacts it concerns. */
const LOG_CODES: ReadonlySet<VerdictCode> = new Set<VerdictCode>([
  "head-fork",
  "time-backwards",
  "labels-shrank",
  "config-fixed-field",
  "config-changed",
  "head-withheld",
  "log-rolled-back",
  "log-gone",
  "log-moved",
  "log-replaced",
  "log-key-differs",
  "quorum-weaker",
  "stale-long",
  "vrf-key",
  "settle-overdue",
  "head-signature",
  "head-origin",
  "heads-unreconciled",
  "record-not-last",
  "record-invalid",
]);

function idOf({ userId: user, code, key }: Fact): string {
  const userId = LOG_CODES.has(code) ? serverOfUser(user) : user;
  return encodeHex(sha256(utf8(`${userId}\0${code}\0${key}`))).slice(0, 24);
}

function bodyOf({ title, text, action }: Warning): string {
  return `${title}. ${text} ${action}`;
}

function contentOf({ id, userId, code, sinceMs }: Warning): Record<string, unknown> {
  return { id, user_id: userId, code, since_ms: sinceMs };
}

/** Id of the warning in the content of a notice of ours; undefined for any other content. */
export function warningIdOf(content: Record<string, unknown>): string | undefined {
  const warning = content[MATRIX_NAMES.warning];
  if (typeof warning !== "object" || warning === null || !("id" in warning)) return undefined;
  return typeof warning.id === "string" ? warning.id : undefined;
}

/** Encrypted rooms that this account has joined and the user is in, or invited to. */
export function sharedRooms(client: ClientLike, userId: string): RoomLike[] {
  return client.getRooms().filter((room) => {
    if (room.getMyMembership() !== "join" || !room.hasEncryptionStateEvent()) return false;
    const membership = room.getMember(userId)?.membership;
    return membership === "join" || membership === "invite";
  });
}

function isPairOf(room: RoomLike, userId: string): boolean {
  const members = [...room.getMembersWithMembership("join"), ...room.getMembersWithMembership("invite")];
  return members.length === 2 && members.some((member) => member.userId === userId);
}

function displayNameOf(client: ClientLike, userId: string): string {
  for (const room of client.getRooms()) {
    const name = room.getMember(userId)?.name;
    if (name !== undefined && name !== "") return name;
  }
  return userId;
}
