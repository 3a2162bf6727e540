/**
 * The map and the histories of one log into the database of the next: every leaf keeps its length and root, under a new
 * index. The database taken over from is only read. shared/README.md, "Configuration and the life of a log".
 */
import type { Hash } from "../shared/crypto/hash.ts";
import { compareBytes, fromUtf8, utf8 } from "../shared/encoding.ts";
import { parseConfiguration } from "../shared/directory/configuration.ts";
import { parseEpochRecord, type EpochRecord } from "../shared/log/epoch-record.ts";
import { EMPTY } from "../shared/map/map-proof.ts";
import { proveInclusion } from "../shared/merkle/inclusion.ts";
import { LOG_DOMAINS } from "../shared/merkle/tree.ts";
import type { Predecessor } from "../shared/proofs/succession.ts";
import { base64, pathBase64 } from "./base64.ts";
import type { IndexProver } from "./native-vrf.ts";
import { eachInRange } from "./store/level-store.ts";
import { logHashes } from "./store/log-nodes.ts";
import { MapWriter } from "./store/map-writer.ts";
import type { StoredLeaf } from "./store/map-tiles.ts";
import {
  afterKind,
  bijectionKey,
  carriedChunkKey,
  carriedPosition,
  configurationKey,
  encodeChunk,
  encodeRow,
  encodeUser,
  encodeVersion,
  epochKey,
  HEAD_KEY,
  kindKey,
  numbersOfKey,
  parseChunk,
  parseEpoch,
  parseHead,
  parseUser,
  parseVersion,
  PREDECESSOR_KEY,
  textOfKey,
  USER_KIND,
  VERSION_KIND,
  versionKey,
  type Tip,
} from "./store/records.ts";
import { getReferenced, IntegrityError, type KeyValue, type Reads, type Store } from "./store/store.ts";

/** Written at once. */
const USERS_PER_COMMIT = 5_000;
const RECORDS_PER_COMMIT = 2_000;
/** Kinds that go over as they are: acknowledgements, who is enrolled, and whose keys are still to be looked at. */
const UNCHANGED_KINDS = ["a", "o", "d"] as const;

export interface CarriedMap {
  readonly root: Hash;
  readonly labels: number;
}

/** The newest epoch of a log that is to be taken over, and whether it is a final one. */
export interface OldLog {
  readonly reads: Reads;
  readonly record: EpochRecord;
  readonly predecessor: Predecessor;
  /** Verifier key of the successor that it names. */
  readonly names: string | undefined;
}

/** Reads how a stopped log ended. The caller has checked its head. Throws IntegrityError. */
export function openOldLog(reads: Reads): OldLog {
  const { epoch, note } = parseHead(getReferenced(reads, HEAD_KEY, "the head"));
  const stored = parseEpoch(getReferenced(reads, epochKey(epoch), "the newest epoch"));
  const record = parseEpochRecord(stored.record);
  const key = configurationKey(record.configurationHash);
  const configuration = fromUtf8(getReferenced(reads, key, "the configuration"));
  const path = proveInclusion(LOG_DOMAINS, logHashes(reads), epoch, epoch + 1);
  const head = { checkpoint: note, record: base64(stored.record), record_proof: pathBase64(path) };
  const names = parseConfiguration(configuration).successor?.log_key;
  return { reads, record, predecessor: { head, configuration }, names };
}

/**
 * Fills a new database, all but its head, without which nobody opens it. `progress` is told what was done, now and then.
 * Throws IntegrityError if the old log is not whole.
 */
export async function carryOver(
  old: OldLog,
  store: Store,
  proveIndex: IndexProver,
  progress: (what: string, done: number) => void,
): Promise<CarriedMap> {
  const carrier = new Carrier(old, store, proveIndex, progress);
  const map = await carrier.users();
  await carrier.changes();
  await carrier.versions();
  for (const kind of UNCHANGED_KINDS) await carrier.copy(kind);
  await store.commit({ puts: [{ key: PREDECESSOR_KEY, value: utf8(JSON.stringify(old.predecessor)) }] });
  return map;
}

class Carrier {
  readonly #old: OldLog;
  readonly #store: Store;
  readonly #proveIndex: IndexProver;
  readonly #progress: (what: string, done: number) => void;

