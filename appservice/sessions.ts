/** Who asks: a Matrix OpenID token, checked with the user's homeserver once, becomes a short session of our own. */
import { randomBytes } from "node:crypto";
import { isIPv6 } from "node:net";
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import { parseUserId, serverOfUser, type OpenIdToken, type SessionAnswer } from "../shared/messages.ts";
import { ApiError } from "./api-error.ts";
import { steadyMs, type Clock } from "./clock.ts";
import { readText } from "./read-text.ts";
import { keyOf, SESSION_MS, trim, type Session } from "./session-table.ts";

const TOKEN_REMEMBERED_MS = 2 * 3_600_000;
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
  /** Resolves when every thread that answers knows the session. */
  readonly add: (session: Session) => Promise<void>;
}

/** Opens sessions. They live in memory: after a restart clients exchange a new token. Only hashes of tokens are kept. */
export class Sessions {
  readonly #parts: SessionParts;
  /** SHA-256 of OpenID tokens already exchanged, and when each is forgotten. Written by `open`. */
  readonly #exchanged = new Map<string, number>();
  readonly #openings: RateLimiterMemory;

  constructor(parts: SessionParts) {
    this.#parts = parts;
    this.#openings = new RateLimiterMemory({ points: parts.sessionsPerMinute, duration: 60 });
  }

  /**
   * A session for the user to whom the homeserver gave this token. A token is taken once.
   * Throws ApiError: `forbidden` for a server not served here, `unauthorized`, `rate-limited`, `not-ready`.
   */
  async open(token: OpenIdToken, address: string): Promise<SessionAnswer> {
    await this.#countOpening(networkOf(address));
    const base = this.#parts.servers.get(token.matrix_server_name);
    if (base === undefined) throw new ApiError("forbidden", "users of this homeserver are not served here");
    const userId = await this.#once(token.access_token, () => exchange(base, token));
    const session = randomBytes(32).toString("base64url");
    await this.#parts.add({ key: keyOf(session), userId, endsMs: steadyMs() + SESSION_MS });
    return { session, user_id: userId, expires_in_ms: SESSION_MS };
  }

  async #countOpening(network: string): Promise<void> {
    try {
      await this.#openings.consume(network);
    } catch (error) {
      if (!(error instanceof RateLimiterRes)) throw error;
      throw new ApiError("rate-limited", "too many requests", Math.ceil(error.msBeforeNext / 1000));
    }
  }

  async #once(token: string, work: () => Promise<string>): Promise<string> {
    const [key, nowMs] = [keyOf(token), this.#parts.clock.now()];
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
