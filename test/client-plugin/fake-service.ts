/** The HTTP service of a `TestLog`, and the well-known of its server, as a fetch function. A test may lie in between. */
import { configurationHash } from "../../shared/directory/configuration.ts";
import { encodeHex } from "../../shared/encoding.ts";
import { epochLeafHash } from "../../shared/log/epoch-record.ts";
import { TILE_WIDTH, encodeEntryBundle, parseTilePath } from "../../shared/log/tiles.ts";
import { LOG_DOMAINS, hashReaderOf } from "../../shared/merkle/tree.ts";
import { encodePath } from "../../shared/messages.ts";
import type { LookupAnswer, PromisePart, Statement } from "../../shared/messages.ts";
import type { TestLog } from "../support/test-log.ts";

type Handler = (body: Record<string, unknown>, path: string) => unknown;

/** An answer that is not 200. */
export class Status extends Error {
  readonly status: number;
  constructor(status: number) {
    super(String(status));
    this.status = status;
  }
}

export class FakeService {
  /** Replaced by a test that switches readers to another branch. */
  log: TestLog;
  /** Size of the head that is served; undefined: the newest. */
  size: number | undefined;
  /** Nobody answers. */
  down = false;
  /** Answers of a test, by path without query; they come before the honest ones. */
  readonly lies: Map<string, Handler> = new Map();
  /** Promise to hand out on the next refresh, by user. */
  readonly promises: Map<string, PromisePart> = new Map();
  readonly statements: Statement[] = [];
  readonly acknowledged: number[] = [];
  /** Paths asked for, in order. */
  readonly requests: string[] = [];
  /** The log that this one took the place of. */
  before: TestLog | undefined;
  /** The well-known names no log. */
  withoutLog = false;
  /** Called by `/v1/refresh` and `/v1/statement`. */
  onRefresh: (userId: string) => void = () => undefined;

  constructor(log: TestLog) {
    this.log = log;
  }

  readonly fetch = async (url: string, init?: RequestInit): Promise<Response> => {
    await Promise.resolve();
    if (this.down) throw new TypeError("fetch failed");
    const { pathname, searchParams, hostname } = new URL(url);
    if (hostname !== this.log.serverName) throw new TypeError("unknown host");
    if (pathname === "/.well-known/matrix/client") return Response.json(this.#wellKnown());
    const path = pathname.replace(/^\/ckv/, "");
    this.requests.push(path);
    try {
      const body = typeof init?.body === "string" ? (JSON.parse(init.body) as Record<string, unknown>) : {};
      const lie = this.lies.get(path);
      const answer = lie === undefined ? this.#answer(path, searchParams, body) : lie(body, path);
      if (answer instanceof Uint8Array) return new Response(new Uint8Array(answer));
      return typeof answer === "string" ? new Response(answer) : Response.json(answer);
    } catch (error) {
      if (error instanceof Status) {
        return Response.json({ error: { code: "not-found", message: "" } }, { status: error.status });
      }
      throw error;
    }
  };

  #wellKnown(): object {
    if (this.withoutLog) return { "m.homeserver": {} };
    const { service_url, log_key, rooms } = this.log.configuration;
    return { "org.matrix-ckv": { service_url, log_key, room: rooms.epochs } };
  }

  #answer(path: string, query: URLSearchParams, body: Record<string, unknown>): unknown {
    const { log } = this;
    const size = this.size ?? log.size;
    const userId = String(body["user_id"]);
    const [from, to] = [Number(body["from"]), Number(body["to"])];
    switch (path) {
      case "/v1/session":
        return { session: "s", user_id: "@alice:example.org", expires_in_ms: 3_600_000 };
      case "/v1/lookup":
        return log.lookup(userId, size);
      case "/v1/lookups":
        return this.#lookups(body["user_ids"] as string[]);
      case "/v1/settled":
        return log.settled(userId, Number(body["epoch"]), size);
      case "/v1/history/consistency":
        return { proof: encodePath(log.historyConsistency(userId, from, to, size)) };
      case "/v1/history/versions":
        return log.versions(userId, from, to, size);
      case "/v1/refresh":
        this.onRefresh(userId);
        return this.promises.has(userId) ? { promise: this.promises.get(userId) } : {};
      case "/v1/enrolment":
        return { room_id: "!members:example.org" };
      case "/v1/statement":
        this.statements.push(body["statement"] as Statement);
        this.onRefresh("");
        return {};
      case "/v1/acknowledgement":
        this.acknowledged.push(Number(body["version"]));
        return {};
      case "/log/checkpoint":
        return log.head(size).checkpoint;
      case "/v1/configuration":
        return log.configurationText;
      case "/v1/predecessor":
        if (this.before === undefined) throw new Status(404);
        return { head: this.before.head(), configuration: this.before.newest.configuration };
    }
    if (path.startsWith("/v1/settling/")) return log.settlingRecords(Number(path.slice(13)), Number(query.get("size")));
    if (path.startsWith("/v1/configuration/")) return this.#configuration(path.slice(18));
    if (path.startsWith("/log/tile/")) return this.#tile(path.slice(5), size);
    throw new Status(404);
  }

  /** As the one-by-one answers say, lies included. */
  #lookups(userIds: readonly string[]): object {
    const lie = this.lies.get("/v1/lookup");
    const one = (userId: string): LookupAnswer =>
      (lie?.({ user_id: userId }, "/v1/lookup") as LookupAnswer | undefined) ??
      this.log.lookup(userId, this.size ?? this.log.size);
    const answers = userIds.map((userId) => [userId, one(userId)] as const);
    const users = Object.fromEntries(answers.map(([userId, { user }]) => [userId, user]));
    const [[, first] = []] = answers;
    return { head: first?.head, settling_epoch: first?.user.settling.epoch, users };
  }

  #configuration(hash: string): string {
    const texts = new Set(this.log.epochs.map(({ configuration }) => configuration));
    const text = [...texts].find((each) => encodeHex(configurationHash(each)) === hash);
    if (text === undefined) throw new Status(404);
    return text;
  }

  #tile(path: string, size: number): Uint8Array {
    const { level, index, width } = parseTilePath(path);
    const records = this.log.epochs.slice(0, size).map(({ bytes }) => bytes);
    if (level === "entries") return encodeEntryBundle(records.slice(index * TILE_WIDTH, index * TILE_WIDTH + width));
    const read = hashReaderOf(LOG_DOMAINS, records.map(epochLeafHash));
    const available = Math.floor(size / TILE_WIDTH ** level) - index * TILE_WIDTH;
    if (width > available) throw new Status(404);
    const tile = new Uint8Array(width * 32);
    for (let at = 0; at < width; at += 1) tile.set(read(level * 8, index * TILE_WIDTH + at), at * 32);
    return tile;
  }
}
