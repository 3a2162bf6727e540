/**
 * A homeserver that is only as much of Synapse as the service needs, but really speaks it, and changes keys faster than a
 * Synapse beside it could: client API for the bot and the watcher, device-list stream in `/sync` and in transactions
 * (MSC3202), OpenID. Some transactions come twice, or again under the same number with another body, as Synapse's do.
 */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import type { Registration } from "../../appservice/registration.ts";
import { Account } from "./accounts.ts";

const PUSH_EVERY_MS = 50;
/** Every so many transactions one comes twice, and one again with another body. */
const REPEAT_EVERY = 10;
const SYNC_BATCH = 10_000;

type MatrixObject = { readonly [name: string]: unknown };

function isMatrixObject(value: unknown): value is MatrixObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

interface StoredEvent {
  readonly type: string;
  readonly sender: string;
  readonly event_id: string;
  readonly state_key?: string;
  readonly content: MatrixObject;
}

interface Room {
  readonly id: string;
  readonly timeline: StoredEvent[];
  readonly state: Map<string, StoredEvent>;
  readonly transactions: Map<string, string>;
}

/** A Matrix error that becomes the answer. */
class Refusal extends Error {
  readonly status: number;
  readonly errcode: string;

  constructor(status: number, errcode: string) {
    super(errcode);
    this.status = status;
    this.errcode = errcode;
  }
}

export interface HomeserverOptions {
  readonly port: number;
  /** Accounts `@u0`, `@u1`, ... that take part, and `@o0`, `@o1`, ... that do not. */
  readonly users: number;
  readonly outsiders: number;
}

interface Call {
  readonly userId: string;
  readonly params: readonly string[];
  readonly query: URLSearchParams;
  readonly body: MatrixObject;
}
type Handler = (call: Call) => MatrixObject | string | Promise<MatrixObject | string>;

export class FastHomeserver {
  readonly serverName: string;
  readonly url: string;
  readonly accounts: ReadonlyMap<string, Account>;
  readonly #registration: Registration;
  readonly #rooms = new Map<string, Room>();
  readonly #aliases = new Map<string, string>();
  readonly #registered = new Set<string>();
  /** OpenID tokens and whose they are. */
  readonly #openId = new Map<string, string>();
  /** Users whose keys changed, in order; the position is the sync token. */
  readonly #stream: string[] = [];
  #unpushed = new Set<string>();
  #news = Promise.withResolvers<undefined>();
  #transactions = 0;
  readonly #signal: AbortSignal;

  /** How many of the accounts, the first ones, are in the enrolment room. */
  readonly #users: number;

  private constructor({ port, users, outsiders }: HomeserverOptions, registration: Registration, signal: AbortSignal) {
    this.serverName = `localhost:${String(port)}`;
    this.url = `http://${this.serverName}`;
    this.#registration = registration;
    this.#signal = signal;
    this.#users = users;
    const named = (letter: string, count: number): string[] =>
      Array.from({ length: count }, (_, i) => `@${letter}${String(i)}:${this.serverName}`);
    const ids = [...named("u", users), ...named("o", outsiders)];
    this.accounts = new Map(ids.map((userId) => [userId, new Account(userId)] as const));
    signal.addEventListener("abort", () => {
      this.#news.resolve(undefined);
    });
  }

  /** Listens on loopback until `signal` is aborted. Users are in the enrolment room once that exists; outsiders never. */
  static async start(
    options: HomeserverOptions,
    registration: Registration,
    signal: AbortSignal,
  ): Promise<FastHomeserver> {
    const homeserver = new FastHomeserver(options, registration, signal);
    const server = createServer((request, response) => {
      void homeserver.#answer(request, response);
    });
    server.keepAliveTimeout = 60_000;
    server.listen(options.port, "localhost");
    await once(server, "listening");
    signal.addEventListener("abort", () => {
      server.close();
      server.closeAllConnections();
    });
    return homeserver;
  }

