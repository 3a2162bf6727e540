/**
 * Contact-code sessions: two people compare eight digits, and each pins the other's master key. A state machine over
 * an injected `CompareHost`; it knows no SDK, no storage and no clock of its own.
 * shared/README.md, "Contact code and public code".
 *
 * Nothing that goes into the transcript is ever taken from a message: own values come from the verified identity, the
 * contact's from the crypto store and the pinned log key. A message supplies random numbers and a commitment only.
 */
import { VerificationError } from "../shared/errors.ts";
import { NONCE_BYTES, commitToNonce, contactCode, openNonce, transcriptHash } from "../shared/codes/contact-code.ts";
import type { ComparedParty, Comparison } from "../shared/codes/contact-code.ts";
import { compareBytes, decodeUnpadded, encodeUnpadded, equalBytes } from "../shared/encoding.ts";
import {
  MATRIX_NAMES,
  parseCompareCancelContent,
  parseCompareCommitContent,
  parseCompareContent,
  parseCompareNonceContent,
  parseCompareRevealContent,
} from "../shared/messages.ts";
import {
  COMPARISON_SILENCE_MS,
  DAY_MS,
  HOUR_MS,
  MAX_COMPARISONS_PER_DAY,
  MAX_COMPARISONS_PER_HOUR,
} from "../shared/parameters.ts";
import { VerdictError } from "../shared/verdict-codes.ts";
import type { VerdictCode } from "../shared/verdict-codes.ts";
import type { Clock } from "./clock.ts";

const TYPES = MATRIX_NAMES.compare;

/** This account and device, as its own crypto store knows them. Keys are raw, 32 bytes. */
export interface OwnIdentity {
  readonly userId: string;
  readonly deviceId: string;
  readonly deviceKey: Uint8Array;
  /** Absent while the account has no cross-signing. */
  readonly masterKey?: Uint8Array | undefined;
  /** vkey of the own server's log; absent: no log. */
  readonly logKey?: string | undefined;
  /** Whether this device holds the own identity as verified. */
  readonly verified: boolean;
}

/** A contact as the crypto store knows it. Keys are raw, 32 bytes. */
export interface ContactIdentity {
  readonly masterKey?: Uint8Array | undefined;
  readonly devices: readonly ContactDevice[];
  /** vkey of the log pinned for the contact's server; absent: no log. */
  readonly logKey?: string | undefined;
}

export interface ContactDevice {
  readonly deviceId: string;
  /** Ed25519. */
  readonly key: Uint8Array;
  readonly crossSigned: boolean;
}

/** The contact's master key read again: from the crypto store, and from the newest entry where a log has one. */
export interface MasterKeyReading {
  readonly store?: Uint8Array | undefined;
  readonly entry?: Uint8Array | undefined;
}

/** Who sent an Olm-encrypted to-device message, as the crypto store attributes it, never as the content claims. */
export interface CompareSender {
  readonly userId: string;
  readonly deviceId: string;
}

/** What a comparison needs from the rest of the plugin. */
export interface CompareHost {
  readonly clock: Clock;
  random(length: number): Uint8Array;
  /** Olm-encrypted to-device message to exactly these devices; resolves once it is queued durably. */
  send(userId: string, deviceIds: readonly string[], type: string, content: object): Promise<void>;
  own(): Promise<OwnIdentity>;
  contact(userId: string): Promise<ContactIdentity>;
  /** Unix times in ms of the attempts of all devices of this account with this contact. */
  attempts(userId: string): Promise<readonly number[]>;
  /** Resolves once the attempt is durable. */
  recordAttempt(userId: string, atMs: number): Promise<void>;
  /** Throws when the store or the newest entry can't be read now. */
  reReadMasterKey(userId: string): Promise<MasterKeyReading>;
  /** Pins exactly this key and, with `sign`, signs it with the own user-signing key. */
  pin(userId: string, masterKey: Uint8Array, method: "code", sign: boolean): Promise<void>;
  /** A session that a person should see has come to be. */
  announce(session: CompareSession): void;
}

/**
 * `requested`: the contact was asked. `incoming`: the contact asks, a person must accept. `waiting`: the devices are
 * agreeing on a code. `code`: it is on the screen. `confirmed`: confirmed here. `done`: confirmed on both sides.
 */
