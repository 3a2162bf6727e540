/**
 * The sequencer as the rest of the service sees it: changes go in, and come back when the epoch that merged them is
 * published. The work is done in a thread of its own; here are the clock, the readers' snapshots and the publication.
 */
import { AnsweringThreads } from "./answering-threads.ts";
import type { Clock } from "./clock.ts";
import { databaseOf } from "./create-log.ts";
import { DiskFailures } from "./disk-failures.ts";
import { DiskReserve, isOutOfSpace, waitingForSpace } from "./disk-space.ts";
import { Directory } from "./directory.ts";
import { EpochTimer } from "./epoch-timer.ts";
import { readKeys } from "./keys-file.ts";
import { readSettings } from "./log-settings.ts";
import type { LogKeys } from "./log-settings.ts";
import { indexProver } from "./native-vrf.ts";
import { Publication } from "./publication.ts";
import type { Cosign, PublishedHead } from "./publication.ts";
import { SequencerThread } from "./sequencer-thread.ts";
import type { ConfigurationSettings, OpenedLog } from "./sequencer-messages.ts";
import { closedEntry } from "../shared/directory/entry.ts";
import type { LogReference } from "../shared/directory/configuration.ts";
import type { Hash } from "../shared/crypto/hash.ts";
import type { NoteKey } from "../shared/crypto/signed-note.ts";
import { EPOCH_DELAY_DEFAULT_MS, MAX_CHANGES_PER_EPOCH } from "../shared/parameters.ts";
import { checkTablesAtStart } from "./store/level-files.ts";
import { backUpRunning } from "./backup.ts";
import { CUSTODY_KEY, readCustody } from "./store/custody.ts";
import { HeldFiles } from "./store/held-files.ts";
import { openLevelStore } from "./store/level-store.ts";
import { UNREFERENCED } from "./store/records.ts";
import { takeLock } from "./store/lock.ts";
import type { Lock } from "./store/lock.ts";
import { Marks } from "./store/marks.ts";
import type { Store } from "./store/store.ts";
import { WaitingChanges } from "./waiting-changes.ts";

export interface SequencerOptions {
  readonly dataDirectory: string;
  readonly anchorFile: string;
  readonly keysFile: string;
  readonly clock: Clock;
  /** Aborted: no further epoch is closed. `close` still has to be called. */
  readonly signal: AbortSignal;
  /** Members of the configuration that the operator sets; when they differ, a new one goes with the next epoch. */
  readonly settings?: ConfigurationSettings;
  /** Collects the cosignatures that a head needs before it is published. Without it a head is published at once. */
  readonly cosign?: Cosign;
  /** How long after the first pending change an epoch closes. */
  readonly epochDelayMs?: number;
  /** Users in one epoch; an epoch closes at once when that many wait. */
  readonly maxChanges?: number;
  /** Space kept beside the database so that it can be opened where the disk is full. Default: none. */
  readonly reserveBytes?: number;
  /** Why no epoch may be dated `nowMs`; undefined if one may. */
  readonly clockProblem?: (nowMs: number) => string | undefined;
  /** Whether nothing is signed until `setExternalHead` was called. Default true; false only where there is no room. */
  readonly strictStart?: boolean;
  /** Threads that answer beside this one. Default: none. */
  readonly answeringThreads?: number;
}

export interface SequencerStatus {
  /** The newest published epoch and its time. */
  readonly epoch: number;
  readonly timestampMs: number;
  /** Whether heads are being signed; if not, why. */
  readonly signing: boolean;
  readonly reason?: string;
  /** Changes that no published epoch has merged. */
  readonly pending: number;
}

/** A change that a promise was given for, with what opens its commitment. */
export interface GivenPromise {
  readonly note: string;
  readonly opening: Uint8Array;
  readonly entry: Uint8Array;
  readonly version: number;
}

/** Where a change ended up. */
export interface Merged {
  readonly version: number;
  readonly epoch: number;
}

export interface RunningLog {
  readonly sequencer: Sequencer;
  readonly directory: Directory;
  readonly threads: AnsweringThreads;
  readonly marks: Marks;
  readonly heartbeatMs: number;
  /** The key of the log, whose name is its origin. */
  readonly logKey: NoteKey;
  /** The bytes of a backup of the newest epoch. Throws `BackupError`. */
  readonly backUp: () => AsyncGenerator<Uint8Array, void, undefined>;
  /** What the process is to end with after a failure of its own store, such as that of the marks; see `DiskFailures`. */
  readonly judge: (error: unknown) => Error;
}

/** Tables checked before the database is opened, the newest first: about 0.15 s. The rest is for `fsck`. */
const CHECKED_AT_START_BYTES = 64 * 2 ** 20;
/** Why nothing is signed before the room was asked. */
const AWAITING_ROOM = "waiting for the newest head that the epochs room holds";
/** Why nothing is signed before the witnesses were. */
const AWAITING_WITNESSES =
  "waiting for the witnesses to cosign the newest head, which shows that they know no newer one";
