/**
 * HTTP bodies and Matrix event contents: their TypeScript types, their shapes as plain JSON Schema (the OpenAPI
 * document is made from the same constants), and strict parsers. Binary values are unpadded canonical base64 of their
 * binary form. shared/README.md, "Lookup" and "Messages".
 */
import { HASH_BYTES } from "./crypto/hash.ts";
import type { Hash } from "./crypto/hash.ts";
import { concat, decodeUnpadded, encodeUnpadded, utf8 } from "./encoding.ts";
import { VerificationError } from "./errors.ts";
import {
  MAX_ENTRY_BYTES,
  MAX_LOOKUPS_PER_REQUEST,
  MAX_NOTE_BYTES,
  MAX_USER_ID_BYTES,
  MAX_VERSIONS_PER_REQUEST,
} from "./parameters.ts";

/** Every name this project puts into Matrix, and nothing else. */
export const MATRIX_NAMES: {
  readonly wellKnown: "org.matrix-ckv";
  readonly epoch: "org.matrix-ckv.epoch";
  readonly configuration: "org.matrix-ckv.configuration";
  readonly warning: "org.matrix-ckv.warning";
  readonly head: "org.matrix-ckv.head";
  readonly state: "org.matrix-ckv.state";
  readonly roomType: "org.matrix-ckv.log";
  readonly syncKey: "org.matrix-ckv.sync_key";
  readonly statementPurpose: "org.matrix-ckv.statement";
  readonly acknowledgementPurpose: "org.matrix-ckv.acknowledgement";
  readonly compare: {
    readonly request: "org.matrix-ckv.compare.request";
    readonly ready: "org.matrix-ckv.compare.ready";
    readonly taken: "org.matrix-ckv.compare.taken";
    readonly commit: "org.matrix-ckv.compare.commit";
    readonly nonce: "org.matrix-ckv.compare.nonce";
    readonly reveal: "org.matrix-ckv.compare.reveal";
    readonly done: "org.matrix-ckv.compare.done";
    readonly cancel: "org.matrix-ckv.compare.cancel";
  };
} = {
  wellKnown: "org.matrix-ckv",
  epoch: "org.matrix-ckv.epoch",
  configuration: "org.matrix-ckv.configuration",
  warning: "org.matrix-ckv.warning",
  head: "org.matrix-ckv.head",
  state: "org.matrix-ckv.state",
  roomType: "org.matrix-ckv.log",
  syncKey: "org.matrix-ckv.sync_key",
  statementPurpose: "org.matrix-ckv.statement",
  acknowledgementPurpose: "org.matrix-ckv.acknowledgement",
  compare: {
    request: "org.matrix-ckv.compare.request",
    ready: "org.matrix-ckv.compare.ready",
    taken: "org.matrix-ckv.compare.taken",
    commit: "org.matrix-ckv.compare.commit",
    nonce: "org.matrix-ckv.compare.nonce",
    reveal: "org.matrix-ckv.compare.reveal",
    done: "org.matrix-ckv.compare.done",
    cancel: "org.matrix-ckv.compare.cancel",
  },
};

// ---------------------------------------------------------------------------------------------------------------------
// Shapes: the part of JSON Schema 2020-12 that the messages need, as plain data.

export interface StringShape {
  readonly type: "string";
  readonly minLength?: number;
  readonly maxLength: number;
  readonly pattern?: string;
  readonly enum?: readonly string[];
  /** Set: the text is unpadded canonical base64, and the lengths count its characters. */
  readonly contentEncoding?: "base64";
}
export interface IntegerShape {
  readonly type: "integer";
  readonly minimum: number;
  readonly maximum: number;
}
export interface BooleanShape {
  readonly type: "boolean";
}
export interface ArrayShape {
  readonly type: "array";
  readonly items: Shape;
  readonly maxItems: number;
}
export interface ObjectShape {
  readonly type: "object";
  readonly properties: { readonly [name: string]: Shape };
  readonly required: readonly string[];
  /** false: another member is malformed. true: it is dropped (event contents, into which SDKs write members of their own). */
  readonly additionalProperties: boolean;
}
export interface MapShape {
  readonly type: "object";
  readonly propertyNames: StringShape;
  readonly additionalProperties: Shape;
  readonly maxProperties: number;
}
export type Shape = StringShape | IntegerShape | BooleanShape | ArrayShape | ObjectShape | MapShape;

