/**
 * Everything Matrix-side. The only file that knows matrix-appservice-bridge, of which it takes the transaction
 * listener; calls go through `fetch`, because they need raw text, aborting, and a registration without a stray device.
 */
import "./no-native-crypto.ts";
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { AppService } from "matrix-appservice-bridge";
import type { Listener } from "./config.ts";
import { HomeserverError } from "./homeserver-error.ts";
import { readText } from "./read-text.ts";
import { WATCHER_LOCALPART, type Registration } from "./registration.ts";
import { object, objects, parseTransaction, texts } from "./transaction.ts";
import type { JsonObject, MatrixEvent, Transaction } from "./transaction.ts";

const REQUEST_TIMEOUT_MS = 30_000;
const MAX_ANSWER_BYTES = 256 * 2 ** 20;
const MAX_TRANSACTION_BYTES = 64 * 2 ** 20;

export interface SyncAnswer {
  readonly nextBatch: string;
  readonly changed: readonly string[];
  /** Membership events of the enrolment room; `limited`: there were more than are listed. */
  readonly events: readonly MatrixEvent[];
  readonly limited: boolean;
}

interface CallOptions {
  readonly body?: unknown;
  readonly query?: { readonly [name: string]: string };
  readonly timeoutMs?: number;
}

/** Who acts: the sender of the registration, or the watcher. */
type Actor = "bot" | "watcher";

export class Homeserver {
  readonly serverName: string;
  readonly botUserId: string;
  readonly watcherUserId: string;
  readonly #url: string;
  readonly #registration: Registration;
  readonly #signal: AbortSignal;

  constructor(url: string, serverName: string, registration: Registration, signal: AbortSignal) {
    this.serverName = serverName;
    this.botUserId = `@${registration.senderLocalpart}:${serverName}`;
    this.watcherUserId = `@${WATCHER_LOCALPART}:${serverName}`;
    this.#url = url;
    this.#registration = registration;
    this.#signal = signal;
  }

  /** Whether the user belongs to this homeserver and is none of ours. */
  isLocalUser(userId: string): boolean {
    const local = userId.startsWith("@") && userId.slice(userId.indexOf(":") + 1) === this.serverName;
    return local && userId !== this.botUserId && userId !== this.watcherUserId;
  }

