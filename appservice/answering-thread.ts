/** A thread that answers beside the main one: the API whole, from readers of its own; what changes something goes to the main thread. */
import { parentPort, workerData } from "node:worker_threads";
import type { MessagePort } from "node:worker_threads";
import type {
  AnsweringCall,
  AnsweringCalls,
  AnsweringStart,
  FromAnswering,
  ServeJob,
  ToAnswering,
  WriteCall,
} from "./answering-messages.ts";
import { ApiError } from "./api-error.ts";
import type { WriteSide } from "./api-routes.ts";
import { Bundle } from "./bundle.ts";
import type { CommittedHead } from "./bundle.ts";
import { Directory } from "./directory.ts";
import { fatalFailure } from "./fatal-failure.ts";
import { serveHttpApi } from "./http-api.ts";
import { AnswerMetrics } from "./metrics.ts";
import { indexProver } from "./native-vrf.ts";
import { SessionTable } from "./session-table.ts";
import { ShownHead } from "./shown-head.ts";
import { openLevelStore } from "./store/level-store.ts";
import { ReaderTops } from "./store/map-top.ts";
import type { TopChanges } from "./store/map-top.ts";
import type { Store } from "./store/store.ts";

type Calls = { readonly [Name in keyof AnsweringCalls]: (...args: Parameters<AnsweringCalls[Name]>) => unknown };

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

class AnsweringThread implements Calls {
  readonly #port: MessagePort;
  readonly #store: Store;
  readonly #shown: ShownHead;
  readonly #directory: Directory;
  readonly #metrics = new AnswerMetrics();
  readonly #tops = new ReaderTops();
  readonly #ending = new AbortController();
  /** The newest committed epoch, and the one that is kept. */
  #newest: Bundle | undefined;
  #kept: Bundle | undefined;
  #sessions: SessionTable | undefined;
  /** What the main thread was asked and has not answered. */
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 0;

  constructor(port: MessagePort, { vrfSeed, shown }: AnsweringStart, store: Store) {
    this.#port = port;
    this.#store = store;
    this.#shown = new ShownHead(shown);
    this.#directory = new Directory(indexProver(vrfSeed), this.#shown);
  }

  receive(message: ToAnswering): void {
    if (message.kind === "call") {
      void this.#answer(message.call);
      return;
    }
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.kind === "answer") waiting?.resolve(message.value);
    else waiting?.reject(new ApiError(message.error.code, message.error.message, message.error.retryAfterS));
  }

  take(head: CommittedHead, changes: TopChanges, number: number | undefined): void {
    const before = this.#newest;
    this.#newest = Bundle.take(this.#store, head, this.#tops.change(changes));
    before?.release();
    if (number !== undefined) this.#shown.prepare(number, this.#newest);
  }

  keep(): void {
    this.#kept?.release();
    this.#kept = this.#newest?.retain();
  }

  prepare(number: number, note: string): void {
    const cosigned = this.#kept?.withNote(note);
    this.#kept?.release();
    this.#kept = undefined;
    if (cosigned === undefined) throw new Error("no epoch was kept");
    this.#shown.prepare(number, cosigned);
    cosigned.release();
  }

  async serve({ listener, serviceUrl, limit, maxConnections }: ServeJob): Promise<void> {
    this.#sessions = new SessionTable(limit);
    const parts = {
      api: { read: this.#directory, write: this.#writeSide() },
      gate: this.#sessions,
      logger: { error: this.#logError.bind(this) },
      serviceUrl,
      maxConnections,
      answered: this.#metrics.answered,
    };
    const { signal } = this.#ending;
    await serveHttpApi(parts, listener, signal, true).catch((error: unknown) => {
      // Stopped before it listened: that is no failure.
      if (!signal.aborted) throw error;
    });
  }

  addSession(session: Parameters<AnsweringCalls["addSession"]>[0]): void {
    this.#sessions?.add(session);
  }

  async readMetrics(): Promise<readonly object[]> {
    return await this.#metrics.read();
  }

  stop(): void {
    this.#ending.abort();
  }

  async close(): Promise<void> {
    this.stop();
    this.#kept?.release();
    this.#newest?.release();
    this.#shown.close();
    await this.#store.close();
  }

  async #answer({ id, name, args }: AnsweringCall): Promise<void> {
    try {
      const call = this[name].bind(this) as (...args: readonly unknown[]) => unknown;
      this.#say({ kind: "answer", id, value: await call(...args) });
    } catch (error) {
      this.#say({ kind: "failed", failure: fatalFailure(error) });
    }
  }

  #writeSide(): WriteSide {
    const ask =
      <Name extends keyof WriteSide>(name: Name) =>
      (...args: Parameters<WriteSide[Name]>): ReturnType<WriteSide[Name]> => {
        const id = this.#nextId++;
        const { promise, resolve, reject } = Promise.withResolvers<unknown>();
        this.#waiting.set(id, { resolve, reject });
        this.#say({ kind: "write", call: { id, name, args } as unknown as WriteCall });
        return promise as ReturnType<WriteSide[Name]>;
      };
    return {
      session: ask("session"),
      refresh: ask("refresh"),
      enrol: ask("enrol"),
      state: ask("state"),
      acknowledge: ask("acknowledge"),
      checkReader: ask("checkReader"),
      notReady: ask("notReady"),
    };
  }

  #logError(fields: object, message: string): void {
    this.#say({ kind: "error", fields, message });
  }

  #say(message: FromAnswering): void {
    this.#port.postMessage(message);
  }
}

if (parentPort !== null) {
  const [port, start] = [parentPort, workerData as AnsweringStart];
  try {
    const thread = new AnsweringThread(port, start, await openLevelStore(start.database));
    port.on("message", thread.receive.bind(thread));
  } catch (error) {
    port.postMessage({ kind: "failed", failure: fatalFailure(error) } satisfies FromAnswering);
  }
}