const MAX_INTEGER = Number.MAX_SAFE_INTEGER;
/** A tree below 2^53 leaves has inclusion paths of at most 53 hashes, consistency paths of at most 54. */
const MAX_PATH_BYTES = 54 * 32;
/** u16 depth, 256 bits, 256 siblings, kind, foreign leaf. */
const MAX_MAP_PROOF_BYTES = 2 + 32 + 256 * 32 + 1 + 72;

const base64Length = (bytes: number): number => Math.ceil((bytes * 4) / 3);
// Shapes are made when the module loads. NO_SIDE_EFFECTS lets a bundler leave out those that nothing uses.

/* @__NO_SIDE_EFFECTS__ */
const bytesShape = (minBytes: number, maxBytes: number = minBytes): StringShape => ({
  type: "string",
  contentEncoding: "base64",
  minLength: base64Length(minBytes),
  maxLength: base64Length(maxBytes),
});
/* @__NO_SIDE_EFFECTS__ */
const text = (maxLength: number, minLength = 1): StringShape => ({ type: "string", minLength, maxLength });
/* @__NO_SIDE_EFFECTS__ */
const oneOf = (...values: readonly string[]): StringShape => ({ type: "string", maxLength: 255, enum: values });
/* @__NO_SIDE_EFFECTS__ */
const integer = (minimum: number): IntegerShape => ({ type: "integer", minimum, maximum: MAX_INTEGER });
/** Members whose name ends in "?" may be absent. */
/* @__NO_SIDE_EFFECTS__ */
const members = (named: { readonly [name: string]: Shape }, additionalProperties: boolean): ObjectShape => ({
  type: "object",
  properties: Object.fromEntries(Object.entries(named).map(([name, shape]) => [name.replace(/\?$/, ""), shape])),
  required: Object.keys(named).filter((name) => !name.endsWith("?")),
  additionalProperties,
});
/* @__NO_SIDE_EFFECTS__ */
const body = (named: { readonly [name: string]: Shape }): ObjectShape => members(named, false);
/* @__NO_SIDE_EFFECTS__ */
const content = (named: { readonly [name: string]: Shape }): ObjectShape => members(named, true);

const USER_ID: StringShape = { ...text(MAX_USER_ID_BYTES), pattern: "^@[^:]*:.+$" };
const NOTE: StringShape = text(MAX_NOTE_BYTES);
const HASH: StringShape = bytesShape(32);
const OPENING: StringShape = bytesShape(32);
const SIGNATURE: StringShape = bytesShape(64);
const PUBLIC_KEY: StringShape = bytesShape(32);
const PATH: StringShape = bytesShape(0, MAX_PATH_BYTES);
const RECORD: StringShape = bytesShape(121);
const VRF_PROOF: StringShape = bytesShape(80);
const MAP_PROOF: StringShape = bytesShape(3, MAX_MAP_PROOF_BYTES);
const ENTRY: StringShape = text(MAX_ENTRY_BYTES);
const VERSION: IntegerShape = integer(1);
const EPOCH: IntegerShape = integer(0);
const VKEY: StringShape = text(512);
const OPTIONAL_VKEY: StringShape = text(512, 0);
const URL_TEXT: StringShape = text(2_048);

// ---------------------------------------------------------------------------------------------------------------------
// HTTP bodies

/** What all lookups at one epoch share: the signed head, and its last record with the path that proves it last. */
export interface HeadPart {
  readonly checkpoint: string;
  readonly record: string;
  readonly record_proof: string;
}

/** The leaf of the map and the newest version of the history in it. Opening and entry are both absent once erased. */
export interface LeafPart {
  readonly n: number;
  readonly history_root: string;
  readonly last_leaf_proof: string;
  readonly epoch: number;
  readonly commitment: string;
  readonly opening?: string;
  readonly entry?: string;
}

/** A leaf at a settling epoch and the history path from it to the leaf at the head (empty when they are equal). */
export interface SettlingLeaf {
  readonly n: number;
  readonly history_root: string;
  readonly consistency: string;
}

