/** Dirty users -> one `/keys/query` -> the entry each of them shows -> a pending change. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { EMPTY_ANSWER_RETRIED_FOR_MS, MAX_DEVICES } from "../shared/parameters.ts";
import { nextEntry, splitKeysQuery, type ObservedKeys } from "../shared/directory/entry.ts";
import { VerificationError } from "../shared/errors.ts";
import type { Statement } from "../shared/messages.ts";
import type { Clock } from "./clock.ts";
import { HomeserverError } from "./homeserver-error.ts";
import type { Logger } from "./logger.ts";
import { NATIVE_CHECKS } from "./native-ed25519.ts";

/** An answer for this many is read without a pause. */
const QUERY_USERS = 100;
/** Work on the main thread lets others in after this. */
const TURN_MS = 10;
const RETRY_MS = 1_000;
/** An account that costs much, or of which too much waits already, is looked at no more often than this. */
const PUT_OFF_MS = 30_000;
/** An empty answer is asked again this often. */
const EMPTY_RETRY_MS = 5_000;
/** Without any news the marks are looked at this often, for what was put off. */
const IDLE_MS = 1_000;

export interface Mark {
  readonly userId: string;
  /** Rises with every new mark of this user. */
  readonly generation: number;
}

export interface MarkStore {
  /** The first `limit` marks in the order of user ids, of those after `after`. */
  takeMarks(limit: number, after?: string): Promise<readonly Mark[]>;
  /** Removes the mark unless a newer one was made since. */
  clearMark(userId: string, generation: number): Promise<void>;
}

export interface PendingChanges {
  submit(change: {
    userId: string;
    entry: Uint8Array;
    observedMs: number;
  }): Promise<{ version: number; epoch: number }>;
  newestEntry(userId: string): Promise<{ version: number; entry: Uint8Array; pending: boolean } | undefined>;
}

export interface KeyQuery {
  queryKeys(userIds: readonly string[]): Promise<string>;
}

export interface ObserverParts {
  readonly marks: MarkStore;
  readonly sequencer: PendingChanges;
  readonly homeserver: KeyQuery;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told how many milliseconds a change took from when it was seen until it was published. */
  readonly merged: (ms: number) => void;
}

/** A change on its way into an epoch, and the newest mark that stands for no more than it. */
interface Change {
  readonly userId: string;
  generation: number;
}

/** Owned by the service: the only one that turns what the homeserver shows into changes. */
export class Observer {
  readonly #parts: ObserverParts;
  /** The newest change of each user that is on its way into an epoch. Written by `#submit`. */
  readonly #inFlight = new Map<string, Change>();
  /** Users who are left alone for now, and until when. Written by `#leaveAlone`. */
  readonly #leftAlone = new Map<string, number>();
  /** Enrolled users for whom the answer is empty: since when, and when to ask again. Written by `#putOff`. */
  readonly #empty = new Map<string, { sinceMs: number; againMs: number }>();
  /** Refreshes in progress, so that many questions about one user cost one. Written by `refresh`. */
  readonly #refreshes = new Map<string, Promise<void>>();
  /** The last observation; the next queues behind it, so that two never start from one newest entry. */
  #turn: Promise<unknown> = Promise.resolve();
  #idle = new AbortController();

  constructor(parts: ObserverParts) {
    this.#parts = parts;
  }

  /** Looks at the marks now instead of at the end of the pause. */
  wake(): void {
    this.#idle.abort();
  }

  /** Works off marks until `signal` is aborted. A mark goes only once its change is in a durable epoch, or there is none. */
  async run(signal: AbortSignal): Promise<void> {
    let after: string | undefined;
    while (!signal.aborted) {
      const marks = await this.#parts.marks.takeMarks(QUERY_USERS, after);
      after = marks.length === QUERY_USERS ? marks.at(-1)?.userId : undefined;
      const reached = await this.#observeDue(marks.filter((mark) => this.#isDue(mark)));
      if (!reached) await this.#parts.clock.sleep(RETRY_MS, signal);
      if (after === undefined) await this.#pause(signal);
    }
  }

