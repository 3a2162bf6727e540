import { hash } from "node:crypto";
import { ApiError } from "./api-error.ts";
import { steadyMs } from "./clock.ts";
import type { Gate } from "./http-api.ts";
import { QuestionLimit, questionCounts } from "./question-limit.ts";

export const SESSION_MS: number = 30 * 60_000;
const MAX_SESSIONS = 200_000;
const NO_SESSION = "this needs a session: POST /v1/session";

/** A session as threads tell each other of it. */
export interface Session {
  /** SHA-256 of its token, in base64. */
  readonly key: string;
  readonly userId: string;
  /** When it ends, by the machine's steady clock. */
  readonly endsMs: number;
}

/** What the tables of all threads have in common. */
export interface SharedLimit {
  readonly counts: SharedArrayBuffer;
  readonly lookupsPerMinute: number;
}

/** A limit with memory for as many users as there may be sessions. */
export function sharedLimit(lookupsPerMinute: number): SharedLimit {
  return { counts: questionCounts(MAX_SESSIONS), lookupsPerMinute };
}

/** The sessions, in memory, in each thread that answers: all tables are told of the same ones, in the same order. */
export class SessionTable implements Gate {
  /** By key, oldest first. Written by `add` and `userOf`. */
  readonly #sessions = new Map<string, Session>();
  /** Where each user's questions are counted; the user of the newest session last. Written by `add`. */
  readonly #places = new Map<string, number>();
  readonly #limit: QuestionLimit;
  readonly #now: () => number;

  constructor({ counts, lookupsPerMinute }: SharedLimit, now: () => number = steadyMs) {
    this.#limit = new QuestionLimit(counts, lookupsPerMinute, now);
    this.#now = now;
  }

  /** The oldest is forgotten where there are too many. */
  add(session: Session): void {
    const { key, userId } = session;
    trim(this.#sessions, MAX_SESSIONS);
    this.#sessions.set(key, session);
    const place = this.#places.get(userId) ?? this.#newPlace();
    this.#places.delete(userId);
    this.#places.set(userId, place);
  }

  /** The user of an `Authorization` header. Throws ApiError `unauthorized`. */
  userOf(authorization: string | undefined): string {
    const token = /^Bearer ([A-Za-z0-9_-]{1,256})$/.exec(authorization ?? "")?.[1];
    const key = token === undefined ? "" : keyOf(token);
    const session = this.#sessions.get(key);
    if (session !== undefined && session.endsMs > this.#now()) return session.userId;
    this.#sessions.delete(key);
    throw new ApiError("unauthorized", NO_SESSION);
  }

  /** Counts `points` questions of a user who has a session. Throws ApiError `rate-limited`. */
  count(userId: string, points: number): void {
    const place = this.#places.get(userId);
    if (place === undefined) throw new ApiError("unauthorized", NO_SESSION);
    this.#limit.count(place, points);
  }

  /** The next place; if all are taken, that of the user whose last session is the oldest, and was forgotten by now. */
  #newPlace(): number {
    const [oldest] = this.#places;
    if (oldest === undefined || this.#places.size < MAX_SESSIONS) return this.#places.size;
    const [userId, place] = oldest;
    this.#places.delete(userId);
    return place;
  }
}

/** SHA-256 of a token of a session, in base64: the token itself is not kept. */
export function keyOf(token: string): string {
  return hash("sha256", token, "base64");
}

/** Makes room for one more by forgetting the oldest. */
export function trim(map: Map<string, unknown>, max: number): void {
  for (const key of map.keys()) {
    if (map.size < max) return;
    map.delete(key);
  }
}