export interface SettlingPart {
  readonly epoch: number;
  readonly map_proof: string;
  readonly leaf?: SettlingLeaf;
}

/** What the answer says about one user. `leaf` absent: the map proof shows absence. */
export interface UserPart {
  readonly vrf_proof: string;
  readonly map_proof: string;
  readonly leaf?: LeafPart;
  readonly settling: SettlingPart;
}

export interface LookupAnswer {
  readonly head: HeadPart;
  readonly user: UserPart;
}

export interface LookupsAnswer {
  readonly head: HeadPart;
  readonly settling_epoch: number;
  readonly users: { readonly [userId: string]: UserPart };
}

/** `GET /v1/settling/<epoch>?size=<S>`: the settling record and the one before it, with paths in the tree of size S. */
export interface SettlingRecords {
  readonly record: string;
  readonly record_proof: string;
  readonly previous_record?: string;
  readonly previous_proof?: string;
}

/** Leaf of the requesting owner at a settling epoch. */
export interface SettledAnswer {
  readonly vrf_proof: string;
  readonly epoch: number;
  readonly map_proof: string;
  readonly leaf?: SettlingLeaf;
}

/** One version of a history, `proof` its path in the tree of size n. Opening and entry are both absent once erased. */
export interface VersionPart {
  readonly version: number;
  readonly epoch: number;
  readonly commitment: string;
  readonly opening?: string;
  readonly entry?: string;
  readonly proof: string;
}

export interface VersionsAnswer {
  readonly n: number;
  readonly versions: readonly VersionPart[];
}

export interface OpenIdToken {
  readonly access_token: string;
  readonly token_type: string;
  readonly matrix_server_name: string;
  readonly expires_in: number;
}
export interface SessionRequest {
  readonly openid_token: OpenIdToken;
}
export interface SessionAnswer {
  readonly session: string;
  readonly user_id: string;
  readonly expires_in_ms: number;
}
export interface LookupRequest {
  readonly user_id: string;
}
export interface LookupsRequest {
  readonly user_ids: readonly string[];
}
export interface SettledRequest {
  readonly user_id: string;
  readonly epoch: number;
}
export interface HistoryRangeRequest {
  readonly user_id: string;
  readonly from: number;
  readonly to: number;
}
export interface ConsistencyAnswer {
  readonly proof: string;
}
export interface PromisePart {
  readonly note: string;
  readonly opening: string;
  readonly entry: string;
}
export interface RefreshAnswer {
  readonly promise?: PromisePart;
}
export interface EnrolmentAnswer {
  readonly room_id: string;
}

/** The owner's own signed word on whether the account takes part. shared/README.md, "Statement of the owner". */
export interface Statement {
  readonly ckv: "on" | "off";
  readonly continues?: { readonly master_key: string; readonly signature: string };
  readonly counter: number;
  readonly master_key: string;
  readonly purpose: "org.matrix-ckv.statement";
  readonly signature: string;
  readonly since: { readonly version: number; readonly root: string };
  readonly user_id: string;
}
export interface StatementRequest {
  readonly statement: Statement;
}
export interface StatementAnswer {
  readonly version_expected?: number;
}
export interface AcknowledgementRequest {
  readonly version: number;
  readonly history_root: string;
  readonly signature: string;
}

export type ErrorCode =
  "bad-request" | "unauthorized" | "forbidden" | "not-found" | "too-large" | "rate-limited" | "not-ready" | "internal";
export interface ErrorAnswer {
  readonly error: { readonly code: ErrorCode; readonly message: string };
}

