/** What the main thread and the threads that answer beside it say to each other. */
import type { ErrorCode } from "../shared/messages.ts";
import type { WriteSide } from "./api-routes.ts";
import type { CommittedHead } from "./bundle.ts";
import type { Listener } from "./config.ts";
import type { AskedOf, Failure } from "./sequencer-messages.ts";
import type { Session, SharedLimit } from "./session-table.ts";
import type { TopChanges } from "./store/map-top.ts";

/** What a thread is started with. */
export interface AnsweringStart {
  /** Where the database is. */
  readonly database: string;
  readonly vrfSeed: Uint8Array;
  /** The number of the head that is shown; see `ShownHead`. */
  readonly shown: SharedArrayBuffer;
}

/** How the API is served. */
export interface ServeJob {
  readonly listener: Listener;
  readonly serviceUrl: string;
  readonly limit: SharedLimit;
  readonly maxConnections: number;
}

/** What the main thread asks of a thread, by name: arguments and answer. */
export interface AnsweringCalls {
  /** Takes a snapshot of an epoch, the next of which is committed only later; with a number, gets it ready to be shown. */
  take(head: CommittedHead, changes: TopChanges, number: number | undefined): undefined;
  /** Keeps the newest epoch, whatever comes after it, until it is prepared or another is kept. */
  keep(): undefined;
  /** Gets the epoch that is kept ready to be shown, with this note. */
  prepare(number: number, note: string): undefined;
  serve(job: ServeJob): undefined;
  addSession(session: Session): undefined;
  /** What the thread counted: metrics as the client library of Prometheus gives them. */
  readMetrics(): readonly object[];
  /** Takes no further connections. */
  stop(): undefined;
  close(): undefined;
}

export type AnsweringCall = AskedOf<AnsweringCalls>;
/** What only the main thread can do. */
export type WriteCall = AskedOf<WriteSide>;

/** An ApiError, as it passes between threads. */
export interface PassedError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly retryAfterS: number | undefined;
}

export type ToAnswering =
  | { readonly kind: "call"; readonly call: AnsweringCall }
  | { readonly kind: "answer"; readonly id: number; readonly value: unknown }
  | { readonly kind: "refusal"; readonly id: number; readonly error: PassedError };

export type FromAnswering =
  | { readonly kind: "answer"; readonly id: number; readonly value: unknown }
  /** A call failed: the thread is of no more use. */
  | { readonly kind: "failed"; readonly failure: Failure }
  | { readonly kind: "write"; readonly call: WriteCall }
  | { readonly kind: "error"; readonly fields: object; readonly message: string };
