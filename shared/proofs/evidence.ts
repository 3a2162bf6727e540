/**
 * Portable proof that a log lied: one JSON file, checked offline by anybody who knows the log's key. Kinds E1 to E9 of
 * shared/README.md, "Evidence". What is not one of these is a refusal, never proof.
 */
import type { Hash } from "../crypto/hash.ts";
import { parseVkey } from "../crypto/signed-note.ts";
import type { NoteKey } from "../crypto/signed-note.ts";
import { configurationHash, fixedFieldChanged, parseConfiguration } from "../directory/configuration.ts";
import type { Configuration } from "../directory/configuration.ts";
import { canonicalJson, decodeUnpadded, encodeHex, equalBytes, parseJson } from "../encoding.ts";
import type { JsonValue } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import type { HistoryHead } from "../history/history.ts";
import { openCheckpoint } from "../log/checkpoint.ts";
import type { Checkpoint } from "../log/checkpoint.ts";
import { parseEpochRecord, verifyRecord } from "../log/epoch-record.ts";
import type { EpochRecord } from "../log/epoch-record.ts";
import { changesHash, parseChangeList } from "../log/change-list.ts";
import { parseBatchProof, parseMapProof, verifyBatchProof, verifyMapProof } from "../map/map-proof.ts";
import { isPowerOfTwo, rootsFromConsistency } from "../merkle/consistency.ts";
import { HISTORY_DOMAINS, LOG_DOMAINS } from "../merkle/tree.ts";
import type { Domains } from "../merkle/tree.ts";
import { decodePath, encodePath, headPartShape, parseShape, provenLeafShape } from "../messages.ts";
import type { HeadPart, ProvenLeaf, Shape } from "../messages.ts";
import { MAX_JSON_DEPTH } from "../parameters.ts";
import type { VerdictCode } from "../verdict-codes.ts";
import { VerdictError } from "../verdict-codes.ts";
import { checkLabels, checkList, leafChangeOf } from "./audit.ts";
import { brokenPromise, isDue, openPromise } from "./promise.ts";
import type { MergePromise } from "./promise.ts";

/** A record with the path that ties it to a signed head: the last record of a lookup's head, or an older one. */
export type ProvenRecord = HeadPart;

/** A promise key and the record that makes it this log's. */
export interface PromiseKeyProof {
  readonly configuration: string;
  readonly configured: ProvenRecord;
}
export interface VersionProof {
  readonly version: number;
  readonly epoch: number;
  readonly commitment: string;
  readonly proof: string;
}

export type Evidence =
  | ForkEvidence
  | LeafEvidence
  | BrokenPromiseEvidence
  | PromiseConflictEvidence
  | OrderEvidence
  | ConfigurationEvidence
  | EpochEvidence;

interface Common {
  readonly format: "matrix-ckv-evidence/v1";
  /** Verifier key of the log that is accused. */
  readonly log_key: string;
}
/** E1: one size, two roots. E2: `hashes` rebuild the later root, but another earlier one. */
export type ForkEvidence = Common & { readonly earlier: string; readonly later: string } & (
    { readonly kind: "E1" } | { readonly kind: "E2"; readonly hashes: string }
  );
/** E3: the later leaf absent, shorter, or of the same length with another root. E4: `hashes` as in E2, of the history. */
export type LeafEvidence = Common & { readonly earlier: ProvenLeaf; readonly later: ProvenLeaf } & (
    { readonly kind: "E3" } | { readonly kind: "E4"; readonly hashes: string }
  );
/**
 * E5. `due`: the leaf at a head by which the promise was due, with the promised version where the leaf reaches it;
 * `final`: the configuration at that head, where it names a successor and so ends the log. Or `merged` and `changes`:
 * the epoch that merged another version in its place.
 */
export type BrokenPromiseEvidence = Common &
  PromiseKeyProof & { readonly kind: "E5"; readonly promise: string } & (
    | { readonly due: ProvenLeaf; readonly version?: VersionProof; readonly final?: string }
    | { readonly merged: ProvenRecord; readonly changes: string }
  );