const CLOSED = "the log is closed; its last configuration names the successor";
/** The room publisher's cursor: set before the first head goes into the room. */
const POSTED_CURSOR = "room.posted";

/**
 * Opens a log and starts its thread. Reads are answered at once; signing begins when `setExternalHead` allows it. Where the
 * disk is full, the reserve is given for opening, and nothing is signed before it stands again. Throws `LockedError`,
 * `IntegrityError`, `KeysFileError`, `FailingDiskError`, `StorageError`.
 */
export async function startSequencer(options: SequencerOptions): Promise<RunningLog> {
  try {
    return await startOnce(options);
  } catch (error) {
    const reserve = new DiskReserve(options.dataDirectory, options.reserveBytes ?? 0);
    if (!isOutOfSpace(error) || !reserve.release()) throw error;
    return await startOnce(options);
  }
}

async function startOnce(options: SequencerOptions): Promise<RunningLog> {
  const lock = await takeLock(options.dataDirectory);
  const failures = new DiskFailures(options, () => options.clock.now());
  try {
    failures.check();
    const keys = readKeys(options.keysFile);
    checkTablesAtStart(databaseOf(options.dataDirectory), CHECKED_AT_START_BYTES, UNREFERENCED);
    // The main thread opens the database first and closes it last: `openLevelStore` says why.
    const store = await openLevelStore(databaseOf(options.dataDirectory));
    const held = new HeldFiles(databaseOf(options.dataDirectory));
    try {
      return await startOn({ store, held, lock }, keys, failures, options);
    } catch (error) {
      await held.close();
      await store.close();
      throw error;
    }
  } catch (error) {
    await lock.release();
    throw failures.judge(error);
  }
}

async function startOn(
  { store, held, lock }: Pick<SequencerParts, "store" | "held" | "lock">,
  keys: LogKeys,
  failures: DiskFailures,
  options: SequencerOptions,
): Promise<RunningLog> {
  const { dataDirectory, anchorFile, settings = {}, maxChanges = MAX_CHANGES_PER_EPOCH, reserveBytes = 0 } = options;
  const thread = new SequencerThread();
  let threads: AnsweringThreads | undefined;
  try {
    const opened = await thread.open({ dataDirectory, anchorFile, keys, maxChanges, reserveBytes, settings });
    const database = databaseOf(dataDirectory);
    threads = new AnsweringThreads(options.answeringThreads ?? 0, { database, vrfSeed: keys.vrfSeed });
    const marks = await Marks.open(waitingForSpace(store, dataDirectory, options.clock, options.signal));
    const waiting = new WaitingChanges();
    const { cosign } = options;
    const publication = new Publication({ store, threads, onMerged: waiting.merged.bind(waiting), cosign }, opened);
    // Where the room is asked before anything is signed, this is waited for then.
    if (options.strictStart === false) await publication.held;
    const directory = new Directory(indexProver(keys.vrfSeed), publication.shown);
    const judge = failures.judge.bind(failures);
    const sequencer = new Sequencer({
      ...{ options, thread, threads, publication, waiting, marks, opened, lock, store, held, judge },
    });
    const { configuration, logKey } = readSettings(opened.configurationText);
    const { origin, heartbeat_ms: heartbeatMs } = configuration;
    const backUp = (): ReturnType<RunningLog["backUp"]> =>
      backUpRunning(store, { keys, origin, nowMs: options.clock.now() });
    return { sequencer, directory, threads, marks, heartbeatMs, logKey, backUp, judge };
  } catch (error) {
    await Promise.all([thread.close(), threads?.close()]);
    throw error;
  }
}

interface SequencerParts {
  readonly options: SequencerOptions;
  readonly thread: SequencerThread;
  readonly threads: AnsweringThreads;
  readonly publication: Publication;
  readonly waiting: WaitingChanges;
  readonly marks: Marks;
  readonly opened: OpenedLog;
  readonly store: Store;
  readonly held: HeldFiles;
  readonly lock: Lock;
  readonly judge: (error: unknown) => Error;
}

export class Sequencer {
  readonly #parts: SequencerParts;
  readonly #timer: EpochTimer;
  readonly #ending = new AbortController();
  readonly #finished: Promise<void>;
  /** Whether epochs may close, and if not, why. Written by `#allow` and `#refuse`. */
  #reason: string | undefined;
  #refused: boolean;
  /** Whether the room was asked, and fits. Written by `#judge`. */
  #fits = false;
  /** Why the last epoch could not close, where that may pass. */
  #problem: string | undefined;
  /** Changes sent to the thread. */
  #submitted = 0;
  #running: Promise<void> = Promise.resolve();
  #closed: Promise<void> | undefined;

