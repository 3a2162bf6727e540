/** The contract of the database under the log: ordered keys, durable atomic commits, snapshots. */

/** Where the message of an `IntegrityError` names no other. */
const NEXT_STEP = "Next: stop the service, run matrix-ckv fsck, and restore the newest backup";

/** What is stored contradicts itself: a wrong checksum, a referenced record that is missing, a hash that does not fit. */
export class IntegrityError extends Error {
  /** sysexits.h EX_SOFTWARE: starting again does not help. */
  readonly exitCode = 70;
  /** What is wrong, without the step to take: for a report of many. */
  readonly finding: string;

  constructor(message: string, options?: { readonly cause?: unknown }) {
    super(message.includes("Next: ") ? message : `${message}. ${NEXT_STEP}`, options);
    this.name = "IntegrityError";
    this.finding = message;
  }
}

/** What is computed twice came out differently, so that nothing was signed: what is on disk is sound. */
export function differs(what: string): IntegrityError {
  return new IntegrityError(
    `${what} came out differently the second time: the memory or the processor of this machine is faulty. Next: test them, or run the log on another machine; nothing was signed, and what is on disk is sound, as matrix-ckv fsck shows`,
  );
}

/** There is no database where one is expected. None is ever made in its place. */
export class NoDataError extends Error {
  /** sysexits.h EX_CONFIG: starting again changes nothing. */
  readonly exitCode = 78;

  /** `isDamaged`: there are files of a database, but not the one that names the others. */
  constructor(directory: string, isDamaged: boolean) {
    super(
      isDamaged
        ? `${directory} holds no database any more: its file CURRENT is lost. Restore a backup: matrix-ckv restore`
        : `${directory} holds no database: is "data" of the configuration right? "matrix-ckv init" makes a new log`,
    );
    this.name = "NoDataError";
  }
}

/** A file or database is there, but the machine does not let it be opened: no space, no handles, a disk that fails. */
export class StorageError extends Error {
  /** sysexits.h EX_TEMPFAIL: it may pass. */
  readonly exitCode = 75;

  constructor(path: string, options: { readonly cause: unknown }) {
    super(
      `${path} can't be opened now. Next: free space, raise limits or look at the disk, as the cause says; nothing is lost by trying again`,
      options,
    );
    this.name = "StorageError";
  }
}

/** A commit whose expectations did not hold: somebody else writes. Nothing was written. */
export class ConflictError extends Error {
  /** sysexits.h EX_SOFTWARE: as long as there are two, starting again does not help. */
  readonly exitCode = 70;

  constructor(message: string) {
    super(`${message}. Next: see to it that no other process and no other machine runs this log`);
    this.name = "ConflictError";
  }
}

/**
 * A write failed and may or may not have happened. The process must end, so that the next start reads what is there;
 * nothing is signed again for the same epoch.
 */
export class UnknownOutcomeError extends Error {
  /** sysexits.h EX_TEMPFAIL: a supervisor restarts the process, and the checks at start decide. */
  readonly exitCode = 75;

  constructor(message: string, options?: { readonly cause?: unknown }) {
    super(
      `${message}. Next: look at the disk, as the cause says; the next start goes on from what was written`,
      options,
    );
    this.name = "UnknownOutcomeError";
  }
}

/** A range ends with the pair that brings its keys and values to this, so that no reader's memory depends on what is stored. */
export const RANGE_BYTES: number = 4 * 2 ** 20;

/** Reads. Each value returned has passed its checksum, else `IntegrityError`. */
export interface Reads {
  /** The value of a key, undefined if there is none. */
  get(key: Uint8Array): Uint8Array | undefined;
  /**
   * Key-value pairs with `from <= key < to` in bytewise order, at most `limit`. Fewer once they hold `RANGE_BYTES`; so
   * fewer than `limit` that hold less are all there are.
   */
  range(from: Uint8Array, to: Uint8Array, limit: number): Promise<readonly KeyValue[]>;
}

export interface KeyValue {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** The state at one moment. Must be closed: it keeps old values on disk. */
export interface Snapshot extends Reads {
  close(): Promise<void>;
}

/** What one commit does: all of it or nothing, and only if every expectation holds (undefined: no such key). */
export interface Commit {
  readonly expect?: readonly { readonly key: Uint8Array; readonly value: Uint8Array | undefined }[];
  readonly puts?: readonly KeyValue[];
  readonly deletes?: readonly Uint8Array[];
}

export interface Store extends Reads {
  /** The values of keys, undefined where there is none, read beside this thread, where a store can do that. */
  getMany?(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]>;
  snapshot(): Snapshot;
  /**
   * Resolves when the commit is on disk. Rejects with `ConflictError` if an expectation failed, `UnknownOutcomeError` if
   * the write did: from then on the store refuses everything with that error, since what it holds is known only to who
   * opens it again. Expected keys have one writing thread.
   */
  commit(commit: Commit): Promise<void>;
  close(): Promise<void>;
}

/** The value of a key that another record refers to. Throws `IntegrityError` if it is missing: never "absent". */
export function getReferenced(reads: Reads, key: Uint8Array, what: string): Uint8Array {
  const value = reads.get(key);
  if (value === undefined) throw new IntegrityError(`${what} is missing from the database`);
  return value;
}

/** Bytes that a range counts against `RANGE_BYTES`. */
export function rangeBytes(pairs: readonly KeyValue[]): number {
  return pairs.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
}
