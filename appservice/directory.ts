/** The read side: what the log says, always at the published head. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Hash } from "../shared/crypto/hash.ts";
import type { VrfProof } from "../shared/crypto/vrf.ts";
import { equalBytes, fromUtf8 } from "../shared/encoding.ts";
import { parseConfiguration } from "../shared/directory/configuration.ts";
import { encodeEpochChanges } from "../shared/log/change-list.ts";
import { encodeEntryBundle, TILE_HEIGHT, TILE_WIDTH } from "../shared/log/tiles.ts";
import type { Tile } from "../shared/log/tiles.ts";
import { proveConsistency } from "../shared/merkle/consistency.ts";
import { proveInclusion } from "../shared/merkle/inclusion.ts";
import { HISTORY_DOMAINS, LOG_DOMAINS } from "../shared/merkle/tree.ts";
import type {
  ConsistencyAnswer,
  LeafPart,
  LookupsAnswer,
  SettledAnswer,
  SettlingLeaf,
  SettlingRecords,
  UserPart,
  VersionPart,
  VersionsAnswer,
} from "../shared/messages.ts";
import { MAX_VERSIONS_PER_REQUEST, SETTLED_MAPS_KEPT_MS } from "../shared/parameters.ts";
import { ApiError } from "./api-error.ts";
import { base64, pathBase64 } from "./base64.ts";
import type { Bundle } from "./bundle.ts";
import { dumpPage, successionPage } from "./dump.ts";
import type { IndexProver } from "./native-vrf.ts";
import { lookupText } from "./lookup-text.ts";
import type { ShownHead } from "./shown-head.ts";
import { readChanges } from "./store/change-lists.ts";
import { HistoryReader } from "./store/histories.ts";
import { logHashes } from "./store/log-nodes.ts";
import type { ProvenPlace } from "./store/map-reader.ts";
import type { StoredLeaf } from "./store/map-tiles.ts";
import {
  configurationKey,
  epochKey,
  epochOf,
  nodeKey,
  parseEpoch,
  parseUser,
  parseVersion,
  PREDECESSOR_KEY,
  proofKey,
  userKey,
  versionKey,
} from "./store/records.ts";
import type { VersionContent } from "./store/records.ts";
import { getReferenced, IntegrityError } from "./store/store.ts";
import type { Reads } from "./store/store.ts";

/** A long answer lets others in after this. */
const TURN_MS = 10;
/** Proofs for ids that have no record are remembered up to this many. */
const REMEMBERED_PROOFS = 10_000;

/** Answers at the published head; `undefined`: there is no such thing. All throw ApiError("not-ready") before the first head. */
export class Directory {
  readonly #proveIndex: IndexProver;
  readonly #shown: ShownHead;
  readonly #proofs = new Map<string, VrfProof>();

  constructor(proveIndex: IndexProver, shown: ShownHead) {
    this.#proveIndex = proveIndex;
    this.#shown = shown;
  }

  /** The JSON text of a LookupAnswer. */
  lookup(userId: string): Promise<string> {
    return this.#at((bundle) => lookupText(bundle.headText, this.#userPart(bundle, userId)));
  }