export type CompareState = "requested" | "incoming" | "waiting" | "code" | "confirmed" | "done" | "ended";

/** What the contact's device may tell this one as the end of a session; every other reason reads as a cancellation. */
const TOLD_REASONS: ReadonlySet<string> = new Set<VerdictCode>([
  "compare-codes-differ",
  "compare-keys-differ",
  "compare-key-changed",
  "compare-log-differs",
  "compare-locked",
]);

/** Whether one more attempt is allowed at `nowMs`. Times in the future (another device's clock) count. */
export function attemptAllowed(attemptsMs: readonly number[], nowMs: number): boolean {
  const within = (spanMs: number): number => attemptsMs.filter((atMs) => nowMs - atMs < spanMs).length;
  return within(HOUR_MS) < MAX_COMPARISONS_PER_HOUR && within(DAY_MS) < MAX_COMPARISONS_PER_DAY;
}

/** What a session needs from the one object that holds all of them. */
interface Registry {
  readonly host: CompareHost;
  /** Runs tasks about one contact one after the other. */
  inOrder<T>(userId: string, task: () => Promise<T>): Promise<T>;
  /** Marks a commitment as met; false if it had been met before. */
  firstMet(commitment: string): boolean;
  over(session: CompareSession): void;
}

interface Agreement {
  readonly comparison: Comparison;
  /** SHA-256 of the transcript. */
  readonly hash: Uint8Array;
  readonly contactMasterKey: Uint8Array;
}

/** One comparison with one contact. Made by `CompareSessions`. */
export class CompareSession {
  readonly userId: string;
  readonly role: "initiator" | "responder";
  /** Session id, unpadded base64 of 32 bytes. */
  readonly id: string;
  readonly #registry: Registry;
  readonly #host: CompareHost;
  readonly #listeners = new Set<() => void>();
  readonly #silence = new AbortController();
  #state: CompareState;
  #deviceId: string | undefined;
  #asked: readonly string[] = [];
  #endedWith: VerdictCode | undefined;
  #code: string | undefined;
  #agreement: Agreement | undefined;
  /** Own random number: R_A of the initiator from `commit` on, R_B of the responder from `nonce` on. */
  #random: Uint8Array | undefined;
  /** The initiator's commitment, once the responder has it. */
  #commitment: Uint8Array | undefined;
  #contactDone = false;
  #deadlineMs: number;

  constructor(registry: Registry, userId: string, id: string, deviceId?: string) {
    this.#registry = registry;
    this.#host = registry.host;
    this.userId = userId;
    this.id = id;
    this.role = deviceId === undefined ? "initiator" : "responder";
    this.#state = deviceId === undefined ? "requested" : "incoming";
    this.#deviceId = deviceId;
    this.#deadlineMs = this.#host.clock.now() + COMPARISON_SILENCE_MS;
  }

  get state(): CompareState {
    return this.#state;
  }

  /** The contact's device; undefined until one has answered. */
  get deviceId(): string | undefined {
    return this.#deviceId;
  }

  /** Eight digits; undefined but in `code`, `confirmed` and `done`. */
  get code(): string | undefined {
    return this.#code;
  }

  /** Why it ended; set exactly in `ended`. */
  get endedWith(): VerdictCode | undefined {
    return this.#endedWith;
  }

