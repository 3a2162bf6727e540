/** Calls into the thread of the sequencer. */
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { ChangeOutbox } from "./change-outbox.ts";
import { fatalFailure } from "./fatal-failure.ts";
import type {
  Call,
  EpochMessage,
  Failure,
  FromSequencer,
  KnownChange,
  OpenedLog,
  SequencerCalls,
  SequencerStart,
  ToSequencer,
} from "./sequencer-messages.ts";

/** The thread refused a call, or can't go on. `exitCode` is that of the process, where it has to end. */
export class SequencerError extends Error {
  readonly exitCode: number | undefined;

  constructor({ name, message, exitCode }: Failure) {
    super(message);
    this.name = name;
    this.exitCode = exitCode;
  }
}

/** The same file ending as this one: sources run as they are, and published ones compiled. */
const WORKER = new URL(`./sequencer-worker${extname(import.meta.url)}`, import.meta.url);
/**
 * A change lives for about a second, from its arrival to its epoch. Where less fits into the young generation than comes in
 * that time, every change is copied into the old one, and cleaning that up costs a tenth of the machine under full load.
 */
const LIMITS = { maxYoungGenerationSizeMb: 384 };

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** What the thread says unasked. */
export interface ThreadEvents {
  readonly epoch: (epoch: EpochMessage) => void;
  readonly full: () => void;
  readonly known: (known: KnownChange) => void;
  readonly refused: (change: number, failure: SequencerError) => void;
}

export class SequencerThread {
  #events: ThreadEvents | undefined;
  /** Calls without an answer yet. Written by `call` and by what the thread says. */
  readonly #waiting = new Map<number, Waiting>();
  readonly #ended = Promise.withResolvers<undefined>();
  /** Changes to be posted at the end of the turn, or before the next call. */
  readonly #changes = new ChangeOutbox();
  #nextId = 0;
  #worker: Worker | undefined;
  #failure: SequencerError | undefined;

  constructor() {
    // Whoever waits for `finished` reads the failure there; without this, Node would end first.
    this.#ended.promise.catch(() => undefined);
  }

  /** What the thread says unasked goes here. To be set before the first epoch closes. */
  listen(events: ThreadEvents): void {
    this.#events = events;
  }

  /** Resolves when the thread has closed, rejects with what made it stop. */
  get finished(): Promise<void> {
    return this.#ended.promise;
  }

  /** Why no call is taken any more. */
  get failure(): SequencerError | undefined {
    return this.#failure;
  }

  /** Starts the thread; resolves when it has opened the log. */
  async open(start: SequencerStart): Promise<OpenedLog> {
    const opened = Promise.withResolvers<OpenedLog>();
    const worker = new Worker(WORKER, { workerData: start, resourceLimits: LIMITS });
    worker.on("message", (message: FromSequencer) => {
      if (message.kind === "opened") opened.resolve(message.log);
      else this.#receiveOrFail(message);
    });
    worker.on("error", (error: Error) => {
      this.#fail(new SequencerError(fatalFailure(error)));
    });
    worker.on("exit", () => {
      this.#end();
    });
    this.#worker = worker;
    this.#ended.promise.then(() => {
      opened.reject(new Error("the thread of the sequencer ended"));
    }, opened.reject);
    return opened.promise;
  }

  /** One call; calls arrive in the order in which they are made. Rejects with `SequencerError`. */
  call<Name extends keyof SequencerCalls>(
    name: Name,
    ...args: Parameters<SequencerCalls[Name]>
  ): Promise<ReturnType<SequencerCalls[Name]>> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#waiting.set(id, { resolve, reject });
    this.#postChanges();
    this.#post({ kind: "call", call: { id, name, args } as unknown as Call });
    return promise as Promise<ReturnType<SequencerCalls[Name]>>;
  }

  /** Sends a change; what becomes of it is an event. Changes and calls arrive in the order in which they are made. */
  submit(change: number, userId: string, entry: Uint8Array, observedMs: number): void {
    if (this.#changes.isEmpty) setImmediate(this.#postChanges.bind(this));
    this.#changes.add(change, userId, entry, observedMs);
  }

  /** Readers hold this epoch. */
  taken(epoch: number): void {
    this.#post({ kind: "taken", epoch });
  }

  /** Says that nothing is to be waited for any more: an epoch that readers can't take is never followed by another. */
  abandon(failure: unknown): void {
    this.#fail(failure instanceof SequencerError ? failure : new SequencerError(fatalFailure(failure)));
  }

  /** Waits for what is being written, unless that was abandoned, then ends the thread. */
  async close(): Promise<void> {
    if (this.#worker === undefined) return;
    if (this.#failure === undefined) await this.call("close").catch(() => undefined);
    await this.#worker.terminate();
  }

  #postChanges(): void {
    if (this.#changes.isEmpty) return;
    const submitted = this.#changes.take();
    this.#worker?.postMessage({ kind: "changes", submitted } satisfies ToSequencer, [
      submitted.entries.buffer as ArrayBuffer,
    ]);
  }

  #post(message: ToSequencer): void {
    this.#worker?.postMessage(message);
  }

  /** What fails in taking an epoch ends the log: thrown further, it would end the process without a word. */
  #receiveOrFail(message: Exclude<FromSequencer, { kind: "opened" }>): void {
    try {
      this.#receive(message);
    } catch (error) {
      this.#fail(new SequencerError(fatalFailure(error)));
    }
  }

  #receive(message: Exclude<FromSequencer, { kind: "opened" }>): void {
    switch (message.kind) {
      case "answer":
        this.#take(message.id)?.resolve(message.value);
        return;
      case "refusal":
        this.#take(message.id)?.reject(new SequencerError(message.failure));
        return;
      case "epoch":
        this.#events?.epoch(message.epoch);
        return;
      case "known":
        this.#events?.known(message.known);
        return;
      case "refused":
        this.#events?.refused(message.change, new SequencerError(message.failure));
        return;
      case "full":
        this.#events?.full();
        return;
      case "failed":
        this.#fail(new SequencerError(message.failure));
    }
  }

  #take(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    return waiting;
  }

  #fail(failure: SequencerError): void {
    this.#failure ??= failure;
    this.#ended.reject(failure);
    this.#rejectAll(failure);
  }

  #end(): void {
    this.#ended.resolve(undefined);
    this.#failure ??= new SequencerError({ name: "Closed", message: "the log is closed", exitCode: undefined });
    this.#rejectAll(this.#failure);
  }

  #rejectAll(failure: SequencerError): void {
    for (const { reject } of this.#waiting.values()) reject(failure);
    this.#waiting.clear();
  }
}
