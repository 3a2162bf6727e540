/**
 * Who changed. Three sources write durable marks: pushed transactions (prompt, but homeservers lose them), `/sync` as
 * the watcher (the record), and membership of the enrolment room. A sweep over everybody enrolled is the net under
 * them, and counts what they missed.
 */
import { isAborted, type Clock } from "./clock.ts";
import { HomeserverError } from "./homeserver-error.ts";
import type { SyncAnswer } from "./homeserver.ts";
import type { Logger } from "./logger.ts";
import type { MatrixEvent, Transaction } from "./transaction.ts";

const SYNC_TIMEOUT_MS = 30_000;
const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 60_000;
/** How long the feed may take to report a change that a sweep has already seen. */
const SWEEP_GRACE_MS = 5_000;
const SWEEP_CHUNK = 500;
const SYNC_CURSOR = "feed.sync";

/** Marks and cursors, durable once the promise resolves. */
export interface FeedStore {
  addMarks(userIds: readonly string[]): Promise<void>;
  addTracked(userId: string): Promise<void>;
  isTracked(userId: string): Promise<boolean>;
  isMarked(userId: string): Promise<boolean>;
  tracked(): AsyncIterable<string>;
  getCursor(name: string): Promise<string | undefined>;
  setCursor(name: string, value: string): Promise<void>;
}

export interface FeedHomeserver {
  isLocalUser(userId: string): boolean;
  sync(roomId: string, since: string | undefined, timeoutMs: number): Promise<SyncAnswer>;
  joinedMembers(roomId: string): Promise<readonly string[]>;
}

/** Says which of these users show other keys than the newest entry, without changing anything. */
export type FindChanged = (userIds: readonly string[]) => Promise<readonly string[]>;

export interface FeedParts {
  readonly store: FeedStore;
  readonly homeserver: FeedHomeserver;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called after marks became durable. */
  readonly wake: () => void;
}

export class KeyFeed {
  readonly #store: FeedStore;
  readonly #homeserver: FeedHomeserver;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #wake: () => void;
  /** When a source last named a user. Written by `#mark`; emptied of what a sweep no longer needs by `sweep`. */
  readonly #namedAtMs = new Map<string, number>();
  #sweepMissed = 0;
  #caughtUpAtMs: number | undefined;
  readonly #caughtUp = Promise.withResolvers<undefined>();

  constructor({ store, homeserver, clock, logger, wake }: FeedParts) {
    this.#store = store;
    this.#homeserver = homeserver;
    this.#clock = clock;
    this.#logger = logger;
    this.#wake = wake;
  }

  /** Changes found by sweeps alone, since the start. Stays 0 while the feed is complete. */
  get sweepMissed(): number {
    return this.#sweepMissed;
  }

  /** When `/sync` last answered, by the clock; undefined before the first answer. */
  get caughtUpAtMs(): number | undefined {
    return this.#caughtUpAtMs;
  }

  /** Resolves once everything the transaction says is durable. */
  async take(transaction: Transaction, enrolmentRoom: string | undefined): Promise<void> {
    const joined = enrolmentRoom === undefined ? [] : joinsOf(transaction.events, enrolmentRoom);
    await this.#enrol(joined);
    await this.#mark(transaction.changed);
  }

  /** Follows `/sync` until `signal` is aborted. Every answer is durable before its token is stored. */
  async follow(enrolmentRoom: string, signal: AbortSignal): Promise<void> {
    let waitMs = RETRY_FIRST_MS;
    while (!signal.aborted) {
      try {
        await this.#step(enrolmentRoom);
        waitMs = RETRY_FIRST_MS;
      } catch (error) {
        if (!(error instanceof HomeserverError)) throw error;
        if (isAborted(signal)) return;
        this.#logger.warn({ error: error.message }, "the /sync feed is interrupted");
        await this.#clock.sleep(waitMs, signal);
        waitMs = Math.min(2 * waitMs, RETRY_LAST_MS);
      }
    }
  }