export const headPartShape: ObjectShape = body({ checkpoint: NOTE, record: RECORD, record_proof: PATH });
const leafPart = body({
  n: VERSION,
  history_root: HASH,
  last_leaf_proof: PATH,
  epoch: EPOCH,
  commitment: HASH,
  "opening?": OPENING,
  "entry?": ENTRY,
});
const settlingLeaf = body({ n: VERSION, history_root: HASH, consistency: PATH });
const settlingPart = body({ epoch: EPOCH, map_proof: MAP_PROOF, "leaf?": settlingLeaf });
const userPart = body({ vrf_proof: VRF_PROOF, map_proof: MAP_PROOF, "leaf?": leafPart, settling: settlingPart });
const statement = body({
  ckv: oneOf("on", "off"),
  "continues?": body({ master_key: PUBLIC_KEY, signature: SIGNATURE }),
  counter: integer(1),
  master_key: PUBLIC_KEY,
  purpose: oneOf(MATRIX_NAMES.statementPurpose),
  signature: SIGNATURE,
  since: body({ version: VERSION, root: HASH }),
  user_id: USER_ID,
});
const versionPart = body({
  version: VERSION,
  epoch: EPOCH,
  commitment: HASH,
  "opening?": OPENING,
  "entry?": ENTRY,
  proof: PATH,
});
const userIds: ArrayShape = { type: "array", items: USER_ID, maxItems: MAX_LOOKUPS_PER_REQUEST };

const sessionRequest = body({
  // The token is passed on as the homeserver made it, and homeservers may add members.
  openid_token: content({
    access_token: text(4_096),
    token_type: text(64),
    matrix_server_name: text(255),
    expires_in: integer(0),
  }),
});
const sessionAnswer = body({
  session: text(256),
  user_id: USER_ID,
  expires_in_ms: integer(0),
});
const lookupRequest = body({ user_id: USER_ID });
const lookupAnswer = body({ head: headPartShape, user: userPart });
const lookupsRequest = body({ user_ids: userIds });
const lookupsAnswer = body({
  head: headPartShape,
  settling_epoch: EPOCH,
  users: {
    type: "object",
    propertyNames: USER_ID,
    additionalProperties: userPart,
    maxProperties: MAX_LOOKUPS_PER_REQUEST,
  },
});
const settledRequest = body({ user_id: USER_ID, epoch: EPOCH });
const settledAnswer = body({ vrf_proof: VRF_PROOF, epoch: EPOCH, map_proof: MAP_PROOF, "leaf?": settlingLeaf });
const settlingRecords = body({
  record: RECORD,
  record_proof: PATH,
  "previous_record?": RECORD,
  "previous_proof?": PATH,
});
const historyRangeRequest = body({ user_id: USER_ID, from: VERSION, to: VERSION });
const consistencyAnswer = body({ proof: PATH });
const versionsAnswer = body({
  n: VERSION,
  versions: { type: "array", items: versionPart, maxItems: MAX_VERSIONS_PER_REQUEST },
});
const refreshRequest = body({ user_id: USER_ID });
const refreshAnswer = body({ "promise?": body({ note: NOTE, opening: OPENING, entry: ENTRY }) });
const enrolmentAnswer = body({ room_id: text(255) });
const statementRequest = body({ statement });
const statementAnswer = body({ "version_expected?": VERSION });
const acknowledgementRequest = body({ version: VERSION, history_root: HASH, signature: SIGNATURE });
const empty = body({});
const errorAnswer = body({
  error: body({
    code: oneOf(
      "bad-request",
      "unauthorized",
      "forbidden",
      "not-found",
      "too-large",
      "rate-limited",
      "not-ready",
      "internal",
    ),
    message: text(1_024, 0),
  }),
});

/** Shapes of all HTTP bodies by name; http-api.ts makes the OpenAPI document from them. */
export const HTTP_SHAPES: {
  readonly SessionRequest: Shape;
  readonly SessionAnswer: Shape;
  readonly LookupRequest: Shape;
  readonly LookupAnswer: Shape;
  readonly LookupsRequest: Shape;
  readonly LookupsAnswer: Shape;
  readonly SettledRequest: Shape;
  readonly SettledAnswer: Shape;
  readonly SettlingRecords: Shape;
  readonly HistoryRangeRequest: Shape;
  readonly ConsistencyAnswer: Shape;
  readonly VersionsAnswer: Shape;
  readonly RefreshRequest: Shape;
  readonly RefreshAnswer: Shape;
  readonly EnrolmentAnswer: Shape;
  readonly Statement: Shape;
  readonly StatementRequest: Shape;
  readonly StatementAnswer: Shape;
  readonly AcknowledgementRequest: Shape;
  readonly Empty: Shape;
  readonly ErrorAnswer: Shape;
} = {
  SessionRequest: sessionRequest,
  SessionAnswer: sessionAnswer,
  LookupRequest: lookupRequest,
  LookupAnswer: lookupAnswer,
  LookupsRequest: lookupsRequest,
  LookupsAnswer: lookupsAnswer,
  SettledRequest: settledRequest,
  SettledAnswer: settledAnswer,
  SettlingRecords: settlingRecords,
  HistoryRangeRequest: historyRangeRequest,
  ConsistencyAnswer: consistencyAnswer,
  VersionsAnswer: versionsAnswer,
  RefreshRequest: refreshRequest,
  RefreshAnswer: refreshAnswer,
  EnrolmentAnswer: enrolmentAnswer,
  Statement: statement,
  StatementRequest: statementRequest,
  StatementAnswer: statementAnswer,
  AcknowledgementRequest: acknowledgementRequest,
  Empty: empty,
  ErrorAnswer: errorAnswer,
};