/** E6: two promises, one version. */
export type PromiseConflictEvidence = Common &
  PromiseKeyProof & { readonly kind: "E6"; readonly first: string; readonly second: string };
/** E7: records out of order in time or labels. */
export type OrderEvidence = Common & {
  readonly kind: "E7";
  readonly earlier: ProvenRecord;
  readonly later: ProvenRecord;
};
/** E8: a field changed that is fixed for the life of the log, or grew where it may only shrink. */
export type ConfigurationEvidence = Common & {
  readonly kind: "E8";
  readonly earlier: ProvenRecord;
  readonly earlier_configuration: string;
  readonly later: ProvenRecord;
  readonly later_configuration: string;
};
/**
 * E9: the change list of `epoch` does not lead from the map before to the map after. `proof`: batch proof under the old
 * root. `old_leaf`: what the old map really had for an index of the list.
 */
export type EpochEvidence = Common & {
  readonly kind: "E9";
  readonly previous: ProvenRecord;
  readonly epoch: ProvenRecord;
  readonly changes: string;
  readonly proof?: string;
  readonly old_leaf?: Pick<ProvenLeaf, "index" | "map_proof" | "leaf">;
};

/** What a file proves about the log of this origin and key. */
export interface EvidenceFact {
  readonly kind: Evidence["kind"];
  readonly code: VerdictCode;
  readonly origin: string;
  readonly logKey: string;
  /** In hexadecimal, where the fact is about one user's leaf. */
  readonly index?: string;
  /** One sentence for people. */
  readonly says: string;
}

const FORMAT = "matrix-ckv-evidence/v1";
const MAX_FILE_BYTES = 67_108_864;

// ---------------------------------------------------------------------------------------------------------------------
// Form

// NO_SIDE_EFFECTS lets a bundler leave out the shapes that nothing uses.

/* @__NO_SIDE_EFFECTS__ */
const text = (maxLength: number): Shape => ({ type: "string", minLength: 1, maxLength });
const binary: Shape = { type: "string", contentEncoding: "base64", maxLength: MAX_FILE_BYTES };
const note = text(65_536);
const configuration = text(16_384);
const integer: Shape = { type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER };
const hash: Shape = { type: "string", contentEncoding: "base64", minLength: 43, maxLength: 43 };
const leafValue = memberShape(provenLeafShape, "leaf");

/* @__NO_SIDE_EFFECTS__ */
function memberShape(shape: Shape, name: string): Shape {
  const member = "properties" in shape ? shape.properties[name] : undefined;
  if (member === undefined) throw new RangeError(`no such member: ${name}`);
  return member;
}

/* @__NO_SIDE_EFFECTS__ */
function object(properties: { readonly [name: string]: Shape }, optional: readonly string[] = []): Shape {
  const required = Object.keys(properties).filter((name) => !optional.includes(name));
  return { type: "object", properties, required, additionalProperties: false };
}

/* @__NO_SIDE_EFFECTS__ */
function evidence(
  kind: Evidence["kind"],
  properties: { readonly [name: string]: Shape },
  optional: readonly string[] = [],
): Shape {
  const common: { readonly [name: string]: Shape } = {
    format: { type: "string", maxLength: 64, enum: [FORMAT] },
    kind: { type: "string", maxLength: 2, enum: [kind] },
    log_key: text(512),
  };
  return object({ ...common, ...properties }, optional);
}

const promiseKey = { configuration, configured: headPartShape };
const version = object({ version: integer, epoch: integer, commitment: hash, proof: binary });
const oldLeaf = object({ index: hash, map_proof: binary, leaf: leafValue }, ["leaf"]);

