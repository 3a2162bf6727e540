/**
 * Contact Key Verification for a Matrix client: checks what encryption really uses against the public key log of each
 * contact's server, watches the own account, compares contact codes, and warns. The public API, and the only place that
 * wires the parts together.
 */
import { parsePolicy } from "../shared/log/policy.ts";
import { checkPublicCode, encodePublicCode, parseMatrixLink } from "../shared/codes/public-code.ts";
import { decodeUnpadded, encodeUnpadded } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import { MATRIX_NAMES, serverOfUser } from "../shared/messages.ts";
import type { HeadPart } from "../shared/messages.ts";
import { DAY_MS, MINUTE_MS, SLACK_DEFAULT_MS, SLACK_MIN_MS } from "../shared/parameters.ts";
import { VerdictError, classOf } from "../shared/verdict-codes.ts";
import type { VerdictCode } from "../shared/verdict-codes.ts";
import { Schedule, systemClock } from "./clock.ts";
import type { Clock } from "./clock.ts";
import { CompareSessions } from "./compare.ts";
import type { CompareHost, CompareSession, MasterKeyReading } from "./compare.ts";
import { AccountState, isBucketType } from "./contacts.ts";
import type { PinMethod } from "./contacts.ts";
import { Emitter } from "./emitter.ts";
import { Gossip } from "./gossip.ts";
import { readHistory } from "./history.ts";
import type { HistoryItem } from "./history.ts";
import { ServiceFailure } from "./log-client.ts";
import type { Fetch } from "./log-client.ts";
import { Logs } from "./logs.ts";
import type { ClientLike, EventLike, MemberLike, ReceivedToDevice } from "./matrix.ts";
import { checkClient, cryptoOf, isNotFound, readOwn, readStore, sendToDevices, tapKeysQuery } from "./matrix.ts";
import { Monitor } from "./monitor.ts";
import type { ContactStatus } from "./monitor.ts";
import { OwnAccount } from "./own-account.ts";
import type { OwnStatus } from "./own-account.ts";
import { askOwnDevices, rankOfThisDevice, receiveFromOwnDevice, unlockFromSecretStorage } from "./own-devices.ts";
import { OwnKeys, signContact } from "./own-keys.ts";
import { checkRoomHeads } from "./room-heads.ts";
import { keysOfAnswer } from "./seen-keys.ts";
import { Senders } from "./senders.ts";
import { IndexedDbStorage } from "./storage.ts";
import type { Storage } from "./storage.ts";
import { unchecked } from "./verdict.ts";
import type { Finding, Verdict } from "./verdict.ts";
import { Verifier } from "./verifier.ts";
import { Warnings, sharedRooms, warningIdOf } from "./warnings.ts";
import type { PostPolicy, Warning } from "./warnings.ts";

export type { ContactStatus, CompareSession, HistoryItem, OwnStatus, Verdict, Warning };
export type { ClientLike, Clock, Storage };

export interface ContactKeyVerificationOptions {
  /** A matrix-js-sdk client (41.7 to 43) with Rust crypto initialised. */
  readonly client: ClientLike;
  /** Default: IndexedDB; where that fails, memory, and `ownStatus` says so. */
  readonly storage?: Storage;
  readonly clock?: Clock;
  /** For well-known and the log services; never carries the access token. */
  readonly fetch?: Fetch;
  /** Cryptographically random bytes. */
  readonly random?: (length: number) => Uint8Array;
  readonly policy?: {
    /** Added to the log's merge delay before an unlogged key is spoken of; at least 5 s. */
    readonly slackMs?: number;
    /** C2SP tlog-policy that every head must meet. */
    readonly quorum?: string;
  };
  /** Where warnings are posted. Default `direct`. */
  readonly post?: PostPolicy;
  /** Logs known beforehand, by server name. */
  readonly pins?: Readonly<Record<string, { readonly service_url: string; readonly log_key: string }>>;
  /** Told about failures of the plugin itself; no secrets. */
  readonly log?: (message: string, error: unknown) => void;
}

export type ContactKeyVerificationEvents = {
  readonly status: readonly [userId: string, status: ContactStatus];
  readonly warning: readonly [warning: Warning];
  readonly compare: readonly [session: CompareSession];
  readonly own: readonly [status: OwnStatus];
};

/** State of a room: the gravest of its members. */
export interface RoomStatus {
  readonly kind: Verdict["kind"];
  readonly perUser: ReadonlyMap<string, ContactStatus>;
}

