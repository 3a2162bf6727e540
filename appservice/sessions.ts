/** Who asks: a Matrix OpenID token, checked with the user's homeserver once, becomes a short session of our own. */
import { hash, randomBytes } from "node:crypto";
import { isIPv6 } from "node:net";
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import { parseUserId, serverOfUser, type OpenIdToken, type SessionAnswer } from "../shared/messages.ts";
import { ApiError } from "./api-error.ts";
import type { Clock } from "./clock.ts";
import { readText } from "./read-text.ts";

const SESSION_MS = 30 * 60_000;
const TOKEN_REMEMBERED_MS = 2 * 3_600_000;
const MAX_SESSIONS = 200_000;
const MAX_TOKENS = 200_000;
const EXCHANGE_TIMEOUT_MS = 10_000;
const MAX_USERINFO_BYTES = 65_536;
const IPV6_GROUPS = 8;

/** Servers whose users may come, with the base URL of each one's OpenID endpoint. None is discovered: no request goes where the operator did not say. */
export type OpenIdServers = ReadonlyMap<string, string>;

export interface SessionParts {
  readonly servers: OpenIdServers;
  readonly clock: Clock;
  readonly sessionsPerMinute: number;
  readonly lookupsPerMinute: number;
}

interface Session {
  readonly userId: string;
  readonly expiresMs: number;
}

/** Sessions live in memory: after a restart clients exchange a new token. Only hashes of tokens are kept. */
export class Sessions {
  readonly #parts: SessionParts;
  /** By SHA-256 of the session token, oldest first. Written by `open`. */
  readonly #sessions = new Map<string, Session>();
  /** SHA-256 of OpenID tokens already exchanged, and when each is forgotten. Written by `open`. */
  readonly #exchanged = new Map<string, number>();
  readonly #openings: RateLimiterMemory;
  readonly #requests: RateLimiterMemory;

  constructor(parts: SessionParts) {
    this.#parts = parts;
    this.#openings = newLimiter(parts.sessionsPerMinute);
    this.#requests = newLimiter(parts.lookupsPerMinute);
  }

  /**
   * A session for the user to whom the homeserver gave this token. A token is taken once.
   * Throws ApiError: `forbidden` for a server not served here, `unauthorized`, `rate-limited`, `not-ready`.
   */
  async open(token: OpenIdToken, address: string): Promise<SessionAnswer> {
    await spend(this.#openings, networkOf(address), 1);
    const base = this.#parts.servers.get(token.matrix_server_name);
    if (base === undefined) throw new ApiError("forbidden", "users of this homeserver are not served here");
    const userId = await this.#once(token.access_token, () => exchange(base, token));
    const session = randomBytes(32).toString("base64url");
    const expiresMs = this.#parts.clock.now() + SESSION_MS;
    trim(this.#sessions, MAX_SESSIONS);
    this.#sessions.set(hashOf(session), { userId, expiresMs });
    return { session, user_id: userId, expires_in_ms: SESSION_MS };
  }

  /** The user of an `Authorization` header. Throws ApiError `unauthorized`. */
  userOf(authorization: string | undefined): string {
    const token = /^Bearer ([A-Za-z0-9_-]{1,256})$/.exec(authorization ?? "")?.[1];
    const key = token === undefined ? "" : hashOf(token);
    const session = this.#sessions.get(key);
    if (session !== undefined && session.expiresMs > this.#parts.clock.now()) return session.userId;
    this.#sessions.delete(key);
    throw new ApiError("unauthorized", "this needs a session: POST /v1/session");
  }

  /** Counts `points` questions of a user. Throws ApiError `rate-limited`. */
  count(userId: string, points: number): Promise<void> {
    return spend(this.#requests, userId, points);
  }

  async #once(token: string, work: () => Promise<string>): Promise<string> {
    const [key, nowMs] = [hashOf(token), this.#parts.clock.now()];
    if ((this.#exchanged.get(key) ?? 0) > nowMs)
      throw new ApiError("unauthorized", "this OpenID token was used before");
    trim(this.#exchanged, MAX_TOKENS);
    this.#exchanged.set(key, nowMs + TOKEN_REMEMBERED_MS);
    try {
      return await work();
    } catch (error) {
      this.#exchanged.delete(key);
      throw error;
    }
  }
}

/**
 * Asks the server that claims the token whose it is. Matrix specification, Server-Server API, "OpenID". The user must
 * belong to that very server, or any server could vouch for anybody.
 */
async function exchange(base: string, token: OpenIdToken): Promise<string> {
  const url = new URL(`${base}/_matrix/federation/v1/openid/userinfo`);
  url.searchParams.set("access_token", token.access_token);
  const response = await fetch(url, { redirect: "error", signal: AbortSignal.timeout(EXCHANGE_TIMEOUT_MS) }).catch(
    () => {
      throw new ApiError("not-ready", "the homeserver cannot be asked now", 5);
    },
  );
  if (response.status >= 500) throw new ApiError("not-ready", "the homeserver cannot answer now", 5);
  if (!response.ok) throw new ApiError("unauthorized", "the homeserver does not know this OpenID token");
  const userId = await readText(response, MAX_USERINFO_BYTES).then(subjectOf, () => undefined);
  if (userId === undefined || serverOfUser(userId) !== token.matrix_server_name) {
    throw new ApiError("unauthorized", "the OpenID token names a user of another server");
  }
  return userId;
}

/** The user whom an answer of `openid/userinfo` names; undefined if it names none. */
export function subjectOf(answer: string): string | undefined {
  try {
    return parseUserId((JSON.parse(answer) as { readonly sub?: unknown } | null)?.sub);
  } catch {
    return undefined;
  }
}

/** What one who asks can't change at will: the address, of IPv6 the /64 that every host has to itself. */
function networkOf(address: string): string {
  const [, mapped] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address) ?? [];
  if (mapped !== undefined || !isIPv6(address)) return mapped ?? address;
  const [before = [], after] = address.split("::").map((part) => (part === "" ? [] : part.split(":")));
  const zeros = after === undefined ? 0 : IPV6_GROUPS - before.length - after.length;
  const groups = [...before, ...Array.from({ length: Math.max(0, zeros) }, () => "0"), ...(after ?? [])];
  return groups
    .slice(0, IPV6_GROUPS / 2)
    .map((group) => parseInt(group, 16))
    .join(":");
}

/** Without a prefix the text of a key is that of its session, whose hash is known: no new text is made and hashed. */
function newLimiter(perMinute: number): RateLimiterMemory {
  return new RateLimiterMemory({ points: perMinute, duration: 60, keyPrefix: "" });
}

async function spend(limiter: RateLimiterMemory, key: string, points: number): Promise<void> {
  try {
    await limiter.consume(key, points);
  } catch (error) {
    if (!(error instanceof RateLimiterRes)) throw error;
    throw new ApiError("rate-limited", "too many requests", Math.ceil(error.msBeforeNext / 1000));
  }
}

/** Makes room for one more by forgetting the oldest. */
function trim(map: Map<string, unknown>, max: number): void {
  for (const key of map.keys()) {
    if (map.size < max) return;
    map.delete(key);
  }
}

function hashOf(token: string): string {
  return hash("sha256", token, "base64");
}
