import { concat, equalBytes, taggedHash, utf8 } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import { decodeBech32m, encodeBech32m } from "./bech32m.ts";

const PREFIX = "ckv";
const FORMAT = 1;
const DIGEST_BYTES = 20;
/** `ckv1`, 34 characters for 21 bytes, 6 of checksum. */
const CODE_LENGTH = 44;

/** A public code, parsed: the format byte checked, the first 20 bytes of the hash of user id and master key. */
export interface PublicCode {
  readonly digest: Uint8Array;
}

/**
 * The public code of a user: bech32m, in groups of four, 44 characters without the spaces. `masterKey` is 32 bytes. Rule:
 * protocol, "Contact code and public code".
 */
export function encodePublicCode(userId: string, masterKey: Uint8Array): string {
  const code = encodeBech32m(PREFIX, concat(Uint8Array.of(FORMAT), digestOf(userId, masterKey)));
  return code.replaceAll(/.{4}(?!$)/g, "$& ");
}

/** A public code from text, white space and case aside. Throws `malformed`. */
export function parsePublicCode(text: string): PublicCode {
  const code = text.replaceAll(/\s+/g, "");
  if (code.length !== CODE_LENGTH) throw malformed("not the length of a public code");
  const [format, ...digest] = decodeBech32m(PREFIX, code);
  if (format !== FORMAT) throw malformed("a public code of unknown format");
  return { digest: Uint8Array.from(digest) };
}

/** Checks that a public code is that of this user with this master key (32 bytes). Throws `bad-commitment` if it is another, `malformed` if it is none. */
export function checkPublicCode(text: string, userId: string, masterKey: Uint8Array): void {
  if (!equalBytes(parsePublicCode(text).digest, digestOf(userId, masterKey))) {
    throw new VerificationError("bad-commitment", "the public code is of another user or another key");
  }
}

const LINK_ITEM = "org.matrix-ckv.code";

/** The `matrix:` link of a user (Matrix specification, "Matrix URI scheme") with the public code in a query item of its own. */
export function matrixLink(userId: string, publicCode: string): string {
  const user = encodeURIComponent(userId.slice(1)).replaceAll("%3A", ":");
  return `matrix:u/${user}?${LINK_ITEM}=${publicCode.replaceAll(/\s+/g, "")}`;
}

/** The user and the public code (not yet parsed) of a link that `matrixLink` made. Throws `malformed`. */
export function parseMatrixLink(link: string): { readonly userId: string; readonly publicCode: string } {
  const [, user, publicCode] = /^matrix:u\/([^/?#]+)\?org\.matrix-ckv\.code=([0-9a-zA-Z]+)$/.exec(link) ?? [];
  if (user === undefined || publicCode === undefined) throw malformed("not a link with a public code");
  return { userId: `@${decodeUriPart(user)}`, publicCode };
}

function decodeUriPart(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch (cause) {
    throw new VerificationError("malformed", "a link with a wrong percent-encoding", { cause });
  }
}

function digestOf(userId: string, masterKey: Uint8Array): Uint8Array {
  return taggedHash("ckv/public-code/v1", utf8(userId), masterKey).slice(0, DIGEST_BYTES);
}

function malformed(message: string): VerificationError {
  return new VerificationError("malformed", message);
}
