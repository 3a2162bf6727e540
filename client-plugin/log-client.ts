/**
 * HTTP to one log's service: discovery, a session, and each read and write as one method. Answers are parsed strictly
 * and bounded; nothing here judges them. Three kinds of failure stay apart: `ServiceFailure` (the network or the
 * service), `VerificationError` (the answer has no acceptable form), anything else (a bug of ours).
 */
import { parseConfiguration } from "../shared/directory/configuration.ts";
import { encodeUnpadded, fromUtf8, parseJson } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import type {
  ConsistencyAnswer,
  EnrolmentAnswer,
  LookupAnswer,
  PromisePart,
  SettledAnswer,
  SettlingRecords,
  Statement,
  VersionsAnswer,
  WellKnown,
} from "../shared/messages.ts";
import {
  MATRIX_NAMES,
  parseConfigurationContent,
  parseConsistencyAnswer,
  parseEnrolmentAnswer,
  parseLookupAnswer,
  parseLookupsAnswer,
  parseRefreshAnswer,
  parseSessionAnswer,
  parseSettledAnswer,
  parseSettlingRecords,
  parseVersionsAnswer,
  parseWellKnown,
  serverOfUser,
} from "../shared/messages.ts";
import type { Predecessor } from "../shared/proofs/succession.ts";
import { parsePredecessor } from "../shared/proofs/succession.ts";
import type { Clock } from "./clock.ts";
import { isNotFound } from "./matrix.ts";
import type { ClientLike } from "./matrix.ts";
import { othersTurn } from "./slices.ts";

/** Why nothing came back; each is a code of codes.md and never an accusation. */
export type ServiceFailureReason = "offline" | "busy" | "refused-by-service";

export class ServiceFailure extends Error {
  readonly reason: ServiceFailureReason;
  /** HTTP status, where there was one. */
  readonly status: number | undefined;

  constructor(reason: ServiceFailureReason, message: string, status?: number) {
    super(message);
    this.name = "ServiceFailure";
    this.reason = reason;
    this.status = status;
  }
}

export type Fetch = (url: string, init?: RequestInit) => Promise<Response>;

/** A request that takes longer counts as offline. */
const REQUEST_TIMEOUT_MS = 30_000;
/** Largest body read, in bytes: a note and an entry at their limits, as JSON writes them, and the proofs. */
const MAX_BODY_BYTES = 262_144;
/** Versions asked for at a time, and what so many entries at their limit take. */
export const VERSIONS_PER_PAGE = 8;
const MAX_VERSIONS_BYTES: number = VERSIONS_PER_PAGE * 147_456;
/** Users asked about at a time. Where they have more to say than `MAX_VERSIONS_BYTES` they are asked about one by one. */
export const USERS_PER_LOOKUP = 100;
/** Tiles, notes, configurations, sessions, well-known. */
const MAX_SMALL_BYTES = 65_536;
const MAX_JSON_DEPTH = 32;
const MAX_JSON_VALUES = 4_096;
/** A session is renewed this long before it ends. */
const SESSION_MARGIN_MS = 30_000;

/** Somebody who wants to know about a user. */
interface Asked {
  readonly userId: string;
  readonly answer: (answer: Promise<LookupAnswer>) => void;
}

export interface Transport {
  readonly fetch: Fetch;
  readonly clock: Clock;
}

/** One HTTP exchange with a time limit and a size limit. Throws `ServiceFailure`. */
async function exchange(
  { fetch, clock }: Transport,
  url: string,
  init: RequestInit,
  maxBytes: number,
): Promise<{ status: number; body: Uint8Array }> {
  const timeout = new AbortController();
  const done = new AbortController();
  void clock.sleep(REQUEST_TIMEOUT_MS, done.signal).then(() => {
    if (!done.signal.aborted) timeout.abort();
  });
  try {
    const response = await fetch(url, { redirect: "error", ...init, signal: timeout.signal, credentials: "omit" });
    return { status: response.status, body: await readBody(response, maxBytes) };
  } catch (error) {
    if (error instanceof VerificationError || error instanceof ServiceFailure) throw error;
    throw new ServiceFailure("offline", `no answer from ${new URL(url).host}`);
  } finally {
    done.abort();
  }
}

