/**
 * What the log says about one user: the canonical entry, made from the exact text of a `/keys/query` answer, and read
 * back. Reading is strict in one comparison: an entry is canonical when building it from itself gives the same bytes.
 * shared/README.md, "Entry and commitment".
 */
import { ED25519_CHECKS, REMEMBERING_CHECKS } from "../crypto/ed25519.ts";
import type { Ed25519Checks } from "../crypto/ed25519.ts";
import { sha256 } from "../crypto/hash.ts";
import type { Hash } from "../crypto/hash.ts";
import {
  canonicalJson,
  compareBytes,
  decodeUnpadded,
  encodeUnpadded,
  fromUtf8,
  jsonValueOf,
  parseJsonSource,
  taggedHash,
  utf8,
  Writer,
} from "../encoding.ts";
import type { JsonLimits, JsonObject, JsonSource, JsonValue } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import { parseStatement } from "../messages.ts";
import type { Statement } from "../messages.ts";
import { MAX_DEVICES, MAX_ENTRY_BYTES, MAX_JSON_DEPTH, MAX_OBJECT_BYTES } from "../parameters.ts";
import { jsonOf, verifyStatement } from "./statement.ts";

/** Nesting that a `/keys/query` answer may have; a single object in it may have MAX_JSON_DEPTH. */
const MAX_ANSWER_DEPTH = 512;
/** What is taken for a `/keys/query` answer at most. */
export const MAX_KEYS_QUERY_BYTES = 67_108_864;
const ANSWER_LIMITS: JsonLimits = { maxBytes: MAX_KEYS_QUERY_BYTES, maxDepth: MAX_ANSWER_DEPTH };
/** Objects lie two levels deep in an entry. */
const ENTRY_LIMITS: JsonLimits = { maxBytes: MAX_ENTRY_BYTES, maxDepth: MAX_JSON_DEPTH + 2 };

/** The keys of one user as a server showed them: exact JSON texts of the key objects. */
export interface ObservedKeys {
  readonly masterKey?: string;
  readonly selfSigningKey?: string;
  readonly devices: ReadonlyMap<string, string>;
}

/** An object that can't stand in an entry: the hash of its text (without signatures and unsigned) stands for it. */
export interface UnreadableObject {
  readonly kind: "unreadable";
  readonly digest: Hash;
}
export interface MasterKey {
  readonly kind: "key";
  readonly key: Uint8Array;
}
export interface SelfSigningKey {
  readonly kind: "key";
  readonly key: Uint8Array;
  /** false: code `chain-broken`. */
  readonly signedByMaster: boolean;
}
export interface Device {
  readonly kind: "device";
  readonly ed25519: Uint8Array;
  readonly curve25519: Uint8Array;
  /** By the self-signing key of this entry. false: code `device-unsigned`. */
  readonly signedByOwner: boolean;
  readonly dehydrated: boolean;
}

/** An entry, parsed. `statement` is checked in form only; `compareStatements` judges it. */
export interface Entry {
  /** `refused`: over the limits, the devices left out. `closed`: the account is closed, nothing but the user id. */
  readonly kind: "keys" | "refused" | "closed";
  readonly userId: string;
  readonly masterKey?: MasterKey | UnreadableObject;
  readonly selfSigningKey?: SelfSigningKey | UnreadableObject;
  readonly devices: ReadonlyMap<string, Device | UnreadableObject>;
  readonly statement?: Statement;
  readonly refused?: { readonly count: number; readonly digest: Hash };
}

/** What is wrong with a served object. `subject`: a device id, `master_key` or `self_signing_key`. */
export interface ObjectProblem {
  readonly subject: string;
  readonly code: "device-unreadable" | "key-reused" | "device-signature-bad" | "chain-broken";
}

/** An entry with its canonical bytes, and what was wrong with the objects it was made from. */
export interface BuiltEntry {
  readonly bytes: Uint8Array;
  readonly entry: Entry;
  readonly problems: readonly ObjectProblem[];
}

// ---------------------------------------------------------------------------------------------------------------------
// One object

