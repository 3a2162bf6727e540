/** The public HTTP API: routes -> directory and service; errors -> statuses in one switch; CORS on every answer. */
import { once } from "node:events";
import {
  createServer,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type Server,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import express, { type NextFunction, type Request, type RequestHandler, type Response } from "express";
import addressOf from "proxy-addr";
import { fromUtf8, parseJson } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import type { ErrorCode } from "../shared/messages.ts";
import { ApiError } from "./api-error.ts";
import { ROUTES, type Answer, type Api, type Call, type Route } from "./api-routes.ts";
import type { Listener } from "./config.ts";
import { HomeserverError } from "./homeserver-error.ts";
import type { Logger } from "./logger.ts";
import { openApiDocument } from "./openapi.ts";

const MAX_BODY_BYTES = 256 * 1024;
const MAX_BODY_DEPTH = 8;
const REQUEST_TIMEOUT_MS = 30_000;
const HEADERS_TIMEOUT_MS = 10_000;
/** How often connections are held against these two. */
const TIMEOUTS_CHECKED_EVERY_MS = 1_000;
const IDLE_TIMEOUT_MS = 65_000;
const MAX_HEADER_BYTES = 16_384;
/** In all threads: each is an open file, and those that the database needs must be left. */
export const MAX_CONNECTIONS = 10_000;
const PREFLIGHT_S = 86_400;

const STATUSES: { readonly [Code in ErrorCode]: number } = {
  "bad-request": 400,
  unauthorized: 401,
  forbidden: 403,
  "not-found": 404,
  "too-large": 413,
  "rate-limited": 429,
  "not-ready": 503,
  internal: 500,
};

/** Who a request comes from, and how much they may ask. */
export interface Gate {
  userOf(authorization: string | undefined): string;
  count(userId: string, points: number): void;
}

export interface HttpApiParts {
  readonly api: Api;
  readonly gate: Gate;
  readonly logger: Pick<Logger, "error">;
  readonly serviceUrl: string;
  /** More are closed as they come. Default: `MAX_CONNECTIONS`. */
  readonly maxConnections?: number;
  /** Told of every answer: the route's pattern, the status, the time in seconds. */
  readonly answered: (route: string, status: number, seconds: number) => void;
}

/**
 * Listens until `signal` is aborted. Returns the port. `reusePort`: several threads of this process listen there, and each
 * connection goes to one of them (socket(7), SO_REUSEPORT).
 */
export async function serveHttpApi(
  parts: HttpApiParts,
  listener: Listener,
  signal: AbortSignal,
  reusePort = false,
): Promise<number> {
  const server = createApiServer(parts).listen({ ...listener, signal, reusePort });
  await once(server, "listening", { signal });
  signal.addEventListener(
    "abort",
    () => {
      server.closeIdleConnections();
    },
    { once: true },
  );
  return (server.address() as AddressInfo).port;
}

/**
 * The server of the API, not yet listening. Routes without parameters are found by their name; the rest, and what is no
 * route, by Express, which costs more than a lookup does.
 */
export function createApiServer(parts: HttpApiParts): Server {
  const routed = createApp(parts);
  const direct = new Map(
    ROUTES.filter(({ path }) => !/[:*]/.test(path)).map((route) => [
      `${route.method.toUpperCase()} ${route.path}`,
      route,
    ]),
  );
  const options = { maxHeaderSize: MAX_HEADER_BYTES, connectionsCheckingInterval: TIMEOUTS_CHECKED_EVERY_MS };
  const server = createServer(options, (request, response) => {
    const route = direct.get(`${request.method ?? ""} ${request.url ?? ""}`);
    if (route === undefined) routed(request, response);
    else void answer(route, parts, { request, response, params: NO_PARAMS });
  });
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  server.headersTimeout = HEADERS_TIMEOUT_MS;
  server.keepAliveTimeout = IDLE_TIMEOUT_MS;
  server.maxConnections = parts.maxConnections ?? MAX_CONNECTIONS;
  return server;
}

const NO_PARAMS: Call["params"] = {};

function createApp(parts: HttpApiParts): express.Express {
  const app = express();
  app.disable("x-powered-by").disable("etag").set("query parser", false);
  app.use(answerPreflight);
  const document = JSON.stringify(openApiDocument(parts.serviceUrl));
  app.get("/openapi.json", (_request, response) => {
    send(response, { type: "application/json", body: document, cache: "no-store" });
  });
  for (const route of ROUTES) {
    app[route.method](route.path, async (request, response) => {
      await answer(route, parts, { request, response, params: paramsOf(request) });
    });
  }
  app.use(() => {
    throw new ApiError("not-found", "there is no such route; see /openapi.json");
  });
  // eslint-disable-next-line @typescript-eslint/no-unused-vars -- Express knows error handlers by their four parameters
  app.use((error: unknown, request: Request, response: Response, _next: NextFunction) => {
    sendError({ request, response }, error, parts.logger);
  });
  return app;
}

/** With every answer: any page may ask. */
const OPEN_TO_PAGES = {
  "access-control-allow-origin": "*",
  "access-control-expose-headers": "retry-after",
  "x-content-type-options": "nosniff",
};

const PREFLIGHT = {
  ...OPEN_TO_PAGES,
  "access-control-allow-methods": "GET, POST, PUT, OPTIONS",
  "access-control-allow-headers": "authorization, content-type",
  "access-control-max-age": `${PREFLIGHT_S}`,
};

const answerPreflight: RequestHandler = (request, response, next) => {
  if (request.method === "OPTIONS") response.writeHead(204, PREFLIGHT).end();
  else next();
};

/** A request and what it is answered through. */
interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** Never rejects: a failure is an answer. */
async function answer(
  route: Route,
  parts: HttpApiParts,
  exchange: Exchange & { readonly params: Call["params"] },
): Promise<void> {
  const { request, response, params } = exchange;
  const startedMs = performance.now();
  try {
    const call = await admit(route, parts.gate, request, params);
    send(response, await route.handle(parts.api, call));
  } catch (error) {
    sendError(exchange, error, parts.logger);
  }
  parts.answered(route.path, response.statusCode, (performance.now() - startedMs) / 1000);
}

async function admit(route: Route, gate: Gate, request: IncomingMessage, params: Call["params"]): Promise<Call> {
  const { authorization } = request.headers;
  const open = route.access === "public";
  const userId = open && authorization === undefined ? undefined : gate.userOf(authorization);
  const body = route.request === undefined ? undefined : parseBody(await readBody(request));
  if (userId !== undefined) gate.count(userId, route.cost?.(body) ?? 1);
  return { params, query: queryOf(request), body, userId, address: () => addressOf(request, isTrustedProxy) };
}

const isTrustedProxy = addressOf.compile("loopback");

/** The whole body. Rejects with ApiError `too-large`, or `bad-request` when it ends early. */
function readBody(request: IncomingMessage): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  let length = 0;
  const take = (chunk: Buffer): void => {
    length += chunk.length;
    if (length <= MAX_BODY_BYTES) {
      chunks.push(chunk);
      return;
    }
    request.off("data", take).resume();
    reject(new ApiError("too-large", `a body has at most ${MAX_BODY_BYTES} bytes`));
  };
  request
    .on("data", take)
    .once("end", () => {
      resolve(joined(chunks));
    })
    .once("error", () => {
      reject(new ApiError("bad-request", "the body ended early"));
    });
  return promise;
}

