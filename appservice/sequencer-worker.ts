/** The thread of the sequencer: opens the database, and does what the main thread asks, in order. */
import { parentPort, workerData } from "node:worker_threads";
import type { MessagePort } from "node:worker_threads";
import { databaseOf } from "./create-log.ts";
import { DiskReserve, spaceProblem } from "./disk-space.ts";
import { fatalFailure } from "./fatal-failure.ts";
import { LogWriter } from "./log-writer.ts";
import type { CommittedEpoch, NumberedChange } from "./log-writer.ts";
import { openLog } from "./open-log.ts";
import type { WritableLog } from "./open-log.ts";
import type {
  Call,
  Failure,
  FromSequencer,
  SequencerCalls,
  SequencerStart,
  SubmittedChanges,
  ToSequencer,
} from "./sequencer-messages.ts";
import { ProverPool } from "./prover-pool.ts";
import { prune } from "./pruning.ts";
import { NOTHING_READ, ReadAhead, readBefore } from "./read-ahead.ts";
import type { ReadBefore, RecordsRead } from "./read-ahead.ts";

type Change = NumberedChange & { readonly number: number };

/** Changes of which `done` were taken. */
interface ChangesInWork {
  readonly kind: "changes";
  readonly submitted: SubmittedChanges;
  done: number;
  /** Whether what they need was read, and that, unless it could not be. */
  isReady: boolean;
  read: RecordsRead | undefined;
}

/** Changes taken before others have their turn. */
const AT_ONCE = 32;

type Answers = { readonly [Name in keyof SequencerCalls]: (...args: Parameters<SequencerCalls[Name]>) => unknown };

/** Gives committed epochs to the readers in the main thread, one at a time. */
class HandOver {
  readonly #port: MessagePort;
  #resolve: () => void = () => undefined;

  constructor(port: MessagePort) {
    this.#port = port;
  }

  /** Resolves when the readers hold a snapshot of the epoch. */
  give({ epoch, note, configurationText, changedTop, merged }: CommittedEpoch): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#resolve = (): void => {
      resolve(undefined);
    };
    const message = { epoch, note, configurationText, changedTop, merged };
    const { tiles, slots, hashes, leaves, epochs } = changedTop;
    this.#port.postMessage(
      { kind: "epoch", epoch: message } satisfies FromSequencer,
      [tiles, slots, hashes, leaves, epochs].map(({ buffer }) => buffer as ArrayBuffer),
    );
    return promise;
  }

  taken(): void {
    this.#resolve();
  }
}

class SequencerThread {
  readonly #port: MessagePort;
  readonly #maxChanges: number;
  readonly #log: WritableLog;
  readonly #writer: LogWriter;
  readonly #answers: Answers;
  readonly #provers: ProverPool;
  readonly #readAhead: ReadAhead;
  /** Users whose first change waits for the proof of their index. */
  readonly #proving = new Map<string, Promise<void>>();
  /** What came and is not done, oldest first. */
  readonly #inbox: (ChangesInWork | { readonly kind: "call"; readonly call: Call })[] = [];
  #willWork = false;
  /** Changes that the writer has, or has refused. */
  #taken = 0;
  #saidFull = false;
  readonly #handOver: HandOver;
  readonly #files: Pick<SequencerStart, "dataDirectory" | "anchorFile">;
  readonly #reserve: DiskReserve;
  /** The last deletion of what is too old; the next queues behind it. */
  #pruning: Promise<void> = Promise.resolve();

  private constructor(
    port: MessagePort,
    { maxChanges, keys, dataDirectory, anchorFile, reserveBytes }: SequencerStart,
    log: WritableLog,
    writer: LogWriter,
    handOver: HandOver,
  ) {
    this.#port = port;
    this.#maxChanges = maxChanges;
    this.#files = { dataDirectory, anchorFile };
    this.#reserve = new DiskReserve(dataDirectory, reserveBytes);
    this.#provers = new ProverPool(keys.vrfSeed);
    this.#readAhead = new ReadAhead({ database: databaseOf(dataDirectory), epochsBelowTop: writer.epochsBelowTop });
    this.#log = log;
    this.#writer = writer;
    this.#handOver = handOver;
    this.#answers = this.#makeAnswers();
  }