/** A key object as served, in good form. */
interface KeyObject {
  readonly kind: "object";
  readonly digest: Hash;
  /** All members but `signatures` and `unsigned`, and their canonical JSON, which is what is signed. */
  readonly signed: JsonObject;
  readonly message: Uint8Array;
  /** The user's own signatures as served, by key id, unchecked. */
  readonly claimed: ReadonlyMap<string, string>;
  /** Signatures that verified, by key id. */
  readonly verified: ReadonlyMap<string, string>;
  /** Canonical base64; of a device the Ed25519 key, then the Curve25519 key. */
  readonly keys: readonly string[];
}
type Served = KeyObject | UnreadableObject;
/** Reads the keys of an object whose form is good. Throws `malformed`, `bad-signature`. */
type KeysOf = (signed: JsonObject, checks: Ed25519Checks) => readonly string[];

/** What every object of one reading has in common. */
interface Reading {
  readonly userId: string;
  readonly checks: Ed25519Checks;
}

function malformed(message: string): VerificationError {
  return new VerificationError("malformed", message);
}

/** `undefined` where the check throws a VerificationError; bugs pass through. */
function attempt<T>(check: () => T): T | undefined {
  try {
    return check();
  } catch (error) {
    if (error instanceof VerificationError) return undefined;
    throw error;
  }
}

function memberOf(source: JsonSource | undefined, key: string): JsonSource | undefined {
  return source?.kind === "object" ? source.members.findLast((member) => member.key === key)?.value : undefined;
}

/** Hash of the exact text with its top-level members `signatures` and `unsigned` cut out, the commas around them kept. */
function digestOf(text: string, source: JsonSource): Hash {
  const members = source.kind === "object" ? source.members : [];
  let [kept, from] = ["", source.start];
  for (const { key, start, end } of members) {
    if (key !== "signatures" && key !== "unsigned") continue;
    kept += text.slice(from, start);
    from = end;
  }
  return taggedHash("ckv/unreadable/v1", utf8((kept + text.slice(from, source.end)).toWellFormed()));
}

function readObject(text: string, source: JsonSource, reading: Reading, keysOf: KeysOf): Served {
  const object = attempt(() => readKeyObject(source, reading, keysOf));
  return object === undefined
    ? { kind: "unreadable", digest: digestOf(text, source) }
    : { ...object, digest: digestOf(text, source) };
}

/** An object as it stands in an entry, where `{"unreadable": digest}` means just that. */
function readEntryObject(text: string, source: JsonSource, reading: Reading, keysOf: KeysOf): Served {
  const digest = passedDigest(source);
  return digest === undefined ? readObject(text, source, reading, keysOf) : { kind: "unreadable", digest };
}

function passedDigest(source: JsonSource): Hash | undefined {
  const [member, ...rest] = source.kind === "object" ? source.members : [];
  if (member?.key !== "unreadable" || rest.length > 0 || member.value.kind !== "scalar") return undefined;
  const { value } = member.value;
  return attempt(() => decodeUnpadded(keyText(value)));
}

function readKeyObject(source: JsonSource, { userId, checks }: Reading, keysOf: KeysOf): Omit<KeyObject, "digest"> {
  if (source.kind !== "object") throw malformed("a key object is no object");
  checkDepth(source, MAX_JSON_DEPTH);
  const members = source.members.filter(({ key }) => key !== "signatures" && key !== "unsigned");
  const signed = objectOf(jsonValueOf({ ...source, members }));
  const message = utf8(canonicalJson(signed));
  if (message.length > MAX_OBJECT_BYTES) throw malformed("a key object is too long");
  const claimed = ownSignatures(source, userId);
  return { kind: "object", signed, message, claimed, verified: new Map(), keys: keysOf(signed, checks) };
}

function checkDepth(source: JsonSource, allowed: number): void {
  if (source.kind === "scalar") return;
  if (allowed === 0) throw malformed("a key object is nested too deeply");
  const children = source.kind === "array" ? source.items : source.members.map(({ value }) => value);
  for (const child of children) checkDepth(child, allowed - 1);
}

function ownSignatures(source: JsonSource, userId: string): ReadonlyMap<string, string> {
  const own = memberOf(memberOf(source, "signatures"), userId);
  const members = own?.kind === "object" ? own.members : [];
  return new Map(
    members.flatMap(({ key, value }) =>
      value.kind === "scalar" && typeof value.value === "string" ? [[key, value.value] as const] : [],
    ),
  );
}