function joined(chunks: readonly Buffer[]): Buffer {
  const [first] = chunks;
  return chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks);
}

function parseBody(body: Uint8Array): unknown {
  if (body.length === 0) throw new ApiError("bad-request", "the body is missing");
  return parseJson(fromUtf8(body), { maxBytes: MAX_BODY_BYTES, maxDepth: MAX_BODY_DEPTH });
}

/** Express 5 gives what a wildcard matched as a list of segments. */
function paramsOf({ params }: Request): Call["params"] {
  const texts = Object.entries(params as { [name: string]: string | string[] });
  return Object.fromEntries(texts.map(([name, value]) => [name, Array.isArray(value) ? value.join("/") : value]));
}

function queryOf({ url = "" }: IncomingMessage): URLSearchParams {
  const start = url.indexOf("?");
  return start < 0 ? NO_QUERY : new URLSearchParams(url.slice(start));
}

const NO_QUERY = new URLSearchParams();

function send(response: ServerResponse, { status, type, body, cache, retryAfterS }: Answer & RetryAfter): void {
  const headers: OutgoingHttpHeaders = {
    ...OPEN_TO_PAGES,
    "content-type": type,
    "content-length": Buffer.byteLength(body),
    "cache-control": cache === "immutable" ? "public, max-age=31536000, immutable" : "no-store",
  };
  if (retryAfterS !== undefined) headers["retry-after"] = `${retryAfterS}`;
  response.writeHead(status ?? 200, headers);
  waiting.push({ response, body });
  if (waiting.length === 1) setImmediate(sendWaiting);
}

/** Answers of this turn. They leave together: each that leaves alone wakes somebody, which takes longer than to send it. */
let waiting: { readonly response: ServerResponse; readonly body: Answer["body"] }[] = [];

function sendWaiting(): void {
  const answers = waiting;
  waiting = [];
  // A text goes out in one piece with the headers; bytes would be a second one.
  for (const { response, body } of answers) response.end(body);
}

interface RetryAfter {
  readonly retryAfterS?: number;
}

function sendError({ request, response }: Exchange, error: unknown, logger: HttpApiParts["logger"]): void {
  const known = apiErrorOf(error);
  if (known === undefined) {
    const stack = error instanceof Error ? error.stack : undefined;
    const [path] = (request.url ?? "").split("?");
    logger.error({ method: request.method, path, stack }, "an answer failed");
  }
  const { code, message, retryAfterS } = known ?? new ApiError("internal", "the service failed");
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const body = JSON.stringify({ error: { code, message } });
  const retry = retryAfterS === undefined ? {} : { retryAfterS };
  // What is still to come of a refused request is not waited for.
  if (!request.complete) response.setHeader("connection", "close");
  send(response, { status: STATUSES[code], type: "application/json", body, cache: "no-store", ...retry });
}

/** The one place where failures become answers; undefined is a bug of ours. */
export function apiErrorOf(error: unknown): ApiError | undefined {
  if (error instanceof ApiError) return error;
  if (error instanceof VerificationError && error.code === "malformed")
    return new ApiError("bad-request", error.message);
  if (error instanceof HomeserverError) return new ApiError("not-ready", "the homeserver cannot be asked now", 5);
  if (error instanceof URIError) return new ApiError("bad-request", "the path is not well formed");
  return undefined;
}
