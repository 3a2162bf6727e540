/** Changes that wait for an epoch: per user in order, version and commitment fixed from the moment they are taken. */
import type { Hash } from "../shared/crypto/hash.ts";
import { equalBytes } from "../shared/encoding.ts";
import { DAY_MS, MAX_VERSIONS_PER_DAY, MAX_VERSIONS_PER_EPOCH } from "../shared/parameters.ts";
import { commitNatively } from "./native-commitment.ts";
import { randomOpening } from "./openings.ts";
import type { Tip } from "./store/records.ts";

/** One version that no epoch has merged yet. */
export interface PendingVersion {
  readonly version: number;
  readonly entry: Uint8Array;
  readonly opening: Uint8Array;
  readonly commitment: Hash;
  readonly observedMs: number;
  /** Signed for this version; set once, before it leaves the process. */
  promise: string | undefined;
  /** Whether it survives a crash. */
  durable: boolean;
  /** Numbers of the changes that have become this version. Written by `add`. */
  readonly changes: number[];
}

/** A change as it comes in. `number`: tells it from others once it is merged. */
export interface PendingChange {
  readonly entry: Uint8Array;
  readonly observedMs: number;
  readonly number: number | undefined;
}

/** What the log has of a user before the pending versions. */
export interface MergedState {
  readonly userId: string;
  readonly index: Hash;
  readonly vrfProof: Uint8Array;
  readonly tip: Tip;
  /** UTC day of the newest version's epoch, and how many versions that day has. */
  readonly day: number;
  readonly dayCount: number;
  /** The newest entry; undefined if there is no version, or it was erased. */
  readonly entry: Uint8Array | undefined;
}

/** The versions of one user that one epoch merges: at least one. */
export interface Merge {
  readonly before: MergedState;
  readonly versions: readonly PendingVersion[];
}

/** Too many changes wait. The mark of the user stays, so the change is observed again later. */
export class OverloadedError extends Error {
  constructor(what: string) {
    super(`too many changes wait: ${what}`);
    this.name = "OverloadedError";
  }
}

interface Waiting {
  merged: MergedState;
  readonly queue: PendingVersion[];
}

/** What may wait: beyond a day's worth for one user, or this many users, a change is refused. */
const MAX_WAITING_PER_USER = MAX_VERSIONS_PER_DAY;
const MAX_WAITING_USERS = 100_000;

export function dayOf(timeMs: number): number {
  return Math.floor(timeMs / DAY_MS);
}

/** Owner of all pending changes. Written by `add`, `restore` and `take`. */
export class PendingChanges {
  readonly #waiting = new Map<string, Waiting>();

  get users(): number {
    return this.#waiting.size;
  }

  newest(userId: string): PendingVersion | undefined {
    return this.#waiting.get(userId)?.queue.at(-1);
  }

  /** All versions of a user that wait, oldest first. */
  of(userId: string): readonly PendingVersion[] {
    return this.#waiting.get(userId)?.queue ?? [];
  }

  /** What the log has of a user of whom something waits. */
  merged(userId: string): MergedState | undefined {
    return this.#waiting.get(userId)?.merged;
  }

  /** Takes a change of a user. Returns the version that has this entry. */
  add(merged: MergedState, { entry, observedMs, number }: PendingChange): number {
    const waiting = this.#waiting.get(merged.userId) ?? { merged, queue: [] };
    const newest = waiting.queue.at(-1);
    const newestEntry = newest === undefined ? waiting.merged.entry : newest.entry;
    const newestVersion = waiting.merged.tip.size + waiting.queue.length;
    if (newestEntry !== undefined && equalEntries(newestEntry, entry)) {
      if (number !== undefined) newest?.changes.push(number);
      return newestVersion;
    }
    this.#checkRoom(waiting);
    const [version, opening] = [newestVersion + 1, randomOpening()];
    const commitment = commitNatively({ userId: merged.userId, version, entry, opening });
    const changes = number === undefined ? [] : [number];
    waiting.queue.push({
      version,
      entry,
      opening,
      commitment,
      observedMs,
      promise: undefined,
      durable: false,
      changes,
    });
    this.#waiting.set(merged.userId, waiting);
    return version;
  }

  /** Puts back a version that was durable when the process ended. They come in order. */
  restore(merged: MergedState, version: PendingVersion): void {
    const waiting = this.#waiting.get(merged.userId) ?? { merged, queue: [] };
    if (version.version !== merged.tip.size + waiting.queue.length + 1)
      throw new RangeError("a pending version is missing");
    waiting.queue.push(version);
    this.#waiting.set(merged.userId, waiting);
  }

  /** How many of a user's waiting versions an epoch at `timeMs` may merge, if it comes next. */
  mergeable(userId: string, timeMs: number): number {
    const waiting = this.#waiting.get(userId);
    return waiting === undefined ? 0 : mergeableOf(waiting, timeMs);
  }

  /** Users of whom an epoch at `timeMs` could merge something. */
  mergeableUsers(timeMs: number): number {
    let users = 0;
    for (const waiting of this.#waiting.values()) if (mergeableOf(waiting, timeMs) > 0) users += 1;
    return users;
  }

  /**
   * Takes out what an epoch at `timeMs` merges: at most `limit` users, those with a promise first, each in the order in
   * which they came. The first epoch after a time in which none could be closed is already late for a promise.
   */
  take(limit: number, timeMs: number): readonly Merge[] {
    const merges = new Map<string, Merge>();
    if (this.#waiting.size > limit) this.#takeInto(merges, limit, timeMs, isPromised);
    this.#takeInto(merges, limit, timeMs, () => true);
    return [...merges.values()];
  }

  #takeInto(merges: Map<string, Merge>, limit: number, timeMs: number, isMeant: (waiting: Waiting) => boolean): void {
    for (const [userId, waiting] of this.#waiting) {
      if (merges.size === limit) return;
      const count = isMeant(waiting) && !merges.has(userId) ? mergeableOf(waiting, timeMs) : 0;
      if (count === 0) continue;
      merges.set(userId, { before: waiting.merged, versions: waiting.queue.splice(0, count) });
      if (waiting.queue.length === 0) this.#waiting.delete(userId);
    }
  }

  /** Says what was merged of a user, for what still waits. */
  advance(merged: MergedState): void {
    const waiting = this.#waiting.get(merged.userId);
    if (waiting !== undefined) waiting.merged = merged;
  }

  #checkRoom(waiting: Waiting): void {
    if (waiting.queue.length >= MAX_WAITING_PER_USER) throw new OverloadedError("of one user");
    if (waiting.queue.length === 0 && this.#waiting.size >= MAX_WAITING_USERS)
      throw new OverloadedError("of all users");
  }
}

function isPromised({ queue }: Waiting): boolean {
  return queue.some(({ promise }) => promise !== undefined);
}

function mergeableOf({ merged, queue }: Waiting, timeMs: number): number {
  const today = merged.day === dayOf(timeMs) ? merged.dayCount : 0;
  return Math.min(queue.length, MAX_VERSIONS_PER_EPOCH, MAX_VERSIONS_PER_DAY - today);
}

function equalEntries(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && equalBytes(a, b);
}