const E1_SHAPE = evidence("E1", { earlier: note, later: note });
const E2_SHAPE = evidence("E2", { earlier: note, later: note, hashes: binary });
const E3_SHAPE = evidence("E3", { earlier: provenLeafShape, later: provenLeafShape });
const E4_SHAPE = evidence("E4", { earlier: provenLeafShape, later: provenLeafShape, hashes: binary });
const E5_DUE_SHAPE = evidence(
  "E5",
  { ...promiseKey, promise: note, due: provenLeafShape, version, final: configuration },
  ["version", "final"],
);
const E5_MERGED_SHAPE = evidence("E5", { ...promiseKey, promise: note, merged: headPartShape, changes: binary });
const E6_SHAPE = evidence("E6", { ...promiseKey, first: note, second: note });
const E7_SHAPE = evidence("E7", { earlier: headPartShape, later: headPartShape });
const E8_SHAPE = evidence("E8", {
  earlier: headPartShape,
  earlier_configuration: configuration,
  later: headPartShape,
  later_configuration: configuration,
});
const E9_SHAPE = evidence(
  "E9",
  { previous: headPartShape, epoch: headPartShape, changes: binary, proof: binary, old_leaf: oldLeaf },
  ["proof", "old_leaf"],
);

function shapeOf(file: { readonly [name: string]: unknown }): Shape {
  switch (file["kind"]) {
    case "E1":
      return E1_SHAPE;
    case "E2":
      return E2_SHAPE;
    case "E3":
      return E3_SHAPE;
    case "E4":
      return E4_SHAPE;
    case "E5":
      return "merged" in file ? E5_MERGED_SHAPE : E5_DUE_SHAPE;
    case "E6":
      return E6_SHAPE;
    case "E7":
      return E7_SHAPE;
    case "E8":
      return E8_SHAPE;
    case "E9":
      return E9_SHAPE;
    default:
      throw malformed("evidence of an unknown kind");
  }
}

/** The file of a piece of evidence: canonical JSON, one line. */
export function formatEvidence(file: Evidence): string {
  return canonicalJson(file as unknown as JsonValue);
}

/** The evidence in a file, its form checked and nothing else. Throws `malformed`. */
export function parseEvidence(file: string): Evidence {
  const value = parseJson(file, { maxBytes: MAX_FILE_BYTES, maxDepth: MAX_JSON_DEPTH });
  if (typeof value !== "object" || value === null || !("kind" in value)) throw malformed("not evidence");
  return parseShape(shapeOf(value), value, "evidence") as Evidence;
}

function malformed(message: string): VerificationError {
  return new VerificationError("malformed", message);
}

// ---------------------------------------------------------------------------------------------------------------------
// What ties things to a log

/** A record under a head that the log signed. */
export interface OpenedRecord {
  readonly checkpoint: Checkpoint;
  readonly record: EpochRecord;
  readonly bytes: Uint8Array;
}
/** What the map of a record had for an index. */
export interface OpenedLeaf extends OpenedRecord {
  readonly index: Hash;
  readonly leaf: HistoryHead | undefined;
}

/** The record, at its own epoch in the tree of a head signed by this key. Throws VerificationError. */
export function openProvenRecord(part: ProvenRecord, logKey: NoteKey): OpenedRecord {
  const checkpoint = openCheckpoint(part.checkpoint, logKey);
  const bytes = decodeUnpadded(part.record);
  const record = parseEpochRecord(bytes);
  verifyRecord(bytes, record.epoch, checkpoint, decodePath(part.record_proof));
  return { checkpoint, record, bytes };
}

/** The leaf, or its absence, under a head signed by this key. Throws VerificationError. */
export function openProvenLeaf(part: ProvenLeaf, logKey: NoteKey): OpenedLeaf {
  const opened = openProvenRecord(part, logKey);
  return { ...opened, ...openLeafUnder(opened.record, part) };
}

function openLeafUnder(
  record: EpochRecord,
  part: Pick<ProvenLeaf, "index" | "map_proof" | "leaf">,
): { readonly index: Hash; readonly leaf: HistoryHead | undefined } {
  const index = decodeUnpadded(part.index);
  const head = part.leaf && { n: part.leaf.n, root: decodeUnpadded(part.leaf.history_root) };
  verifyMapLeaf(record, index, head, part.map_proof);
  return { index, leaf: head };
}