// ---------------------------------------------------------------------------------------------------------------------
// Matrix contents

/** Timeline event of the epochs room. */
export interface EpochContent {
  readonly checkpoint: string;
  readonly record: string;
  readonly epoch: number;
}
/** State event of the epochs room; `text` is the configuration's canonical JSON. */
export interface ConfigurationContent {
  readonly text: string;
}
/** Member `org.matrix-ckv` of `/.well-known/matrix/client`. */
export interface WellKnown {
  readonly service_url: string;
  readonly room: string;
  readonly log_key: string;
}
/** A warning posted into a chat, as member `org.matrix-ckv.warning` of a notice. */
export interface WarningContent {
  readonly user_id: string;
  readonly code: string;
  readonly since_ms: number;
}
/** One log as the sender of gossip sees it. */
export interface GossipHead {
  readonly origin: string;
  readonly log_key: string;
  readonly checkpoint: string;
}
/**
 * One leaf of the map (or its absence) with all that ties it to a signed head: what one device hands another, and what
 * evidence is made of. It names an index and no user, so that it can be published.
 */
export interface ProvenLeaf {
  readonly checkpoint: string;
  readonly record: string;
  /** Path of the record to the checkpoint's root; of an older record than the last one, too. */
  readonly record_proof: string;
  readonly index: string;
  readonly map_proof: string;
  readonly leaf?: { readonly n: number; readonly history_root: string };
}
/** Gossip between cross-signed devices. `about` is what the sender sees of the receiver; `ask` asks for its proof. */
export interface HeadContent {
  readonly heads: readonly GossipHead[];
  readonly about?: {
    readonly size: number;
    readonly n: number;
    readonly history_root?: string;
    readonly enrolled: boolean;
    readonly on: boolean;
  };
  readonly ask?: { readonly size: number; readonly n: number; readonly history_root: string };
  readonly proof?: ProvenLeaf;
}

export interface CompareContent {
  readonly session: string;
}
export interface CompareCommitContent extends CompareContent {
  readonly commitment: string;
}
export interface CompareNonceContent extends CompareContent {
  readonly nonce: string;
}
/** `log_keys`: the initiator's view of both log vkeys, a hint only (initiator's first; empty text: no log). */
export interface CompareRevealContent extends CompareContent {
  readonly nonce: string;
  readonly log_keys: { readonly initiator: string; readonly responder: string };
}
export interface CompareCancelContent extends CompareContent {
  readonly reason: string;
}

const SESSION: StringShape = bytesShape(32);
export const provenLeafShape: ObjectShape = body({
  checkpoint: NOTE,
  record: RECORD,
  record_proof: PATH,
  index: HASH,
  map_proof: MAP_PROOF,
  "leaf?": body({ n: VERSION, history_root: HASH }),
});

const epochContent = content({ checkpoint: NOTE, record: RECORD, epoch: EPOCH });
const configurationContent = content({ text: text(16_384) });
const wellKnownContent = content({ service_url: URL_TEXT, room: text(255), log_key: VKEY });
const warningContent = content({
  user_id: USER_ID,
  code: text(64),
  since_ms: integer(0),
});
const headContent = content({
  heads: {
    type: "array",
    maxItems: 2,
    items: content({ origin: text(300), log_key: VKEY, checkpoint: NOTE }),
  },
  "about?": content({
    size: VERSION,
    n: integer(0),
    "history_root?": HASH,
    enrolled: { type: "boolean" },
    on: { type: "boolean" },
  }),
  "ask?": content({ size: VERSION, n: VERSION, history_root: HASH }),
  "proof?": provenLeafShape,
});
const compareContent = content({ session: SESSION });
const compareCommitContent = content({ session: SESSION, commitment: HASH });
const compareNonceContent = content({ session: SESSION, nonce: bytesShape(32) });
const compareRevealContent = content({
  session: SESSION,
  nonce: bytesShape(32),
  log_keys: content({ initiator: OPTIONAL_VKEY, responder: OPTIONAL_VKEY }),
});
const compareCancelContent = content({ session: SESSION, reason: text(64) });

