/**
 * Stands where clients believe the log to be and chooses, per reader, who answers: the service, a lying second one, or
 * nobody. A real operator would tell readers apart by address; here they are told apart by their session and, where a
 * request has none, by a header.
 */
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";

/** Names the reader in requests for public resources, which carry no session. */
export const READER_HEADER = "x-ckv-reader";

/** In place of the URL of a second service: nobody answers. */
export const NOBODY = "nobody";

/** Who answers a reader: the base URL of a second service, or `NOBODY`. `paths`: only for these, the service for the rest. */
export interface Route {
  readonly to: string;
  readonly paths?: RegExp;
}

const PASSED_ON = ["content-type", "cache-control", "retry-after"];

export class Switch {
  readonly url: string;
  readonly #server: ReturnType<typeof createServer>;
  /** Base URL of the honest service; undefined: not there yet. */
  #service: string | undefined;
  /** User id by session, as the service gave it out. */
  readonly #sessions = new Map<string, string>();
  readonly #routes = new Map<string, Route>();

  private constructor(server: ReturnType<typeof createServer>) {
    this.#server = server;
    this.url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
    server.on("request", (request: IncomingMessage, response: ServerResponse) => {
      this.#answer(request, response).catch(() => request.socket.destroy());
    });
  }

  /** Listens on a free port of the loopback interface. */
  static async open(): Promise<Switch> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    return new Switch(server);
  }

  /** Says where the honest service is. */
  connect(serviceUrl: string): void {
    this.#service = serviceUrl;
  }

  /** From now on this reader is answered so; undefined: by the honest service. */
  route(userId: string, route: Route | undefined): void {
    if (route === undefined) this.#routes.delete(userId);
    else this.#routes.set(userId, route);
  }

  async close(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    if (this.#server.listening) await once(this.#server, "close");
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.setHeader("access-control-allow-origin", "*");
    if (request.method === "OPTIONS") {
      response.setHeader("access-control-allow-methods", "GET, POST, PUT");
      response.setHeader("access-control-allow-headers", `authorization, content-type, ${READER_HEADER}`);
      response.writeHead(204).end();
      return;
    }
    const reader = this.#readerOf(request);
    const route = reader === undefined ? undefined : this.#routeOf(reader, request.url ?? "/");
    const base = route?.to ?? this.#service;
    if (base === undefined || base === NOBODY) throw new Error("nobody answers");
    const authorization = route === undefined ? request.headers.authorization : trustedAuthorization(reader ?? "");
    const answer = await forward(base, request, authorization);
    const body = Buffer.from(await answer.arrayBuffer());
    if (request.url === "/v1/session" && answer.ok) this.#remember(body.toString());
    for (const name of PASSED_ON)
      if (answer.headers.has(name)) response.setHeader(name, answer.headers.get(name) ?? "");
    response.writeHead(answer.status).end(body);
  }

  #readerOf({ headers }: IncomingMessage): string | undefined {
    const session = /^Bearer (.+)$/.exec(headers.authorization ?? "")?.[1];
    return (session === undefined ? undefined : this.#sessions.get(session)) ?? headers[READER_HEADER]?.toString();
  }

  /** Sessions are the honest service's business, unless nobody is to answer. */
  #routeOf(reader: string, path: string): Route | undefined {
    const route = this.#routes.get(reader);
    if (route === undefined || (path === "/v1/session" && route.to !== NOBODY)) return undefined;
    return route.paths?.test(path) === false ? undefined : route;
  }

  #remember(answer: string): void {
    const { session, user_id } = JSON.parse(answer) as { session: string; user_id: string };
    this.#sessions.set(session, user_id);
  }
}

async function forward(base: string, request: IncomingMessage, authorization?: string): Promise<Response> {
  const type = request.headers["content-type"];
  const body = request.method === "GET" ? null : await buffer(request);
  return await fetch(`${base}${request.url ?? "/"}`, {
    method: request.method ?? "GET",
    headers: {
      ...(authorization === undefined ? {} : { authorization }),
      ...(type === undefined ? {} : { "content-type": type }),
    },
    body,
  });
}

/** How the switch tells a second service who asks. */
function trustedAuthorization(userId: string): string {
  return `Bearer ${Buffer.from(userId).toString("base64url")}`;
}

/** The user behind an `Authorization` header that the switch has set. */
export function readerOfAuthorization(authorization: string | undefined): string {
  return Buffer.from((authorization ?? "").replace(/^Bearer /, ""), "base64url").toString();
}