function objectOf(value: JsonValue | undefined): JsonObject {
  if (typeof value !== "object" || value === null || isArray(value)) throw malformed("no object where one belongs");
  return value;
}

function isArray(value: JsonValue | undefined): value is readonly JsonValue[] {
  return Array.isArray(value);
}

function stringsOf(value: JsonValue | undefined): readonly string[] {
  if (!isArray(value)) throw malformed("no list of strings where one belongs");
  return value.map((item) => {
    if (typeof item !== "string") throw malformed("no string where one belongs");
    return item;
  });
}

/** Canonical base64 of 32 bytes. */
function keyText(value: JsonValue | undefined): string {
  if (typeof value !== "string" || decodeUnpadded(value).length !== 32) throw malformed("a key has not 32 bytes");
  return value;
}

function signingKeyText(value: JsonValue | undefined, checks: Ed25519Checks): string {
  const text = keyText(value);
  checks.checkPublicKey(decodeUnpadded(text));
  return text;
}

/** The one key of a cross-signing object, taken by field and found under its own name. */
function crossSigningKeyOf(userId: string, usage: "master" | "self_signing"): KeysOf {
  return (signed, checks) => {
    if (signed["user_id"] !== userId) throw malformed("a key of another user");
    if (!stringsOf(signed["usage"]).includes(usage)) throw malformed("a key for another use");
    const [[name, value] = [], ...rest] = Object.entries(objectOf(signed["keys"]));
    const text = signingKeyText(value, checks);
    if (name !== `ed25519:${text}` || rest.length > 0) throw malformed("a key under another name");
    return [text];
  };
}

function deviceKeysOf(userId: string, deviceId: string): KeysOf {
  return (signed, checks) => {
    if (signed["user_id"] !== userId || signed["device_id"] !== deviceId) throw malformed("keys of another device");
    stringsOf(signed["algorithms"]);
    const keys = objectOf(signed["keys"]);
    stringsOf(Object.values(keys));
    return [signingKeyText(keys[`ed25519:${deviceId}`], checks), keyText(keys[`curve25519:${deviceId}`])];
  };
}

/** The object with one more verified signature: the one claimed under `keyId`, if `key` (base64) made it. */
function withSignature(object: KeyObject, keyId: string, key: string, checks: Ed25519Checks): KeyObject {
  const claimed = object.claimed.get(keyId);
  if (claimed === undefined) return object;
  const verified = attempt(() => {
    checks.verify(decodeUnpadded(key), object.message, decodeUnpadded(claimed));
    return new Map([...object.verified, [keyId, claimed]]);
  });
  return verified === undefined ? object : { ...object, verified };
}

// ---------------------------------------------------------------------------------------------------------------------
// The objects of one user

interface KeySet {
  readonly userId: string;
  readonly master: Served | undefined;
  readonly selfSigning: Served | undefined;
  readonly devices: ReadonlyMap<string, Served>;
}

const MASTER = "master_key";
const SELF_SIGNING = "self_signing_key";

/** Applies the rules between objects, in this order, so that what breaks one has no say in the next. */
function settleKeys(served: KeySet, problems: ObjectProblem[], checks: Ed25519Checks): KeySet {
  return signedByOwner(withoutReusedKeys(selfSigned(served, problems, checks), problems), problems, checks);
}

function unreadable(object: KeyObject): UnreadableObject {
  return { kind: "unreadable", digest: object.digest };
}

function mapDevices(set: KeySet, change: (device: Served, deviceId: string) => Served): KeySet {
  return { ...set, devices: new Map([...set.devices].map(([id, device]) => [id, change(device, id)] as const)) };
}

/** A device without its own valid signature can't be told from a copy of somebody else's keys. */
function selfSigned(set: KeySet, problems: ObjectProblem[], checks: Ed25519Checks): KeySet {
  const checked = mapDevices(set, (device, deviceId) => {
    if (device.kind === "unreadable") return device;
    const signed = withSignature(device, `ed25519:${deviceId}`, device.keys[0] ?? "", checks);
    return signed.verified.size === 0 ? unreadable(device) : signed;
  });
  for (const [subject, object] of subjectsOf(checked)) {
    if (object.kind === "unreadable") problems.push({ subject, code: "device-unreadable" });
  }
  return checked;
}