  lookups(userIds: readonly string[]): Promise<LookupsAnswer> {
    return this.#at(async (bundle) => {
      const users = Object.create(null) as { [userId: string]: UserPart };
      let turnEndsMs = performance.now() + TURN_MS;
      for (const userId of userIds) {
        users[userId] = this.#userPart(bundle, userId);
        if (performance.now() < turnEndsMs) continue;
        await nextTurn();
        turnEndsMs = performance.now() + TURN_MS;
      }
      return { head: bundle.head, settling_epoch: bundle.settlingEpoch, users };
    });
  }

  /** The leaf of a user at a settling epoch whose map is still kept. */
  settled(userId: string, epoch: number): Promise<SettledAnswer | undefined> {
    return this.#at((bundle) => {
      if (!isKept(bundle, epoch)) return undefined;
      const { index, proof } = this.#indexOf(bundle, userId);
      const part = settlingPart(bundle, bundle.mapAt(epoch).prove(index), bundle.map.find(index));
      return { vrf_proof: base64(proof), epoch, ...part };
    });
  }

  /** Path in the history of a user from version `from` to `to`. */
  historyConsistency(userId: string, from: number, to: number): Promise<ConsistencyAnswer | undefined> {
    return this.#at((bundle) => {
      const leaf = this.#leafOf(bundle, userId);
      if (leaf === undefined || from < 1 || from > to || to > leaf.n) return undefined;
      return { proof: consistencyPath(bundle.reads, leaf, from, to) };
    });
  }

  /** Versions `from` to `to`, at most `MAX_VERSIONS_PER_REQUEST` of them. */
  historyVersions(userId: string, from: number, to: number): Promise<VersionsAnswer | undefined> {
    return this.#at((bundle) => {
      const leaf = this.#leafOf(bundle, userId);
      if (leaf === undefined || from < 1 || from > to || to > leaf.n) return undefined;
      const history = new HistoryReader(bundle.reads, leaf.position);
      const last = Math.min(to, from + MAX_VERSIONS_PER_REQUEST - 1);
      const versions = Array.from({ length: last - from + 1 }, (_, i) =>
        versionPart(bundle.reads, history, leaf.n, from + i),
      );
      return { n: leaf.n, versions };
    });
  }

  checkpoint(): Promise<string> {
    return this.#at((bundle) => bundle.note);
  }

  /** The bytes of a tile of the log of the published head; a full one may be asked for at any smaller width. */
  tile({ level, index, width }: Tile): Promise<Uint8Array | undefined> {
    return this.#at((bundle) => {
      const rowLength = Math.floor((bundle.epoch + 1) / TILE_WIDTH ** (level === "entries" ? 0 : level));
      const first = index * TILE_WIDTH;
      if (first + width > rowLength) return undefined;
      const places = Array.from({ length: width }, (_, i) => first + i);
      if (level === "entries") return encodeEntryBundle(places.map((epoch) => recordBytes(bundle.reads, epoch)));
      const hash = (place: number): Hash =>
        getReferenced(bundle.reads, nodeKey(level * TILE_HEIGHT, place), "a hash of the log");
      return new Uint8Array(Buffer.concat(places.map(hash)));
    });
  }

  /** Change list and batch proof of an epoch, for auditors; undefined also once the proof is no longer kept. */
  changes(epoch: number): Promise<Uint8Array | undefined> {
    return this.#at(async (bundle) => {
      if (epoch > bundle.epoch) return undefined;
      const proof = bundle.reads.get(proofKey(epoch));
      return proof === undefined
        ? undefined
        : encodeEpochChanges({ list: await readChanges(bundle.reads, epoch), proof });
    });
  }

  /** A page of the whole map at a settling epoch that is kept, or at the head of a closed log, which stays. */
  dump(epoch: number, after: Hash | undefined): Promise<Uint8Array | undefined> {
    return this.#at(async (bundle) => {
      const isFinal = epoch === bundle.epoch && parseConfiguration(bundle.configurationText).successor !== undefined;
      return isFinal || isKept(bundle, epoch) ? await dumpPage(bundle.mapAt(epoch), after) : undefined;
    });
  }

  /** How the log before this one ended: JSON of a Predecessor; undefined if there was none. */
  predecessor(): Promise<string | undefined> {
    return this.#at(({ reads }) => {
      const text = reads.get(PREDECESSOR_KEY);
      return text === undefined ? undefined : fromUtf8(text);
    });
  }

  /** A page of the users that were taken over, while the map of epoch 0 is kept. */
  succession(after: Hash | undefined): Promise<Uint8Array | undefined> {
    return this.#at(async (bundle) => {
      if (bundle.reads.get(PREDECESSOR_KEY) === undefined || !isKept(bundle, 0)) return undefined;
      return await successionPage(bundle.reads, bundle.mapAt(0), after);
    });
  }

  /** The records that prove a settling epoch, in the tree of `size` epochs. */
  settlingRecords(epoch: number, size: number): Promise<SettlingRecords | undefined> {
    return this.#at(({ reads, epoch: newest }) => {
      if (epoch >= size || size > newest + 1 || storedEpoch(reads, epoch).settlingEpoch !== epoch) return undefined;
      const part = (each: number): readonly [string, string] => {
        const path = proveInclusion(LOG_DOMAINS, logHashes(reads), each, size);
        return [base64(recordBytes(reads, each)), pathBase64(path)];
      };
      const [record, record_proof] = part(epoch);
      if (epoch === 0) return { record, record_proof };
      const [previous_record, previous_proof] = part(epoch - 1);
      return { record, record_proof, previous_record, previous_proof };
    });
  }

  /** Canonical JSON of a configuration by its hash; without one the configuration of the published head. */
  configuration(hash?: Uint8Array): Promise<string | undefined> {
    return this.#at((bundle) => {
      if (hash === undefined || equalBytes(hash, bundle.record.configurationHash)) return bundle.configurationText;
      const text = bundle.reads.get(configurationKey(hash));
      return text === undefined ? undefined : fromUtf8(text);
    });
  }

  /** Runs a read at the published head, whose snapshot stays open until it is done. */
  async #at<T>(read: (bundle: Bundle) => T | Promise<T>): Promise<T> {
    const bundle = this.#shown.bundle?.retain();
    if (bundle === undefined) throw new ApiError("not-ready", "no head is published yet", 1);
    try {
      return await read(bundle);
    } finally {
      bundle.release();
    }
  }

  #userPart(bundle: Bundle, userId: string): UserPart {
    const { index, proof } = this.#indexOf(bundle, userId);
    const { proof: mapProof, leaf } = bundle.map.prove(index);
    const content = leaf === undefined ? undefined : contentOf(bundle.reads, leaf.position, leaf.n);
    const settled = bundle.settledMap.prove(index);
    return {
      vrf_proof: base64(proof),
      map_proof: base64(mapProof),
      ...(leaf === undefined ? {} : { leaf: leafPart(bundle.reads, leaf, content) }),
      settling: { epoch: bundle.settlingEpoch, ...settlingPart(bundle, settled, leaf, content) },
    };
  }

  #leafOf(bundle: Bundle, userId: string): StoredLeaf | undefined {
    return bundle.map.find(this.#indexOf(bundle, userId).index);
  }

  /** Index and proof of any user id: stored for those in the map, made for others. */
  #indexOf({ reads, map }: Bundle, userId: string): VrfProof {
    const stored = reads.get(userKey(userId));
    if (stored !== undefined) {
      const { index, vrfProof } = parseUser(stored);
      return { index, proof: vrfProof };
    }
    const proof = this.#proofs.get(userId) ?? this.#proveIndex(userId);
    if (map.find(proof.index) !== undefined) throw new IntegrityError("the record of a user has vanished");
    this.#proofs.delete(userId);
    this.#proofs.set(userId, proof);
    const [oldest] = this.#proofs.keys();
    if (this.#proofs.size > REMEMBERED_PROOFS && oldest !== undefined) this.#proofs.delete(oldest);
    return proof;
  }
}