  /** Calls `listener` after every change; returns the way to stop that. */
  on(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** A person agrees to an incoming comparison. No effect in another state. Throws what the host throws. */
  accept(): Promise<void> {
    return this.#registry.inOrder(this.userId, () => this.acceptInOrder());
  }

  /**
   * A person says that the codes match. Reads store and newest entry again and pins the key of the transcript, or ends
   * with `compare-key-changed`. Throws, and stays in `code`, when they can't be read now. No effect in another state.
   */
  confirm(options: { readonly sign: boolean } = { sign: true }): Promise<void> {
    return this.#registry.inOrder(this.userId, () => this.#step(() => this.#confirm(options.sign)));
  }

  /** A person says that the codes differ. */
  differ(): void {
    if (this.#state === "code") this.end("compare-codes-differ");
  }

  /** A person gives up, or declines. What was confirmed stays confirmed. */
  cancel(): void {
    if (this.#state === "confirmed") this.#close("done");
    else this.end("compare-cancelled");
  }

  /** Ends the session and, unless `tellContact` is false, tells the contact's devices. Later calls have no effect. */
  end(code: VerdictCode, tellContact = true): void {
    if (this.#over()) return;
    this.#endedWith = code;
    this.#code = undefined;
    if (tellContact) this.#tell(code);
    this.#close("ended");
  }

  /** Asks every cross-signed device of the contact. Runs in order. */
  start(): Promise<void> {
    return this.#step(async () => {
      const [own, contact] = await this.#identities();
      checkOwnVerified(own);
      const asked = contact.devices.filter((device) => device.crossSigned).map((device) => device.deviceId);
      if (contact.masterKey === undefined || asked.length === 0) {
        throw ending("identity-missing");
      }
      await this.#checkAttempts();
      this.#checkRunning();
      this.#asked = asked;
      await this.#send(asked, TYPES.request, {});
    });
  }

  /** `accept` for callers that already run in order. */
  acceptInOrder(): Promise<void> {
    return this.#step(async () => {
      if (this.#state !== "incoming") return;
      await this.#checkAttempts();
      await this.#agree();
      this.#move("waiting");
      await this.#sendToDevice(TYPES.ready, {});
    });
  }

  /** Ends the session after 10 minutes in which neither side did anything; what was confirmed here stays. */
  async watchSilence(): Promise<void> {
    const { clock } = this.#host;
    while (!this.#over()) {
      const leftMs = this.#deadlineMs - clock.now();
      if (leftMs <= 0) this.#expire();
      else await clock.sleep(leftMs, this.#silence.signal);
    }
  }

  /** A message of this session. Runs in order. Throws `malformed`. */
  async receive(deviceId: string, type: string, content: unknown): Promise<void> {
    if (this.#over() || !this.#isParty(deviceId, type)) return;
    if (this.#host.clock.now() >= this.#deadlineMs) this.#expire();
    else await this.#step(() => this.#onMessage(deviceId, type, content));
  }

  async #onMessage(deviceId: string, type: string, content: unknown): Promise<void> {
    this.#deadlineMs = this.#host.clock.now() + COMPARISON_SILENCE_MS;
    switch (type) {
      case TYPES.ready:
        return this.#onReady(deviceId);
      case TYPES.commit:
        return this.#onCommit(decodeUnpadded(parseCompareCommitContent(content).commitment));
      case TYPES.nonce:
        return this.#onNonce(decodeUnpadded(parseCompareNonceContent(content).nonce));
      case TYPES.reveal:
        this.#onReveal(parseCompareRevealContent(content));
        return;
      case TYPES.done:
        this.#onDone();
        return;
      case TYPES.taken:
        this.end("compare-cancelled", this.role === "initiator");
        return;
      case TYPES.cancel:
        this.#onCancel(parseCompareCancelContent(content).reason);
        return;
    }
  }

  /** A verdict thrown by a step is the end of the session; every other error is the caller's. */
  async #step(step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      if (!(error instanceof VerdictError)) throw error;
      this.end(error.code);
    }
  }

  /** Before a device has answered every asked device may speak, afterwards that one; a late `ready` is answered. */
  #isParty(deviceId: string, type: string): boolean {
    const anyAsked = this.#deviceId === undefined || type === TYPES.ready;
    return deviceId === this.#deviceId || (anyAsked && this.#asked.includes(deviceId));
  }

