/** The owner's own signed word that the account takes part, or does not. shared/README.md, "Statement of the owner". */
import { ED25519_CHECKS, publicKeyOf, signEd25519 } from "../crypto/ed25519.ts";
import type { Ed25519Checks } from "../crypto/ed25519.ts";
import { canonicalJson, decodeUnpadded, encodeUnpadded, equalBytes, utf8, Writer } from "../encoding.ts";
import type { JsonObject } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import { MATRIX_NAMES } from "../messages.ts";
import type { Statement } from "../messages.ts";
import type { VerdictCode } from "../verdict-codes.ts";
import type { HistoryHead } from "../history/history.ts";

/** What a statement says, before it is signed. `continues` is the word of the master key before this one. */
export interface StatementTerms {
  readonly ckv: "on" | "off";
  readonly counter: number;
  readonly since: HistoryHead;
  readonly userId: string;
  readonly continues?: NonNullable<Statement["continues"]> | undefined;
}

/** Signs a statement with the seed of the master key. For hosts that hold the seed; others sign `statementMessage`. */
export function signStatement(masterSeed: Uint8Array, terms: StatementTerms): Statement {
  const unsigned = unsignedStatement(publicKeyOf(masterSeed), terms);
  return { ...unsigned, signature: encodeUnpadded(signEd25519(masterSeed, statementMessage(unsigned))) };
}

/** The statement without its signature. `masterKey` is raw, 32 bytes. */
export function unsignedStatement(masterKey: Uint8Array, terms: StatementTerms): Omit<Statement, "signature"> {
  return {
    ckv: terms.ckv,
    ...(terms.continues === undefined ? {} : { continues: terms.continues }),
    counter: terms.counter,
    master_key: encodeUnpadded(masterKey),
    purpose: MATRIX_NAMES.statementPurpose,
    since: { version: terms.since.n, root: encodeUnpadded(terms.since.root) },
    user_id: terms.userId,
  };
}

/** The bytes a statement's signature is over: canonical JSON of all but the signature. */
export function statementMessage(
  statement: Omit<Statement, "signature"> & { readonly signature?: string },
): Uint8Array {
  const members = jsonOf(statement);
  return utf8(canonicalJson(Object.fromEntries(Object.entries(members).filter(([name]) => name !== "signature"))));
}

/** A statement as the value that stands in an entry. */
export function jsonOf(statement: Omit<Statement, "signature"> & { readonly signature?: string }): JsonObject {
  const { continues, since, ...rest } = statement;
  return { ...rest, since: { ...since }, ...(continues === undefined ? {} : { continues: { ...continues } }) };
}

/**
 * The statement, if it is by this user and signed by this master key (raw), and the word of the master key before it, if
 * any, verifies. Throws `bad-signature`.
 */
export function verifyStatement(
  statement: Statement,
  userId: string,
  masterKey: Uint8Array,
  checks: Ed25519Checks = ED25519_CHECKS,
): Statement {
  if (statement.user_id !== userId || statement.master_key !== encodeUnpadded(masterKey)) {
    throw new VerificationError("bad-signature", "the statement is by another user or key");
  }
  checks.verify(masterKey, statementMessage(statement), decodeUnpadded(statement.signature));
  if (statement.continues !== undefined) {
    const old = decodeUnpadded(statement.continues.master_key);
    const signature = decodeUnpadded(statement.continues.signature);
    verifyContinues({ userId, oldKey: old, newKey: masterKey }, signature, checks);
  }
  return statement;
}

/** A master key and the one it says comes after it, both raw. */
export interface Succession {
  readonly userId: string;
  readonly oldKey: Uint8Array;
  readonly newKey: Uint8Array;
}

/** The bytes the old master key signs to name the new one. */
export function continuesMessage({ userId, oldKey, newKey }: Succession): Uint8Array {
  return new Writer().ascii("ckv/continues/v1").u8(0).lp16(userId).bytes(oldKey).bytes(newKey).finish();
}

/** The member `continues` of a statement by `newKey`, signed with the seed of the old master key. */
export function signContinues(
  oldSeed: Uint8Array,
  { userId, newKey }: Omit<Succession, "oldKey">,
): NonNullable<Statement["continues"]> {
  const oldKey = publicKeyOf(oldSeed);
  const signature = signEd25519(oldSeed, continuesMessage({ userId, oldKey, newKey }));
  return { master_key: encodeUnpadded(oldKey), signature: encodeUnpadded(signature) };
}

/** The old master key signed the new one, or `bad-signature`. */
function verifyContinues(succession: Succession, signature: Uint8Array, checks: Ed25519Checks): void {
  checks.verify(succession.oldKey, continuesMessage(succession), signature);
}

/** Whose statement it is: the entry's raw master key (undefined: no cross-signing) and its statement, unchecked. */
export interface Stated {
  readonly userId: string;
  readonly masterKey: Uint8Array | undefined;
  readonly statement: Statement | undefined;
}

/**
 * What the change from the entry last accepted (undefined: none) to the one now means for the reader. Codes in the order
 * in which they are told; none when all is as it was, or the statement says on. Never throws.
 */
export function compareStatements(last: Stated | undefined, now: Stated): readonly VerdictCode[] {
  if (now.statement !== undefined && !isSignedByOwner(now)) return ["statement-signature"];
  if (last?.masterKey !== undefined && !sameKey(last.masterKey, now.masterKey)) return resetCodes(last, now);
  if (now.statement === undefined) return last?.statement === undefined ? [] : ["statement-missing"];
  if (last?.statement !== undefined) {
    if (now.statement.counter < last.statement.counter) return ["statement-replayed"];
    const sameCounter = now.statement.counter === last.statement.counter;
    if (sameCounter && !equalBytes(statementMessage(now.statement), statementMessage(last.statement))) {
      return ["statement-conflict"];
    }
  }
  return now.statement.ckv === "off" ? ["statement-off"] : [];
}

function resetCodes(last: Stated, now: Stated): readonly VerdictCode[] {
  const lapsed: readonly VerdictCode[] = last.statement === undefined ? [] : ["statement-lapsed"];
  const old = now.statement?.continues?.master_key;
  const signed = last.masterKey !== undefined && old === encodeUnpadded(last.masterKey);
  return [signed ? "reset-signed" : "reset-unsigned", ...lapsed];
}

function sameKey(a: Uint8Array, b: Uint8Array | undefined): boolean {
  return b !== undefined && equalBytes(a, b);
}

function isSignedByOwner({ userId, masterKey, statement }: Stated): boolean {
  if (statement === undefined || masterKey === undefined) return false;
  try {
    verifyStatement(statement, userId, masterKey);
    return true;
  } catch (error) {
    if (error instanceof VerificationError) return false;
    throw error;
  }
}