/** Shapes of Matrix contents. Members that are not named are dropped: SDKs and servers add their own. */
export const CONTENT_SHAPES: {
  readonly EpochContent: Shape;
  readonly ConfigurationContent: Shape;
  readonly WellKnown: Shape;
  readonly WarningContent: Shape;
  readonly HeadContent: Shape;
  readonly ProvenLeaf: Shape;
  readonly CompareContent: Shape;
  readonly CompareCommitContent: Shape;
  readonly CompareNonceContent: Shape;
  readonly CompareRevealContent: Shape;
  readonly CompareCancelContent: Shape;
} = {
  EpochContent: epochContent,
  ConfigurationContent: configurationContent,
  WellKnown: wellKnownContent,
  WarningContent: warningContent,
  HeadContent: headContent,
  ProvenLeaf: provenLeafShape,
  CompareContent: compareContent,
  CompareCommitContent: compareCommitContent,
  CompareNonceContent: compareNonceContent,
  CompareRevealContent: compareRevealContent,
  CompareCancelContent: compareCancelContent,
};

// ---------------------------------------------------------------------------------------------------------------------
// Parsers

/** `value` as a shape says, copied member by member, so that nothing unnamed survives. Throws `malformed` with the path. */
export function parseShape(shape: Shape, value: unknown, path: string): unknown {
  switch (shape.type) {
    case "string":
      return parseString(shape, value, path);
    case "integer":
      return parseInteger(shape, value, path);
    case "boolean":
      if (typeof value !== "boolean") throw malformed(path, "is no boolean");
      return value;
    case "array":
      return parseArray(shape, value, path);
    case "object":
      return "properties" in shape ? parseMembers(shape, value, path) : parseMap(shape, value, path);
  }
}

function malformed(path: string, problem: string): VerificationError {
  return new VerificationError("malformed", `${path} ${problem}`);
}

function parseString(shape: StringShape, value: unknown, path: string): string {
  if (typeof value !== "string") throw malformed(path, "is no string");
  if (value.length > shape.maxLength) throw malformed(path, "is too long");
  if (value.length < (shape.minLength ?? 0)) throw malformed(path, "is too short");
  if (shape.enum?.includes(value) === false) throw malformed(path, "is none of the known values");
  if (shape.contentEncoding !== undefined) decodeUnpadded(value);
  else if (shape.pattern !== undefined && !new RegExp(shape.pattern, "su").test(value)) {
    throw malformed(path, "has another form");
  }
  return value;
}

function parseInteger(shape: IntegerShape, value: unknown, path: string): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value)) throw malformed(path, "is no integer");
  if (Object.is(value, -0) || value < shape.minimum || value > shape.maximum) throw malformed(path, "is out of range");
  return value;
}

function parseArray(shape: ArrayShape, value: unknown, path: string): unknown[] {
  if (!Array.isArray(value)) throw malformed(path, "is no array");
  if (value.length > shape.maxItems) throw malformed(path, "has too many elements");
  return value.map((item, index) => parseShape(shape.items, item, `${path}[${String(index)}]`));
}

function parseObject(value: unknown, path: string): { readonly [name: string]: unknown } {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed(path, "is no object");
  return value as { readonly [name: string]: unknown };
}

function parseMembers(shape: ObjectShape, value: unknown, path: string): unknown {
  const object = parseObject(value, path);
  const extra = Object.keys(object).find((name) => !Object.hasOwn(shape.properties, name));
  if (extra !== undefined && !shape.additionalProperties) throw malformed(path, "has a member that is not known");
  const missing = shape.required.find((name) => !Object.hasOwn(object, name));
  if (missing !== undefined) throw malformed(path, `has no ${missing}`);
  const parsed = Object.create(null) as { [name: string]: unknown };
  for (const [name, member] of Object.entries(shape.properties)) {
    if (Object.hasOwn(object, name)) parsed[name] = parseShape(member, object[name], `${path}.${name}`);
  }
  return parsed;
}

