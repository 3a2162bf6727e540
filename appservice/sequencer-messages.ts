/** What the main thread and the thread of the sequencer say to each other. */
import type { LogReference } from "../shared/directory/configuration.ts";
import type { TopChanges } from "./store/map-top.ts";
import type { LogKeys } from "./log-settings.ts";

/** What the thread is started with. */
export interface SequencerStart {
  readonly dataDirectory: string;
  readonly anchorFile: string;
  readonly keys: LogKeys;
  readonly maxChanges: number;
  /** Size of the reserve beside the database; 0: none is kept. */
  readonly reserveBytes: number;
  /** Members that replace those of the newest configuration from the next epoch on. */
  readonly settings: ConfigurationSettings;
}

/** The members of a configuration that the operator sets. */
export interface ConfigurationSettings {
  readonly successor?: LogReference;
  readonly service_url?: string;
  readonly witnesses?: readonly string[];
}

/** A log that was opened: the state that readers start from. */
export interface OpenedLog {
  readonly epoch: number;
  readonly note: string;
  readonly configurationText: string;
  readonly top: TopChanges;
  /** Why nothing may ever be signed on this database as it is; undefined if the checks so far hold. */
  readonly refusal: string | undefined;
  readonly pendingUsers: number;
}

/** An epoch on disk, for readers. */
export interface EpochMessage {
  readonly epoch: number;
  readonly note: string;
  readonly configurationText: string;
  readonly changedTop: TopChanges;
  readonly merged: MergedChanges;
}

/** Changes as they go to the thread: one message for all of one turn. */
export interface SubmittedChanges {
  /** Number of the first; the others follow. */
  readonly first: number;
  readonly userIds: readonly string[];
  /** All entries, one after another, and where each ends. */
  readonly entries: Uint8Array;
  readonly ends: Uint32Array;
  readonly observedMs: Float64Array;
}

/** Changes that an epoch merged, by number, and the version that each became. */
export interface MergedChanges {
  readonly changes: Float64Array;
  readonly versions: Float64Array;
}

/** What became of a change without a further epoch: its entry is already that of the newest version. */
export interface KnownChange {
  readonly change: number;
  readonly version: number;
  readonly epoch: number;
}

/** What can be asked of the thread, by name: arguments and answer. */
export interface SequencerCalls {
  newestEntry(userId: string): { version: number; entry: Uint8Array; pending: boolean } | undefined;
  historyRoot(userId: string, version: number): Uint8Array | undefined;
  promise(
    userId: string,
    nowMs: number,
  ): { note: string; opening: Uint8Array; entry: Uint8Array; version: number } | undefined;
  acknowledge(userId: string, version: number, historyRoot: Uint8Array, signature: Uint8Array): undefined;
  erase(userId: string, versions: readonly number[], nowMs: number): undefined;
  /** Users of whom an epoch at `nowMs` could merge something. */
  mergeable(nowMs: number): number;
  succeed(successor: LogReference): undefined;
  judge(room: string, wasPosted: boolean): { refusal: string | undefined };
  /**
   * `closed`: false if the time did not advance, or for the `problem`. `taken`: changes that came before.
   * `pending`: users whose changes the next epoch could merge.
   */
  closeEpoch(nowMs: number): { closed: boolean; problem: string | undefined; taken: number; pending: number };
  flush(): undefined;
  close(): undefined;
}

/** A call of any of these, as it passes between threads. */
export type AskedOf<Calls> = {
  [Name in keyof Calls]: Calls[Name] extends (...args: infer Args) => unknown
    ? { readonly id: number; readonly name: Name; readonly args: Args }
    : never;
}[keyof Calls];

export type Call = AskedOf<SequencerCalls>;

export interface Failure {
  readonly name: string;
  readonly message: string;
  readonly exitCode: number | undefined;
}

export type ToSequencer =
  | { readonly kind: "call"; readonly call: Call }
  | { readonly kind: "changes"; readonly submitted: SubmittedChanges }
  /** Readers hold a snapshot of this epoch: the next may be written. */
  | { readonly kind: "taken"; readonly epoch: number };

export type FromSequencer =
  | { readonly kind: "opened"; readonly log: OpenedLog }
  | { readonly kind: "answer"; readonly id: number; readonly value: unknown }
  | { readonly kind: "refusal"; readonly id: number; readonly failure: Failure }
  | { readonly kind: "epoch"; readonly epoch: EpochMessage }
  | { readonly kind: "known"; readonly known: KnownChange }
  | { readonly kind: "refused"; readonly change: number; readonly failure: Failure }
  /** As many users wait as one epoch takes. */
  | { readonly kind: "full" }
  /** The thread can't go on. */
  | { readonly kind: "failed"; readonly failure: Failure };