function storedEpoch(reads: Reads, epoch: number): ReturnType<typeof parseEpoch> {
  return parseEpoch(getReferenced(reads, epochKey(epoch), "an epoch"));
}

function recordBytes(reads: Reads, epoch: number): Uint8Array {
  return storedEpoch(reads, epoch).record;
}

/** Whether an epoch is a settling epoch whose map is still there. */
function isKept(bundle: Bundle, epoch: number): boolean {
  if (epoch < 0 || epoch > bundle.settlingEpoch || storedEpoch(bundle.reads, epoch).settlingEpoch !== epoch)
    return false;
  return bundle.record.timestampMs - bundle.recordAt(epoch).timestampMs <= SETTLED_MAPS_KEPT_MS;
}

/** The content of a version; undefined if it was erased. */
function contentOf(reads: Reads, position: number, version: number): VersionContent | undefined {
  return parseVersion(getReferenced(reads, versionKey(position, version), "a version"));
}

function revealed(content: VersionContent | undefined): { readonly opening?: string; readonly entry?: string } {
  return content === undefined ? {} : { opening: base64(content.opening), entry: fromUtf8(content.entry) };
}

/** What the change lists have of a version whose content is gone. */
function erasedVersion(history: HistoryReader, n: number): Pick<VersionContent, "before" | "commitment"> {
  return { before: history.before(n), commitment: history.version(n).commitment };
}

/** `content`: that of the leaf's newest version; undefined if it was erased. */
function leafPart(
  reads: Reads,
  { n, historyRoot, position }: StoredLeaf,
  content: VersionContent | undefined,
): LeafPart {
  const { before, commitment } = content ?? erasedVersion(new HistoryReader(reads, position), n);
  return {
    n,
    history_root: base64(historyRoot),
    // To the left of the last leaf stand just the subtrees of the history before it.
    last_leaf_proof: pathBase64([...before.hashes].reverse()),
    epoch: epochOf(position),
    commitment: base64(commitment),
    ...revealed(content),
  };
}

/**
 * What a settling epoch's map has for an index, and how the history goes on from there to the leaf at the head. `content`: that
 * of its newest version, if it was read.
 */
function settlingPart(
  bundle: Bundle,
  { proof, leaf }: ProvenPlace,
  head: StoredLeaf | undefined,
  content?: VersionContent,
): { readonly map_proof: string; readonly leaf?: SettlingLeaf } {
  const map_proof = base64(proof);
  if (leaf === undefined || head === undefined) return { map_proof };
  const consistency = consistencyPath(bundle.reads, head, leaf.n, head.n, content);
  return { map_proof, leaf: { n: leaf.n, history_root: base64(leaf.historyRoot), consistency } };
}

function consistencyPath(reads: Reads, newest: StoredLeaf, from: number, to: number, content?: VersionContent): string {
  if (from === to) return "";
  const history = new HistoryReader(reads, newest.position, content);
  return pathBase64(proveConsistency(HISTORY_DOMAINS, history.hash, from, to));
}

function versionPart(reads: Reads, history: HistoryReader, n: number, version: number): VersionPart {
  const { position, commitment } = history.version(version);
  return {
    version,
    epoch: epochOf(position),
    commitment: base64(commitment),
    ...revealed(contentOf(reads, position, version)),
    proof: pathBase64(proveInclusion(HISTORY_DOMAINS, history.hash, version - 1, n)),
  };
}