/** `index` has `leaf` (undefined: none) in the map of a record. Throws `bad-map-proof`, `malformed`. */
export function verifyMapLeaf(record: EpochRecord, index: Hash, leaf: HistoryHead | undefined, mapProof: string): void {
  const value = leaf && { n: leaf.n, historyRoot: leaf.root };
  const root = verifyMapProof(parseMapProof(decodeUnpadded(mapProof)), index, value);
  if (!equalBytes(root, record.mapRoot)) throw new VerificationError("bad-map-proof", "the leaf is of another map");
}

function openConfiguration(configurationText: string, { record }: OpenedRecord): Configuration {
  if (!equalBytes(configurationHash(configurationText), record.configurationHash))
    throw noProof("another configuration");
  return parseConfiguration(configurationText);
}

/** The promise key of the log, as a configuration names it that one of its records carries. */
function openPromiseKey({ configuration: configured, configured: part }: PromiseKeyProof, logKey: NoteKey): NoteKey {
  return parseVkey(openConfiguration(configured, openProvenRecord(part, logKey)).promise_key);
}

function noProof(problem: string): VerificationError {
  return malformed(`the file proves nothing: ${problem}`);
}

// ---------------------------------------------------------------------------------------------------------------------
// The checks

/** The fact that a file proves about its log, every signature and path checked. Throws VerificationError if it proves none. */
export function verifyEvidence(file: Evidence | string): EvidenceFact {
  const parsed = parseEvidence(typeof file === "string" ? file : formatEvidence(file));
  const logKey = parseVkey(parsed.log_key);
  const { about, ...found } = judge(parsed, logKey);
  const says = SENTENCES[parsed.kind](about, found.code);
  return { kind: parsed.kind, origin: logKey.name, logKey: parsed.log_key, ...found, says };
}

/** What a file proves, and the numbers and names that the sentence about it needs. */
interface Finding extends Pick<EvidenceFact, "code" | "index"> {
  readonly about: readonly (number | string)[];
}

/** Apart from the checks, for whoever only makes evidence says nothing. */
const SENTENCES: {
  readonly [Kind in Evidence["kind"]]: (about: Finding["about"], code: VerdictCode) => string;
} = {
  E1: ([size = ""]) => `The log signed two heads of size ${size} with different roots.`,
  E2: ([later = "", earlier = ""]) => `The head of size ${later} does not continue the one of size ${earlier}.`,
  E3: historySentence,
  E4: historySentence,
  E5: ([version = "", byMs = ""]) => `Version ${version} was promised by ${byMs} ms and not merged as promised.`,
  E6: ([version = ""]) => `Version ${version} was promised with two different contents.`,
  E7: ([from = "", to = ""], code) =>
    `${code === "time-backwards" ? "Time ran back" : "The map lost leaves"} from epoch ${from} to epoch ${to}.`,
  E8: ([field = ""]) => `The log changed ${field}, which it may not.`,
  E9: ([epoch = ""]) => `The changes of epoch ${epoch} do not lead from the map before to the map it names.`,
};

function historySentence([later = "", n = "", earlier = ""]: Finding["about"]): string {
  return `The history in epoch ${later} does not hold version ${n} of epoch ${earlier}.`;
}

function judge(file: Evidence, logKey: NoteKey): Finding {
  switch (file.kind) {
    case "E1":
    case "E2":
      return judgeFork(file, logKey);
    case "E3":
    case "E4":
      return judgeLeaves(file, logKey);
    case "E5":
      return "due" in file ? judgeNotMerged(file, logKey) : judgeOtherMerged(file, logKey);
    case "E6":
      return judgePromises(file, logKey);
    case "E7":
      return judgeOrder(file, logKey);
    case "E8":
      return judgeConfigurations(file, logKey);
    case "E9":
      return judgeEpoch(file, logKey);
  }
}