/** The body, or `malformed` as soon as it is longer than the limit. */
async function readBody(response: Response, maxBytes: number): Promise<Uint8Array> {
  if (response.body === null) return new Uint8Array();
  const reader = response.body.getReader();
  const body = new Uint8Array(maxBytes);
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return body.slice(0, length);
    if (length + value.length > maxBytes) {
      await reader.cancel();
      throw new VerificationError("malformed", `the answer is longer than ${String(maxBytes)} bytes`);
    }
    body.set(value, length);
    length += value.length;
  }
}

function isLoopback(host: string): boolean {
  return host === "localhost" || /^127(\.\d{1,3}){3}$/.test(host) || host === "[::1]";
}

/** The host of a server name: the name without its port. */
function hostOf(serverName: string): string {
  return serverName.replace(/:\d{1,5}$/, "");
}

/** Where a homeserver's log is, by its own word; undefined where it says there is none. */
export type Discovery = WellKnown | undefined;

/**
 * Finds the log of a homeserver: `https://<host>/.well-known/matrix/client`; of the own one, where that names none, the room
 * `#ckv:<server>`. What the own homeserver shows of another's room is no word of that server. protocol "Discovery". Throws
 * `ServiceFailure` when the server could not be asked, or its answer can't be understood.
 */
export async function discoverLog(transport: Transport, client: ClientLike, serverName: string): Promise<Discovery> {
  const isOwn = serverName === serverOfUser(client.getSafeUserId());
  try {
    const published = await fromWellKnown(transport, client, serverName);
    return published ?? (isOwn ? await fromRoom(client, serverName) : undefined);
  } catch (error) {
    if (!(error instanceof ServiceFailure) && !(error instanceof VerificationError)) throw error;
    const announced = isOwn ? await fromRoom(client, serverName).catch(() => undefined) : undefined;
    if (announced !== undefined) return announced;
    throw new ServiceFailure("offline", `${serverName} can't be asked for its log`);
  }
}

async function fromWellKnown(transport: Transport, client: ClientLike, serverName: string): Promise<Discovery> {
  const host = hostOf(serverName);
  const base = isLoopback(host) ? client.getHomeserverUrl().replace(/\/+$/, "") : `https://${host}`;
  const url = `${base}/.well-known/matrix/client`;
  const { status, body } = await exchange(transport, url, { cache: "no-cache", redirect: "follow" }, MAX_SMALL_BYTES);
  if (status === 404) return undefined;
  if (status !== 200) throw failureOf(status, url);
  const member = Object.entries(readDocument(body)).find(([name]) => name === MATRIX_NAMES.wellKnown);
  return member === undefined ? undefined : checkTransport(parseWellKnown(member[1]));
}