  /** Users of whose changes no transaction has told yet. */
  get unpushed(): number {
    return this.#unpushed.size;
  }

  /** Gives the account another device, and tells the service. Returns the device's id. */
  change(userId: string): string {
    const account = this.accounts.get(userId);
    if (account === undefined) throw new Error(`no account ${userId}`);
    const deviceId = account.change();
    this.#stream.push(userId);
    this.#unpushed.add(userId);
    this.#tell();
    return deviceId;
  }

  /** Whoever asks gets one: how accounts log in is no part of this. */
  #openIdToken(userId: string): MatrixObject {
    const token = randomBytes(16).toString("hex");
    this.#openId.set(token, userId);
    return { access_token: token, token_type: "Bearer", matrix_server_name: this.serverName, expires_in: 3_600 };
  }

  /** Pushes transactions, one after the other, until the signal is aborted; one that fails is sent again. */
  async push(): Promise<void> {
    while (!this.#signal.aborted) {
      await delay(PUSH_EVERY_MS);
      if (this.#unpushed.size === 0) continue;
      const changed = [...this.#unpushed];
      this.#unpushed = new Set();
      const id = String(++this.#transactions);
      await this.#deliver(id, changed);
      if (this.#transactions % REPEAT_EVERY === 0) await this.#deliver(id, changed);
      if (this.#transactions % REPEAT_EVERY === 5) await this.#deliver(id, changed.slice(1));
    }
  }

  async #deliver(id: string, changed: readonly string[]): Promise<void> {
    const body = JSON.stringify({ events: [], "org.matrix.msc3202.device_lists": { changed, left: [] } });
    while (!this.#signal.aborted) {
      const status = await this.#callService("PUT", `/_matrix/app/v1/transactions/${id}`, body);
      if (status === 200) return;
      await delay(500);
    }
  }

  async #callService(method: string, path: string, body: string): Promise<number> {
    const headers = { authorization: `Bearer ${this.#registration.hsToken}`, "content-type": "application/json" };
    return await fetch(this.#registration.url + path, { method, headers, body, signal: this.#signal }).then(
      async (response) => {
        await response.text();
        return response.status;
      },
      () => 0,
    );
  }

  #tell(): void {
    this.#news.resolve(undefined);
    this.#news = Promise.withResolvers<undefined>();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const result = await this.#route(request);
      response.setHeader("content-type", "application/json");
      response.end(typeof result === "string" ? result : JSON.stringify(result));
    } catch (error) {
      const refusal = error instanceof Refusal ? error : new Refusal(500, "M_UNKNOWN");
      response.writeHead(refusal.status, { "content-type": "application/json" });
      response.end(JSON.stringify({ errcode: refusal.errcode, error: String(error) }));
    }
  }

  async #route(request: IncomingMessage): Promise<MatrixObject | string> {
    const url = new URL(request.url ?? "", this.url);
    const what = `${request.method ?? ""} ${url.pathname}`;
    const body = await readJson(request);
    for (const [pattern, handler] of this.#handlers) {
      const match = pattern.exec(what);
      if (match === null) continue;
      const params = match.slice(1).map(decodeURIComponent);
      const isOpen = what.includes("/openid/");
      const userId = isOpen ? "" : this.#actor(request.headers.authorization, url.searchParams.get("user_id"));
      return await handler({ userId, params, query: url.searchParams, body });
    }
    throw new Refusal(404, "M_UNRECOGNIZED");
  }

  #actor(authorization: string | undefined, as: string | null): string {
    if (authorization !== `Bearer ${this.#registration.asToken}`) throw new Refusal(401, "M_UNKNOWN_TOKEN");
    return as ?? `@${this.#registration.senderLocalpart}:${this.serverName}`;
  }

  readonly #handlers: readonly (readonly [RegExp, Handler])[] = [
    [/^GET \/_matrix\/client\/versions$/, () => ({ versions: ["v1.11", "v1.12"] })],
    [/^POST \/_matrix\/client\/v3\/register$/, ({ body }) => this.#register(String(body["username"]))],
    [/^GET \/_matrix\/client\/v3\/account\/whoami$/, ({ userId }) => ({ user_id: userId })],
    [/^POST \/_matrix\/client\/v1\/appservice\/[^/]+\/ping$/, async () => await this.#ping()],
    [/^GET \/_matrix\/client\/v3\/directory\/room\/([^/]+)$/, ({ params: [alias = ""] }) => this.#resolve(alias)],
    [/^POST \/_matrix\/client\/v3\/createRoom$/, ({ userId, body }) => this.#create(userId, body)],
    [
      /^POST \/_matrix\/client\/v3\/rooms\/([^/]+)\/invite$/,
      ({ params: [id = ""], body }) => this.#member(id, String(body["user_id"]), "invite"),
    ],
    [
      /^POST \/_matrix\/client\/v3\/join\/([^/]+)$/,
      ({ params: [id = ""], userId }) => this.#member(id, userId, "join"),
    ],
    [/^GET \/_matrix\/client\/v3\/rooms\/([^/]+)\/joined_members$/, ({ params: [id = ""] }) => this.#joined(id)],
    [
      /^GET \/_matrix\/client\/v3\/rooms\/([^/]+)\/state\/([^/]+)\/([^/]*)$/,
      ({ params: [id = "", type, key] }) => {
        const event = this.#room(id).state.get(`${String(type)} ${String(key)}`);
        if (event === undefined) throw new Refusal(404, "M_NOT_FOUND");
        return event.content;
      },
    ],
    [
      /^PUT \/_matrix\/client\/v3\/rooms\/([^/]+)\/state\/([^/]+)\/$/,
      ({ params: [id = "", type = ""], userId, body }) =>
        this.#send(this.#room(id), { type, sender: userId, state_key: "", content: body }),
    ],
    [/^PUT \/_matrix\/client\/v3\/rooms\/([^/]+)\/send\/([^/]+)\/([^/]+)$/, (call) => this.#sendOnce(call)],
    [
      /^GET \/_matrix\/client\/v3\/rooms\/([^/]+)\/messages$/,
      ({ params: [id = ""], query }) => this.#messages(id, query),
    ],
    [/^POST \/_matrix\/client\/v3\/keys\/query$/, ({ body }) => this.#keys(body)],
    [/^GET \/_matrix\/client\/v3\/sync$/, async ({ query }) => await this.#sync(query)],
    [
      /^POST \/_matrix\/client\/v3\/user\/([^/]+)\/openid\/request_token$/,
      ({ params: [userId = ""] }) => this.#openIdToken(userId),
    ],
    [
      /^GET \/_matrix\/federation\/v1\/openid\/userinfo$/,
      ({ query }) => {
        const userId = this.#openId.get(query.get("access_token") ?? "");
        if (userId === undefined) throw new Refusal(401, "M_UNKNOWN_TOKEN");
        return { sub: userId };
      },
    ],
  ];

  #register(username: string): MatrixObject {
    if (this.#registered.has(username)) throw new Refusal(400, "M_USER_IN_USE");
    this.#registered.add(username);
    return { user_id: `@${username}:${this.serverName}` };
  }

  async #ping(): Promise<MatrixObject> {
    const status = await this.#callService("POST", "/_matrix/app/v1/ping", "{}");
    if (status !== 200) throw new Refusal(502, "M_BAD_STATUS");
    return { duration_ms: 1 };
  }

  #resolve(alias: string): MatrixObject {
    const roomId = this.#aliases.get(alias);
    if (roomId === undefined) throw new Refusal(404, "M_NOT_FOUND");
    return { room_id: roomId };
  }

  #create(sender: string, body: MatrixObject): MatrixObject {
    const name = String(body["room_alias_name"]);
    const room: Room = { id: `!${name}`, timeline: [], state: new Map(), transactions: new Map() };
    this.#rooms.set(room.id, room);
    this.#aliases.set(`#${name}:${this.serverName}`, room.id);
    this.#member(room.id, sender, "join");
    const members = name === "ckv-members" ? [...this.accounts.keys()].slice(0, this.#users) : [];
    for (const userId of members) this.#member(room.id, userId, "join");
    return { room_id: room.id };
  }

  #room(id: string): Room {
    const room = this.#rooms.get(id);
    if (room === undefined) throw new Refusal(403, "M_FORBIDDEN");
    return room;
  }

  #member(roomId: string, userId: string, membership: "invite" | "join"): MatrixObject {
    const room = this.#room(roomId);
    this.#send(room, { type: "m.room.member", sender: userId, state_key: userId, content: { membership } });
    return { room_id: roomId };
  }

  #joined(roomId: string): MatrixObject {
    const events = [...this.#room(roomId).state.values()];
    const members = events.filter(({ type, content }) => type === "m.room.member" && content["membership"] === "join");
    return { joined: Object.fromEntries(members.map(({ state_key: userId = "" }) => [userId, {}] as const)) };
  }

  #send(room: Room, given: Omit<StoredEvent, "event_id">): MatrixObject {
    const event = { ...given, event_id: `$${room.id}${String(room.timeline.length)}` };
    room.timeline.push(event);
    if (event.state_key !== undefined) room.state.set(`${event.type} ${event.state_key}`, event);
    return { event_id: event.event_id };
  }

  #sendOnce({ params: [id = "", type = "", transaction = ""], userId, body }: Call): MatrixObject {
    const room = this.#room(id);
    const known = room.transactions.get(transaction);
    if (known !== undefined) return { event_id: known };
    const sent = this.#send(room, { type, sender: userId, content: body });
    room.transactions.set(transaction, String(sent["event_id"]));
    return sent;
  }

  #messages(id: string, query: URLSearchParams): MatrixObject {
    const { types } = JSON.parse(query.get("filter") ?? "{}") as { readonly types?: readonly string[] };
    const wanted = this.#room(id).timeline.filter(({ type }) => types?.includes(type) !== false);
    return { chunk: wanted.reverse().slice(0, Number(query.get("limit") ?? 10)) };
  }

  #keys(body: MatrixObject): string {
    const asked = isMatrixObject(body["device_keys"]) ? Object.keys(body["device_keys"]) : [];
    const shown = asked.flatMap((userId) => {
      const account = this.accounts.get(userId);
      return account === undefined ? [] : [{ name: JSON.stringify(userId), ...account.shown }];
    });
    const members = (of: "devices" | "master" | "selfSigning"): string =>
      shown.map((each) => `${each.name}:${each[of]}`).join(",");
    return `{"device_keys":{${members("devices")}},"failures":{},"master_keys":{${members("master")}},"self_signing_keys":{${members("selfSigning")}}}`;
  }

  async #sync(query: URLSearchParams): Promise<MatrixObject> {
    const since = query.get("since");
    if (since === null)
      return { next_batch: `s${String(this.#stream.length)}`, device_lists: { changed: [], left: [] } };
    const from = Number(/^s(\d+)$/.exec(since)?.[1] ?? NaN);
    if (!Number.isSafeInteger(from)) throw new Refusal(400, "M_UNKNOWN");
    const timeoutMs = Number(query.get("timeout") ?? 0);
    if (from >= this.#stream.length) await Promise.race([this.#news.promise, delay(timeoutMs)]);
    const changed = this.#stream.slice(from, from + SYNC_BATCH);
    return {
      next_batch: `s${String(from + changed.length)}`,
      device_lists: { changed: [...new Set(changed)], left: [] },
    };
  }
}

async function readJson(request: IncomingMessage): Promise<MatrixObject> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString("utf8");
  const value: unknown = text === "" ? {} : JSON.parse(text);
  if (!isMatrixObject(value)) throw new Refusal(400, "M_NOT_JSON");
  return value;
}
