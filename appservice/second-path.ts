/**
 * One bit that flips in memory has ended a log. So before a head is signed, what it rests on is computed a second time:
 * from the bytes that are going to disk, and from what the epoch before left there. The map and the histories are computed
 * again where they are changed.
 */
import { hash } from "node:crypto";
import { parseNote } from "../shared/crypto/signed-note.ts";
import type { Hash } from "../shared/crypto/hash.ts";
import { configurationHash } from "../shared/directory/configuration.ts";
import { parseCheckpoint } from "../shared/log/checkpoint.ts";
import { epochLeafHash, parseEpochRecord } from "../shared/log/epoch-record.ts";
import { frontierRoot, LOG_DOMAINS } from "../shared/merkle/tree.ts";
import type { BuiltEpoch } from "./epoch-builder.ts";
import { commitNatively } from "./native-commitment.ts";
import { appendLeaf, readFrontier } from "./store/log-nodes.ts";
import { rootInChanges } from "./store/map-top.ts";
import {
  chunkKey,
  epochKey,
  listOfChunk,
  nodeKey,
  parseEpoch,
  parseVersion,
  userKey,
  versionKey,
} from "./store/records.ts";
import type { StoredHead } from "./store/records.ts";
import { differs, getReferenced } from "./store/store.ts";
import type { KeyValue, Reads } from "./store/store.ts";

const [VERSION, USER, CHUNK, NODE] = [versionKey(0, 1), userKey(""), chunkKey(0, 0), nodeKey(0, 0)].map(
  ([kind]) => kind,
);

/**
 * The root of the log with a built epoch. `stored`: the database as the epoch before left it, whose head is `before`.
 * Throws `IntegrityError` where anything comes out differently than the first time.
 */
export function secondRoot(stored: Reads, before: StoredHead, built: BuiltEpoch, configurationText: string): Hash {
  const { epoch, puts } = built;
  const last = parseEpochRecord(parseEpoch(getReferenced(stored, epochKey(before.epoch), "an epoch")).record);
  const { record: bytes } = parseEpoch(valueOf(puts, epochKey(epoch)));
  const record = parseEpochRecord(bytes);
  for (const { value } of ofKind(puts, VERSION)) checkCommitment(value);
  check("the list of changes", record.changesHash, hashOfChanges(ofKind(puts, CHUNK)));
  check("the configuration", record.configurationHash, configurationHash(configurationText));
  check("the map", record.mapRoot, rootInChanges(built.changedTop) ?? last.mapRoot);
  const [labels, isLater] = [last.labels + ofKind(puts, USER).length, record.timestampMs > last.timestampMs];
  if (record.epoch !== epoch || record.labels !== labels || !isLater) throw differs("a number of an epoch");
  return rootWith(stored, before, bytes, ofKind(puts, NODE));
}

/** The root of the stored log, which the head before has signed, with one more record. */
function rootWith(stored: Reads, before: StoredHead, record: Uint8Array, nodes: readonly KeyValue[]): Hash {
  const frontier = readFrontier(stored, before.epoch + 1);
  check("the log", parseCheckpoint(parseNote(before.note).text).root, frontierRoot(LOG_DOMAINS, frontier));
  const second = appendLeaf(frontier, epochLeafHash(record));
  for (const { key, value } of second.puts) check("a hash of the log", valueOf(nodes, key), value);
  return frontierRoot(LOG_DOMAINS, second.frontier);
}

function checkCommitment(bytes: Uint8Array): void {
  const content = parseVersion(bytes);
  if (content === undefined) throw differs("a version");
  check("a commitment", content.commitment, commitNatively(content));
}

/** As `changesHash` of the core, by the host's SHA-256. */
function hashOfChanges(chunks: readonly KeyValue[]): Buffer {
  const name = Buffer.from("ckv/changes/v1\0", "latin1");
  return hash("sha256", Buffer.concat([name, ...chunks.map(({ value }) => listOfChunk(value))]), "buffer");
}

function ofKind(puts: readonly KeyValue[], kind: number | undefined): readonly KeyValue[] {
  return puts.filter(({ key }) => key[0] === kind);
}

function valueOf(puts: readonly KeyValue[], wanted: Uint8Array): Uint8Array {
  const put = puts.find(({ key }) => Buffer.compare(key, wanted) === 0);
  if (put === undefined) throw differs("what an epoch writes");
  return put.value;
}

/** Throws `IntegrityError` unless both are the same bytes. */
export function check(what: string, first: Uint8Array, second: Uint8Array): void {
  if (Buffer.compare(first, second) !== 0) throw differs(what);
}
