/** The contract of the database under the log: ordered keys, durable atomic commits, snapshots. */

/** What is stored contradicts itself: a wrong checksum, a referenced record that is missing, a hash that does not fit. */
export class IntegrityError extends Error {
  /** sysexits.h EX_SOFTWARE: starting again does not help. */
  readonly exitCode = 70;

  constructor(message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.name = "IntegrityError";
  }
}

/** A commit whose expectations did not hold. Nothing was written. */
export class ConflictError extends Error {
  constructor(message: string) {
    super(message);
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
    super(message, options);
    this.name = "UnknownOutcomeError";
  }
}

/** Reads. Each value returned has passed its checksum, else `IntegrityError`. */
export interface Reads {
  /** The value of a key, undefined if there is none. */
  get(key: Uint8Array): Uint8Array | undefined;
  /** Key-value pairs with `from <= key < to` in bytewise order, at most `limit`. */
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
  snapshot(): Snapshot;
  /**
   * Resolves when the commit is on disk. Rejects with `ConflictError` if an expectation failed, `UnknownOutcomeError` if
   * the write did. Expected keys have one writing thread.
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