function judgeFork(file: ForkEvidence, logKey: NoteKey): Finding {
  const [earlier, later] = [openCheckpoint(file.earlier, logKey), openCheckpoint(file.later, logKey)];
  if (file.kind === "E1") {
    if (earlier.size !== later.size || equalBytes(earlier.root, later.root)) throw noProof("the heads do not conflict");
    return { code: "head-fork", about: [later.size] };
  }
  checkRebuilt(LOG_DOMAINS, { n: earlier.size, root: earlier.root }, { n: later.size, root: later.root }, file.hashes);
  return { code: "head-fork", about: [later.size, earlier.size] };
}

/** `hashes` rebuild the later root, and for the earlier size another root than the signed one. */
function checkRebuilt(domains: Domains, earlier: HistoryHead, later: HistoryHead, hashes: string): void {
  const [root1, root2] = rootsFromConsistency(domains, earlier.n, later.n, decodePath(hashes));
  if (!equalBytes(root2, later.root)) throw noProof("the hashes do not rebuild the later root");
  if (equalBytes(root1, earlier.root)) throw noProof("the later root continues the earlier one");
}

function judgeLeaves(file: LeafEvidence, logKey: NoteKey): Finding {
  const [earlier, later] = [openProvenLeaf(file.earlier, logKey), openProvenLeaf(file.later, logKey)];
  if (!equalBytes(earlier.index, later.index)) throw noProof("the leaves have two indices");
  if (earlier.record.epoch > later.record.epoch) throw noProof("the leaves are in the wrong order");
  if (earlier.leaf === undefined) throw noProof("there was nothing before");
  const code = file.kind === "E3" ? leafConflict(earlier.leaf, later.leaf) : "history-other";
  if (code === undefined) throw noProof("the leaves do not conflict");
  if (file.kind === "E4") {
    if (later.leaf === undefined) throw noProof("there is nothing later");
    checkRebuilt(HISTORY_DOMAINS, earlier.leaf, later.leaf, file.hashes);
  }
  return { code, about: [later.record.epoch, earlier.leaf.n, earlier.record.epoch], index: encodeHex(earlier.index) };
}

/** How a later leaf of one index contradicts an earlier one, as far as the two alone show it. */
export function leafConflict(
  earlier: HistoryHead,
  later: HistoryHead | undefined,
): "leaf-vanished" | "history-shorter" | "history-other" | undefined {
  if (later === undefined) return "leaf-vanished";
  if (later.n < earlier.n) return "history-shorter";
  return later.n === earlier.n && !equalBytes(later.root, earlier.root) ? "history-other" : undefined;
}

type NotMergedEvidence = Extract<BrokenPromiseEvidence, { due: unknown }>;
type OtherMergedEvidence = Extract<BrokenPromiseEvidence, { merged: unknown }>;

function judgeNotMerged(file: NotMergedEvidence, logKey: NoteKey): Finding {
  const promise = openPromise(file.promise, openPromiseKey(file, logKey));
  const due = openProvenLeaf(file.due, logKey);
  const ends = file.final !== undefined && openConfiguration(file.final, due).successor !== undefined;
  if (!equalBytes(due.index, promise.index)) throw noProof("the leaf is of another index");
  if (!isDue(promise, due.record, ends)) throw noProof("the promise was not due");
  const shown = file.version && {
    version: { ...file.version, commitment: decodeUnpadded(file.version.commitment) },
    path: decodePath(file.version.proof),
  };
  if (brokenPromise(promise, { leaf: due.leaf, ...shown }) === undefined) throw noProof("the promise was kept");
  return broken(promise);
}

function judgeOtherMerged(file: OtherMergedEvidence, logKey: NoteKey): Finding {
  const promise = openPromise(file.promise, openPromiseKey(file, logKey));
  const { record } = openProvenRecord(file.merged, logKey);
  const list = decodeUnpadded(file.changes);
  if (!equalBytes(changesHash(list), record.changesHash)) throw noProof("not the list of the record");
  const change = parseChangeList(list).find(({ index }) => equalBytes(index, promise.index));
  const merged = change?.commitments[promise.version - change.old.size - 1];
  if (merged === undefined) throw noProof("the list does not merge that version");
  if (equalBytes(merged, promise.commitment)) throw noProof("the promise was kept");
  return broken(promise);
}