/** What is no JSON object says nothing. */
function readDocument(body: Uint8Array): object {
  try {
    return Object(JSON.parse(fromUtf8(body))) as object;
  } catch (error) {
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}

/** The log whose configuration stands in the epochs room. Throws `ServiceFailure` where the room can't be read. */
async function fromRoom(client: ClientLike, serverName: string): Promise<Discovery> {
  const room = `#ckv:${serverName}`;
  try {
    const { room_id: roomId } = await client.getRoomIdForAlias(room);
    const path = `/rooms/${encodeURIComponent(roomId)}/state/${MATRIX_NAMES.configuration}/`;
    const { text } = parseConfigurationContent(await client.http.authedRequest<unknown>("GET", path));
    const { service_url, log_key } = parseConfiguration(text);
    return checkTransport({ service_url, room, log_key });
  } catch (error) {
    if (isNotFound(error) || error instanceof VerificationError) return undefined;
    throw new ServiceFailure("offline", `the room ${room} can't be read`);
  }
}

/** https, but on loopback. Throws `malformed`. */
export function checkTransport(wellKnown: WellKnown): WellKnown {
  if (!URL.canParse(wellKnown.service_url)) throw new VerificationError("malformed", "the service URL is none");
  const url = new URL(wellKnown.service_url);
  if (url.protocol !== "https:" && !isLoopback(url.hostname)) {
    throw new VerificationError("malformed", "the service URL is not https");
  }
  return wellKnown;
}

type Parser<T> = (value: unknown) => T;

/** The service of one log. `openIdToken` proves to it who asks, without handing out the access token. */
export class LogClient {
  readonly url: string;
  readonly #transport: Transport;
  readonly #openIdToken: () => Promise<object>;
  /** The current session; replaced when it ends or the service forgets it. */
  #session: { token: string; endsMs: number } | undefined;
  #opening: Promise<string> | undefined;
  /** Lookups that wait for the one on its way. */
  readonly #asked: Asked[] = [];
  #isAnswering = false;
  /** How many may go together: fewer after an exchange that failed, for the service or the link may not bear so many. */
  #together = USERS_PER_LOOKUP;

  constructor(url: string, transport: Transport, openIdToken: () => Promise<object>) {
    this.url = url;
    this.#transport = transport;
    this.#openIdToken = openIdToken;
  }

  /** What the log says about a user. Whoever asks while an answer is on its way is asked about together with the others. */
  async lookup(userId: string): Promise<LookupAnswer> {
    return await new Promise((answer) => {
      this.#asked.push({ userId, answer });
      if (!this.#isAnswering) void this.#answerAll();
    });
  }

  async #answerAll(): Promise<void> {
    this.#isAnswering = true;
    for (;;) {
      const asked = this.#asked.splice(0, this.#together);
      if (asked.length === 0) break;
      const together = this.#lookups(asked.map(({ userId }) => userId));
      for (const { userId, answer } of asked) {
        const part = together.then(async (found) => found?.(userId) ?? (await this.#lookupOne(userId)));
        answer(part);
        await part.catch(() => undefined);
        await othersTurn();
      }
    }
    this.#isAnswering = false;
  }

  async #lookupOne(userId: string): Promise<LookupAnswer> {
    return await this.#write("POST", "/v1/lookup", { user_id: userId }, parseLookupAnswer);
  }

  /** Several users in one answer; undefined where they must be asked about one by one, so that none spoils the others. */
  async #lookups(userIds: readonly string[]): Promise<((userId: string) => LookupAnswer | undefined) | undefined> {
    if (userIds.length === 1) return undefined;
    try {
      const body = { user_ids: [...new Set(userIds)] };
      const { head, users } = await this.#write("POST", "/v1/lookups", body, parseLookupsAnswer, MAX_VERSIONS_BYTES);
      this.#together = Math.min(2 * this.#together, USERS_PER_LOOKUP);
      return (userId) => {
        const user = users[userId];
        return user && { head, user };
      };
    } catch (error) {
      if (error instanceof VerificationError) return undefined;
      if (!(error instanceof ServiceFailure)) throw error;
      if (error.reason === "refused-by-service") return undefined;
      this.#together = Math.max(2, this.#together >> 2);
      // Who waits behind these would wait for the same.
      for (const { answer } of this.#asked.splice(0)) answer(Promise.reject(error));
      throw error;
    }
  }

  async settled(userId: string, epoch: number): Promise<SettledAnswer> {
    return await this.#write("POST", "/v1/settled", { user_id: userId, epoch }, parseSettledAnswer);
  }
  async historyConsistency(userId: string, from: number, to: number): Promise<ConsistencyAnswer> {
    return await this.#write("POST", "/v1/history/consistency", { user_id: userId, from, to }, parseConsistencyAnswer);
  }
  async historyVersions(userId: string, from: number, to: number): Promise<VersionsAnswer> {
    return await this.#write(
      "POST",
      "/v1/history/versions",
      { user_id: userId, from, to },
      parseVersionsAnswer,
      MAX_VERSIONS_BYTES,
    );
  }
  async refresh(userId: string): Promise<PromisePart | undefined> {
    return (await this.#write("POST", "/v1/refresh", { user_id: userId }, parseRefreshAnswer)).promise;
  }
  async enrol(): Promise<EnrolmentAnswer> {
    return await this.#write("POST", "/v1/enrolment", {}, parseEnrolmentAnswer);
  }
  async putStatement(statement: Statement): Promise<void> {
    await this.#write("PUT", "/v1/statement", { statement }, () => undefined);
  }
  /** `signature` by the self-signing key over the canonical JSON of the acknowledgement. */
  async acknowledge(version: number, historyRoot: Uint8Array, signature: string): Promise<void> {
    const body = { version, history_root: encodeUnpadded(historyRoot), signature };
    await this.#write("POST", "/v1/acknowledgement", body, () => undefined);
  }

  async settlingRecords(epoch: number, size: number): Promise<SettlingRecords> {
    const body = await this.#get(`/v1/settling/${String(epoch)}?size=${String(size)}`);
    return parseSettlingRecords(this.#json(body));
  }
  /** Text of the configuration with this hash (hexadecimal). */
  async configuration(hash: string): Promise<string> {
    return fromUtf8(await this.#get(`/v1/configuration/${hash}`));
  }
  /** How the log before this one ended. */
  async predecessor(): Promise<Predecessor> {
    return parsePredecessor(fromUtf8(await this.#get("/v1/predecessor")));
  }
  /** The newest checkpoint: a signed note. */
  async checkpoint(): Promise<string> {
    return fromUtf8(await this.#get("/log/checkpoint"));
  }
  /** A tile or entry bundle by its C2SP path, such as `tile/0/000`. */
  async tile(path: string): Promise<Uint8Array> {
    return await this.#get(`/log/${path}`);
  }

  async #get(path: string): Promise<Uint8Array> {
    const { status, body } = await exchange(this.#transport, this.url + path, {}, MAX_SMALL_BYTES);
    if (status !== 200) throw failureOf(status, path);
    return body;
  }

  #json(body: Uint8Array): unknown {
    return parseJson(fromUtf8(body), { maxBytes: body.length, maxDepth: MAX_JSON_DEPTH, maxValues: MAX_JSON_VALUES });
  }

  async #write<T>(
    method: string,
    path: string,
    body: object,
    parse: Parser<T>,
    maxBytes: number = MAX_BODY_BYTES,
  ): Promise<T> {
    const first = await this.#authorised(method, path, body, maxBytes);
    if (first.status !== 401) return this.#read(first, path, parse);
    this.#session = undefined;
    return this.#read(await this.#authorised(method, path, body, maxBytes), path, parse);
  }

  #read<T>({ status, body }: { status: number; body: Uint8Array }, path: string, parse: Parser<T>): T {
    if (status !== 200) throw failureOf(status, path);
    return parse(this.#json(body));
  }

  async #authorised(
    method: string,
    path: string,
    body: object,
    maxBytes: number,
  ): Promise<{ status: number; body: Uint8Array }> {
    const headers = { authorization: `Bearer ${await this.#token()}`, "content-type": "application/json" };
    const init = { method, headers, body: JSON.stringify(body) };
    return await exchange(this.#transport, this.url + path, init, maxBytes);
  }

  async #token(): Promise<string> {
    if (this.#session !== undefined && this.#transport.clock.now() < this.#session.endsMs) return this.#session.token;
    this.#opening ??= this.#openSession().finally(() => {
      this.#opening = undefined;
    });
    return await this.#opening;
  }

  async #openSession(): Promise<string> {
    const openIdToken = await this.#askHomeserver();
    const init = {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ openid_token: openIdToken }),
    };
    const { status, body } = await exchange(this.#transport, `${this.url}/v1/session`, init, MAX_SMALL_BYTES);
    if (status !== 200) throw failureOf(status, "/v1/session");
    const session = parseSessionAnswer(this.#json(body));
    const endsMs = this.#transport.clock.now() + session.expires_in_ms - SESSION_MARGIN_MS;
    this.#session = { token: session.session, endsMs };
    return session.session;
  }

  async #askHomeserver(): Promise<object> {
    try {
      return await this.#openIdToken();
    } catch {
      throw new ServiceFailure("offline", "the homeserver gave no OpenID token");
    }
  }
}

function failureOf(status: number, path: string): ServiceFailure {
  const message = `${path} answered with status ${String(status)}`;
  if (status === 429 || status === 503) return new ServiceFailure("busy", message, status);
  if (status >= 500) return new ServiceFailure("offline", message, status);
  return new ServiceFailure("refused-by-service", message, status);
}
