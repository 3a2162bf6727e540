/** What the HTTP API offers: one table, from which http-api.ts serves and openapi.ts documents. */
import {
  HTTP_SHAPES,
  parseAcknowledgementRequest,
  parseEmpty,
  parseHistoryRangeRequest,
  parseLookupRequest,
  parseLookupsRequest,
  parseRefreshRequest,
  parseSessionRequest,
  parseSettledRequest,
  parseStatementRequest,
  type AcknowledgementRequest,
  type ConsistencyAnswer,
  type EnrolmentAnswer,
  type LookupsAnswer,
  type RefreshAnswer,
  type SessionAnswer,
  type SessionRequest,
  type SettledAnswer,
  type SettlingRecords,
  type Shape,
  type Statement,
  type StatementAnswer,
  type VersionsAnswer,
} from "../shared/messages.ts";
import { PREDECESSOR_SHAPE } from "../shared/proofs/succession.ts";
import { parseTilePath, type Tile } from "../shared/log/tiles.ts";
import { decodeHex } from "../shared/encoding.ts";
import { ApiError } from "./api-error.ts";

/** The log as it is published: answers at one head. `undefined`: there is no such thing (yet). */
export interface ReadSide {
  /** The JSON text of a LookupAnswer. */
  lookup(userId: string): Promise<string>;
  lookups(userIds: readonly string[]): Promise<LookupsAnswer>;
  settled(userId: string, epoch: number): Promise<SettledAnswer | undefined>;
  historyConsistency(userId: string, from: number, to: number): Promise<ConsistencyAnswer | undefined>;
  historyVersions(userId: string, from: number, to: number): Promise<VersionsAnswer | undefined>;
  checkpoint(): Promise<string>;
  tile(tile: Tile): Promise<Uint8Array | undefined>;
  changes(epoch: number): Promise<Uint8Array | undefined>;
  /** A page of all leaves of the map at an epoch: those after an index, in order. */
  dump(epoch: number, after: Uint8Array | undefined): Promise<Uint8Array | undefined>;
  /** How the log before this one ended: JSON of a Predecessor. */
  predecessor(): Promise<string | undefined>;
  /** A page of the users that were taken over from it, after an old index, in the order of those. */
  succession(after: Uint8Array | undefined): Promise<Uint8Array | undefined>;
  settlingRecords(epoch: number, size: number): Promise<SettlingRecords | undefined>;
  /** Canonical JSON; without a hash the newest. */
  configuration(hash?: Uint8Array): Promise<string | undefined>;
}

/** What changes something, or concerns who asks. */
export interface WriteSide {
  session(request: SessionRequest, address: string): Promise<SessionAnswer>;
  refresh(userId: string): Promise<RefreshAnswer>;
  enrol(userId: string): Promise<EnrolmentAnswer>;
  state(userId: string, statement: Statement): Promise<StatementAnswer>;
  acknowledge(userId: string, request: AcknowledgementRequest): Promise<void>;
  /** Rejects with ApiError when the user may not read change lists; undefined is anybody. */
  checkReader(userId: string | undefined): Promise<void>;
  /** Why the service is not ready; empty when it is. */
  notReady(): Promise<readonly string[]>;
}

export interface Api {
  readonly read: ReadSide;
  readonly write: WriteSide;
}

/** A request after authentication, and with a strictly parsed JSON body. */
export interface Call {
  readonly params: { readonly [name: string]: string };
  readonly query: URLSearchParams;
  readonly body: unknown;
  /** Set on routes with `access: "session"`, and on others when a valid session was given. */
  readonly userId: string | undefined;
  /** Where the request came from. */
  readonly address: () => string;
}

export interface Answer {
  readonly status?: number;
  readonly type: "application/json" | "application/octet-stream" | "text/plain; charset=utf-8";
  readonly body: string | Uint8Array;
  /** How long others may keep it: never, or for good. */
  readonly cache: "no-store" | "immutable";
}

export interface Route {
  readonly method: "get" | "post" | "put";
  /** Express 5 path pattern. */
  readonly path: string;
  readonly summary: string;
  readonly access: "public" | "session";
  readonly request?: Shape;
  /** Shape of a JSON answer, or what the body is otherwise. */
  readonly answer: Shape | "bytes" | "text";
  /** How many questions it counts as. */
  readonly cost?: (body: unknown) => number;
  readonly handle: (api: Api, call: Call) => Promise<Answer>;
}

/** A refresh asks the homeserver, and may make a signature. */
const REFRESH_COST = 10;

const json = (value: unknown): Answer => ({ type: "application/json", body: JSON.stringify(value), cache: "no-store" });
const forGood = (body: Uint8Array): Answer => ({ type: "application/octet-stream", body, cache: "immutable" });