  constructor(parts: SequencerParts) {
    this.#parts = parts;
    const { options, thread, threads, publication, waiting, opened, judge } = parts;
    const { configuration } = readSettings(opened.configurationText);
    const { epochDelayMs: delayMs = EPOCH_DELAY_DEFAULT_MS } = options;
    const times = { delayMs, heartbeatMs: configuration.heartbeat_ms };
    this.#timer = new EpochTimer(options.clock, times, (nowMs) => this.#closeEpoch(nowMs));
    this.#reason = opened.refusal ?? (configuration.successor === undefined ? AWAITING_ROOM : CLOSED);
    this.#refused = this.#reason !== AWAITING_ROOM;
    thread.listen({
      epoch: (epoch) => {
        publication.take(epoch, () => {
          thread.taken(epoch.epoch);
        });
      },
      known: ({ change, version, epoch }) => {
        // Rejected with everything else that waits, if the epoch is never published.
        void publication.reached(epoch).then(() => {
          waiting.resolve(change, version, epoch);
        });
      },
      refused: (change, failure) => {
        waiting.reject(change, failure);
      },
      full: () => {
        this.#timer.closeNow();
      },
    });
    threads.failed.catch((failure: unknown) => {
      thread.abandon(failure);
    });
    this.#finished = Promise.race([thread.finished, publication.failed, threads.failed]).catch((error: unknown) => {
      throw judge(error);
    });
    this.#finished.catch((error: unknown) => {
      this.#fail(error);
    });
    if (options.strictStart === false && !this.#refused && readCustody(parts.store) === undefined) this.#allow();
  }

  /** Resolves after `close`; rejects with the failure that ended the log, whose `exitCode` is that of the process. */
  get finished(): Promise<void> {
    return this.#finished;
  }

  /**
   * Takes an entry that was observed for a user. Resolves when the epoch that merged it is durable and published. Rejects
   * with `OverloadedError` (by name) if too much waits; the change is then to be submitted again.
   */
  submit(change: { userId: string; entry: Uint8Array; observedMs: number }): Promise<Merged> {
    const { thread, waiting } = this.#parts;
    if (thread.failure !== undefined) return Promise.reject(thread.failure);
    const { change: number, merged } = waiting.add();
    this.#submitted += 1;
    thread.submit(number, change.userId, change.entry, change.observedMs);
    this.#timer.expect();
    return merged;
  }

  /** The newest entry of a user, pending or merged; undefined if there is none, or it was erased. */
  newestEntry(userId: string): Promise<{ version: number; entry: Uint8Array; pending: boolean } | undefined> {
    return this.#parts.thread.call("newestEntry", userId);
  }

  /** The root of a user's merged history when it had this many versions; undefined if it never had. */
  historyRoot(userId: string, version: number): Promise<Hash | undefined> {
    return this.#parts.thread.call("historyRoot", userId, version);
  }

  /** A promise for the newest pending change of a user, once that is durable; undefined if nothing is, or nothing may be signed. */
  async promise(userId: string): Promise<GivenPromise | undefined> {
    if (this.#reason !== undefined) return undefined;
    return this.#parts.thread.call("promise", userId, this.#parts.options.clock.now());
  }

  /** Keeps what an account's devices say they know. The caller has checked the signature. */
  async acknowledge(userId: string, version: number, historyRoot: Hash, signature: Uint8Array): Promise<void> {
    await this.#parts.thread.call("acknowledge", userId, version, historyRoot, signature);
  }

  /** Erases the content of versions that are acknowledged, or of a closed account, and at least 30 days old. */
  async eraseVersions(userId: string, versions: readonly number[]): Promise<void> {
    await this.#parts.thread.call("erase", userId, versions, this.#parts.options.clock.now());
  }

  /** Merges the last version of an account: its user id alone. */
  closeAccount(userId: string): Promise<Merged> {
    return this.submit({ userId, entry: closedEntry(userId), observedMs: this.#parts.options.clock.now() });
  }

  /**
   * Ends the log with an epoch that names its successor, after which every promise is kept: what one epoch can't hold is
   * merged before. Resolves to that epoch when it is published; nothing is signed afterwards.
   */
  async closeLog(successor: LogReference): Promise<number> {
    if (this.#reason !== undefined) throw new Error(this.#reason);
    const { thread, publication, options } = this.#parts;
    this.#refuse(CLOSED);
    await this.#running;
    while ((await thread.call("mergeable", options.clock.now())) > (options.maxChanges ?? MAX_CHANGES_PER_EPOCH)) {
      await this.#closeSurely();
    }
    await thread.call("succeed", successor);
    await this.#closeSurely();
    await thread.call("flush");
    await publication.reached(publication.newestEpoch);
    return publication.newestEpoch;
  }

  /** One epoch more, as soon as the time has advanced. */
  async #closeSurely(): Promise<void> {
    const { thread, options } = this.#parts;
    for (;;) {
      const { closed, problem } = await thread.call("closeEpoch", options.clock.now());
      if (closed) return;
      if (problem !== undefined) throw new Error(problem);
      await options.clock.sleep(1, options.signal);
      options.signal.throwIfAborted();
    }
  }

  /**
   * Says what the epochs room holds: the checkpoint (a note) of its newest head that the log's key signed, or `room-empty`.
   * Signing begins if that fits the database; if not, nothing is signed, and `status` says why.
   */
  setExternalHead(head: string): void {
    if (this.#parts.opened.refusal !== undefined) return;
    this.#judge(head).catch((error: unknown) => {
      this.#fail(error);
    });
  }

  /** Whether the database was found to fit its anchor and the room: only then are its heads posted anew. */
  get fits(): boolean {
    return this.#fits;
  }

  /** The published head, then every newer one; a slow reader gets the newest only. Ends when `signal` is aborted. */
  commits(signal: AbortSignal): AsyncIterable<PublishedHead> {
    return this.#parts.publication.heads(signal);
  }

  status(): SequencerStatus {
    const { publication, options } = this.#parts;
    const reason = this.#reason ?? this.#problem ?? this.#clockProblem(options.clock.now());
    return {
      epoch: publication.published?.epoch ?? publication.newestEpoch,
      timestampMs: publication.newestTimestampMs,
      signing: reason === undefined,
      ...(reason === undefined ? {} : { reason }),
      pending: this.#parts.waiting.size,
    };
  }

  /** Finishes the epoch being written and closes the database. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const { thread, threads, publication, waiting, store, held, lock } = this.#parts;
    this.#ending.abort();
    this.#timer.closeNow();
    await thread.close();
    await this.#running.catch(() => undefined);
    waiting.abandon(new Error("the log is closed"));
    await publication.close();
    await threads.close();
    await held.close();
    await store.close();
    await lock.release();
  }

  async #judge(head: string): Promise<void> {
    const { marks, thread } = this.#parts;
    const wasPosted = (await marks.getCursor(POSTED_CURSOR)) !== undefined;
    const { refusal } = await thread.call("judge", head, wasPosted);
    this.#fits = refusal === undefined;
    if (refusal === undefined) await this.#confirm();
    else this.#refuse(refusal);
  }

  /** Begins to sign once no witness knows a newer head either; a restored log is from then on one like any other. */
  async #confirm(): Promise<void> {
    const { publication, store } = this.#parts;
    if (this.#reason === AWAITING_ROOM) this.#reason = AWAITING_WITNESSES;
    await publication.held;
    await publication.confirmed;
    if (!this.#refused && readCustody(store) === "arrived") await store.commit({ deletes: [CUSTODY_KEY] });
    this.#allow();
  }

  #allow(): void {
    if (this.#reason === undefined || this.#refused) return;
    this.#reason = undefined;
    const signal = AbortSignal.any([this.#parts.options.signal, this.#ending.signal]);
    this.#running = this.#timer.run(signal).catch((error: unknown) => {
      this.#fail(error);
    });
  }

  /** Nothing is signed any more on this database by this process. Reads go on. */
  #refuse(reason: string): void {
    this.#reason = reason;
    this.#refused = true;
    this.#ending.abort();
  }

  #fail(error: unknown): void {
    const failure = error instanceof Error ? error : new Error("the sequencer failed", { cause: error });
    this.#refuse(failure.message);
    this.#parts.waiting.abandon(failure);
  }

  async #closeEpoch(nowMs: number): Promise<number | undefined> {
    const clockProblem = this.#clockProblem(nowMs);
    if (clockProblem !== undefined) return undefined;
    const submitted = this.#submitted;
    const { closed, problem, taken, pending } = await this.#parts.thread.call("closeEpoch", nowMs);
    this.#problem = problem;
    if (!closed) return undefined;
    if (pending >= (this.#parts.options.maxChanges ?? MAX_CHANGES_PER_EPOCH)) this.#timer.closeNow();
    return pending + Math.max(0, this.#submitted - submitted, submitted - taken);
  }

  #clockProblem(nowMs: number): string | undefined {
    const { publication, options } = this.#parts;
    const aheadMs = publication.newestTimestampMs - nowMs;
    if (aheadMs <= 0) return options.clockProblem?.(nowMs);
    return `the clock is ${Math.ceil(aheadMs / 1000)} s behind the newest epoch, nothing is signed until it has caught up. Next: set the clock of this machine by NTP`;
  }
}
