import { once } from "node:events";
import { createServer } from "node:net";
import type { AnsweringThreads } from "./answering-threads.ts";
import type { Listener } from "./config.ts";
import { MAX_CONNECTIONS, serveHttpApi, type HttpApiParts } from "./http-api.ts";
import type { SharedLimit } from "./session-table.ts";

export interface Beside {
  readonly threads: AnsweringThreads;
  /** That of the gate of this thread, too. */
  readonly limit: SharedLimit;
}

export interface Served {
  readonly port: number;
  /** Resolves when the threads beside this one serve, too. Who does not wait for it hears of a failure by `failed`. */
  readonly all: Promise<void>;
}

/**
 * Serves the public API in this thread and in those beside it until `signal` is aborted: each takes the connections that
 * the system gives it. Resolves when this one listens. Rejects with the error of the listener, or the signal's.
 */
export async function serveApi(
  parts: HttpApiParts,
  { threads, limit }: Beside,
  listener: Listener,
  signal: AbortSignal,
): Promise<Served> {
  if (threads.count === 0) return { port: await serveHttpApi(parts, listener, signal), all: Promise.resolve() };
  await checkFree(listener);
  const maxConnections = Math.floor((parts.maxConnections ?? MAX_CONNECTIONS) / (threads.count + 1));
  const port = await serveHttpApi({ ...parts, maxConnections }, listener, signal, true);
  const { serviceUrl, api, logger } = parts;
  const job = { listener: { ...listener, port }, serviceUrl, limit, maxConnections };
  const all = threads.serve(job, { write: api.write, logger });
  all.catch(() => undefined);
  if (signal.aborted) threads.stop();
  signal.addEventListener("abort", threads.stop.bind(threads), { once: true });
  return { port, all };
}

/** Where several may listen, another service of the same user may, too: it would get half of the connections. */
async function checkFree(listener: Listener): Promise<void> {
  if (listener.port === 0) return;
  const server = createServer().listen({ ...listener });
  await once(server, "listening");
  server.close();
  await once(server, "close");
}
