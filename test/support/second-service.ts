/** The HTTP side of a log that lies: the same routes as the honest one, behind the switch, which says who asks. */
import { serveHttpApi } from "../../appservice/http-api.ts";
import type { ReadSide, WriteSide } from "../../appservice/api-routes.ts";
import type { Logger } from "../../appservice/logger.ts";
import { readerOfAuthorization } from "./switch.ts";

/** What a lying log does when something is asked of it that changes something; what is absent is refused. */
export type LyingWriteSide = Partial<WriteSide>;

const refused = async (): Promise<never> => await Promise.reject(new Error("a lying log does not do this"));

const silence: Logger = {
  error: (fields, message) => {
    console.error(message, fields);
  },
  warn: () => undefined,
  info: () => undefined,
  debug: () => undefined,
};

/** Serves until `signal` is aborted. Returns the base URL. */
export async function serveSecond(read: ReadSide, write: LyingWriteSide, signal: AbortSignal): Promise<string> {
  const complete: WriteSide = {
    session: refused,
    refresh: async () => await Promise.resolve({}),
    enrol: refused,
    state: refused,
    acknowledge: async () => {
      await Promise.resolve();
    },
    checkReader: () => Promise.resolve(),
    notReady: () => Promise.resolve([]),
    ...write,
  };
  const gate = {
    userOf: readerOfAuthorization,
    count: () => undefined,
  };
  const parts = { api: { read, write: complete }, gate, logger: silence, serviceUrl: "", answered: () => undefined };
  const port = await serveHttpApi(parts, { host: "127.0.0.1", port: 0 }, signal);
  return `http://127.0.0.1:${String(port)}`;
}