  async #step(enrolmentRoom: string): Promise<void> {
    const since = await this.#store.getCursor(SYNC_CURSOR);
    const answer = await this.#sync(enrolmentRoom, since);
    const anew = since === undefined || answer.limited;
    const joined = anew ? await this.#homeserver.joinedMembers(enrolmentRoom) : joinsOf(answer.events, enrolmentRoom);
    await this.#enrol(joined);
    await this.#mark(answer.changed);
    await this.#store.setCursor(SYNC_CURSOR, answer.nextBatch);
    this.#caughtUpAtMs = this.#clock.now();
    this.#caughtUp.resolve(undefined);
  }

  /** Resolves once `/sync` has told all that happened before the start, or `signal` is aborted. */
  async caughtUp(signal: AbortSignal): Promise<void> {
    signal.addEventListener("abort", () => {
      this.#caughtUp.resolve(undefined);
    });
    await this.#caughtUp.promise;
  }

  async #sync(enrolmentRoom: string, since: string | undefined): Promise<SyncAnswer> {
    try {
      return await this.#homeserver.sync(enrolmentRoom, since, SYNC_TIMEOUT_MS);
    } catch (error) {
      if (!(error instanceof HomeserverError) || since === undefined || error.status !== 400) throw error;
      // The homeserver no longer knows the token: start anew, and look at everybody.
      const answer = await this.#homeserver.sync(enrolmentRoom, undefined, 0);
      for await (const userIds of chunks(this.#store.tracked(), SWEEP_CHUNK)) await this.#mark(userIds);
      return { ...answer, limited: true };
    }
  }

  /** Compares everybody enrolled with their newest entry every `intervalMs`, the first time at once. */
  async sweepForever(
    enrolmentRoom: string,
    findChanged: FindChanged,
    intervalMs: number,
    signal: AbortSignal,
  ): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.sweep(enrolmentRoom, findChanged, signal);
      } catch (error) {
        if (!(error instanceof HomeserverError)) throw error;
        if (!isAborted(signal)) this.#logger.warn({ error: error.message }, "a sweep was cut short");
      }
      await this.#clock.sleep(intervalMs, signal);
    }
  }

  /**
   * One sweep. What it finds is marked. It counts as missed when the user is in the enrolment room, so that the feeds
   * should have reported it, and neither did from a little before it was seen to the end of the grace.
   */
  async sweep(enrolmentRoom: string, findChanged: FindChanged, signal: AbortSignal): Promise<void> {
    for await (const userIds of chunks(this.#store.tracked(), SWEEP_CHUNK)) {
      const startedMs = this.#clock.now();
      const changed = await findChanged(userIds);
      if (changed.length > 0) await this.#clock.sleep(SWEEP_GRACE_MS, signal);
      if (signal.aborted) return;
      const silent = await this.#unreported(changed, startedMs);
      const found = silent.length === 0 ? [] : await findChanged(silent);
      if (found.length > 0) await this.#count(found, enrolmentRoom);
    }
    this.#forgetNames();
  }

  async #unreported(userIds: readonly string[], sinceMs: number): Promise<readonly string[]> {
    const silent: string[] = [];
    for (const userId of userIds) {
      const named = (this.#namedAtMs.get(userId) ?? 0) >= sinceMs - SWEEP_GRACE_MS;
      if (!named && !(await this.#store.isMarked(userId))) silent.push(userId);
    }
    return silent;
  }

  async #count(found: readonly string[], enrolmentRoom: string): Promise<void> {
    const members = new Set(await this.#homeserver.joinedMembers(enrolmentRoom));
    const missed = found.filter((userId) => members.has(userId)).length;
    this.#sweepMissed += missed;
    if (missed > 0) this.#logger.warn({ users: missed }, "a sweep found changes that no feed had reported");
    await this.#mark(found);
  }

  #forgetNames(): void {
    const beforeMs = this.#clock.now() - 60_000;
    for (const [userId, atMs] of this.#namedAtMs) if (atMs < beforeMs) this.#namedAtMs.delete(userId);
  }

  /** Enrolment is for life: leaving the room ends nothing. */
  async #enrol(userIds: readonly string[]): Promise<void> {
    const local = userIds.filter((userId) => this.#homeserver.isLocalUser(userId));
    for (const userId of local) await this.#store.addTracked(userId);
    await this.#mark(local);
  }

  async #mark(userIds: readonly string[]): Promise<void> {
    const enrolled: string[] = [];
    for (const userId of new Set(userIds)) {
      if (this.#homeserver.isLocalUser(userId) && (await this.#store.isTracked(userId))) enrolled.push(userId);
    }
    if (enrolled.length === 0) return;
    for (const userId of enrolled) this.#namedAtMs.set(userId, this.#clock.now());
    await this.#store.addMarks(enrolled);
    this.#wake();
  }
}

/** Users who join `roomId` according to these events. */
/** Who joined the room, by the events that say so; what has another form is passed over. */
export function joinsOf(events: readonly MatrixEvent[], roomId: string): readonly string[] {
  return events.flatMap((event) => {
    const ofRoom = event.type === "m.room.member" && (event.room_id === undefined || event.room_id === roomId);
    const content = event.content as { readonly membership?: unknown } | null | undefined;
    return ofRoom && content?.membership === "join" && typeof event.state_key === "string" ? [event.state_key] : [];
  });
}

async function* chunks(userIds: AsyncIterable<string>, size: number): AsyncIterable<readonly string[]> {
  let chunk: string[] = [];
  for await (const userId of userIds) {
    chunk.push(userId);
    if (chunk.length < size) continue;
    yield chunk;
    chunk = [];
  }
  if (chunk.length > 0) yield chunk;
}
