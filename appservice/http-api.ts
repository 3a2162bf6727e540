/** The public HTTP API: Express routes -> directory and service; errors -> statuses in one switch; CORS on every answer. */
import { once } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import express, { type NextFunction, type Request, type RequestHandler, type Response } from "express";
import { parseJson } from "../shared/encoding.ts";
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
const IDLE_TIMEOUT_MS = 65_000;
const MAX_HEADER_BYTES = 16_384;
const MAX_CONNECTIONS = 10_000;
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
  count(userId: string, points: number): Promise<void>;
}

export interface HttpApiParts {
  readonly api: Api;
  readonly gate: Gate;
  readonly logger: Logger;
  readonly serviceUrl: string;
  /** Told of every answer: the route's pattern, the status, the time in seconds. */
  readonly answered: (route: string, status: number, seconds: number) => void;
}

/** Listens until `signal` is aborted. Returns the port. */
export async function serveHttpApi(parts: HttpApiParts, listener: Listener, signal: AbortSignal): Promise<number> {
  const server = createApp(parts).listen({ ...listener, signal, maxHeaderSize: MAX_HEADER_BYTES });
  limit(server);
  await once(server, "listening");
  signal.addEventListener(
    "abort",
    () => {
      server.closeIdleConnections();
    },
    { once: true },
  );
  return (server.address() as AddressInfo).port;
}

function limit(server: Server): void {
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  server.headersTimeout = HEADERS_TIMEOUT_MS;
  server.keepAliveTimeout = IDLE_TIMEOUT_MS;
  server.maxConnections = MAX_CONNECTIONS;
}

/** The Express application, for a listener or a test. */
export function createApp(parts: HttpApiParts): express.Express {
  const app = express();
  app.disable("x-powered-by").disable("etag").set("trust proxy", "loopback").set("query parser", false);
  app.use(allowOrigins);
  const document = JSON.stringify(openApiDocument(parts.serviceUrl));
  app.get("/openapi.json", (_request, response) => {
    send(response, { type: "application/json", body: document, cache: "no-store" });
  });
  const readBody = express.text({ type: () => true, limit: MAX_BODY_BYTES });
  for (const route of ROUTES) {
    const handlers = route.request === undefined ? [] : [readBody];
    app[route.method](route.path, ...handlers, handlerOf(route, parts));
  }
  app.use(() => {
    throw new ApiError("not-found", "there is no such route; see /openapi.json");
  });
  app.use(answerError(parts.logger));
  return app;
}

const allowOrigins: RequestHandler = (request, response, next) => {
  response.set("access-control-allow-origin", "*");
  response.set("access-control-expose-headers", "retry-after");
  response.set("x-content-type-options", "nosniff");
  if (request.method !== "OPTIONS") {
    next();
    return;
  }
  response.set("access-control-allow-methods", "GET, POST, PUT, OPTIONS");
  response.set("access-control-allow-headers", "authorization, content-type");
  response.set("access-control-max-age", `${PREFLIGHT_S}`).status(204).end();
};

function handlerOf(route: Route, parts: HttpApiParts): RequestHandler {
  return async (request, response) => {
    const startedMs = performance.now();
    response.once("finish", () => {
      parts.answered(route.path, response.statusCode, (performance.now() - startedMs) / 1000);
    });
    send(response, await route.handle(parts.api, await admit(route, request, parts.gate)));
  };
}

async function admit(route: Route, request: Request, gate: Gate): Promise<Call> {
  const { authorization } = request.headers;
  const open = route.access === "public";
  const userId = open && authorization === undefined ? undefined : gate.userOf(authorization);
  const body = route.request === undefined ? undefined : parseBody(request.body);
  if (userId !== undefined) await gate.count(userId, route.cost?.(body) ?? 1);
  return { params: paramsOf(request), query: queryOf(request), body, userId, address: request.ip ?? "" };
}

function parseBody(body: unknown): unknown {
  if (typeof body !== "string") throw new ApiError("bad-request", "the body is missing");
  return parseJson(body, { maxBytes: MAX_BODY_BYTES, maxDepth: MAX_BODY_DEPTH });
}

/** Express 5 gives what a wildcard matched as a list of segments. */
function paramsOf({ params }: Request): Call["params"] {
  const texts = Object.entries(params as { [name: string]: string | string[] });
  return Object.fromEntries(texts.map(([name, value]) => [name, Array.isArray(value) ? value.join("/") : value]));
}

function queryOf({ url }: Request): URLSearchParams {
  const start = url.indexOf("?");
  return new URLSearchParams(start < 0 ? "" : url.slice(start));
}

function send(response: Response, { status, type, body, cache }: Answer): void {
  const cacheControl = cache === "immutable" ? "public, max-age=31536000, immutable" : "no-store";
  const bytes = typeof body === "string" ? Buffer.from(body) : body;
  response.writeHead(status ?? 200, {
    "content-type": type,
    "content-length": bytes.length,
    "cache-control": cacheControl,
  });
  response.end(bytes);
}

function answerError(logger: Logger): express.ErrorRequestHandler {
  // eslint-disable-next-line @typescript-eslint/no-unused-vars -- Express knows error handlers by their four parameters
  return (error: unknown, request: Request, response: Response, _next: NextFunction) => {
    const known = apiErrorOf(error);
    if (known === undefined) {
      const stack = error instanceof Error ? error.stack : undefined;
      logger.error({ method: request.method, path: request.path, stack }, "an answer failed");
    }
    const { code, message, retryAfterS } = known ?? new ApiError("internal", "the service failed");
    if (response.headersSent) {
      response.destroy();
      return;
    }
    if (retryAfterS !== undefined) response.set("retry-after", `${retryAfterS}`);
    const body = JSON.stringify({ error: { code, message } });
    send(response, { status: STATUSES[code], type: "application/json", body, cache: "no-store" });
  };
}

/** The one place where failures become answers; undefined is a bug of ours. */
function apiErrorOf(error: unknown): ApiError | undefined {
  if (error instanceof ApiError) return error;
  if (error instanceof VerificationError && error.code === "malformed")
    return new ApiError("bad-request", error.message);
  if (error instanceof HomeserverError) return new ApiError("not-ready", "the homeserver cannot be asked now", 5);
  if (error instanceof URIError) return new ApiError("bad-request", "the path is not well formed");
  const status = (error as { readonly status?: unknown } | null)?.status;
  if (status === 413) return new ApiError("too-large", `a body has at most ${MAX_BODY_BYTES} bytes`);
  if (typeof status === "number" && status >= 400 && status < 500)
    return new ApiError("bad-request", "the body cannot be read");
  return undefined;
}