const GRAVITY: readonly Verdict["kind"][] = ["verified", "consistent", "unchecked", "warning"];
/** Heads are polled every five heartbeats, within these. */
const POLL_HEARTBEATS = 5;
const POLL_MIN_MS = 10_000;
const POLL_MAX_MS = 5 * MINUTE_MS;
/** A head is shared with the own devices at most this often. */
const SHARE_HEAD_EVERY_MS = 10 * MINUTE_MS;

/** It could not be checked, and now it is. */
const ANSWERED_BY_LOG: readonly VerdictCode[] = ["changed-unchecked"];
/** What these warnings ask for is a comparison: a successful one dismisses them. */
const ANSWERED_BY_COMPARING: readonly VerdictCode[] = [
  ...ANSWERED_BY_LOG,
  "pin-mismatch",
  "reset-unsigned",
  "reset-signed",
  "code-mismatch",
  "compare-codes-differ",
  "compare-keys-differ",
  "compare-key-changed",
];

export class ContactKeyVerification {
  readonly #client: ClientLike;
  readonly #clock: Clock;
  readonly #random: (length: number) => Uint8Array;
  readonly #log: (message: string, error: unknown) => void;
  readonly #emitter: Emitter<ContactKeyVerificationEvents>;
  readonly #storage: Storage;
  readonly #state: AccountState;
  readonly #logs: Logs;
  readonly #verifier: Verifier;
  readonly #monitor: Monitor;
  readonly #own: OwnAccount;
  readonly #gossip: Gossip;
  readonly #sessions: CompareSessions;
  readonly #schedule: Schedule;
  readonly #senders: Senders;
  readonly #post: PostPolicy;
  readonly #sharedHeadMs = new Map<string, number>();
  readonly #pollCodes = new Map<string, string>();
  #abort = new AbortController();
  #warnings: Warnings | undefined;
  #ownStatus: OwnStatus = { state: "unknown" };
  #doubt: NonNullable<OwnStatus["doubt"]> | undefined;
  /** Undoes what `start` attached. */
  #detach: (() => void)[] = [];
  /** The own check that runs or ran last, and the one that will follow. */
  #ownRunning: Promise<void> = Promise.resolve();
  #ownNext: Promise<void> | undefined;