function found<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new ApiError("not-found", "there is no such thing in this log");
  return value;
}

function signedIn({ userId }: Call): string {
  if (userId === undefined) throw new ApiError("unauthorized", "this needs a session: POST /v1/session");
  return userId;
}

/** A decimal integer from 0, as a path or query has it. */
function integerOf(text: string | null | undefined, name: string): number {
  const value = /^(0|[1-9][0-9]{0,15})$/.test(text ?? "") ? Number(text) : NaN;
  if (!Number.isSafeInteger(value)) throw new ApiError("bad-request", `${name} is no integer`);
  return value;
}

/** An index of the map, 64 hexadecimal digits. */
function indexOf(text: string): Uint8Array {
  if (!/^[0-9a-f]{64}$/.test(text)) throw new ApiError("bad-request", "an index has 64 hexadecimal digits");
  return decodeHex(text);
}

const PUBLIC: readonly Route[] = [
  {
    method: "get",
    path: "/log/checkpoint",
    summary: "Newest published head: C2SP checkpoint with cosignatures",
    access: "public",
    answer: "text",
    handle: async ({ read }) => ({
      type: "text/plain; charset=utf-8",
      body: await read.checkpoint(),
      cache: "no-store",
    }),
  },
  {
    method: "get",
    path: "/log/tile/*tile",
    summary: "Hash tile or entry bundle (C2SP tlog-tiles)",
    access: "public",
    answer: "bytes",
    handle: async ({ read }, { params }) =>
      forGood(found(await read.tile(parseTilePath(`tile/${params["tile"] ?? ""}`)))),
  },
  {
    method: "get",
    path: "/v1/configuration",
    summary: "Newest configuration: canonical JSON",
    access: "public",
    answer: "text",
    handle: async ({ read }) => ({
      type: "application/json",
      body: found(await read.configuration()),
      cache: "no-store",
    }),
  },
  {
    method: "get",
    path: "/v1/configuration/:hash",
    summary: "The configuration with this hash (hexadecimal)",
    access: "public",
    answer: "text",
    handle: async ({ read }, { params }) => ({
      type: "application/json",
      body: found(await read.configuration(decodeHex(params["hash"] ?? ""))),
      cache: "immutable",
    }),
  },
  {
    method: "get",
    path: "/v1/changes/:epoch",
    summary: "Change list and batch map proof of an epoch, for auditors",
    access: "public",
    answer: "bytes",
    handle: async ({ read, write }, { params, userId }) => {
      await write.checkReader(userId);
      return forGood(found(await read.changes(integerOf(params["epoch"], "epoch"))));
    },
  },
  {
    method: "get",
    path: "/v1/dump/:epoch",
    summary: "Leaves of the whole map at a settling epoch, or the last of a closed log: a page, after index ?after",
    access: "public",
    answer: "bytes",
    handle: async ({ read, write }, { params, query, userId }) => {
      await write.checkReader(userId);
      const after = query.get("after");
      return forGood(
        found(await read.dump(integerOf(params["epoch"], "epoch"), after === null ? undefined : indexOf(after))),
      );
    },
  },
  {
    method: "get",
    path: "/v1/predecessor",
    summary: "The head with which the log before this one ended, and its last configuration",
    access: "public",
    answer: PREDECESSOR_SHAPE,
    handle: async ({ read }) => ({
      type: "application/json",
      body: found(await read.predecessor()),
      cache: "immutable",
    }),
  },
  {
    method: "get",
    path: "/v1/succession",
    summary: "Where each user of the log before this one stands in epoch 0: a page, after old index ?after",
    access: "public",
    answer: "bytes",
    handle: async ({ read, write }, { query, userId }) => {
      await write.checkReader(userId);
      const after = query.get("after");
      return forGood(found(await read.succession(after === null ? undefined : indexOf(after))));
    },
  },
  {
    method: "get",
    path: "/v1/settling/:epoch",
    summary: "Record of a settling epoch and the one before it, proven in the tree of ?size",
    access: "public",
    answer: HTTP_SHAPES.SettlingRecords,
    handle: async ({ read }, { params, query }) => {
      const [epoch, size] = [integerOf(params["epoch"], "epoch"), integerOf(query.get("size"), "size")];
      return { ...json(found(await read.settlingRecords(epoch, size))), cache: "immutable" };
    },
  },
  {
    method: "get",
    path: "/healthz",
    summary: "The process is alive",
    access: "public",
    answer: "text",
    handle: async () => await Promise.resolve(json({ alive: true })),
  },
  {
    method: "get",
    path: "/readyz",
    summary: "Heads are signed and published; else 503 and why",
    access: "public",
    answer: "text",
    handle: async ({ write }) => {
      const reasons = await write.notReady();
      return { ...json({ ready: reasons.length === 0, reasons }), status: reasons.length === 0 ? 200 : 503 };
    },
  },
  {
    method: "post",
    path: "/v1/session",
    summary: "Exchanges a Matrix OpenID token for a session",
    access: "public",
    request: HTTP_SHAPES.SessionRequest,
    answer: HTTP_SHAPES.SessionAnswer,
    handle: async ({ write }, { body, address }) => json(await write.session(parseSessionRequest(body), address())),
  },
];

