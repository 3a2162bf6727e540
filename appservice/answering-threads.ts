/** Threads that answer beside the main one, as that sees them. */
import { availableParallelism } from "node:os";
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import type {
  AnsweringCall,
  AnsweringCalls,
  AnsweringStart,
  FromAnswering,
  PassedError,
  ServeJob,
  ToAnswering,
  WriteCall,
} from "./answering-messages.ts";
import type { WriteSide } from "./api-routes.ts";
import type { CommittedHead } from "./bundle.ts";
import { fatalFailure } from "./fatal-failure.ts";
import { apiErrorOf } from "./http-api.ts";
import type { Logger } from "./logger.ts";
import type { Failure } from "./sequencer-messages.ts";
import { SequencerError } from "./sequencer-thread.ts";
import type { Session } from "./session-table.ts";
import type { TopChanges } from "./store/map-top.ts";

/** The same file ending as this one: sources run as they are, and published ones compiled. */
const THREAD = new URL(`./answering-thread${extname(import.meta.url)}`, import.meta.url);
/** The main thread included. More would each hold the top of the map and thousands of tiles for answers nobody waits for. */
const MAX_ANSWERING = 4;

/**
 * How many threads are worth having beside the main one: one for each further processor. None where the system does not
 * give connections of one address to several listeners in turn (Node's `reusePort`): there the main thread answers alone.
 */
export function threadsBesideMain(): number {
  return process.platform === "linux" ? Math.min(availableParallelism(), MAX_ANSWERING) - 1 : 0;
}

/** What of the main thread the others need to serve the API. */
export interface MainSide {
  readonly write: WriteSide;
  readonly logger: Pick<Logger, "error">;
}

export class AnsweringThreads {
  /** Shared with `ShownHead` in every thread. */
  readonly shown: SharedArrayBuffer = new SharedArrayBuffer(4);
  readonly #threads: readonly AnsweringThread[];
  readonly #failed = Promise.withResolvers<never>();

  /** Starts the threads. The database has to be opened before, and closed after them: `openLevelStore` says why. */
  constructor(count: number, start: Omit<AnsweringStart, "shown">) {
    const fail = (failure: Failure): void => {
      this.#failed.reject(new SequencerError(failure));
    };
    // Whoever holds the threads reads the failure from `failed`; without this, Node would end first.
    this.#failed.promise.catch(() => undefined);
    this.#threads = Array.from({ length: count }, () => new AnsweringThread({ ...start, shown: this.shown }, fail));
  }

  get count(): number {
    return this.#threads.length;
  }

  /** Never resolves; rejects when a thread failed, with the status that the process is to end with. */
  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  /** Resolves when all hold a snapshot of the epoch; with a number, they have it ready to be shown. */
  async take(head: CommittedHead, changes: TopChanges, number: number | undefined): Promise<void> {
    const { epoch, note, configurationText } = head;
    await this.#all("take", { epoch, note, configurationText }, changes, number);
  }

  /** Lets all keep the newest epoch until it is prepared. */
  keep(): void {
    void this.#all("keep");
  }

  /** Resolves when all have the epoch that they keep ready to be shown with this note. */
  async prepare(number: number, note: string): Promise<void> {
    await this.#all("prepare", number, note);
  }

  /** Resolves when all serve the API on a port on which the main thread listens with `reusePort`. */
  async serve(job: ServeJob, main: MainSide): Promise<void> {
    for (const thread of this.#threads) thread.serveFrom(main);
    await this.#all("serve", job);
  }

  /** Resolves when all know the session. */
  async addSession(session: Session): Promise<void> {
    await this.#all("addSession", session);
  }

  /** What each has counted. */
  async readMetrics(): Promise<readonly (readonly object[])[]> {
    return await this.#all("readMetrics");
  }

  /** Takes no further connections. */
  stop(): void {
    void this.#all("stop");
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.close()));
  }

  /** Rejects when a thread has failed. */
  #all<Name extends keyof AnsweringCalls>(
    name: Name,
    ...args: Parameters<AnsweringCalls[Name]>
  ): Promise<ReturnType<AnsweringCalls[Name]>[]> {
    const all = Promise.all(this.#threads.map((thread) => thread.call(name, ...args)));
    const answered = Promise.race([all, this.#failed.promise]);
    answered.catch(() => undefined);
    return answered;
  }
}

class AnsweringThread {
  readonly #worker: Worker;
  readonly #ended = Promise.withResolvers<undefined>();
  /** Calls without an answer yet. */
  readonly #waiting = new Map<number, (value: unknown) => void>();
  readonly #fail: (failure: Failure) => void;
  #nextId = 0;
  #isClosing = false;
  #main: MainSide | undefined;

  constructor(start: AnsweringStart, fail: (failure: Failure) => void) {
    this.#fail = fail;
    this.#worker = new Worker(THREAD, { workerData: start });
    this.#worker.on("message", this.#receive.bind(this));
    this.#worker.on("error", (error: unknown) => {
      fail(fatalFailure(error));
    });
    this.#worker.on("exit", () => {
      this.#ended.resolve(undefined);
      if (!this.#isClosing) fail(fatalFailure(new Error("a thread that answers has ended")));
    });
  }

  serveFrom(main: MainSide): void {
    this.#main = main;
  }

  /** Calls are made in order. Never rejects: a thread that fails ends the log. */
  call<Name extends keyof AnsweringCalls>(
    name: Name,
    ...args: Parameters<AnsweringCalls[Name]>
  ): Promise<ReturnType<AnsweringCalls[Name]>> {
    const id = this.#nextId++;
    const { promise, resolve } = Promise.withResolvers<unknown>();
    this.#waiting.set(id, resolve);
    this.#post({ kind: "call", call: { id, name, args } as unknown as AnsweringCall });
    return promise as Promise<ReturnType<AnsweringCalls[Name]>>;
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    await Promise.race([this.call("close"), this.#ended.promise]);
    await this.#worker.terminate();
  }

  #receive(message: FromAnswering): void {
    switch (message.kind) {
      case "answer": {
        const resolve = this.#waiting.get(message.id);
        this.#waiting.delete(message.id);
        resolve?.(message.value);
        return;
      }
      case "failed":
        this.#fail(message.failure);
        // Where it was to close, there is nothing left to wait for.
        if (this.#isClosing) this.#ended.resolve(undefined);
        return;
      case "write":
        void this.#write(message.call);
        return;
      case "error":
        this.#main?.logger.error(message.fields, message.message);
    }
  }

  async #write({ id, name, args }: WriteCall): Promise<void> {
    if (this.#main === undefined) return;
    const { write, logger } = this.#main;
    try {
      const call = write[name].bind(write) as (...args: readonly unknown[]) => Promise<unknown>;
      this.#post({ kind: "answer", id, value: await call(...args) });
    } catch (error) {
      this.#post({ kind: "refusal", id, error: passedError(error, name, logger) });
    }
  }

  #post(message: ToAnswering): void {
    this.#worker.postMessage(message);
  }
}

/** What is no answer of the API is a bug of ours: it is told here, where its stack is, and no further. */
function passedError(error: unknown, name: string, logger: MainSide["logger"]): PassedError {
  const known = apiErrorOf(error);
  if (known !== undefined) {
    const { code, message, retryAfterS } = known;
    return { code, message, retryAfterS };
  }
  logger.error({ call: name, stack: error instanceof Error ? error.stack : undefined }, "an answer failed");
  return { code: "internal", message: "the service failed", retryAfterS: undefined };
}