function broken({ version: promised, mergeByMs, index }: MergePromise): Finding {
  return { code: "promise-broken", about: [promised, mergeByMs], index: encodeHex(index) };
}

function judgePromises(file: PromiseConflictEvidence, logKey: NoteKey): Finding {
  const key = openPromiseKey(file, logKey);
  const [first, second] = [openPromise(file.first, key), openPromise(file.second, key)];
  if (!equalBytes(first.index, second.index) || first.version !== second.version)
    throw noProof("two different versions");
  if (equalBytes(first.commitment, second.commitment)) throw noProof("the promises agree");
  return { code: "promise-conflict", about: [first.version], index: encodeHex(first.index) };
}

function judgeOrder(file: OrderEvidence, logKey: NoteKey): Finding {
  const { record: earlier } = openProvenRecord(file.earlier, logKey);
  const { record: later } = openProvenRecord(file.later, logKey);
  if (earlier.epoch >= later.epoch) throw noProof("the records are in the wrong order");
  const about = [earlier.epoch, later.epoch];
  if (later.timestampMs <= earlier.timestampMs) return { code: "time-backwards", about };
  if (later.labels < earlier.labels) return { code: "labels-shrank", about };
  throw noProof("the records are in order");
}

function judgeConfigurations(file: ConfigurationEvidence, logKey: NoteKey): Finding {
  const [earlier, later] = [openProvenRecord(file.earlier, logKey), openProvenRecord(file.later, logKey)];
  if (earlier.record.epoch >= later.record.epoch) throw noProof("the configurations are in the wrong order");
  const field = fixedFieldChanged(
    openConfiguration(file.earlier_configuration, earlier),
    openConfiguration(file.later_configuration, later),
  );
  if (field === undefined) throw noProof("the change is allowed");
  return { code: "config-fixed-field", about: [field] };
}

function judgeEpoch(file: EpochEvidence, logKey: NoteKey): Finding {
  const { record: previous } = openProvenRecord(file.previous, logKey);
  const { record } = openProvenRecord(file.epoch, logKey);
  if (previous.epoch + 1 !== record.epoch) throw noProof("the epochs are no neighbours");
  const list = decodeUnpadded(file.changes);
  if (!equalBytes(changesHash(list), record.changesHash)) throw noProof("not the list of the record");
  const code = epochFault(previous, record, list, file);
  if (code === undefined) throw noProof("the list may lead from the one map to the other");
  return { code, about: [record.epoch] };
}