  constructor(old: OldLog, store: Store, proveIndex: IndexProver, progress: (what: string, done: number) => void) {
    this.#old = old;
    this.#store = store;
    this.#proveIndex = proveIndex;
    this.#progress = progress;
  }

  /** A new index for each user, and the map of them. */
  async users(): Promise<CarriedMap> {
    const { reads, record } = this.#old;
    const before = await MapWriter.open(reads, record.epoch, record.mapRoot);
    await this.#store.commit({ puts: MapWriter.create() });
    const map = await MapWriter.open(this.#store, 0, EMPTY);
    let labels = 0;
    let root: Hash = EMPTY;
    const write = async (users: readonly CarriedUser[], isLast: boolean): Promise<void> => {
      labels += users.length;
      const leaves = users.map(({ leaf }) => leaf).sort((a, b) => compareBytes(a.index, b.index));
      const change = map.apply(leaves, { epoch: 0, isSettling: isLast, settledBefore: -1 });
      root = change.root;
      const puts = [...users.flatMap(({ puts: own }) => own), ...change.puts];
      await this.#store.commit({ puts, deletes: change.deletes });
      this.#progress("users", labels);
    };
    let batch: CarriedUser[] = [];
    for await (const user of eachInRange(reads, kindKey(USER_KIND), afterKind(USER_KIND))) {
      batch.push(this.#carryUser(user, before));
      if (batch.length < USERS_PER_COMMIT) continue;
      await write(batch, false);
      batch = [];
    }
    await write(batch, true);
    if (labels !== record.labels) {
      throw new IntegrityError(`there are ${labels} user records, but ${record.labels} leaves`);
    }
    return { root, labels };
  }

  #carryUser({ key, value }: KeyValue, before: MapWriter): CarriedUser {
    const leaf = before.find(parseUser(value).index);
    if (leaf === undefined) throw new IntegrityError("the map has no leaf for a user record");
    const { index, proof } = this.#proveIndex(textOfKey(key));
    return {
      leaf: { index, n: leaf.n, historyRoot: leaf.historyRoot, position: carriedPosition(leaf.position) },
      puts: [
        { key, value: encodeUser({ index, vrfProof: proof }) },
        { key: bijectionKey(leaf.index), value: index },
      ],
    };
  }

  /** The rows in which the histories stand, each under its user's new index. */
  async changes(): Promise<void> {
    await this.#each("c", ({ key, value }) => {
      const rows = parseChunk(value).map(({ index, before, commitments }) => ({
        index: getReferenced(this.#store, bijectionKey(index), "the new index of a user"),
        before: carriedTip(before),
        commitments,
      }));
      const positions = rows.flatMap((row) => row.before.positions);
      return { key: carriedChunkKey(key), value: encodeChunk(Buffer.concat(rows.map(encodeRow)), positions) };
    });
  }

  async versions(): Promise<void> {
    await this.#each(VERSION_KIND, ({ key, value }) => {
      const [position = 0, version = 0] = numbersOfKey(key);
      const content = parseVersion(value);
      const carried = content && encodeVersion({ ...content, before: carriedTip(content.before) });
      return { key: versionKey(carriedPosition(position), version), value: carried ?? value };
    });
  }

  async copy(kind: string): Promise<void> {
    await this.#each(kind, (record) => record);
  }

  async #each(kind: string, carry: (record: KeyValue) => KeyValue): Promise<void> {
    let puts: KeyValue[] = [];
    let done = 0;
    const write = async (): Promise<void> => {
      await this.#store.commit({ puts });
      done += puts.length;
      this.#progress(`records of kind ${kind}`, done);
      puts = [];
    };
    for await (const record of eachInRange(this.#old.reads, kindKey(kind), afterKind(kind))) {
      puts.push(carry(record));
      if (puts.length === RECORDS_PER_COMMIT) await write();
    }
    if (puts.length > 0) await write();
  }
}

interface CarriedUser {
  readonly leaf: StoredLeaf;
  readonly puts: readonly KeyValue[];
}

function carriedTip({ size, hashes, positions }: Tip): Tip {
  return { size, hashes, positions: positions.map(carriedPosition) };
}