function parseMap(shape: MapShape, value: unknown, path: string): unknown {
  const entries = Object.entries(parseObject(value, path));
  if (entries.length > shape.maxProperties) throw malformed(path, "has too many members");
  const parsed = Object.create(null) as { [name: string]: unknown };
  for (const [name, member] of entries) {
    parseString(shape.propertyNames, name, `${path} member name`);
    parsed[name] = parseShape(shape.additionalProperties, member, `${path} member`);
  }
  return parsed;
}

/** The hashes of a path (RFC 6962, map) from its base64. Throws `malformed` unless they are whole. */
export function decodePath(encoded: string): Hash[] {
  const bytes = decodeUnpadded(encoded);
  if (bytes.length % HASH_BYTES !== 0) throw malformed("path", "has part of a hash");
  return Array.from({ length: bytes.length / HASH_BYTES }, (_, i) => bytes.slice(i * HASH_BYTES, (i + 1) * HASH_BYTES));
}

/** Inverse of `decodePath`. */
export function encodePath(hashes: readonly Hash[]): string {
  return encodeUnpadded(concat(...hashes));
}

/** A user id of the Matrix specification, at most 255 bytes. Throws `malformed`. */
export function parseUserId(value: unknown): string {
  const userId = parseString(USER_ID, value, "user id");
  if (utf8(userId).length > MAX_USER_ID_BYTES) throw malformed("user id", "is too long");
  return userId;
}

/** The name of the homeserver of a user: all that follows the first colon. Throws `malformed`. */
export function serverOfUser(userId: string): string {
  return parseUserId(userId).slice(userId.indexOf(":") + 1);
}

// Each parser below takes a decoded JSON value and returns its checked copy, or throws VerificationError("malformed").

export function parseSessionRequest(value: unknown): SessionRequest {
  return parseShape(sessionRequest, value, "session request") as SessionRequest;
}
export function parseSessionAnswer(value: unknown): SessionAnswer {
  return parseShape(sessionAnswer, value, "session") as SessionAnswer;
}
export function parseLookupRequest(value: unknown): LookupRequest {
  return parseShape(lookupRequest, value, "lookup request") as LookupRequest;
}
export function parseLookupsRequest(value: unknown): LookupsRequest {
  return parseShape(lookupsRequest, value, "lookups request") as LookupsRequest;
}
export function parseLookupAnswer(value: unknown): LookupAnswer {
  const answer = parseShape(lookupAnswer, value, "lookup") as LookupAnswer;
  checkReveal(answer.user.leaf, "lookup.user.leaf");
  return answer;
}
export function parseLookupsAnswer(value: unknown): LookupsAnswer {
  const answer = parseShape(lookupsAnswer, value, "lookups") as LookupsAnswer;
  for (const user of Object.values(answer.users)) checkReveal(user.leaf, "lookups.users.leaf");
  return answer;
}
export function parseSettledRequest(value: unknown): SettledRequest {
  return parseShape(settledRequest, value, "settled request") as SettledRequest;
}
export function parseSettledAnswer(value: unknown): SettledAnswer {
  return parseShape(settledAnswer, value, "settled") as SettledAnswer;
}
export function parseSettlingRecords(value: unknown): SettlingRecords {
  const records = parseShape(settlingRecords, value, "settling") as SettlingRecords;
  if ((records.previous_record === undefined) !== (records.previous_proof === undefined)) {
    throw malformed("settling", "has a previous record without its proof, or the proof alone");
  }
  return records;
}
/** Also `from <= to`. */
export function parseHistoryRangeRequest(value: unknown): HistoryRangeRequest {
  const range = parseShape(historyRangeRequest, value, "history request") as HistoryRangeRequest;
  if (range.from > range.to) throw malformed("history request", "ends before it begins");
  return range;
}
export function parseConsistencyAnswer(value: unknown): ConsistencyAnswer {
  return parseShape(consistencyAnswer, value, "consistency") as ConsistencyAnswer;
}
export function parseVersionsAnswer(value: unknown): VersionsAnswer {
  const answer = parseShape(versionsAnswer, value, "versions") as VersionsAnswer;
  for (const version of answer.versions) checkReveal(version, "versions.version");
  return answer;
}
export function parseRefreshRequest(value: unknown): LookupRequest {
  return parseShape(refreshRequest, value, "refresh request") as LookupRequest;
}
export function parseRefreshAnswer(value: unknown): RefreshAnswer {
  return parseShape(refreshAnswer, value, "refresh") as RefreshAnswer;
}
export function parseEnrolmentAnswer(value: unknown): EnrolmentAnswer {
  return parseShape(enrolmentAnswer, value, "enrolment") as EnrolmentAnswer;
}
/** The form alone; directory/statement.ts checks the signature. */
export function parseStatement(value: unknown): Statement {
  return parseShape(statement, value, "statement") as Statement;
}
export function parseStatementRequest(value: unknown): StatementRequest {
  return parseShape(statementRequest, value, "statement request") as StatementRequest;
}
export function parseStatementAnswer(value: unknown): StatementAnswer {
  return parseShape(statementAnswer, value, "statement answer") as StatementAnswer;
}
export function parseAcknowledgementRequest(value: unknown): AcknowledgementRequest {
  return parseShape(acknowledgementRequest, value, "acknowledgement") as AcknowledgementRequest;
}
export function parseEmpty(value: unknown): void {
  parseShape(empty, value, "body");
}
export function parseErrorAnswer(value: unknown): ErrorAnswer {
  return parseShape(errorAnswer, value, "error") as ErrorAnswer;
}