/** What is wrong with an epoch, as far as signed bytes alone show it. */
function epochFault(
  previous: EpochRecord,
  record: EpochRecord,
  list: Uint8Array,
  file: EpochEvidence,
): VerdictCode | undefined {
  try {
    const changes = checkList(record, list);
    checkLabels(previous, record, changes);
    const leafChanges = changes.map((change) => leafChangeOf(change, record.epoch));
    if (file.old_leaf !== undefined) {
      const known = openLeafUnder(previous, file.old_leaf);
      const change = leafChanges.find(({ index }) => equalBytes(index, known.index));
      if (change === undefined) return undefined;
      if (change.old === undefined) return known.leaf === undefined ? undefined : "audit-not-new";
      const same = known.leaf?.n === change.old.n && equalBytes(known.leaf.root, change.old.historyRoot);
      return same ? undefined : "audit-old-leaf";
    }
    const indices = changes.map(({ index }) => index);
    const roots = verifyBatchProof(parseBatchProof(decodeUnpadded(file.proof ?? ""), indices), leafChanges);
    if (!equalBytes(roots.oldRoot, previous.mapRoot)) return undefined;
    return equalBytes(roots.newRoot, record.mapRoot) ? undefined : "audit-new-root";
  } catch (error) {
    if (error instanceof VerdictError) return error.code;
    throw error;
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Builders: each returns evidence that `verifyEvidence` takes, or throws as it does. Each names the check of its own kind,
// so that a client carries only those it uses; the form is that of parsed answers already.

function checked<E extends Evidence>(file: E, judgeKind: (file: E, logKey: NoteKey) => Finding): E {
  judgeKind(file, parseVkey(file.log_key));
  return file;
}

/** E1, or with `hashes` (all of `rootsFromConsistency`, the first included) E2. Notes are signed checkpoints. */
export function createForkEvidence(
  log_key: string,
  earlier: string,
  later: string,
  hashes?: readonly Hash[],
): Evidence {
  const common = { format: FORMAT, log_key, earlier, later } as const;
  if (hashes === undefined) return checked({ ...common, kind: "E1" }, judgeFork);
  return checked({ ...common, kind: "E2", hashes: encodePath(hashes) }, judgeFork);
}

/** E3, or with `hashes` (all of `rootsFromConsistency`, the first included) E4. */
export function createLeafEvidence(
  log_key: string,
  earlier: ProvenLeaf,
  later: ProvenLeaf,
  hashes?: readonly Hash[],
): Evidence {
  const common = { format: FORMAT, log_key, earlier, later } as const;
  if (hashes === undefined) return checked({ ...common, kind: "E3" }, judgeLeaves);
  return checked({ ...common, kind: "E4", hashes: encodePath(hashes) }, judgeLeaves);
}

/** E5, from the leaf at a head by which the promise was due. */
export function createBrokenPromiseEvidence(
  log_key: string,
  parts: Omit<NotMergedEvidence, keyof Common | "kind">,
): Evidence {
  return checked({ format: FORMAT, kind: "E5", log_key, ...parts }, judgeNotMerged);
}

/** E5, from the change list of the epoch that merged another version in its place. */
export function createOtherMergedEvidence(
  log_key: string,
  parts: Omit<OtherMergedEvidence, keyof Common | "kind">,
): Evidence {
  return checked({ format: FORMAT, kind: "E5", log_key, ...parts }, judgeOtherMerged);
}

/** E6. */
export function createPromiseConflictEvidence(
  log_key: string,
  parts: PromiseKeyProof & { readonly first: string; readonly second: string },
): Evidence {
  return checked({ format: FORMAT, kind: "E6", log_key, ...parts }, judgePromises);
}

/** E7. */
export function createOrderEvidence(log_key: string, earlier: ProvenRecord, later: ProvenRecord): Evidence {
  return checked({ format: FORMAT, kind: "E7", log_key, earlier, later }, judgeOrder);
}

/** E8. */
export function createConfigurationEvidence(
  log_key: string,
  parts: Omit<ConfigurationEvidence, keyof Common | "kind">,
): Evidence {
  return checked({ format: FORMAT, kind: "E8", log_key, ...parts }, judgeConfigurations);
}

/** E9. */
export function createEpochEvidence(log_key: string, parts: Omit<EpochEvidence, keyof Common | "kind">): Evidence {
  return checked({ format: FORMAT, kind: "E9", log_key, ...parts }, judgeEpoch);
}

/** What goes with a VerdictError: the evidence, if what is at hand proves anything. */
export function attemptEvidence(create: () => Evidence): { readonly evidence?: Evidence } {
  try {
    return { evidence: create() };
  } catch (error) {
    if (error instanceof VerificationError) return {};
    throw error;
  }
}

/**
 * A consistency path as RFC 6962 has it, from one that begins with the root of the earlier tree although that tree is
 * complete. A reader of tiles asks for that hash, too: where the log forked it is another one, and the path evidence.
 */
export function withoutKnownRoot(earlier: HistoryHead, path: readonly Hash[]): readonly Hash[] {
  const [first, ...rest] = path;
  return first !== undefined && isPowerOfTwo(earlier.n) && equalBytes(first, earlier.root) ? rest : path;
}
