/** The public API as the service has it (routes, sessions, limits, metrics), over a log of the bench. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { systemClock } from "../../appservice/clock.ts";
import type { Api } from "../../appservice/api-routes.ts";
import type { Logger } from "../../appservice/logger.ts";
import { createMetrics } from "../../appservice/metrics.ts";
import type { RunningLog } from "../../appservice/sequencer.ts";
import { serveApi } from "../../appservice/serve-api.ts";
import { SessionTable, sharedLimit } from "../../appservice/session-table.ts";
import { Sessions } from "../../appservice/sessions.ts";
import type { LookupJob, LookupLoad } from "./lookup-client.ts";

const SERVER_NAME = "example.org";
const SESSIONS = 200;
/** Each session counts, none is refused: a few ask for a million. */
const PER_MINUTE = 100_000_000;
const CONNECTIONS = 10;
const CLIENT = new URL("./lookup-client.ts", import.meta.url);

export interface LookupService {
  readonly port: number;
  readonly sessions: readonly string[];
  close(): void;
}

export async function serveLookups(log: RunningLog): Promise<LookupService> {
  const homeserver = await listening(createServer(answerUserinfo));
  const limit = sharedLimit(PER_MINUTE);
  const gate = new SessionTable(limit);
  const sessions = new Sessions({
    servers: new Map([[SERVER_NAME, `http://127.0.0.1:${portOf(homeserver)}`]]),
    clock: systemClock,
    sessionsPerMinute: PER_MINUTE,
    add: async (session) => {
      gate.add(session);
      await log.threads.addSession(session);
    },
  });
  const { answered } = createMetrics({
    epoch: () => log.sequencer.status().epoch,
    headAgeMs: () => 0,
    heartbeatMs: () => 0,
    stillMs: () => 0,
    pending: () => 0,
    sweepMissed: () => 0,
    feedAgeMs: () => 0,
    roomHeadAgeMs: () => 0,
    diskFree: () => 0,
    notReady: () => 0,
  });
  // Nothing but lookups is asked for.
  const api: Api = { read: log.directory, write: {} as Api["write"] };
  const parts = { api, gate, logger: failing, serviceUrl: "http://127.0.0.1", answered };
  const end = new AbortController();
  const { threads } = log;
  const { port, all } = await serveApi(parts, { threads, limit }, { host: "127.0.0.1", port: 0 }, end.signal);
  await all;
  const tokens: string[] = [];
  for (let i = 0; i < SESSIONS; i++) {
    const token = { access_token: `@asker${i}:${SERVER_NAME}`, token_type: "Bearer", expires_in: 3_600 } as const;
    tokens.push((await sessions.open({ ...token, matrix_server_name: SERVER_NAME }, "127.0.0.1")).session);
  }
  homeserver.close();
  const close = (): void => {
    end.abort();
  };
  return { port, sessions: tokens, close };
}

/** Lookups from a process of its own, one on each connection at any time. */
export async function ask(job: Omit<LookupJob, "connections">): Promise<LookupLoad> {
  const child = fork(CLIENT);
  const load = new Promise<LookupLoad>((resolve, reject) => {
    child.once("message", (message) => {
      resolve(message as LookupLoad);
    });
    child.once("exit", (code) => {
      reject(new Error(`the client of the lookup bench ended with ${code}`));
    });
  });
  child.send({ ...job, connections: CONNECTIONS });
  try {
    return await load;
  } finally {
    child.kill();
  }
}

/** How fast the client alone is: against a server that says the same to everybody. */
export async function askForConstant(body: string, seconds: number): Promise<LookupLoad> {
  const server = createServer((request, response) => {
    request.resume().once("end", () => {
      response.writeHead(200, { "content-length": Buffer.byteLength(body) }).end(body);
    });
  });
  await listening(server);
  const load = await ask({ port: portOf(server), sessions: ["none"], users: 1, enrolled: [], seconds });
  server.close();
  return load;
}

/** The homeserver's part of opening a session: each token here is its user's id. */
function answerUserinfo(request: IncomingMessage, response: ServerResponse): void {
  const token = new URL(request.url ?? "", "http://localhost").searchParams.get("access_token");
  response.end(JSON.stringify({ sub: token }));
}

async function listening(server: Server): Promise<Server> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

const fail = (fields: object, message: string): never => {
  throw new Error(`${message}: ${JSON.stringify(fields)}`);
};
const failing: Logger = { error: fail, warn: fail, info: fail, debug: fail };