export function parseEpochContent(value: unknown): EpochContent {
  return parseShape(epochContent, value, "epoch event") as EpochContent;
}
export function parseConfigurationContent(value: unknown): ConfigurationContent {
  return parseShape(configurationContent, value, "configuration event") as ConfigurationContent;
}
/**
 * Also: `service_url` is an absolute http or https URL in ASCII, without password, query, fragment or trailing slash; https
 * but on loopback is the caller's rule.
 */
export function parseWellKnown(value: unknown): WellKnown {
  const wellKnown = parseShape(wellKnownContent, value, "well-known") as WellKnown;
  if (!/^https?:\/\/[\w.:[\]-]+(?:\/[!-"$->@-[\]-~]*[!-"$-.0->@-[\]-~])?$/.test(wellKnown.service_url)) {
    throw malformed("well-known.service_url", "is no http URL without trailing slash");
  }
  return wellKnown;
}
export function parseWarningContent(value: unknown): WarningContent {
  return parseShape(warningContent, value, "warning") as WarningContent;
}
export function parseHeadContent(value: unknown): HeadContent {
  return parseShape(headContent, value, "gossip") as HeadContent;
}
export function parseProvenLeaf(value: unknown): ProvenLeaf {
  return parseShape(provenLeafShape, value, "proven leaf") as ProvenLeaf;
}
/** `request`, `ready`, `taken` and `done`. */
export function parseCompareContent(value: unknown): CompareContent {
  return parseShape(compareContent, value, "compare") as CompareContent;
}
export function parseCompareCommitContent(value: unknown): CompareCommitContent {
  return parseShape(compareCommitContent, value, "compare commit") as CompareCommitContent;
}
export function parseCompareNonceContent(value: unknown): CompareNonceContent {
  return parseShape(compareNonceContent, value, "compare nonce") as CompareNonceContent;
}
export function parseCompareRevealContent(value: unknown): CompareRevealContent {
  return parseShape(compareRevealContent, value, "compare reveal") as CompareRevealContent;
}
export function parseCompareCancelContent(value: unknown): CompareCancelContent {
  return parseShape(compareCancelContent, value, "compare cancel") as CompareCancelContent;
}

/** A version is either opened or erased: opening and entry come and go together. */
function checkReveal(part: { readonly opening?: string; readonly entry?: string } | undefined, path: string): void {
  if (part === undefined || (part.opening === undefined) === (part.entry === undefined)) return;
  throw malformed(path, "has an opening without its entry, or the entry alone");
}