  /**
   * Observes one user now, whether marked or not. Resolves when a change, if there is one, is pending. Who was looked at a
   * moment ago at great cost is not looked at again.
   */
  async refresh(userId: string): Promise<void> {
    if (this.#isLeftAlone(userId)) return;
    const running = this.#refreshes.get(userId);
    if (running !== undefined) {
      await running;
      return;
    }
    const refresh = this.#observe([{ userId, generation: NO_MARK }]);
    this.#refreshes.set(userId, refresh);
    await refresh.finally(() => this.#refreshes.delete(userId));
  }

  /**
   * Puts the owner's statement, already verified, into a new version. Returns its number. Throws HomeserverError where the
   * answer is empty: that is asked again for long before it becomes a version.
   */
  async state(userId: string, statement: Statement): Promise<number | undefined> {
    return await this.#inTurn(async () => {
      const keys = splitKeysQuery(await this.#parts.homeserver.queryKeys([userId]), [userId]).get(userId);
      const newest = await this.#parts.sequencer.newestEntry(userId);
      if (keys === undefined || newest === undefined) return undefined;
      if (isEmpty(keys)) throw new HomeserverError("the homeserver shows no keys of the account", 0);
      const entry = nextEntry(userId, newest.entry, { kind: "keys", keys, statement }, NATIVE_CHECKS);
      if (entry === undefined) return newest.version;
      this.#submit({ userId, generation: NO_MARK }, entry);
      return newest.version + 1;
    });
  }

  /** Which of these users show other keys than their newest entry. Changes nothing. */
  readonly findChanged = async (userIds: readonly string[]): Promise<readonly string[]> => {
    const changed: string[] = [];
    for (let from = 0; from < userIds.length; from += QUERY_USERS) {
      await this.#read(userIds.slice(from, from + QUERY_USERS), ({ userId, entry }) => {
        if (entry !== undefined) changed.push(userId);
      });
    }
    return changed;
  };

  #isDue({ userId, generation }: Mark): boolean {
    if (this.#inFlight.get(userId)?.generation === generation || this.#isLeftAlone(userId)) return false;
    const empty = this.#empty.get(userId);
    return empty === undefined || empty.againMs <= this.#parts.clock.now();
  }

  #isLeftAlone(userId: string): boolean {
    const untilMs = this.#leftAlone.get(userId);
    if (untilMs === undefined || untilMs > this.#parts.clock.now()) return untilMs !== undefined;
    return !this.#leftAlone.delete(userId);
  }

  #leaveAlone(userId: string): void {
    this.#leftAlone.set(userId, this.#parts.clock.now() + PUT_OFF_MS);
  }

  async #observeDue(marks: readonly Mark[]): Promise<boolean> {
    try {
      if (marks.length > 0) await this.#observe(marks);
      return true;
    } catch (error) {
      if (!(error instanceof HomeserverError) && !(error instanceof VerificationError)) throw error;
      this.#parts.logger.warn({ error: error.message, users: marks.length }, "keys cannot be asked for");
      return false;
    }
  }

  async #observe(marks: readonly Mark[]): Promise<void> {
    await this.#inTurn(async () => {
      const byUser = new Map(marks.map((mark) => [mark.userId, mark] as const));
      const clear: Mark[] = [];
      await this.#read([...byUser.keys()], (seen) => {
        const mark = byUser.get(seen.userId);
        if (mark !== undefined && this.#take(mark, seen)) clear.push(mark);
      });
      await Promise.all(
        clear.map(async (mark) => {
          await this.#clear(mark);
        }),
      );
    });
  }

  /** Asks for the keys of these users, and tells of each what was seen, in turns that let others in. */
  async #read(userIds: readonly string[], tell: (seen: Seen) => void): Promise<void> {
    const { homeserver, sequencer } = this.#parts;
    const answer = splitKeysQuery(await homeserver.queryKeys(userIds), userIds);
    // Asked for at once, so that all of them make one way to the sequencer's thread and back.
    const entries = await Promise.all(userIds.map(async (userId) => await sequencer.newestEntry(userId)));
    let turnEndsMs = performance.now() + TURN_MS;
    for (const [at, userId] of userIds.entries()) {
      const [keys, newest] = [answer.get(userId), entries[at]];
      if (keys === undefined) continue;
      if (keys.devices.size > MAX_DEVICES) this.#leaveAlone(userId);
      tell({ userId, keys, newest, entry: nextEntry(userId, newest?.entry, { kind: "keys", keys }, NATIVE_CHECKS) });
      if (performance.now() < turnEndsMs) continue;
      await nextTurn();
      turnEndsMs = performance.now() + TURN_MS;
    }
  }

  /** Says whether the mark stands for nothing that is not merged. */
  #take(mark: Mark, { userId, keys, newest, entry }: Seen): boolean {
    if (!isEmpty(keys)) this.#empty.delete(userId);
    else if (entry !== undefined && this.#putOff(userId)) return false;
    if (entry !== undefined) {
      this.#submit(mark, entry);
      return false;
    }
    if (newest?.pending !== true) return true;
    // While the newest entry is only pending, the mark is what survives a crash; it goes with the change it repeats.
    const change = this.#inFlight.get(userId);
    if (change !== undefined && mark.generation !== NO_MARK) change.generation = mark.generation;
    return false;
  }

  /** A homeserver without the user and one with a fault look alike: ask again for a while. Says whether to wait on. */
  #putOff(userId: string): boolean {
    const nowMs = this.#parts.clock.now();
    const sinceMs = this.#empty.get(userId)?.sinceMs ?? nowMs;
    if (nowMs - sinceMs >= EMPTY_ANSWER_RETRIED_FOR_MS) return !this.#empty.delete(userId);
    this.#empty.set(userId, { sinceMs, againMs: nowMs + EMPTY_RETRY_MS });
    return true;
  }

  #submit({ userId, generation }: Mark, entry: Uint8Array): void {
    const { sequencer, clock, logger, merged } = this.#parts;
    const change: Change = { userId, generation };
    const observedMs = clock.now();
    this.#inFlight.set(userId, change);
    sequencer
      .submit({ userId, entry, observedMs })
      .then(() => {
        merged(clock.now() - observedMs);
        return this.#clear(change);
      })
      .catch((error: unknown) => {
        if (error instanceof Error && error.name === "OverloadedError") this.#leaveAlone(userId);
        logger.warn({ error: error instanceof Error ? error.message : "?" }, "a change stays marked");
      })
      .finally(() => {
        if (this.#inFlight.get(userId) === change) this.#inFlight.delete(userId);
      });
  }

  async #clear({ userId, generation }: Mark): Promise<void> {
    if (generation !== NO_MARK) await this.#parts.marks.clearMark(userId, generation);
  }

  async #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const mine = this.#turn.then(work);
    this.#turn = mine.catch(() => undefined);
    return await mine;
  }

  async #pause(signal: AbortSignal): Promise<void> {
    await this.#parts.clock.sleep(IDLE_MS, AbortSignal.any([signal, this.#idle.signal]));
    this.#idle = new AbortController();
  }
}

/** What was seen of one user: the newest entry the log has, and the one that follows it, if any. */
interface Seen {
  readonly userId: string;
  readonly keys: ObservedKeys;
  readonly newest: { readonly version: number; readonly entry: Uint8Array; readonly pending: boolean } | undefined;
  readonly entry: Uint8Array | undefined;
}

/** In place of a generation where an observation was not caused by a mark. */
const NO_MARK = -1;

/** Neither devices nor cross-signing keys: a homeserver without the user answers the same. */
function isEmpty({ masterKey, selfSigningKey, devices }: ObservedKeys): boolean {
  return masterKey === undefined && selfSigningKey === undefined && devices.size === 0;
}
