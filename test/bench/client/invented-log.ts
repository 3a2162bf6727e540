/**
 * A log of a million users and a million epochs, of which only one user and four epochs exist: all other hashes are
 * invented, which no verifier can tell. Runs in browsers, too.
 */
import { cosign } from "../../../shared/crypto/cosignature.ts";
import { commit } from "../../../shared/crypto/commitment.ts";
import { publicKeyOf } from "../../../shared/crypto/ed25519.ts";
import type { Hash } from "../../../shared/crypto/hash.ts";
import { COSIGNATURE_KEY, ED25519_KEY, formatVkey, noteKeyOf } from "../../../shared/crypto/signed-note.ts";
import type { NoteKey } from "../../../shared/crypto/signed-note.ts";
import { proveVrf, vrfPublicKey } from "../../../shared/crypto/vrf.ts";
import { configurationHash, formatConfiguration } from "../../../shared/directory/configuration.ts";
import { encodeUnpadded, fromUtf8, utf8 } from "../../../shared/encoding.ts";
import { historyLeaf } from "../../../shared/history/history.ts";
import { originOf, signCheckpoint } from "../../../shared/log/checkpoint.ts";
import { encodeEpochRecord, epochLeafHash } from "../../../shared/log/epoch-record.ts";
import { EMPTY, encodeMapProof, verifyMapProof } from "../../../shared/map/map-proof.ts";
import type { MapProof } from "../../../shared/map/map-proof.ts";
import { proveConsistency } from "../../../shared/merkle/consistency.ts";
import { proveInclusion, rootFromInclusion } from "../../../shared/merkle/inclusion.ts";
import { HISTORY_DOMAINS, LOG_DOMAINS, nodeHash, rootOf } from "../../../shared/merkle/tree.ts";
import type { HashReader } from "../../../shared/merkle/tree.ts";
import { encodePath } from "../../../shared/messages.ts";
import type { HeadPart, LookupAnswer, SettlingRecords } from "../../../shared/messages.ts";
import { promiseName } from "../../../shared/proofs/promise.ts";
import { seedOf, TestUser } from "../../support/test-user.ts";

const USERS = 1_000_000;
const VERSIONS = 20;
const COSIGNERS = ["first", "second", "third"];
const SETTLE_MS = 21_600_000;
const SETTLED_MS = 80_000 * SETTLE_MS;
const SETTLING_EPOCH = 999_000;
/** Numbers of epochs at the first visit, and at the next one an hour later. */
const SIZES = { first: 999_200, next: 999_260 };

/** One answer of the log, as text, and when it was given. */
export interface Visit {
  readonly nowMs: number;
  readonly answer: string;
  readonly settling: string;
}

export interface BigLog {
  readonly userId: string;
  readonly logKey: NoteKey;
  readonly cosigners: readonly NoteKey[];
  readonly configuration: string;
  readonly settlingEpoch: number;
  readonly first: Visit;
  readonly next: Visit;
  /** Consistency proof from the first to the next head. */
  readonly path: readonly Hash[];
  /** The newest answer and consistency proof as values, to be weighed. */
  readonly newest: LookupAnswer;
}

/** `name` decides all keys, so that another name is a log that no cache knows. */
export function bigLog(name: string): BigLog {
  const user = new TestUser(`@${name.replaceAll(/[^a-z0-9]/g, "-")}:example.org`, "LAPTOP", "PHONE");
  const origin = originOf("example.org", 1);
  const logSeed = seedOf(`${name} log`);
  const vrfSeed = seedOf(`${name} vrf`);
  const logKey = noteKeyOf({ name: origin, type: ED25519_KEY, publicKey: publicKeyOf(logSeed) });
  const configuration = configurationText(name, logKey, vrfSeed);
  const { proof, index } = proveVrf(vrfSeed, utf8(user.userId));
  const history = pastOf(user);
  const maps = {
    settling: inventedMap(`${name} settling`, index, history.root),
    first: inventedMap(`${name} first`, index, history.root),
    next: inventedMap(`${name} next`, index, history.root),
  };
  const record = (epoch: number, mapRoot: Hash): Uint8Array =>
    encodeEpochRecord({
      epoch,
      timestampMs: SETTLED_MS + (epoch - SETTLING_EPOCH) * 60_000 + 1_000,
      labels: USERS,
      mapRoot,
      changesHash: seedOf(`changes ${epoch}`),
      configurationHash: configurationHash(configuration),
    });
  const records = new Map([
    [SETTLING_EPOCH - 1, record(SETTLING_EPOCH - 1, seedOf("another map"))],
    [SETTLING_EPOCH, record(SETTLING_EPOCH, maps.settling.root)],
    [SIZES.first - 1, record(SIZES.first - 1, maps.first.root)],
    [SIZES.next - 1, record(SIZES.next - 1, maps.next.root)],
  ]);
  const tree = inventedTree(name, new Map([...records].map(([epoch, bytes]) => [epoch, epochLeafHash(bytes)])));
  const recordPart = (epoch: number, size: number): { readonly record: string; readonly record_proof: string } => ({
    record: encodeUnpadded(records.get(epoch) ?? EMPTY),
    record_proof: encodePath(proveInclusion(LOG_DOMAINS, tree, epoch, size)),
  });
  const head = (size: number, nowMs: number): HeadPart => {
    const path = proveInclusion(LOG_DOMAINS, tree, size - 1, size);
    const root = rootFromInclusion(LOG_DOMAINS, tree(0, size - 1), size - 1, size, path);
    const note = signCheckpoint({ origin, size, root }, { seed: logSeed });
    const lines = COSIGNERS.map((cosigner) =>
      cosign(note, { name: `${cosigner}.example`, seed: seedOf(`${name} ${cosigner}`), timestampS: nowMs / 1_000 }),
    );
    return { checkpoint: `${note}${lines.join("\n")}\n`, ...recordPart(size - 1, size) };
  };
  const settling = (size: number): SettlingRecords => {
    const previous = recordPart(SETTLING_EPOCH - 1, size);
    return {
      ...recordPart(SETTLING_EPOCH, size),
      previous_record: previous.record,
      previous_proof: previous.record_proof,
    };
  };
  const answer = (size: number, nowMs: number, map: MapProof): LookupAnswer => ({
    head: head(size, nowMs),
    user: {
      vrf_proof: encodeUnpadded(proof),
      map_proof: encodeUnpadded(encodeMapProof(map)),
      leaf: {
        n: VERSIONS,
        history_root: encodeUnpadded(history.root),
        last_leaf_proof: encodePath(history.path),
        epoch: VERSIONS,
        commitment: encodeUnpadded(history.commitment),
        opening: encodeUnpadded(history.opening),
        entry: fromUtf8(history.entry),
      },
      settling: {
        epoch: SETTLING_EPOCH,
        map_proof: encodeUnpadded(encodeMapProof(maps.settling.proof)),
        leaf: { n: VERSIONS, history_root: encodeUnpadded(history.root), consistency: "" },
      },
    },
  });
  const visit = (size: number, map: MapProof): Visit & { readonly value: LookupAnswer } => {
    const nowMs = SETTLED_MS + (size - SETTLING_EPOCH) * 60_000;
    const value = answer(size, nowMs, map);
    return { nowMs, value, answer: JSON.stringify(value), settling: JSON.stringify(settling(size)) };
  };
  const next = visit(SIZES.next, maps.next.proof);
  return {
    userId: user.userId,
    logKey,
    cosigners: COSIGNERS.map((cosigner) =>
      noteKeyOf({
        name: `${cosigner}.example`,
        type: COSIGNATURE_KEY,
        publicKey: publicKeyOf(seedOf(`${name} ${cosigner}`)),
      }),
    ),
    configuration,
    settlingEpoch: SETTLING_EPOCH,
    first: visit(SIZES.first, maps.first.proof),
    next,
    path: proveConsistency(LOG_DOMAINS, tree, SIZES.first, SIZES.next),
    newest: next.value,
  };
}