  constructor(options: ContactKeyVerificationOptions) {
    const { client } = options;
    this.#client = client;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? ((length) => crypto.getRandomValues(new Uint8Array(length)));
    this.#log = options.log ?? (() => undefined);
    this.#post = options.post ?? "direct";
    const report = (error: unknown): void => {
      this.#report("a check failed", error);
    };
    this.#emitter = new Emitter(report);
    const storage =
      options.storage ??
      new IndexedDbStorage(`matrix-ckv:${client.getSafeUserId()}:${client.getDeviceId() ?? ""}`, () => {
        if (this.#doubt === undefined) this.#doubts("state-unstored");
      });
    this.#storage = storage;
    const clock = this.#clock;
    const slackMs = Math.max(SLACK_MIN_MS, options.policy?.slackMs ?? SLACK_DEFAULT_MS);
    const fetch: Fetch = options.fetch ?? (async (url, init) => await globalThis.fetch(url, init));
    const raise = async (userId: string, findings: readonly Finding[]): Promise<void> => {
      await this.#raise(userId, findings);
    };
    const state = new AccountState({
      userId: client.getSafeUserId(),
      deviceId: client.getDeviceId() ?? "",
      storage,
      accountData: accountDataOf(client),
      clock,
      random: this.#random,
      onChange: () => {
        this.#guard("shared state", async () => {
          await this.#takeOver();
        });
      },
      onDoubt: (code) => {
        this.#doubts(code);
      },
    });
    this.#state = state;
    this.#logs = new Logs({
      client,
      transport: { fetch, clock },
      storage,
      random: this.#random,
      policy: options.policy?.quorum === undefined ? undefined : parsePolicy(options.policy.quorum),
      pins: options.pins ?? {},
      pinnedElsewhere: (server) => state.all("head").findLast((head) => head.server === server)?.logKey,
      onHead: (server, head, logKey) => {
        this.#shareHead(server, head, logKey);
      },
    });
    const confirmed = async (userId: string): Promise<void> => {
      await this.#answer(userId, ANSWERED_BY_LOG);
    };
    this.#verifier = new Verifier({ client, clock, storage, state, logs: this.#logs, slackMs, raise, confirmed });
    this.#own = new OwnAccount({ client, clock, storage, state, logs: this.#logs, slackMs, raise });
    this.#monitor = new Monitor({
      clock,
      check: async (userId) => await this.#verifier.check(userId),
      openWarning: (userId) => this.#openWarning(userId),
      isPinned: (userId) => state.pinOf(userId) !== undefined,
      onStatus: (userId, status) => {
        this.#emitter.emit("status", userId, status);
        this.#guard("gossip", async () => {
          await this.#tellWhenSettled(userId, status);
        });
      },
      onError: report,
    });
    this.#gossip = new Gossip({
      client,
      clock,
      storage,
      logs: this.#logs,
      accepted: async (userId) =>
        userId === client.getSafeUserId() ? await this.#own.accepted() : await this.#verifier.accepted(userId),
      agreed: async (userId) => {
        await this.#verifier.noteAgreement(userId);
        this.#monitor.check(userId);
      },
      checkOwn: async () => {
        await this.#checkOwnNow();
      },
      raise,
    });
    this.#sessions = new CompareSessions(this.#compareHost());
    this.#schedule = new Schedule(clock, report);
    this.#senders = new Senders(client, clock);
  }

  /**
   * Starts watching. Nothing in here asks the user for anything. Starting twice is the same as once. Throws
   * `client-unsupported` if the client's SDK lacks what the plugin needs.
   */
  async start(): Promise<void> {
    if (this.#warnings !== undefined) return;
    checkClient(this.#client);
    this.#abort = new AbortController();
    await this.#state.load();
    this.#warnings = new Warnings({
      client: this.#client,
      state: this.#state,
      storage: this.#storage,
      clock: this.#clock,
      post: this.#post,
      signal: this.#abort.signal,
      onWarning: (warning) => {
        this.#emitter.emit("warning", warning);
        this.#monitor.reconsider();
      },
      onError: (error) => {
        this.#report("a warning could not be posted", error);
      },
      rank: async () => await rankOfThisDevice(this.#client),
    });
    await this.#warnings.load();
    this.#monitor.start();
    this.#attach();
    this.#scan();
    this.#warnings.mark();
    this.#guard("shared state", async () => {
      await this.#state.pull();
      if (this.#state.syncKey === undefined || !this.#state.confirmed) await askOwnDevices(this.#client);
    });
    this.#checkOwn();
    this.#poll();
  }

  /** Stops watching and gives the client back as it was. */
  stop(): void {
    for (const undo of this.#detach.splice(0)) undo();
    this.#abort.abort();
    this.#schedule.stop();
    this.#monitor.stop();
    this.#sessions.stop();
    this.#warnings = undefined;
  }

  /** Returns the function that removes the listener. */
  on<Name extends keyof ContactKeyVerificationEvents>(
    event: Name,
    listener: (...parameters: ContactKeyVerificationEvents[Name]) => void,
  ): () => void {
    return this.#emitter.on(event, listener);
  }

  /**
   * Turns key verification on for the own account: enrols it in the log, waits until the log holds it, and says so in a
   * signed statement. A user's own action: secret storage may ask for the recovery key. Returns the ids of own devices
   * that do not run this check yet.
   */
  async turnOn(): Promise<{ devicesWithoutCkv: string[] }> {
    await this.#unlock();
    await this.#ownKeys().turnOn();
    await this.#checkOwnNow();
    await this.#state.flush();
    const { keys, deviceId } = await readOwn(this.#client);
    const kinds = ["pin", "warning", "acknowledged", "settled", "head", "dismissed"] as const;
    const writers = new Set(kinds.flatMap((kind) => this.#state.all(kind).map(({ writer }) => writer)));
    return { devicesWithoutCkv: [...keys.devices.keys()].filter((id) => id !== deviceId && !writers.has(id)).sort() };
  }

  /** Says in a signed statement that key verification is off. The account stays in the log. */
  async turnOff(): Promise<void> {
    await this.#ownKeys().turnOff();
    await this.#checkOwnNow();
  }

  /**
   * Resets the own digital identity so that contacts see that its owner did it, instead of being warned. `reset` is the
   * host's own way, for instance `() => crypto.resetEncryption(auth)`; the old private key, from the SDK or from secret
   * storage, signs what it makes. A user's own action: secret storage may ask for the recovery key. Returns false where
   * the old key was not at hand. Throws before the reset where the log can't be asked, and what `reset` throws.
   */
  async resetIdentity(reset: () => Promise<unknown>): Promise<boolean> {
    const isSigned = await this.#ownKeys().reset(reset);
    await this.#unlock();
    await this.#checkOwnNow();
    return isSigned;
  }

  ownStatus(): OwnStatus {
    const unconfirmed = this.#state.confirmed ? undefined : "state-unconfirmed";
    const doubt = this.#doubt ?? unconfirmed;
    return doubt === undefined ? this.#ownStatus : { ...this.#ownStatus, doubt };
  }

  /** The status of a contact as known now. Watching begins with the first question. */
  statusOf(userId: string): ContactStatus {
    return userId === this.#client.getSafeUserId() ? this.#statusOfSelf() : this.#monitor.statusOf(userId);
  }

  /** The own account, in the words of a contact's status. */
  #statusOfSelf(): ContactStatus {
    const { state, reason, checkedAtMs } = this.#ownStatus;
    const enrolled = state === "on" || state === "off";
    const calm: Verdict =
      enrolled && reason === undefined
        ? { kind: "consistent", ground: "own-history" }
        : unchecked(reason ?? "not-enrolled");
    const verdict = this.#openWarning(this.#client.getSafeUserId()) ?? calm;
    return { verdict, pinned: false, enrolled, ...(checkedAtMs === undefined ? {} : { checkedAtMs }) };
  }

  /** The statuses of all members of a room but the own account. */
  statusOfRoom(roomId: string): RoomStatus {
    const perUser = new Map<string, ContactStatus>();
    for (const userId of this.#membersOf(roomId)) perUser.set(userId, this.statusOf(userId));
    const kinds = [...perUser.values()].map(({ verdict }) => GRAVITY.indexOf(verdict.kind));
    return { kind: GRAVITY[Math.max(0, ...kinds)] ?? "unchecked", perUser };
  }

  /** Checks a contact, or the own account, now. */
  async refresh(userId: string): Promise<ContactStatus> {
    if (userId !== this.#client.getSafeUserId()) return await this.#monitor.refresh(userId);
    await this.#checkOwnNow();
    return this.statusOf(userId);
  }

  /** Starts comparing contact codes, or accepts the contact's own request. A refusal is a session that has ended. */
  async compare(userId: string): Promise<CompareSession> {
    await this.#unlock();
    return await this.#sessions.compare(userId);
  }

  /** The running comparison with a contact. */
  sessionWith(userId: string): CompareSession | undefined {
    return this.#sessions.sessionWith(userId);
  }

  /** The own public code. Throws without a digital identity. */
  async publicCode(): Promise<string> {
    const userId = this.#client.getSafeUserId();
    const { masterKey } = await readStore(this.#client, userId);
    if (masterKey === undefined) throw new Error("set up your digital identity first");
    return encodePublicCode(userId, decodeUnpadded(masterKey));
  }

  /**
   * Verifies a contact by a public code (or the link that holds one) from outside Matrix. Throws VerdictError
   * `code-malformed`, `code-other-user`, `code-mismatch`; the last also raises a warning.
   */
  async markVerified(userId: string, publicCode: string): Promise<void> {
    const code = codeFor(userId, publicCode.trim());
    const { store, entry } = await this.#readMasterKey(userId);
    const key = store ?? entry;
    if (key === undefined) throw new VerdictError("identity-missing", "the contact has no digital identity yet");
    try {
      for (const read of [store, entry].filter((each) => each !== undefined)) checkPublicCode(code, userId, read);
    } catch (error) {
      if (!(error instanceof VerificationError)) throw error;
      if (error.code === "malformed") throw new VerdictError("code-malformed", error.message, { cause: error });
      await this.#raiseCode(userId, "code-mismatch");
      throw new VerdictError("code-mismatch", "the code belongs to another identity", { cause: error });
    }
    await this.#unlock();
    await this.#pin(userId, key, "public-code", false);
  }

  /** The versions of a user's keys in the log, newest first. Throws when the log can't be asked. */
  async historyOf(userId: string): Promise<HistoryItem[]> {
    const view = await this.#logs.of(serverOfUser(userId));
    return view === undefined ? [] : await readHistory(view, userId);
  }

  /** Warnings and notices that nobody has dismissed, on any device of the account. */
  warnings(): Warning[] {
    return this.#warnings?.list() ?? [];
  }

  /** Dismisses a warning on all devices of the account. */
  async dismiss(warningId: string): Promise<void> {
    const warning = this.warnings().find(({ id }) => id === warningId);
    await this.#warnings?.dismiss(warningId);
    if (warning === undefined) return;
    await this.#verifier.forgetTold(warning.userId);
    this.#monitor.reconsider();
  }

  // ------------------------------------------------------------------------------------------------------- the SDK

  /** The names are stable from 41.7 to 43. */
  #attach(): void {
    this.#listen("crypto.devicesUpdated", (userIds: string[]) => {
      this.#onDevices(userIds);
    });
    this.#listen("userTrustStatusChanged", (userId: string) => {
      this.#onDevices([userId]);
    });
    this.#listen("crossSigning.keysChanged", () => {
      this.#checkOwn();
    });
    this.#listen("event", async (event: EventLike) => {
      await this.#onEvent(event);
    });
    this.#listen("accountData", async (event: EventLike) => {
      await this.#onAccountData(event);
    });
    this.#listen("receivedToDeviceMessage", async (received: ReceivedToDevice) => {
      await this.#onToDevice(received);
    });
    this.#listen("RoomMember.membership", (_: EventLike, member: MemberLike) => {
      this.#onMember(member);
    });
    this.#listen("sync", (state: string) => {
      if (state === "PREPARED") this.#warnings?.mark();
    });
    this.#listen("Room.timelineReset", () => {
      this.#warnings?.mark();
    });
    const onAnswer = (text: string): void => {
      this.#guard("keys query", async () => {
        await this.#onKeysQuery(text);
      });
    };
    this.#detach.push(tapKeysQuery(this.#client, onAnswer));
  }

  /** Hears an event of the SDK until `stop`; what fails in `task` is reported under its name. */
  #listen(event: string, task: (...parameters: never[]) => Promise<void> | void): void {
    const listener = (...parameters: never[]): void => {
      this.#guard(event, async () => {
        await task(...parameters);
      });
    };
    this.#client.on(event, listener);
    this.#detach.push(() => this.#client.off(event, listener));
  }

  /** The store changed: verdicts fall in this very tick. An empty list means identities, and does not say whose. */
  #onDevices(userIds: readonly string[]): void {
    const own = this.#client.getSafeUserId();
    for (const userId of userIds) {
      if (userId === own) this.#checkOwn();
      else this.#monitor.changed(userId);
    }
    if (userIds.length > 0) return;
    this.#checkOwn();
    this.#guard("identities updated", async () => {
      for (const userId of this.#monitor.watched()) {
        if (!(await this.#verifier.isUnchanged(userId))) this.#monitor.changed(userId);
      }
    });
  }

  async #onKeysQuery(text: string): Promise<void> {
    const watched = new Set(this.#monitor.watched());
    const answered = keysOfAnswer(text);
    const own = answered.get(this.#client.getSafeUserId());
    if (own !== undefined) {
      this.#own.noteAnswer(own);
      this.#checkOwn();
    }
    for (const [userId, keys] of answered) {
      if (watched.has(userId) && (await this.#verifier.noteAnswer(userId, keys))) this.#monitor.changed(userId);
    }
  }

  /** Encrypted events of own devices: they decide whether an unlogged key is a warning. Our own notices do not count. */
  async #onEvent(event: EventLike): Promise<void> {
    const roomId = event.getRoomId();
    if (roomId === undefined) return;
    if (event.getType() === "m.room.encryption") this.#scan();
    if (event.getSender() !== this.#client.getSafeUserId() || event.getWireType() !== "m.room.encrypted") return;
    await this.#client.decryptEventIfNeeded(event);
    if (warningIdOf(event.getContent()) !== undefined) {
      this.#warnings?.sawPosted(event.getContent());
      return;
    }
    for (const userId of await this.#verifier.noteSent(this.#membersOf(roomId))) this.#monitor.check(userId);
  }

  async #onAccountData(event: EventLike): Promise<void> {
    if (isBucketType(event.getType())) await this.#state.receive(event.getType(), event.getContent(), false);
  }

  async #onToDevice(received: ReceivedToDevice): Promise<void> {
    const { message } = received;
    const compared: readonly string[] = Object.values(MATRIX_NAMES.compare);
    if (message.type === MATRIX_NAMES.state) {
      await receiveFromOwnDevice(this.#client, this.#state, received);
    } else if (message.type === MATRIX_NAMES.head || compared.includes(message.type)) {
      const sender = await this.#senders.deviceOf(received);
      if (sender === undefined) return;
      const from = { userId: message.sender, deviceId: sender.deviceId };
      if (message.type !== MATRIX_NAMES.head) await this.#sessions.receive(from, message.type, message.content);
      else if (sender.signedByOwner) await this.#gossip.receive(from, message.content);
    }
  }

  #onMember(member: MemberLike): void {
    const isHere = member.membership === "join" || member.membership === "invite";
    if (!isHere || member.userId === this.#client.getSafeUserId()) return;
    if (sharedRooms(this.#client, member.userId).length > 0) this.#monitor.watch(member.userId);
  }

  /** Watches everybody in an encrypted room. */
  #scan(): void {
    for (const room of this.#client.getRooms()) {
      if (room.getMyMembership() !== "join" || !room.hasEncryptionStateEvent()) continue;
      for (const userId of this.#membersOf(room.roomId)) this.#monitor.watch(userId);
    }
  }

  #membersOf(roomId: string): string[] {
    const room = this.#client.getRoom(roomId);
    if (room === null) return [];
    const members = [...room.getMembersWithMembership("join"), ...room.getMembersWithMembership("invite")];
    return members.map(({ userId }) => userId).filter((userId) => userId !== this.#client.getSafeUserId());
  }

  // --------------------------------------------------------------------------------------------------- own account

  #ownKeys(): OwnKeys {
    return new OwnKeys({ client: this.#client, clock: this.#clock, logs: this.#logs, signal: this.#abort.signal });
  }

  /** Unlocks the shared state; only after a user's own action. A host without the recovery key at hand may refuse. */
  async #unlock(): Promise<void> {
    try {
      await unlockFromSecretStorage(this.#client, this.#state, this.#random);
    } catch (error) {
      this.#report("secret storage stayed locked", error);
    }
  }

  #checkOwn(): void {
    this.#guard("own account", async () => {
      await this.#checkOwnNow();
    });
  }

  /** One own check at a time; all who ask while one runs share the one that follows. */
  async #checkOwnNow(): Promise<void> {
    this.#ownNext ??= this.#ownRunning.then(async () => {
      const run = this.#runOwnCheck();
      this.#ownNext = undefined;
      this.#ownRunning = run.catch(() => undefined);
      await run;
    });
    await this.#ownNext;
  }

  async #runOwnCheck(): Promise<void> {
    const { status, againMs } = await this.#own.check();
    this.#ownStatus = status;
    this.#emitter.emit("own", this.ownStatus());
    if (this.#abort.signal.aborted) return;
    this.#guard("gossip", async () => {
      await this.#gossip.tell(this.#client.getSafeUserId());
    });
    this.#schedule.at("own", againMs, () => {
      this.#checkOwn();
    });
  }

  /** Records of other own devices arrived. */
  async #takeOver(): Promise<void> {
    this.#warnings?.takeOver();
    this.#monitor.reconsider();
    for (const server of (await this.#logs.open()).keys()) await this.#takeHeads(server);
  }

  /** Holds the heads of a log that other own devices know against the own one. */
  async #takeHeads(server: string): Promise<void> {
    const view = (await this.#logs.open()).get(server);
    const own = this.#client.getDeviceId();
    for (const { checkpoint, writer, logKey, atMs, ...head } of this.#state.all("head")) {
      if (view === undefined || writer === own || head.server !== server) continue;
      const isRecent = this.#clock.now() - atMs < DAY_MS;
      if (isRecent && (await view.names(logKey)) === false) await this.#otherLog(server, logKey);
      await this.#aboutLog(server, async () => {
        await view.takeHead(checkpoint);
      });
    }
  }

  /** Another own device follows a log of the same server under another key. */
  async #otherLog(server: string, logKey: string): Promise<void> {
    const [userId = `@ckv:${server}`] = this.#usersOf(server);
    const sinceMs = this.#clock.now();
    await this.#raise(userId, [{ code: "log-key-differs", class: "warning", key: logKey, sinceMs }]);
  }

  #doubts(code: NonNullable<OwnStatus["doubt"]>): void {
    this.#doubt = code;
    this.#emitter.emit("own", this.ownStatus());
    if (code !== "state-rolled-back") return;
    this.#guard("shared state", async () => {
      await this.#raiseCode(this.#client.getSafeUserId(), code);
    });
  }

  // ----------------------------------------------------------------------------------------------------------- logs

  #shareHead(server: string, head: HeadPart, logKey: string): void {
    const last = this.#sharedHeadMs.get(server);
    if (last === undefined) {
      this.#guard("heads of own devices", async () => {
        await this.#takeHeads(server);
      });
    }
    if (last !== undefined && this.#clock.now() - last < SHARE_HEAD_EVERY_MS) return;
    this.#sharedHeadMs.set(server, this.#clock.now());
    this.#guard("share a head", async () => {
      await this.#state.add({ kind: "head", server, checkpoint: head.checkpoint, logKey });
    });
  }

  /** Looks at the heads of all logs in use, then again a while later. */
  #poll(): void {
    this.#guard("poll", async () => {
      let pauseMs = POLL_MAX_MS;
      for (const [server, view] of await this.#logs.open()) {
        await this.#pollLog(server, view);
        pauseMs = Math.min(pauseMs, (view.heartbeatMs ?? POLL_MAX_MS) * POLL_HEARTBEATS);
      }
      if ((await this.#logs.open()).size === 0) pauseMs = POLL_MIN_MS;
      if (this.#abort.signal.aborted) return;
      this.#schedule.at("poll", this.#clock.now() + Math.max(POLL_MIN_MS, pauseMs), () => {
        this.#poll();
      });
    });
  }

  /** A log that shows something new about itself makes everybody on it worth another look. */
  async #pollLog(server: string, view: Parameters<typeof checkRoomHeads>[2]): Promise<void> {
    const code = await this.#pollCode(server, view);
    if (code === undefined) return;
    if ((this.#pollCodes.get(server) ?? "") === code) return;
    this.#pollCodes.set(server, code);
    for (const userId of this.#usersOf(server)) this.#monitor.check(userId);
    if (serverOfUser(this.#client.getSafeUserId()) === server) this.#checkOwn();
  }

  /** What a poll shows: a code, nothing, or undefined when the service could not be asked. */
  async #pollCode(server: string, view: Parameters<typeof checkRoomHeads>[2]): Promise<VerdictCode | "" | undefined> {
    try {
      const { stale } = await view.poll();
      await checkRoomHeads(this.#client, server, view);
      return stale ? "stale" : "";
    } catch (error) {
      if (error instanceof ServiceFailure) return undefined;
      if (error instanceof VerdictError) return error.code;
      throw error;
    }
  }

  #usersOf(server: string): string[] {
    return this.#monitor.watched().filter((userId) => serverOfUser(userId) === server);
  }

  /** Runs a step about a whole log; what it finds is told about somebody on it. */
  async #aboutLog(server: string, step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      if (error instanceof ServiceFailure) return;
      if (!(error instanceof VerdictError)) throw error;
      if (classOf(error.code).class !== "evidence") return;
      const [userId = `@ckv:${server}`] = this.#usersOf(server);
      this.#monitor.check(userId);
    }
  }

  // ------------------------------------------------------------------------------------------------ warnings, pins

  async #raise(userId: string, findings: readonly Finding[]): Promise<void> {
    for (const finding of findings) await this.#warnings?.raise({ userId, ...finding });
  }

  async #raiseCode(userId: string, code: VerdictCode): Promise<void> {
    const sinceMs = this.#clock.now();
    await this.#raise(userId, [{ code, class: classOf(code).class, key: String(sinceMs), sinceMs }]);
  }

  #openWarning(userId: string): Verdict | undefined {
    const warning = this.#warnings?.gravest(userId);
    if (warning === undefined) return undefined;
    const { code, sinceMs, evidence } = warning;
    return { kind: "warning", code, sinceMs, ...(evidence === undefined ? {} : { evidence }) };
  }

  async #tellWhenSettled(userId: string, { verdict, enrolled }: ContactStatus): Promise<void> {
    const settled = verdict.kind === "verified" || verdict.kind === "consistent";
    if (enrolled && (settled || (verdict.kind === "unchecked" && verdict.reason === "first-look"))) {
      await this.#gossip.tell(userId);
    }
  }

  /** Pins exactly this key, which was compared. */
  async #pin(userId: string, masterKey: Uint8Array, method: PinMethod, sign: boolean): Promise<void> {
    const compared = encodeUnpadded(masterKey);
    await this.#state.add({ kind: "pin", userId, masterKey: compared, method });
    if (sign) await signContact(this.#client, userId, compared, true);
    await this.#answer(userId, ANSWERED_BY_COMPARING);
    await this.#monitor.refresh(userId);
  }

  /** What these warnings asked has been answered: they are dismissed. */
  async #answer(userId: string, codes: readonly VerdictCode[]): Promise<void> {
    for (const { id, code, userId: about } of this.warnings()) {
      if (about === userId && codes.includes(code)) await this.#warnings?.dismiss(id);
    }
  }

  async #readMasterKey(userId: string): Promise<MasterKeyReading> {
    const { masterKey } = await readStore(this.#client, userId);
    const view = await this.#logs.of(serverOfUser(userId));
    const key = (await view?.lookup(userId))?.leaf?.content?.entry.masterKey;
    return { store: rawOf(masterKey), entry: key?.kind === "key" ? key.key : undefined };
  }

  #compareHost(): CompareHost {
    const client = this.#client;
    const logKeyOf = async (userId: string): Promise<string | undefined> =>
      (await this.#logs.of(serverOfUser(userId)))?.logKey;
    return {
      clock: this.#clock,
      random: (length) => this.#random(length),
      send: async (userId, deviceIds, type, content) => {
        const to = deviceIds.map((deviceId) => ({ userId, deviceId }));
        await sendToDevices(client, type, to, { ...content });
      },
      own: async () => {
        const userId = client.getSafeUserId();
        const { deviceId, deviceKey, keys } = await readOwn(client);
        const status = await cryptoOf(client).getUserVerificationStatus(userId);
        return {
          userId,
          deviceId,
          deviceKey: decodeUnpadded(deviceKey),
          verified: status.isCrossSigningVerified(),
          masterKey: rawOf(keys.masterKey),
          logKey: await logKeyOf(userId),
        };
      },
      contact: async (userId) => {
        const { masterKey, devices } = await readStore(client, userId);
        const known = [...devices].map(([deviceId, { ed25519, signedByOwner }]) => ({
          deviceId,
          key: decodeUnpadded(ed25519),
          crossSigned: signedByOwner,
        }));
        return { devices: known, masterKey: rawOf(masterKey), logKey: await logKeyOf(userId) };
      },
      attempts: async (userId) => {
        const attempts = this.#state.all("attempt").filter((attempt) => attempt.userId === userId);
        return await Promise.resolve(attempts.map(({ atMs }) => atMs));
      },
      recordAttempt: async (userId) => {
        await this.#state.add({ kind: "attempt", userId });
      },
      reReadMasterKey: async (userId) => await this.#readMasterKey(userId),
      pin: async (userId, masterKey, method, sign) => {
        await this.#pin(userId, masterKey, method, sign);
      },
      announce: (session) => {
        this.#announce(session);
      },
    };
  }

  #announce(session: CompareSession): void {
    this.#emitter.emit("compare", session);
    session.on(() => {
      const { state, endedWith, userId } = session;
      if (state !== "ended" || endedWith === undefined || classOf(endedWith).class !== "warning") return;
      this.#guard("comparison", async () => {
        await this.#raiseCode(userId, endedWith);
      });
    });
  }

  // ------------------------------------------------------------------------------------------------------- failures

  /** Runs something the host must not notice failing. */
  #guard(what: string, task: () => Promise<void> | void): void {
    const run = async (): Promise<void> => {
      await task();
    };
    run().catch((error: unknown) => {
      this.#report(what, error);
    });
  }

  #report(what: string, error: unknown): void {
    if (this.#abort.signal.aborted) return;
    this.#log(what, error);
  }
}