function subjectsOf({ master, selfSigning, devices }: KeySet): readonly (readonly [string, Served])[] {
  return [
    ...(master === undefined ? [] : [[MASTER, master] as const]),
    ...(selfSigning === undefined ? [] : [[SELF_SIGNING, selfSigning] as const]),
    ...devices,
  ];
}

/** One key, one role; and no device id that reads as a key, for signatures are found by either. */
function withoutReusedKeys(set: KeySet, problems: ObjectProblem[]): KeySet {
  const roles = new Map<string, number>();
  for (const [, object] of subjectsOf(set)) {
    for (const key of object.kind === "object" ? object.keys : []) roles.set(key, (roles.get(key) ?? 0) + 1);
  }
  const single = (object: Served, subject: string): Served => {
    if (object.kind === "unreadable") return object;
    if (!roles.has(subject) && object.keys.every((key) => roles.get(key) === 1)) return object;
    problems.push({ subject, code: "key-reused" });
    return unreadable(object);
  };
  return {
    ...mapDevices(set, single),
    master: set.master && single(set.master, MASTER),
    selfSigning: set.selfSigning && single(set.selfSigning, SELF_SIGNING),
  };
}

function signedByOwner(set: KeySet, problems: ObjectProblem[], checks: Ed25519Checks): KeySet {
  const by = (signer: Served | undefined, object: Served, subject: string): Served => {
    const [key] = signer?.kind === "object" ? signer.keys : [];
    if (key === undefined || object.kind === "unreadable") return object;
    const signed = withSignature(object, `ed25519:${key}`, key, checks);
    if (signed === object && object.claimed.has(`ed25519:${key}`))
      problems.push({ subject, code: "device-signature-bad" });
    return signed;
  };
  const selfSigning = set.selfSigning && by(set.master, set.selfSigning, SELF_SIGNING);
  if (selfSigning?.kind === "object" && selfSigning.verified.size === 0) {
    problems.push({ subject: SELF_SIGNING, code: "chain-broken" });
  }
  return { ...mapDevices(set, (device, deviceId) => by(selfSigning, device, deviceId)), selfSigning };
}

function documentOf(object: Served, userId: string): JsonObject {
  if (object.kind === "unreadable") return { unreadable: encodeUnpadded(object.digest) };
  if (object.verified.size === 0) return object.signed;
  return { ...object.signed, signatures: { [userId]: Object.fromEntries(object.verified) } };
}

// ---------------------------------------------------------------------------------------------------------------------
// Entry

interface Refusal {
  readonly count: number;
  readonly digest: Hash;
}

/** What an entry is made of, settled. `closed`: nothing else counts. */
interface Content {
  readonly keys: KeySet;
  readonly statement: Statement | undefined;
  readonly refused: Refusal | undefined;
  readonly closed: boolean;
}

function entryDocument({ keys, statement, refused, closed }: Content): JsonObject {
  const { userId, master, selfSigning, devices } = keys;
  if (closed) return { user_id: userId };
  const listed = [...devices].map(([deviceId, device]) => [deviceId, documentOf(device, userId)] as const);
  return {
    ...(refused === undefined ? { devices: nullPrototype(listed) } : refusalDocument(refused)),
    ...(master === undefined ? {} : { [MASTER]: documentOf(master, userId) }),
    ...(selfSigning === undefined ? {} : { [SELF_SIGNING]: documentOf(selfSigning, userId) }),
    ...(statement === undefined ? {} : { statement: jsonOf(statement) }),
    user_id: userId,
  };
}

function refusalDocument({ count, digest }: Refusal): JsonObject {
  return { refused: "too many devices", count, digest: encodeUnpadded(digest) };
}

/** Device ids come from outside; one of them may be `__proto__`. */
function nullPrototype(members: readonly (readonly [string, JsonValue])[]): JsonObject {
  const object = Object.create(null) as Record<string, JsonValue>;
  for (const [key, value] of members) object[key] = value;
  return object;
}

function publicEntry({ keys, statement, refused, closed }: Content): Entry {
  const { userId, master, selfSigning, devices } = keys;
  const stated = statement === undefined ? {} : { statement };
  if (closed) return { kind: "closed", userId, devices: new Map() };
  return {
    kind: refused === undefined ? "keys" : "refused",
    userId,
    ...(master === undefined ? {} : { masterKey: publicMasterKey(master) }),
    ...(selfSigning === undefined ? {} : { selfSigningKey: publicSelfSigningKey(selfSigning) }),
    devices: new Map([...devices].map(([deviceId, device]) => [deviceId, publicDevice(device)] as const)),
    ...stated,
    ...(refused === undefined ? {} : { refused }),
  };
}

