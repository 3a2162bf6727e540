/** The private port: metrics for Prometheus, and what the operator's commands ask of the running service. */
import { createHash, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { LogReference } from "../shared/directory/configuration.ts";
import { parseJson } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import { parseShape, parseUserId, type Shape } from "../shared/messages.ts";
import { BackupError } from "./backup.ts";
import type { Listener } from "./config.ts";
import type { Metrics } from "./metrics.ts";

const MAX_BODY_BYTES = 16_384;
const OPERATOR_ROUTES: readonly string[] = ["close", "close-log", "erase", "backup"].map(
  (name) => `POST /operator/${name}`,
);

/** What only the operator may do. All throw Errors whose message is for the operator. */
export interface OperatorSide {
  /** Merges the last version of an account. */
  closeAccount(userId: string): Promise<{ readonly version: number; readonly epoch: number }>;
  eraseVersions(userId: string, versions: readonly number[]): Promise<void>;
  /** Ends the log for good; resolves to its final epoch. */
  closeLog(successor: LogReference): Promise<number>;
  /** The bytes of a backup. */
  backUp(): AsyncIterable<Uint8Array>;
}

export interface PrivateParts {
  readonly scrape: Metrics["scrape"];
  readonly operator: OperatorSide;
  /** Whoever can read the registration is the operator: its `as_token` opens the operator's routes. */
  readonly token: string;
}

const VERSION: Shape = { type: "integer", minimum: 1, maximum: Number.MAX_SAFE_INTEGER };
const VERSIONS: Shape = { type: "array", items: VERSION, maxItems: 1_000 };

const SUCCESSOR: Shape = {
  type: "object",
  properties: {
    origin: { type: "string", minLength: 1, maxLength: 300 },
    log_key: { type: "string", minLength: 1, maxLength: 512 },
  },
  required: ["origin", "log_key"],
  additionalProperties: false,
};

/** Listens until `signal` is aborted. Returns the port. */
export async function servePrivately(parts: PrivateParts, listener: Listener, signal: AbortSignal): Promise<number> {
  const server = createServer({ requestTimeout: 30_000 }, (request, response) => {
    answer(parts, request, response).catch((error: unknown) => {
      const refused = error instanceof RangeError || error instanceof VerificationError || error instanceof BackupError;
      if (response.headersSent) response.destroy();
      else reply(response, refused ? 400 : 500, { error: refused ? error.message : "the service failed" });
    });
  });
  server.listen({ ...listener, signal });
  await once(server, "listening", { signal });
  return (server.address() as AddressInfo).port;
}

async function answer(parts: PrivateParts, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const route = `${request.method ?? ""} ${request.url ?? ""}`;
  if (route === "GET /metrics") {
    const { type, text } = await parts.scrape();
    response.writeHead(200, { "content-type": type }).end(text);
  } else if (!OPERATOR_ROUTES.includes(route)) {
    reply(response, 404, { error: "there is no such route" });
  } else if (!isOperator(request, parts.token)) {
    reply(response, 401, { error: "the as_token of the registration is needed" });
  } else if (route === "POST /operator/backup") {
    await sendBackup(parts.operator, request, response);
  } else {
    reply(response, 200, await operate(parts.operator, route, await readBody(request)));
  }
}

/** A backup holds what opens every entry: it leaves this machine only as its operator carries it, not over a wire without TLS. */
async function sendBackup(operator: OperatorSide, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { remoteAddress, localAddress } = request.socket;
  if (remoteAddress === undefined || remoteAddress !== localAddress) {
    throw new RangeError("a backup is made on the machine of the service");
  }
  const pieces = operator.backUp()[Symbol.asyncIterator]();
  // What is refused is refused before the first byte.
  const first = await pieces.next();
  response.writeHead(200, { "content-type": "application/octet-stream" });
  const rest = { [Symbol.asyncIterator]: () => pieces };
  if (first.done !== true) response.write(first.value);
  await pipeline(Readable.from(rest, { objectMode: false }), response);
}

async function operate(
  operator: OperatorSide,
  route: string,
  body: { readonly [name: string]: unknown },
): Promise<object> {
  if (route === "POST /operator/close-log") {
    return { epoch: await operator.closeLog(parseShape(SUCCESSOR, body, "successor") as LogReference) };
  }
  const userId = parseUserId(body["user_id"]);
  if (route === "POST /operator/close") return await operator.closeAccount(userId);
  await operator.eraseVersions(userId, parseShape(VERSIONS, body["versions"], "versions") as readonly number[]);
  return {};
}

function isOperator({ headers }: IncomingMessage, token: string): boolean {
  const hash = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(hash(headers.authorization ?? ""), hash(`Bearer ${token}`));
}

async function readBody(request: IncomingMessage): Promise<{ readonly [name: string]: unknown }> {
  let text = "";
  for await (const chunk of request as AsyncIterable<Buffer>) {
    text += chunk.toString("utf8");
    if (text.length > MAX_BODY_BYTES) throw new RangeError("the body is too long");
  }
  const body = parseJson(text, { maxBytes: MAX_BODY_BYTES, maxDepth: 4 });
  return typeof body === "object" && body !== null ? (body as { readonly [name: string]: unknown }) : {};
}

function reply(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}