function configurationText(name: string, logKey: NoteKey, vrfSeed: Uint8Array): string {
  const promiseKey = publicKeyOf(seedOf(`${name} promise`));
  return formatConfiguration({
    format_version: 1,
    origin: logKey.name,
    log_key: formatVkey(logKey),
    vrf_key: encodeUnpadded(vrfPublicKey(vrfSeed)),
    vrf_suite: "ECVRF-EDWARDS25519-SHA512-TAI",
    settle_ms: SETTLE_MS,
    merge_delay_ms: 60_000,
    heartbeat_ms: 60_000,
    promise_key: formatVkey(noteKeyOf({ name: promiseName(logKey.name), type: ED25519_KEY, publicKey: promiseKey })),
    service_url: "https://example.org/ckv",
    rooms: { epochs: "#ckv:example.org", members: "#ckv-members:example.org" },
    witnesses: [],
    auditors: [],
  });
}

interface Past {
  readonly root: Hash;
  readonly path: readonly Hash[];
  readonly commitment: Hash;
  readonly opening: Uint8Array;
  readonly entry: Uint8Array;
}

/** All versions of the user, none of them newer than the settling epoch, as in most lookups. */
function pastOf(user: TestUser): Past {
  const { userId } = user;
  const [opening, entry] = [seedOf("opening"), user.entry()];
  const commitment = commit({ userId, version: VERSIONS, entry, opening });
  const leaves = Array.from({ length: VERSIONS }, (_, i) =>
    historyLeaf({
      version: i + 1,
      epoch: i + 1,
      commitment: i + 1 === VERSIONS ? commitment : seedOf(`commitment ${i}`),
    }),
  );
  const path = proveInclusion(HISTORY_DOMAINS, leaves, VERSIONS - 1, VERSIONS);
  const root = rootOf(HISTORY_DOMAINS, leaves);
  return {
    root,
    path,
    commitment,
    opening,
    entry,
  };
}

/** A proof of the mean size that a random tree of a million leaves has: log2 of it and a third siblings. */
function inventedMap(name: string, index: Hash, historyRoot: Hash): { readonly proof: MapProof; readonly root: Hash } {
  const present = Math.round(Math.log2(USERS) + 1 / 3);
  const siblings = Array.from({ length: present + 1 }, (_, depth) =>
    depth === present - 1 ? EMPTY : seedOf(`${name} sibling ${depth}`),
  );
  const proof: MapProof = { siblings, terminal: { kind: "leaf" } };
  return { proof, root: verifyMapProof(proof, index, { n: VERSIONS, historyRoot }) };
}

/** Hashes of subtrees: computed above the given leaves and where a head ends, else invented. */
function inventedTree(name: string, leaves: ReadonlyMap<number, Hash>): HashReader {
  const edges = [...leaves.keys()].flatMap((leaf) => [leaf, leaf + 1]);
  const read: HashReader = (level, index) => {
    const [start, end] = [index * 2 ** level, (index + 1) * 2 ** level];
    const leaf = level === 0 ? leaves.get(index) : undefined;
    if (leaf !== undefined) return leaf;
    if (!edges.some((edge) => edge > start && edge < end)) return seedOf(`${name} node ${level} ${index}`);
    return nodeHash(LOG_DOMAINS, read(level - 1, 2 * index), read(level - 1, 2 * index + 1));
  };
  return read;
}