  /**
   * Takes transactions until the signal given at construction is aborted. `sink` returns once what it learned is
   * durable; only then is the transaction acknowledged.
   */
  async listen({ host, port }: Listener, sink: (transaction: Transaction) => Promise<void>): Promise<void> {
    const listener = new TransactionListener(this.#registration.hsToken, sink);
    await listener.listen(port, host, 128);
    this.#signal.addEventListener("abort", () => void listener.close().catch(() => undefined), { once: true });
  }

  /** Makes the bot and the watcher exist; no device is created for them. */
  async register(): Promise<void> {
    for (const username of [this.#registration.senderLocalpart, WATCHER_LOCALPART]) {
      const body = { type: "m.login.application_service", username, inhibit_login: true };
      await this.#json("bot", "POST", "/v3/register", { body }).catch(unlessCode("M_USER_IN_USE"));
    }
  }

  /** Makes the homeserver call our listener, and deliver at once what it held back. */
  async ping(): Promise<void> {
    const path = `/v1/appservice/${encodeURIComponent(this.#registration.id)}/ping`;
    await this.#json("bot", "POST", path, { body: { transaction_id: "matrix-ckv" } });
  }

  /** User id the homeserver sees behind our token. */
  async whoami(): Promise<string> {
    return text((await this.#json("bot", "GET", "/v3/account/whoami")).user_id);
  }

  async versions(): Promise<readonly string[]> {
    const { versions } = object(
      await this.#call("bot", "GET", `${this.#url}/_matrix/client/versions`).then(JSON.parse),
    );
    return Array.isArray(versions) ? versions.filter((version) => typeof version === "string") : [];
  }

  /** Milliseconds since the Unix epoch as the homeserver has it, to the second; undefined if it does not tell. */
  async timeMs(): Promise<number | undefined> {
    const target = new URL(`${this.#url}/_matrix/client/versions`);
    const response = await this.#fetch(target, "GET versions", "GET", {});
    await response.body?.cancel();
    const timeMs = Date.parse(response.headers.get("date") ?? "");
    return Number.isNaN(timeMs) ? undefined : timeMs;
  }

  /** Id of the room behind an alias, or undefined. */
  async resolveAlias(alias: string): Promise<string | undefined> {
    const answer = await this.#json("bot", "GET", `/v3/directory/room/${encodeURIComponent(alias)}`).catch(
      unlessCode("M_NOT_FOUND"),
    );
    return answer === undefined ? undefined : text(answer.room_id);
  }

  /** Makes a room as the bot. Returns its id. */
  async createRoom(options: { readonly [name: string]: unknown }): Promise<string> {
    return text((await this.#json("bot", "POST", "/v3/createRoom", { body: options })).room_id);
  }

  /** Invites a user who is not yet in the room; one who is, or is invited already, is no error. */
  async invite(roomId: string, userId: string): Promise<void> {
    const membership = await this.stateEvent(roomId, "m.room.member", userId);
    if (membership?.["membership"] === "join" || membership?.["membership"] === "invite") return;
    await this.#json("bot", "POST", `${room(roomId)}/invite`, { body: { user_id: userId } });
  }

  async joinAsWatcher(roomId: string): Promise<void> {
    await this.#json("watcher", "POST", `/v3/join/${encodeURIComponent(roomId)}`, { body: {} });
  }

  async joinedMembers(roomId: string): Promise<readonly string[]> {
    const { joined } = await this.#json("bot", "GET", `${room(roomId)}/joined_members`);
    return Object.keys(object(joined));
  }

  /** Content of a state event, or undefined when there is none. */
  async stateEvent(roomId: string, type: string, stateKey: string): Promise<JsonObject | undefined> {
    const path = `${room(roomId)}/state/${encodeURIComponent(type)}/${encodeURIComponent(stateKey)}`;
    return await this.#json("bot", "GET", path).catch(unlessCode("M_NOT_FOUND"));
  }

  async sendState(roomId: string, type: string, content: JsonObject): Promise<void> {
    await this.#json("bot", "PUT", `${room(roomId)}/state/${encodeURIComponent(type)}/`, { body: content });
  }

  /** Sends a timeline event. The same `transactionId` again returns the first event while the homeserver remembers it. */
  async send(roomId: string, type: string, transactionId: string, content: JsonObject): Promise<void> {
    const path = `${room(roomId)}/send/${encodeURIComponent(type)}/${encodeURIComponent(transactionId)}`;
    await this.#json("bot", "PUT", path, { body: content });
  }

  /** Contents of the newest `limit` timeline events of a type sent by the bot, newest first. */
  async newestContents(roomId: string, type: string, limit: number): Promise<readonly JsonObject[]> {
    const filter = JSON.stringify({ types: [type], senders: [this.botUserId] });
    const query = { dir: "b", limit: String(limit), filter };
    const { chunk } = await this.#json("bot", "GET", `${room(roomId)}/messages`, { query });
    return (Array.isArray(chunk) ? chunk : []).map((event) => object(object(event).content));
  }

  /** The raw text of one `/keys/query` answer for all devices of these users, as the bot sees it. */
  async queryKeys(userIds: readonly string[]): Promise<string> {
    const body = { device_keys: Object.fromEntries(userIds.map((userId) => [userId, []])), timeout: 10_000 };
    return await this.#call("bot", "POST", `${this.#url}/_matrix/client/v3/keys/query`, { body });
  }

  /**
   * One `/sync` as the watcher: device-list changes and membership of `roomId` since a stored token.
   * The room must be in the filter, or people who newly join are not reported.
   */
  async sync(roomId: string, since: string | undefined, timeoutMs: number): Promise<SyncAnswer> {
    const query = {
      timeout: String(since === undefined ? 0 : timeoutMs),
      filter: JSON.stringify(syncFilter(roomId)),
      ...(since === undefined ? {} : { since }),
    };
    const answer = await this.#json("watcher", "GET", "/v3/sync", { query, timeoutMs: timeoutMs + REQUEST_TIMEOUT_MS });
    const joined = object(object(object(answer["rooms"])["join"])[roomId]);
    const timeline = object(joined["timeline"]);
    return {
      nextBatch: text(answer["next_batch"]),
      changed: texts(object(answer["device_lists"])["changed"]),
      events: [...objects(object(joined["state"])["events"]), ...objects(timeline["events"])],
      limited: timeline["limited"] === true,
    };
  }

  async #json(actor: Actor, method: string, path: string, options: CallOptions = {}): Promise<JsonObject> {
    const answer = await this.#call(actor, method, `${this.#url}/_matrix/client${path}`, options);
    try {
      return object(JSON.parse(answer));
    } catch (error) {
      throw new HomeserverError(`${method} ${path}: the answer is no JSON`, 0, undefined, { cause: error });
    }
  }

  async #call(actor: Actor, method: string, url: string, options: CallOptions = {}): Promise<string> {
    const target = new URL(url);
    for (const [name, value] of Object.entries(options.query ?? {})) target.searchParams.set(name, value);
    if (actor === "watcher") target.searchParams.set("user_id", this.watcherUserId);
    const what = `${method} ${target.pathname}`;
    const response = await this.#fetch(target, what, method, options);
    const answer = await readText(response, MAX_ANSWER_BYTES).catch((error: unknown) => {
      throw new HomeserverError(`${what}: the answer broke off`, 0, undefined, { cause: error });
    });
    if (!response.ok) throw refusal(what, response.status, answer);
    return answer;
  }

  async #fetch(target: URL, what: string, method: string, options: CallOptions): Promise<Response> {
    try {
      return await fetch(target, {
        method,
        redirect: "error",
        headers: {
          authorization: `Bearer ${this.#registration.asToken}`,
          ...(options.body === undefined ? {} : { "content-type": "application/json" }),
        },
        body: options.body === undefined ? null : JSON.stringify(options.body),
        signal: AbortSignal.any([this.#signal, AbortSignal.timeout(options.timeoutMs ?? REQUEST_TIMEOUT_MS)]),
      });
    } catch (error) {
      throw new HomeserverError(`${what}: the homeserver cannot be reached`, 0, undefined, { cause: error });
    }
  }
}

function text(value: unknown): string {
  if (typeof value !== "string") throw new HomeserverError("the homeserver's answer lacks a member", 0);
  return value;
}

function room(roomId: string): string {
  return `/v3/rooms/${encodeURIComponent(roomId)}`;
}

function syncFilter(roomId: string): JsonObject {
  const none = { not_types: ["*"] };
  return {
    room: {
      rooms: [roomId],
      timeline: { limit: 100, types: ["m.room.member"] },
      state: { types: [] },
      ephemeral: none,
      account_data: none,
    },
    presence: none,
    account_data: none,
  };
}

/** Turns one Matrix error code into `undefined` and rethrows every other failure. */
function unlessCode(errcode: string): (error: unknown) => undefined {
  return (error) => {
    if (error instanceof HomeserverError && error.errcode === errcode) return undefined;
    throw error;
  };
}

function refusal(what: string, status: number, answer: string): HomeserverError {
  const { errcode, error } = parseRefusal(answer);
  const detail = [errcode, error].filter((part) => part !== undefined).join(" ");
  return new HomeserverError(`${what}: ${String(status)} ${detail}`, status, errcode);
}

function parseRefusal(answer: string): { errcode?: string; error?: string } {
  try {
    const { errcode, error } = object(JSON.parse(answer));
    return {
      ...(typeof errcode === "string" ? { errcode: errcode.slice(0, 100) } : {}),
      ...(typeof error === "string" ? { error: error.slice(0, 200) } : {}),
    };
  } catch {
    return {};
  }
}

type Handler = (request: ListenerRequest, response: ListenerResponse) => void;
interface ListenerRequest {
  readonly params: { readonly [name: string]: string };
  readonly body?: unknown;
}
interface ListenerResponse {
  status(code: number): ListenerResponse;
  json(body: unknown): void;
}

const REFUSED = JSON.stringify({ errcode: "M_FORBIDDEN", error: "bad token" });
/** The connection closes, so that nothing of the body is read. */
const REFUSED_HEADERS = { "content-type": "application/json", connection: "close" };

// @ts-expect-error -- the library declares the overridden methods private, but routes through them by design of its constructor.
class TransactionListener extends AppService {
  readonly #tokenHash: Buffer;
  readonly #sink: (transaction: Transaction) => Promise<void>;

  constructor(hsToken: string, sink: (transaction: Transaction) => Promise<void>) {
    super({ homeserverToken: hsToken, httpMaxSizeBytes: MAX_TRANSACTION_BYTES });
    this.#tokenHash = sha256(hsToken);
    this.#sink = sink;
    const { expressApp: routes } = this;
    const pong: Handler = (_request, response) => {
      response.json({});
    };
    routes.post("/_matrix/app/v1/ping", pong as never);
    // eslint-disable-next-line @typescript-eslint/no-unused-vars -- Express knows error handlers by their four parameters
    const refuse = (_error: unknown, _request: ListenerRequest, response: ListenerResponse, _next: unknown): void => {
      response.status(400).json({ errcode: "M_NOT_JSON", error: "the body cannot be read" });
    };
    routes.use(refuse as never);
    // In front of the library: it reads and parses a body before it looks at the token, or logs its errors itself.
    const listener = this as unknown as { app: (request: IncomingMessage, response: ServerResponse) => void };
    listener.app = (request, response) => {
      const status = this.#refusal(request.headers.authorization);
      if (status === undefined) routes(request, response);
      else response.writeHead(status, REFUSED_HEADERS).end(REFUSED);
    };
  }

  /** Undefined: it is the homeserver. Takes the token from the header alone, and no time that tells how much is right. */
  #refusal(authorization: string | undefined): 401 | 403 | undefined {
    const given = /^Bearer (\S+)$/.exec(authorization ?? "")?.[1];
    if (given === undefined) return 401;
    return timingSafeEqual(sha256(given), this.#tokenHash) ? undefined : 403;
  }

  /** Who comes so far is the homeserver; the library would compare with `!==`, also with a token from the query. */
  private override isInvalidToken(): boolean {
    return false;
  }

  private override onTransaction(request: ListenerRequest, response: ListenerResponse): void {
    this.#sink(parseTransaction(request.params["txnId"] ?? "", request.body)).then(
      () => {
        response.json({});
      },
      () => {
        response.status(500).json({ errcode: "M_UNKNOWN", error: "not stored" });
      },
    );
  }

  private override onGetUsers(_request: ListenerRequest, response: ListenerResponse): void {
    response.status(404).json({ errcode: "M_NOT_FOUND", error: "no such user" });
  }

  private override onGetRoomAlias(_request: ListenerRequest, response: ListenerResponse): void {
    response.status(404).json({ errcode: "M_NOT_FOUND", error: "no such room" });
  }
}

function sha256(value: string): Buffer {
  return createHash("sha256").update(value).digest();
}