const WITH_SESSION: readonly Route[] = [
  {
    method: "post",
    path: "/v1/lookup",
    summary: "What the log says about a user, at the newest head and the newest settling epoch",
    access: "session",
    request: HTTP_SHAPES.LookupRequest,
    answer: HTTP_SHAPES.LookupAnswer,
    handle: async ({ read }, { body }) => ({
      type: "application/json",
      body: await read.lookup(parseLookupRequest(body).user_id),
      cache: "no-store",
    }),
  },
  {
    method: "post",
    path: "/v1/lookups",
    summary: "The same for many users",
    access: "session",
    request: HTTP_SHAPES.LookupsRequest,
    answer: HTTP_SHAPES.LookupsAnswer,
    cost: (body) => parseLookupsRequest(body).user_ids.length,
    handle: async ({ read }, { body }) => json(await read.lookups(parseLookupsRequest(body).user_ids)),
  },
  {
    method: "post",
    path: "/v1/settled",
    summary: "A user's leaf at a settling epoch",
    access: "session",
    request: HTTP_SHAPES.SettledRequest,
    answer: HTTP_SHAPES.SettledAnswer,
    handle: async ({ read }, { body }) => {
      const { user_id: userId, epoch } = parseSettledRequest(body);
      return json(found(await read.settled(userId, epoch)));
    },
  },
  {
    method: "post",
    path: "/v1/history/consistency",
    summary: "Proof that one version of a history is an ancestor of another",
    access: "session",
    request: HTTP_SHAPES.HistoryRangeRequest,
    answer: HTTP_SHAPES.ConsistencyAnswer,
    handle: async ({ read }, { body }) => {
      const { user_id: userId, from, to } = parseHistoryRangeRequest(body);
      return json(found(await read.historyConsistency(userId, from, to)));
    },
  },
  {
    method: "post",
    path: "/v1/history/versions",
    summary: "Entries, openings and history leaves of past versions",
    access: "session",
    request: HTTP_SHAPES.HistoryRangeRequest,
    answer: HTTP_SHAPES.VersionsAnswer,
    handle: async ({ read }, { body }) => {
      const { user_id: userId, from, to } = parseHistoryRangeRequest(body);
      return json(found(await read.historyVersions(userId, from, to)));
    },
  },
  {
    method: "post",
    path: "/v1/refresh",
    summary: "Looks at a user's keys now; a promise when a change is pending",
    access: "session",
    request: HTTP_SHAPES.RefreshRequest,
    answer: HTTP_SHAPES.RefreshAnswer,
    cost: () => REFRESH_COST,
    handle: async ({ write }, { body }) => json(await write.refresh(parseRefreshRequest(body).user_id)),
  },
  {
    method: "post",
    path: "/v1/enrolment",
    summary: "Invites the asking user into the enrolment room",
    access: "session",
    request: HTTP_SHAPES.Empty,
    answer: HTTP_SHAPES.EnrolmentAnswer,
    handle: async ({ write }, call) => {
      parseEmpty(call.body);
      return json(await write.enrol(signedIn(call)));
    },
  },
  {
    method: "put",
    path: "/v1/statement",
    summary: "The asking user's signed statement, into a new version",
    access: "session",
    request: HTTP_SHAPES.StatementRequest,
    answer: HTTP_SHAPES.StatementAnswer,
    handle: async ({ write }, call) =>
      json(await write.state(signedIn(call), parseStatementRequest(call.body).statement)),
  },
  {
    method: "post",
    path: "/v1/acknowledgement",
    summary: "The asking user's devices know this version as their own",
    access: "session",
    request: HTTP_SHAPES.AcknowledgementRequest,
    answer: HTTP_SHAPES.Empty,
    handle: async ({ write }, call) => {
      await write.acknowledge(signedIn(call), parseAcknowledgementRequest(call.body));
      return json({});
    },
  },
];

export const ROUTES: readonly Route[] = [...PUBLIC, ...WITH_SESSION];