function publicMasterKey(object: Served): MasterKey | UnreadableObject {
  return object.kind === "unreadable" ? object : { kind: "key", key: decodeUnpadded(object.keys[0] ?? "") };
}

function publicSelfSigningKey(object: Served): SelfSigningKey | UnreadableObject {
  if (object.kind === "unreadable") return object;
  return { kind: "key", key: decodeUnpadded(object.keys[0] ?? ""), signedByMaster: object.verified.size === 1 };
}

function publicDevice(object: Served): Device | UnreadableObject {
  if (object.kind === "unreadable") return object;
  const [ed25519 = "", curve25519 = ""] = object.keys;
  return {
    kind: "device",
    ed25519: decodeUnpadded(ed25519),
    curve25519: decodeUnpadded(curve25519),
    signedByOwner: object.verified.size === 2,
    dehydrated: object.signed["dehydrated"] === true,
  };
}

/** The settled content as an entry; where it would be too long, the refusal that stands in its place. */
function built(content: Content, problems: readonly ObjectProblem[]): BuiltEntry {
  const bytes = utf8(canonicalJson(entryDocument(content)));
  if (bytes.length <= MAX_ENTRY_BYTES) return { bytes, entry: publicEntry(content), problems };
  const keys = { ...content.keys, devices: new Map<string, Served>() };
  const refused = { ...content, keys, refused: { count: content.keys.devices.size, digest: sha256(bytes) } };
  return { bytes: utf8(canonicalJson(entryDocument(refused))), entry: publicEntry(refused), problems };
}

/** Too many devices are hashed as they were served, and not read: one account must not cost what a thousand do. */
function refusalOf(devices: ReadonlyMap<string, string>): Refusal {
  const sorted = [...devices].map(([id, text]) => [utf8(id.toWellFormed()), text] as const);
  sorted.sort(([a], [b]) => compareBytes(a, b));
  const list = new Writer();
  for (const [id, text] of sorted) list.bytes(sha256(id)).bytes(sha256(utf8(text.toWellFormed())));
  return { count: devices.size, digest: taggedHash("ckv/devices/v1", list.finish()) };
}

/**
 * The entry of a user from the exact JSON texts that a server showed. Of the statements by the master key in it the one
 * with the highest counter stands in it, the first of equals. Objects that can't stand in an entry become their digest and
 * are named in `problems`. Throws `malformed` only where a text is no JSON at all. `checks` only makes it faster.
 */
export function buildEntry(
  userId: string,
  observed: ObservedKeys,
  statements: readonly Statement[] = [],
  checks: Ed25519Checks = ED25519_CHECKS,
): BuiltEntry {
  const read = (text: string, keysOf: KeysOf): Served =>
    readObject(text, parseJsonSource(text, ANSWER_LIMITS), { userId, checks }, keysOf);
  const { masterKey, selfSigningKey } = observed;
  const refused = observed.devices.size > MAX_DEVICES ? refusalOf(observed.devices) : undefined;
  const devices = refused === undefined ? observed.devices : new Map<string, string>();
  const served: KeySet = {
    userId,
    master: masterKey === undefined ? undefined : read(masterKey, crossSigningKeyOf(userId, "master")),
    selfSigning:
      selfSigningKey === undefined ? undefined : read(selfSigningKey, crossSigningKeyOf(userId, "self_signing")),
    devices: new Map([...devices].map(([id, text]) => [id, read(text, deviceKeysOf(userId, id))] as const)),
  };
  const problems: ObjectProblem[] = [];
  const keys = settleKeys(served, problems, checks);
  return built({ keys, statement: newestStatement(keys, statements, checks), refused, closed: false }, problems);
}

