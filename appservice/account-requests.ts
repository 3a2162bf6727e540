/** What users ask of the service for their own account, and the refresh that anybody may ask for. */
import { verifyEd25519 } from "../shared/crypto/ed25519.ts";
import { parseEntry, type Entry } from "../shared/directory/entry.ts";
import { verifyStatement } from "../shared/directory/statement.ts";
import { canonicalJson, decodeUnpadded, encodeUnpadded, equalBytes, fromUtf8, utf8 } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import {
  MATRIX_NAMES,
  type AcknowledgementRequest,
  type EnrolmentAnswer,
  type RefreshAnswer,
  type Statement,
  type StatementAnswer,
} from "../shared/messages.ts";
import { ApiError } from "./api-error.ts";

export interface AccountLog {
  newestEntry(userId: string): Promise<{ version: number; entry: Uint8Array; pending: boolean } | undefined>;
  /** The root of a user's history when it had this many versions; undefined if it never had. */
  historyRoot(userId: string, version: number): Promise<Uint8Array | undefined>;
  promise(
    userId: string,
  ): Promise<{ note: string; opening: Uint8Array; entry: Uint8Array; version: number } | undefined>;
  acknowledge(userId: string, version: number, historyRoot: Uint8Array, signature: Uint8Array): Promise<void>;
}

export interface AccountParts {
  readonly log: AccountLog;
  readonly observer: {
    refresh(userId: string): Promise<void>;
    state(userId: string, statement: Statement): Promise<number | undefined>;
  };
  readonly isTracked: (userId: string) => Promise<boolean>;
  readonly isLocalUser: (userId: string) => boolean;
  readonly invite: (roomId: string, userId: string) => Promise<void>;
  /** The enrolment room, once known. */
  readonly membersRoom: () => string | undefined;
  /** Whether promises may be given: while the log may not sign, none is. */
  readonly mayPromise: () => boolean;
}

/** Answers of the routes that change something. All throw ApiError. */
export class AccountRequests {
  readonly #parts: AccountParts;

  constructor(parts: AccountParts) {
    this.#parts = parts;
  }

  /** Looks at the user's keys now. A user who is not enrolled gets the answer of one without changes. */
  async refresh(userId: string): Promise<RefreshAnswer> {
    const { log, observer, isTracked, mayPromise } = this.#parts;
    if (!(await isTracked(userId))) return {};
    await observer.refresh(userId);
    const promise = mayPromise() ? await log.promise(userId) : undefined;
    if (promise === undefined) return {};
    const { note, opening, entry } = promise;
    return { promise: { note, opening: encodeUnpadded(opening), entry: fromUtf8(entry) } };
  }

  async enrol(userId: string): Promise<EnrolmentAnswer> {
    const roomId = this.#parts.membersRoom();
    if (!this.#parts.isLocalUser(userId)) throw new ApiError("forbidden", "only users of this homeserver can enrol");
    if (roomId === undefined) throw new ApiError("not-ready", "the enrolment room is not open yet", 5);
    await this.#parts.invite(roomId, userId);
    return { room_id: roomId };
  }

  /** Puts a statement into a new version, if the newest master key signed it and its counter is the highest. */
  async state(userId: string, statement: Statement): Promise<StatementAnswer> {
    const { entry } = await this.#newest(userId);
    const masterKey = entry.masterKey?.kind === "key" ? entry.masterKey.key : undefined;
    if (masterKey === undefined) throw new ApiError("bad-request", "the account has no master key in the log");
    verifyOr("the statement is not signed by the newest master key", () =>
      verifyStatement(statement, userId, masterKey),
    );
    await this.#checkSince(userId, statement.since);
    const current = entry.statement;
    if (current?.master_key === statement.master_key && current.counter >= statement.counter) {
      throw new ApiError("bad-request", "the counter of a statement must be above the one before");
    }
    const expected = await this.#parts.observer.state(userId, statement);
    return expected === undefined ? {} : { version_expected: expected };
  }

  /** A client would see in each version that repeats it a statement about another past than this one. */
  async #checkSince(userId: string, { version, root }: Statement["since"]): Promise<void> {
    const merged = version < 1 ? undefined : await this.#parts.log.historyRoot(userId, version);
    if (merged === undefined) throw new ApiError("bad-request", "the statement is since a later version");
    if (!equalBytes(merged, decodeUnpadded(root))) {
      throw new ApiError("bad-request", "the statement is since another version than the one in the log");
    }
  }

  /** Notes that the account's devices know a version. Signed by the self-signing key of the newest entry. */
  async acknowledge(userId: string, request: AcknowledgementRequest): Promise<void> {
    const { version, entry } = await this.#newest(userId);
    const key = entry.selfSigningKey?.kind === "key" ? entry.selfSigningKey.key : undefined;
    if (key === undefined) throw new ApiError("bad-request", "the account has no self-signing key in the log");
    if (request.version > version) throw new ApiError("bad-request", "there is no such version");
    const message = acknowledgementMessage(userId, request);
    const signature = decodeUnpadded(request.signature);
    verifyOr("the acknowledgement is not signed by the self-signing key", () => {
      verifyEd25519(key, message, signature);
    });
    await this.#parts.log.acknowledge(userId, request.version, decodeUnpadded(request.history_root), signature);
  }

  async #newest(userId: string): Promise<{ version: number; entry: Entry }> {
    const newest = await this.#parts.log.newestEntry(userId);
    if (newest === undefined) throw new ApiError("not-found", "the account is not in the log yet");
    return { version: newest.version, entry: parseEntry(newest.entry, userId) };
  }
}

/** The bytes an acknowledgement's signature is over: canonical JSON of what is acknowledged, and why it is signed. */
export function acknowledgementMessage(
  userId: string,
  { version, history_root }: Pick<AcknowledgementRequest, "version" | "history_root">,
): Uint8Array {
  const purpose = MATRIX_NAMES.acknowledgementPurpose;
  return utf8(canonicalJson({ purpose, user_id: userId, version, history_root }));
}

function verifyOr(message: string, verify: () => unknown): void {
  try {
    verify();
  } catch (error) {
    if (error instanceof VerificationError) throw new ApiError("bad-request", message);
    throw error;
  }
}