  async #onReady(deviceId: string): Promise<void> {
    if (deviceId === this.#deviceId) throw ending("compare-cancelled");
    if (this.#state !== "requested") return this.#send([deviceId], TYPES.taken, {});
    this.#deviceId = deviceId;
    const others = this.#asked.filter((asked) => asked !== deviceId);
    if (others.length > 0) await this.#send(others, TYPES.taken, {});
    const { hash } = await this.#agree();
    await this.#spendAttempt();
    this.#random = this.#host.random(NONCE_BYTES);
    const commitment = encodeUnpadded(commitToNonce(hash, this.#random));
    this.#registry.firstMet(commitment);
    this.#move("waiting");
    await this.#sendToDevice(TYPES.commit, { commitment });
  }

  async #onCommit(commitment: Uint8Array): Promise<void> {
    if (this.role !== "responder" || this.#state === "incoming") throw ending("compare-cancelled");
    if (!this.#registry.firstMet(encodeUnpadded(commitment))) {
      throw ending("compare-commit-reused");
    }
    if (this.#commitment !== undefined) throw ending("compare-second-answer");
    await this.#spendAttempt();
    this.#commitment = commitment;
    this.#random = this.#host.random(NONCE_BYTES);
    await this.#sendToDevice(TYPES.nonce, { nonce: encodeUnpadded(this.#random) });
  }

  async #onNonce(nonce: Uint8Array): Promise<void> {
    const [agreement, random] = [this.#agreement, this.#random];
    if (this.role !== "initiator" || agreement === undefined || random === undefined) throw ending("compare-cancelled");
    if (this.#state !== "waiting") throw ending("compare-second-answer");
    const { initiator, responder } = agreement.comparison;
    const log_keys = { initiator: initiator.logVkey ?? "", responder: responder.logVkey ?? "" };
    await this.#sendToDevice(TYPES.reveal, { nonce: encodeUnpadded(random), log_keys });
    this.#show(contactCode(agreement.hash, random, nonce));
  }

  #onReveal(content: { nonce: string; log_keys: { initiator: string; responder: string } }): void {
    const [agreement, commitment, random] = [this.#agreement, this.#commitment, this.#random];
    if (agreement === undefined || commitment === undefined || random === undefined) throw ending("compare-cancelled");
    if (this.#state !== "waiting") throw ending("compare-second-answer");
    const nonce = decodeUnpadded(content.nonce);
    verifyReveal(agreement.comparison, commitment, nonce, content.log_keys);
    this.#show(contactCode(agreement.hash, nonce, random));
  }

  #onDone(): void {
    if (this.#state === "code") this.#contactDone = true;
    else if (this.#state === "confirmed") this.#close("done");
    else throw ending("compare-cancelled");
  }

  #onCancel(reason: string): void {
    const code = TOLD_REASONS.has(reason) ? (reason as VerdictCode) : "compare-cancelled";
    if (this.#state === "confirmed" && code === "compare-cancelled") this.#close("done");
    else this.end(code, false);
  }

  async #confirm(sign: boolean): Promise<void> {
    const agreement = this.#agreement;
    if (this.#state !== "code" || agreement === undefined) return;
    const [own, reading] = await Promise.all([this.#host.own(), this.#host.reReadMasterKey(this.userId)]);
    this.#checkRunning();
    checkOwnVerified(own);
    const contactKey = agreement.contactMasterKey;
    checkUnchanged(agreement.comparison[this.role].masterKey, own.masterKey);
    checkUnchanged(contactKey, reading.store);
    checkUnchanged(contactKey, reading.entry ?? contactKey);
    await this.#host.pin(this.userId, contactKey, "code", sign);
    this.#checkRunning();
    this.#move("confirmed");
    if (this.#contactDone) this.#close("done");
    await this.#sendToDevice(TYPES.done, {});
  }

  /** Fixes the transcript with the values of this moment. */
  async #agree(): Promise<Agreement> {
    const [own, contact] = await this.#identities();
    this.#checkRunning();
    checkOwnVerified(own);
    const { masterKey, logKey } = contact;
    const device = contact.devices.find(({ deviceId, crossSigned }) => crossSigned && deviceId === this.#deviceId);
    if (masterKey === undefined || device === undefined) {
      throw ending("identity-missing");
    }
    const { deviceId, key: deviceKey } = device;
    const here: ComparedParty = { ...own, masterKey: own.masterKey, logVkey: own.logKey ?? "" };
    const there: ComparedParty = { userId: this.userId, deviceId, deviceKey, masterKey, logVkey: logKey ?? "" };
    const [initiator, responder] = this.role === "initiator" ? [here, there] : [there, here];
    const comparison: Comparison = { session: decodeUnpadded(this.id), initiator, responder };
    return (this.#agreement = { comparison, hash: transcriptHash(comparison), contactMasterKey: masterKey });
  }

  #identities(): Promise<[OwnIdentity, ContactIdentity]> {
    return Promise.all([this.#host.own(), this.#host.contact(this.userId)]);
  }

  async #checkAttempts(): Promise<void> {
    if (attemptAllowed(await this.#host.attempts(this.userId), this.#host.clock.now())) return;
    throw ending("compare-locked");
  }

  /** Counts an attempt, durably and before the message that makes it one. */
  async #spendAttempt(): Promise<void> {
    await this.#checkAttempts();
    await this.#host.recordAttempt(this.userId, this.#host.clock.now());
    this.#checkRunning();
  }

  /** A person may have cancelled while a step was waiting. */
  #checkRunning(): void {
    if (this.#over()) throw ending("compare-cancelled");
  }

  #over(): boolean {
    return this.#state === "ended" || this.#state === "done";
  }

  #show(code: string): void {
    this.#checkRunning();
    this.#code = code;
    this.#move("code");
  }

  #close(state: "done" | "ended"): void {
    this.#silence.abort();
    this.#random = undefined;
    this.#registry.over(this);
    this.#move(state);
  }

  #move(state: CompareState): void {
    this.#state = state;
    this.#deadlineMs = this.#host.clock.now() + COMPARISON_SILENCE_MS;
    for (const listener of [...this.#listeners]) listener();
  }

  #expire(): void {
    if (this.#state === "confirmed") this.#close("done");
    else this.end("compare-late");
  }

  #tell(reason: VerdictCode): void {
    const deviceIds = this.#deviceId === undefined ? this.#asked : [this.#deviceId];
    if (deviceIds.length === 0) return;
    // The session is over here whether or not the contact hears of it: its own 10 minutes end the other half.
    this.#host.send(this.userId, deviceIds, TYPES.cancel, { session: this.id, reason }).catch(() => undefined);
  }

  #sendToDevice(type: string, content: object): Promise<void> {
    return this.#send(this.#deviceId === undefined ? [] : [this.#deviceId], type, content);
  }

  async #send(deviceIds: readonly string[], type: string, content: object): Promise<void> {
    await this.#host.send(this.userId, deviceIds, type, { session: this.id, ...content });
  }
}

/** What ends a session in the middle of a step. The code is all that anybody reads of it. */
function ending(code: VerdictCode): VerdictError {
  return new VerdictError(code, code);
}

function checkOwnVerified(own: OwnIdentity): asserts own is OwnIdentity & { readonly masterKey: Uint8Array } {
  if (own.verified && own.masterKey !== undefined) return;
  throw ending("compare-own-unverified");
}

function checkUnchanged(compared: Uint8Array, now: Uint8Array | undefined): void {
  if (now !== undefined && equalBytes(compared, now)) return;
  throw ending("compare-key-changed");
}

/** Checks that the reveal opens the commitment. The hinted log keys only name what differs; they never yield a code. */
function verifyReveal(
  comparison: Comparison,
  commitment: Uint8Array,
  nonce: Uint8Array,
  hint: { readonly initiator: string; readonly responder: string },
): void {
  if (opens(commitment, comparison, nonce)) return;
  const hinted: Comparison = {
    session: comparison.session,
    initiator: { ...comparison.initiator, logVkey: hint.initiator },
    responder: { ...comparison.responder, logVkey: hint.responder },
  };
  throw opens(commitment, hinted, nonce) ? ending("compare-log-differs") : ending("compare-keys-differ");
}

function opens(commitment: Uint8Array, comparison: Comparison, nonce: Uint8Array): boolean {
  try {
    openNonce(commitment, transcriptHash(comparison), nonce);
    return true;
  } catch (error) {
    if (error instanceof VerificationError && error.code === "bad-commitment") return false;
    throw error;
  }
}

/** All comparisons of this device: at most one per contact. */
export class CompareSessions {
  readonly #host: CompareHost;
  readonly #byContact = new Map<string, CompareSession>();
  /** Session ids and commitments met since start; an id or commitment is good for one session. */
  readonly #spent = new Set<string>();
  /** The last task per contact; each queues behind it. */
  readonly #tails = new Map<string, Promise<void>>();
  readonly #registry: Registry;

  constructor(host: CompareHost) {
    this.#host = host;
    this.#registry = {
      host,
      inOrder: (userId, task) => this.#inOrder(userId, task),
      firstMet: (commitment) => this.#firstMet(commitment),
      over: (session) => {
        if (this.#byContact.get(session.userId) === session) this.#byContact.delete(session.userId);
      },
    };
  }

  /** The running session with a contact. */
  sessionWith(userId: string): CompareSession | undefined {
    return this.#byContact.get(userId);
  }

  /**
   * Asks the contact, or accepts the contact's own request, or returns the session that already runs. A refusal is a
   * session in state `ended` with its code. Throws what the host throws.
   */
  compare(userId: string): Promise<CompareSession> {
    return this.#inOrder(userId, async () => {
      const running = this.#byContact.get(userId);
      if (running !== undefined) {
        await running.acceptInOrder();
        return running;
      }
      const session = new CompareSession(this.#registry, userId, this.#newSessionId());
      this.#add(session);
      await this.#attempt(session, () => session.start());
      return session;
    });
  }

  /**
   * A decrypted to-device message. Unknown types, ghosts (devices the contact did not sign) and words about sessions
   * that are over are ignored; a malformed message ends the session with its sender.
   */
  receive(sender: CompareSender, type: string, content: unknown): Promise<void> {
    if (!Object.values<string>(TYPES).includes(type)) return Promise.resolve();
    return this.#inOrder(sender.userId, async () => {
      const session = this.#byContact.get(sender.userId);
      try {
        const { session: id } = parseCompareContent(content);
        if (type === TYPES.request) await this.#onRequest(sender, id);
        else if (session?.id === id) {
          await this.#attempt(session, () => session.receive(sender.deviceId, type, content));
        } else if (this.#isOfAnotherContact(id)) session?.end("compare-cancelled");
      } catch (error) {
        if (!(error instanceof VerificationError)) throw error;
        if (session?.deviceId === sender.deviceId) session.end("compare-cancelled");
      }
    });
  }

  /** Ends every session and tells the contacts. */
  stop(): void {
    for (const session of [...this.#byContact.values()]) session.cancel();
  }

  async #onRequest(sender: CompareSender, id: string): Promise<void> {
    const [own, contact] = await Promise.all([this.#host.own(), this.#host.contact(sender.userId)]);
    const device = contact.devices.find(({ deviceId }) => deviceId === sender.deviceId);
    if (device?.crossSigned !== true || !own.verified || sender.userId === own.userId) return;
    if (this.#spent.has(id)) return;
    const running = this.#byContact.get(sender.userId);
    if (running !== undefined && !isOlder(id, running)) {
      if (running.state !== "requested") await this.#refuse(sender, id);
      return;
    }
    const session = new CompareSession(this.#registry, sender.userId, id, sender.deviceId);
    running?.end("compare-cancelled");
    this.#add(session);
    // Whoever had asked at the same moment has thereby already agreed.
    if (running !== undefined) await this.#attempt(session, () => session.acceptInOrder());
  }

  #refuse(sender: CompareSender, id: string): Promise<void> {
    const content = { session: id, reason: "compare-cancelled" satisfies VerdictCode };
    return this.#host.send(sender.userId, [sender.deviceId], TYPES.cancel, content);
  }

  #isOfAnotherContact(id: string): boolean {
    return [...this.#byContact.values()].some((session) => session.id === id);
  }

  #add(session: CompareSession): void {
    this.#spent.add(session.id);
    this.#byContact.set(session.userId, session);
    void session.watchSilence();
    this.#host.announce(session);
  }

  #newSessionId(): string {
    return encodeUnpadded(this.#host.random(NONCE_BYTES));
  }

  #firstMet(commitment: string): boolean {
    const first = !this.#spent.has(commitment);
    this.#spent.add(commitment);
    return first;
  }

  /** A step that fails (the network, a bug) leaves no half-open session behind. */
  async #attempt(session: CompareSession, step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      session.end("compare-cancelled");
      throw error;
    }
  }

  #inOrder<T>(userId: string, task: () => Promise<T>): Promise<T> {
    const result = (this.#tails.get(userId) ?? Promise.resolve()).then(task);
    const tail = result.then(
      () => undefined,
      () => undefined,
    );
    this.#tails.set(userId, tail);
    void tail.then(() => {
      if (this.#tails.get(userId) === tail) this.#tails.delete(userId);
    });
    return result;
  }
}

/** Both asked at once: the smaller session id stands. */
function isOlder(id: string, running: CompareSession): boolean {
  return running.state === "requested" && compareBytes(decodeUnpadded(id), decodeUnpadded(running.id)) < 0;
}