function newestStatement(
  { userId, master }: KeySet,
  statements: readonly Statement[],
  checks: Ed25519Checks,
): Statement | undefined {
  const [key] = master?.kind === "object" ? master.keys : [];
  if (key === undefined) return undefined;
  const byOwner = statements.flatMap(
    (statement) => attempt(() => verifyStatement(statement, userId, decodeUnpadded(key), checks)) ?? [],
  );
  return byOwner.reduce<Statement | undefined>(
    (newest, statement) => (newest === undefined || statement.counter > newest.counter ? statement : newest),
    undefined,
  );
}

/** The entry of a closed account: its user id alone. */
export function closedEntry(userId: string): Uint8Array {
  return utf8(canonicalJson({ user_id: userId }));
}

/**
 * An entry from its bytes, of whatever user it names. Strict: rebuilt from its parts it must give the same bytes, so
 * every rule of building holds. Throws `malformed`. `checks` as in `buildEntry`.
 */
export function readEntry(bytes: Uint8Array, checks: Ed25519Checks = REMEMBERING_CHECKS): Entry {
  if (bytes.length > MAX_ENTRY_BYTES) throw malformed("an entry is too long");
  const text = fromUtf8(bytes);
  const content = readContent(text, parseJsonSource(text, ENTRY_LIMITS), checks);
  if (canonicalJson(entryDocument(content)) !== text) throw malformed("an entry is not in its canonical form");
  if (content.keys.devices.size > MAX_DEVICES) throw malformed("an entry has too many devices");
  return publicEntry(content);
}

/** `readEntry`, and its subject is the user asked for. Throws `malformed`. */
export function parseEntry(bytes: Uint8Array, userId: string): Entry {
  const entry = readEntry(bytes);
  if (entry.userId !== userId) throw malformed("an entry of another user");
  return entry;
}

function readContent(text: string, source: JsonSource, checks: Ed25519Checks): Content {
  const userId = stringOf(memberOf(source, "user_id"));
  const reading = { userId, checks };
  const read = (object: JsonSource | undefined, keysOf: KeysOf): Served | undefined =>
    object === undefined ? undefined : readEntryObject(text, object, reading, keysOf);
  const devices = memberOf(source, "devices");
  const members = devices?.kind === "object" ? devices.members : [];
  const served: KeySet = {
    userId,
    master: read(memberOf(source, MASTER), crossSigningKeyOf(userId, "master")),
    selfSigning: read(memberOf(source, SELF_SIGNING), crossSigningKeyOf(userId, "self_signing")),
    devices: new Map(
      members.map(({ key, value }) => [key, readEntryObject(text, value, reading, deviceKeysOf(userId, key))] as const),
    ),
  };
  const statement = memberOf(source, "statement");
  const refused = memberOf(source, "refused") === undefined ? undefined : readRefusal(source);
  return {
    keys: settleKeys(served, [], checks),
    statement: statement === undefined ? undefined : parseStatement(jsonValueOf(statement)),
    refused,
    closed: devices === undefined && refused === undefined,
  };
}

function readRefusal(source: JsonSource): Refusal {
  const count = memberOf(source, "count");
  if (count?.kind !== "scalar" || typeof count.value !== "number" || count.value < 1) throw malformed("no count");
  return { count: count.value, digest: decodeUnpadded(keyText(stringOf(memberOf(source, "digest")))) };
}

function stringOf(source: JsonSource | undefined): string {
  if (source?.kind !== "scalar" || typeof source.value !== "string") throw malformed("no string where one belongs");
  return source.value;
}

// ---------------------------------------------------------------------------------------------------------------------
// Versions

/** Whether two entries differ in nothing but the bytes of signatures. */
export function sameButSignatures(a: Uint8Array, b: Uint8Array): boolean {
  return canonicalJson(maskedEntry(valueOf(a))) === canonicalJson(maskedEntry(valueOf(b)));
}

function valueOf(entry: Uint8Array): JsonObject {
  return objectOf(jsonValueOf(parseJsonSource(fromUtf8(entry), ENTRY_LIMITS)));
}

/** The entry with every signature replaced by `true`. */
function maskedEntry(entry: JsonObject): JsonObject {
  return mapMembers(entry, (member, key) =>
    key === "devices" ? mapMembers(objectOf(member), masked) : masked(member),
  );
}

/** A key object or a statement with its signatures replaced by `true`. */
function masked(value: JsonValue): JsonValue {
  if (!isObject(value)) return value;
  return mapMembers(value, (member, key) => {
    if (key === "signature") return true;
    if (key === "continues") return mapMembers(objectOf(member), (part, name) => (name === "signature" ? true : part));
    return key === "signatures" ? allTrue(member) : member;
  });
}