  static async start(port: MessagePort, start: SequencerStart): Promise<void> {
    const handOver = new HandOver(port);
    const log = await openLog(start);
    const writer = await LogWriter.open({
      ...log,
      keys: start.keys,
      maxChanges: start.maxChanges,
      handOver: (epoch) => handOver.give(epoch),
    });
    const thread = new SequencerThread(port, start, log, writer, handOver);
    const { head, settings, refusal } = log;
    if (refusal === undefined) writer.adjust(start.settings);
    port.on("message", thread.receive.bind(thread));
    thread.#say({
      kind: "opened",
      log: {
        ...head,
        configurationText: settings.configurationText,
        top: writer.packedTop(),
        refusal,
        pendingUsers: writer.pendingUsers,
      },
    });
  }

  receive(message: ToSequencer): void {
    if (message.kind === "taken") this.#handOver.taken();
    // What an epoch merges is what was taken before it closes: it need not wait for changes that came since.
    else if (message.kind === "call" && message.call.name === "closeEpoch") void this.#answer(message.call);
    else {
      this.#inbox.push(message.kind === "call" ? message : this.#begin(message.submitted));
      this.#workSoon();
    }
  }

  #begin(submitted: SubmittedChanges): ChangesInWork {
    const changes: ChangesInWork = { kind: "changes", submitted, done: 0, isReady: false, read: undefined };
    void this.#readAhead.read(submitted.userIds).then((read) => {
      changes.isReady = true;
      changes.read = read;
      this.#workSoon();
    });
    return changes;
  }

  #workSoon(): void {
    if (this.#willWork || this.#inbox.length === 0) return;
    this.#willWork = true;
    setImmediate(this.#work.bind(this));
  }

  /** Does a little of what came, so that an epoch on its way to disk is never kept waiting. */
  #work(): void {
    this.#willWork = false;
    const [first] = this.#inbox;
    if (first === undefined || (first.kind === "changes" && !first.isReady)) return;
    if (first.kind === "call") void this.#answer(first.call);
    else this.#takeSome(first);
    if (first.kind === "call" || first.done === first.submitted.userIds.length) this.#inbox.shift();
    this.#workSoon();
  }

  async #answer(call: Call): Promise<void> {
    const { id, name } = call;
    try {
      const answer = this.#answers[name] as (...args: readonly unknown[]) => unknown;
      this.#say({ kind: "answer", id, value: await answer(...call.args) });
    } catch (error) {
      this.#say({ kind: "refusal", id, failure: failureOf(error) });
    }
  }

  #makeAnswers(): Answers {
    const writer = this.#writer;
    return {
      newestEntry: async (userId) => {
        // The proof is needed for whoever is asked about: its first change mostly follows.
        await (this.#proving.get(userId) ?? (writer.isUnknown(userId) ? this.#prove(userId) : undefined));
        return writer.newestEntry(userId);
      },
      promise: async (userId, nowMs) => {
        await this.#proving.get(userId);
        // It could not be kept as long as no epoch is begun.
        return this.#spaceProblem() === undefined ? writer.promise(userId, nowMs) : undefined;
      },
      historyRoot: (...args) => writer.historyRoot(...args),
      acknowledge: (...args) => writer.acknowledge(...args),
      erase: (...args) => writer.erase(...args),
      mergeable: (nowMs) => writer.mergeableUsers(nowMs),
      succeed: (successor) => {
        writer.adjust({ successor });
      },
      judge: (room, wasPosted) => ({ refusal: this.#log.judge(room, wasPosted) }),
      closeEpoch: (nowMs) => this.#closeEpoch(nowMs),
      flush: () => writer.flush(),
      close: () => this.#close(),
    };
  }

  #takeSome(changes: ChangesInWork): void {
    const { first, userIds, entries, ends, observedMs } = changes.submitted;
    const [start, end] = [changes.done, Math.min(changes.done + AT_ONCE, userIds.length)];
    const { read } = changes;
    const reads = read === undefined ? [] : Array.from({ length: end - start }, (_, i) => readBefore(read, start + i));
    this.#writer.load(reads);
    for (; changes.done < end; changes.done++) {
      const i = changes.done;
      // A copy: what waits for long must not hold the entries of all others.
      const entry = Buffer.from(entries.subarray(i === 0 ? 0 : ends[i - 1], ends[i]));
      this.#submit(
        { number: first + i, userId: userIds[i] as string, entry, observedMs: observedMs[i] as number },
        reads[i - start] ?? NOTHING_READ,
      );
    }
  }

  /** Changes of one user are taken in the order in which they came: all that wait for its proof go on in one turn. */
  #submit(change: Change, read: ReadBefore): void {
    const proving = this.#proving.get(change.userId);
    if (proving === undefined && this.#take(change, read)) return;
    const proved = proving ?? this.#prove(change.userId);
    proved.then(
      () => this.#take(change, NOTHING_READ),
      (error: unknown) => {
        this.#refuse(change, error);
      },
    );
  }

  #prove(userId: string): Promise<void> {
    const proving = this.#provers.prove(userId).then((proof) => {
      this.#proving.delete(userId);
      this.#writer.prepare(userId, proof);
    });
    this.#proving.set(userId, proving);
    // Without the threads that prove, nobody new could ever be taken.
    this.#watch(proving);
    return proving;
  }

  /** False if the user is new and its index not proven yet. */
  #take(change: Change, read: ReadBefore): boolean {
    try {
      const taken = this.#writer.take(change, read);
      if (taken === undefined) return false;
      const { version, mergedIn: epoch } = taken;
      if (epoch !== undefined) this.#say({ kind: "known", known: { change: change.number, version, epoch } });
    } catch (error) {
      this.#refuse(change, error);
      return true;
    }
    this.#taken += 1;
    if (this.#writer.pendingUsers >= this.#maxChanges && !this.#saidFull) {
      this.#saidFull = true;
      this.#say({ kind: "full" });
    }
    return true;
  }

  #refuse({ number }: Change, error: unknown): void {
    this.#taken += 1;
    this.#say({ kind: "refused", change: number, failure: failureOf(error) });
  }

  async #closeEpoch(nowMs: number): Promise<ReturnType<SequencerCalls["closeEpoch"]>> {
    const problem = this.#spaceProblem();
    if (problem !== undefined) return { closed: false, problem, taken: this.#taken, pending: 0 };
    try {
      const { settlingEpoch } = this.#writer;
      const closing = this.#writer.closeEpoch(nowMs);
      // What comes while the epoch before is written may fill the next one.
      this.#saidFull = false;
      const closed = await closing;
      this.#watch(this.#writer.flush());
      if (settlingEpoch !== this.#writer.settlingEpoch) this.#pruning = this.#prune(nowMs);
      return { closed, problem, taken: this.#taken, pending: this.#writer.mergeableUsers(nowMs) };
    } catch (error) {
      this.#say({ kind: "failed", failure: fatalFailure(error) });
      throw error;
    }
  }

  /** A disk that fails here ends the log, as one that fails later does. */
  #spaceProblem(): string | undefined {
    try {
      return spaceProblem(this.#files, this.#reserve);
    } catch (error) {
      this.#say({ kind: "failed", failure: fatalFailure(error) });
      throw error;
    }
  }

  async #prune(nowMs: number): Promise<void> {
    await this.#pruning;
    const pruned = prune(this.#log.store, nowMs);
    this.#watch(pruned);
    await pruned.catch(() => undefined);
  }

  /** What fails here ends the log. */
  #watch(work: Promise<void>): void {
    work.catch((error: unknown) => {
      this.#say({ kind: "failed", failure: fatalFailure(error) });
    });
  }

  async #close(): Promise<void> {
    try {
      await this.#writer.flush();
      await this.#pruning;
    } finally {
      await this.#provers.close();
      await this.#readAhead.close();
      await this.#log.store.close();
      this.#port.close();
    }
  }

  #say(message: FromSequencer): void {
    this.#port.postMessage(message);
  }
}

function failureOf(error: unknown): Failure {
  if (!(error instanceof Error)) return { name: "Error", message: "unknown failure", exitCode: undefined };
  const { exitCode } = error as { exitCode?: unknown };
  const cause = error.cause instanceof Error ? `: ${error.cause.message}` : "";
  return {
    name: error.name,
    message: error.message + cause,
    exitCode: typeof exitCode === "number" ? exitCode : undefined,
  };
}

if (parentPort !== null) {
  const port = parentPort;
  await SequencerThread.start(port, workerData as SequencerStart).catch((error: unknown) => {
    port.postMessage({ kind: "failed", failure: fatalFailure(error) } satisfies FromSequencer);
    port.close();
  });
}
