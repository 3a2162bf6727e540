/** Dirty users -> one `/keys/query` -> the entry each of them shows -> a pending change. */
import { EMPTY_ANSWER_RETRIED_FOR_MS } from "../shared/parameters.ts";
import { nextEntry, splitKeysQuery, type ObservedKeys } from "../shared/directory/entry.ts";
import { VerificationError } from "../shared/errors.ts";
import type { Statement } from "../shared/messages.ts";
import type { Clock } from "./clock.ts";
import { HomeserverError } from "./homeserver-error.ts";
import type { Logger } from "./logger.ts";
import { NATIVE_CHECKS } from "./native-ed25519.ts";

const QUERY_USERS = 500;
const RETRY_MS = 1_000;
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
}

/** Owned by the service: the only one that turns what the homeserver shows into changes. */
export class Observer {
  readonly #parts: ObserverParts;
  /** Users whose change is on its way into an epoch, with the mark it came from. Written by `#submit`. */
  readonly #inFlight = new Map<string, number>();
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

  /** Observes one user now, whether marked or not. Resolves when a change, if there is one, is pending. */
  async refresh(userId: string): Promise<void> {
    const running = this.#refreshes.get(userId);
    if (running !== undefined) {
      await running;
      return;
    }
    const refresh = this.#observe([{ userId, generation: NO_MARK }]);
    this.#refreshes.set(userId, refresh);
    await refresh.finally(() => this.#refreshes.delete(userId));
  }

  /** Puts the owner's statement, already verified, into a new version. Returns its number. */
  async state(userId: string, statement: Statement): Promise<number | undefined> {
    return await this.#inTurn(async () => {
      const keys = splitKeysQuery(await this.#parts.homeserver.queryKeys([userId]), [userId]).get(userId);
      const newest = await this.#parts.sequencer.newestEntry(userId);
      if (keys === undefined || newest === undefined) return undefined;
      const entry = nextEntry(userId, newest.entry, { kind: "keys", keys, statement }, NATIVE_CHECKS);
      if (entry === undefined) return newest.version;
      this.#submit({ userId, generation: NO_MARK }, entry);
      return newest.version + 1;
    });
  }

  /** Which of these users show other keys than their newest entry. Changes nothing. */
  readonly findChanged = async (userIds: readonly string[]): Promise<readonly string[]> => {
    const answer = splitKeysQuery(await this.#parts.homeserver.queryKeys(userIds), userIds);
    const changed: string[] = [];
    for (const [userId, keys] of answer) {
      const newest = await this.#parts.sequencer.newestEntry(userId);
      if (nextEntry(userId, newest?.entry, { kind: "keys", keys }, NATIVE_CHECKS) !== undefined) changed.push(userId);
    }
    return changed;
  };

  #isDue({ userId, generation }: Mark): boolean {
    if (this.#inFlight.get(userId) === generation) return false;
    const empty = this.#empty.get(userId);
    return empty === undefined || empty.againMs <= this.#parts.clock.now();
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
      const userIds = marks.map(({ userId }) => userId);
      const answer = splitKeysQuery(await this.#parts.homeserver.queryKeys(userIds), userIds);
      for (const mark of marks) {
        const keys = answer.get(mark.userId);
        if (keys !== undefined) await this.#take(mark, keys);
      }
    });
  }

  async #take(mark: Mark, keys: ObservedKeys): Promise<void> {
    const newest = await this.#parts.sequencer.newestEntry(mark.userId);
    const entry = nextEntry(mark.userId, newest?.entry, { kind: "keys", keys }, NATIVE_CHECKS);
    if (!isEmpty(keys)) this.#empty.delete(mark.userId);
    else if (entry !== undefined && this.#putOff(mark.userId)) return;
    if (entry !== undefined) this.#submit(mark, entry);
    // While the newest entry is only pending, the mark is what survives a crash.
    else if (newest?.pending !== true) await this.#clear(mark);
  }

  /** A homeserver without the user and one with a fault look alike: ask again for a while. Says whether to wait on. */
  #putOff(userId: string): boolean {
    const nowMs = this.#parts.clock.now();
    const sinceMs = this.#empty.get(userId)?.sinceMs ?? nowMs;
    if (nowMs - sinceMs >= EMPTY_ANSWER_RETRIED_FOR_MS) return !this.#empty.delete(userId);
    this.#empty.set(userId, { sinceMs, againMs: nowMs + EMPTY_RETRY_MS });
    return true;
  }

  #submit(mark: Mark, entry: Uint8Array): void {
    const { userId, generation } = mark;
    const { sequencer, clock, logger } = this.#parts;
    this.#inFlight.set(userId, generation);
    sequencer
      .submit({ userId, entry, observedMs: clock.now() })
      .then(() => this.#clear(mark))
      .catch((error: unknown) => {
        logger.warn({ error: error instanceof Error ? error.message : "?" }, "a change stays marked");
      })
      .finally(() => {
        if (this.#inFlight.get(userId) === generation) this.#inFlight.delete(userId);
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

/** In place of a generation where an observation was not caused by a mark. */
const NO_MARK = -1;

/** Neither devices nor cross-signing keys: a homeserver without the user answers the same. */
function isEmpty({ masterKey, selfSigningKey, devices }: ObservedKeys): boolean {
  return masterKey === undefined && selfSigningKey === undefined && devices.size === 0;
}