function allTrue(value: JsonValue): JsonValue {
  return isObject(value) ? mapMembers(value, allTrue) : true;
}

function isObject(value: JsonValue): value is JsonObject {
  return typeof value === "object" && value !== null && !isArray(value);
}

function mapMembers(object: JsonObject, change: (member: JsonValue, key: string) => JsonValue): JsonObject {
  return nullPrototype(Object.entries(object).map(([key, member]) => [key, change(member, key)] as const));
}

/** What makes a new version: the keys a server shows now, or the closing of the account; and a newer statement, if any. */
export type Observation =
  { readonly kind: "keys"; readonly keys: ObservedKeys; readonly statement?: Statement } | { readonly kind: "closed" };

/**
 * The entry that follows `previous` (undefined: the user has none) by what was observed, or undefined when there is
 * nothing new: no keys and no history, or the same but for signature bytes, of which the first stay. The statement is
 * repeated while the master key stays; one offered replaces it only with a higher counter. `checks` as in `buildEntry`.
 */
export function nextEntry(
  userId: string,
  previous: Uint8Array | undefined,
  observation: Observation,
  checks: Ed25519Checks = ED25519_CHECKS,
): Uint8Array | undefined {
  if (observation.kind === "closed") return changed(previous, closedEntry(userId));
  const { keys, statement } = observation;
  const noKeys = keys.masterKey === undefined && keys.selfSigningKey === undefined && keys.devices.size === 0;
  if (previous === undefined && noKeys) return undefined;
  const statements = [...statementsOf(previous), ...(statement === undefined ? [] : [statement])];
  const { bytes } = buildEntry(userId, keys, statements, checks);
  return changed(previous, withFirstSignatures(previous, bytes));
}

function statementsOf(entry: Uint8Array | undefined): readonly Statement[] {
  const statement = entry === undefined ? undefined : valueOf(entry)["statement"];
  return statement === undefined ? [] : [parseStatement(statement)];
}

function changed(previous: Uint8Array | undefined, next: Uint8Array): Uint8Array | undefined {
  return previous !== undefined && sameButSignatures(previous, next) ? undefined : next;
}

/** The next entry, in which each object that differs from the previous one only in signature bytes stays as it was. */
function withFirstSignatures(previous: Uint8Array | undefined, next: Uint8Array): Uint8Array {
  if (previous === undefined) return next;
  return utf8(canonicalJson(keptWhereSame(valueOf(previous), valueOf(next))));
}

function keptWhereSame(before: JsonObject, after: JsonObject): JsonObject {
  return mapMembers(after, (value, key) => {
    const old = Object.hasOwn(before, key) ? before[key] : undefined;
    if (old === undefined) return value;
    if (key === "devices") return keptWhereSame(objectOf(old), objectOf(value));
    return canonicalJson(masked(old)) === canonicalJson(masked(value)) ? old : value;
  });
}

// ---------------------------------------------------------------------------------------------------------------------
// `/keys/query`

/**
 * The exact texts that one raw answer of `/keys/query` holds on each of these users. Where a name stands twice, the last
 * one counts, as in every JSON parser of the clients. Throws `malformed`.
 */
export function splitKeysQuery(text: string, userIds: readonly string[]): ReadonlyMap<string, ObservedKeys> {
  const answer = parseJsonSource(text, ANSWER_LIMITS);
  const slice = (source: JsonSource): string => text.slice(source.start, source.end);
  const observed = (userId: string): ObservedKeys => {
    const master = memberOf(memberOf(answer, "master_keys"), userId);
    const selfSigning = memberOf(memberOf(answer, "self_signing_keys"), userId);
    const devices = memberOf(memberOf(answer, "device_keys"), userId);
    const members = devices?.kind === "object" ? devices.members : [];
    return {
      ...(master === undefined ? {} : { masterKey: slice(master) }),
      ...(selfSigning === undefined ? {} : { selfSigningKey: slice(selfSigning) }),
      devices: new Map(members.map(({ key, value }) => [key, slice(value)] as const)),
    };
  };
  return new Map(userIds.map((userId) => [userId, observed(userId)] as const));
}