function rawOf(key: string | undefined): Uint8Array | undefined {
  return key === undefined ? undefined : decodeUnpadded(key);
}

/** The code in a link, which must be about that user, or the text itself. */
function codeFor(userId: string, text: string): string {
  if (!text.startsWith("matrix:")) return text;
  try {
    const link = parseMatrixLink(text);
    if (link.userId !== userId) throw new VerdictError("code-other-user", "the link is about another user");
    return link.publicCode;
  } catch (error) {
    if (!(error instanceof VerificationError)) throw error;
    throw new VerdictError("code-malformed", error.message, { cause: error });
  }
}

/** Account data of the own user, read from and written to the server itself. */
function accountDataOf(client: ClientLike): ConstructorParameters<typeof AccountState>[0]["accountData"] {
  const pathOf = (type: string): string =>
    `/user/${encodeURIComponent(client.getSafeUserId())}/account_data/${encodeURIComponent(type)}`;
  return {
    read: async (type) => {
      try {
        return await client.http.authedRequest<Record<string, unknown>>("GET", pathOf(type));
      } catch (error) {
        if (isNotFound(error)) return undefined;
        throw error;
      }
    },
    write: async (type, content) => {
      await client.http.authedRequest("PUT", pathOf(type), undefined, content);
    },
  };
}
