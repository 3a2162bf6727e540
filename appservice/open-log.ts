/** Opens an existing log for its writer, and says whether it may be written. */
import { openCheckpoint } from "../shared/log/checkpoint.ts";
import { decodeUnpadded, equalBytes, fromUtf8 } from "../shared/encoding.ts";
import { publicKeyOf } from "../shared/crypto/ed25519.ts";
import { parseVkey } from "../shared/crypto/signed-note.ts";
import { vrfPublicKey } from "../shared/crypto/vrf.ts";
import { parseEpochRecord } from "../shared/log/epoch-record.ts";
import { LOG_DOMAINS, rangeHash } from "../shared/merkle/tree.ts";
import type { Hash } from "../shared/crypto/hash.ts";
import { databaseOf, LAYOUT } from "./create-log.ts";
import { readSettings } from "./log-settings.ts";
import type { LogKeys, LogSettings } from "./log-settings.ts";
import { indexProver } from "./native-vrf.ts";
import type { IndexProver } from "./native-vrf.ts";
import { judgeAnchor, judgeExternalHead } from "./start-checks.ts";
import type { ExternalHead, Head } from "./start-checks.ts";
import { openAnchor } from "./store/anchor.ts";
import type { Anchor } from "./store/anchor.ts";
import { openLevelStore } from "./store/level-store.ts";
import { logHashes } from "./store/log-nodes.ts";
import { configurationKey, epochKey, HEAD_KEY, LAYOUT_KEY, parseEpoch, parseHead } from "./store/records.ts";
import type { StoredHead } from "./store/records.ts";
import { getReferenced, IntegrityError } from "./store/store.ts";
import type { Reads, Store } from "./store/store.ts";

/** The keys file is that of another log: signing with it would make two views of one. */
export class ForeignKeysError extends Error {
  /** sysexits.h EX_CONFIG. */
  readonly exitCode = 78;

  constructor(name: string) {
    super(`the ${name} key in the keys file is not the one of this log`);
    this.name = "ForeignKeysError";
  }
}

export interface WritableLog {
  readonly store: Store;
  readonly anchor: Anchor;
  readonly head: StoredHead;
  readonly settings: LogSettings;
  readonly proveIndex: IndexProver;
  /** Why nothing may be signed on this database; undefined if it fits its anchor. */
  readonly refusal: string | undefined;
  /** Why nothing may be signed, with what is known of the log outside this machine; undefined if it may. */
  judge(external: ExternalHead, wasPosted: boolean): string | undefined;
}

export interface LogPlace {
  readonly dataDirectory: string;
  readonly anchorFile: string;
  readonly keys: LogKeys;
}

/** Opens the database, verifies its newest head, and holds it against the anchor. Throws `IntegrityError`. */
export async function openLog({ dataDirectory, anchorFile, keys }: LogPlace): Promise<WritableLog> {
  const store = await openLevelStore(databaseOf(dataDirectory));
  try {
    checkLayout(store);
    const head = parseHead(getReferenced(store, HEAD_KEY, "the head"));
    const settings = readNewestSettings(store, head.epoch);
    checkKeys(settings, keys);
    const anchor = openAnchor(anchorFile);
    const database = checkHead(store, head, settings);
    const refusal = checkAnchor(store, anchor, head, database, settings);
    return {
      store,
      anchor,
      head,
      settings,
      proveIndex: indexProver(keys.vrfSeed),
      refusal,
      judge(external, wasPosted) {
        const verdict = judgeExternalHead(database, external, wasPosted, (size) => rootAt(store, size));
        return verdict.action === "refuse" ? verdict.reason : undefined;
      },
    };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Throws `IntegrityError` if the database is of another layout: older ones are converted, newer ones never touched. */
export function checkLayout(reads: Reads): void {
  const layout = fromUtf8(getReferenced(reads, LAYOUT_KEY, "the layout"));
  if (layout !== LAYOUT) throw new IntegrityError(`the database has the layout "${layout}", not "${LAYOUT}"`);
}

/** The configuration that the newest epoch carries. */
export function readNewestSettings(reads: Reads, epoch: number): LogSettings {
  const { record } = parseEpoch(getReferenced(reads, epochKey(epoch), "the newest epoch"));
  const { configurationHash } = parseEpochRecord(record);
  return readSettings(fromUtf8(getReferenced(reads, configurationKey(configurationHash), "the configuration")));
}

/** Throws `ForeignKeysError` unless the seeds belong to the public keys of the configuration. */
function checkKeys({ configuration, logKey }: LogSettings, { logSeed, vrfSeed, promiseSeed }: LogKeys): void {
  const pairs: readonly (readonly [string, Uint8Array, Uint8Array])[] = [
    ["log", publicKeyOf(logSeed), logKey.publicKey],
    ["VRF", vrfPublicKey(vrfSeed), decodeUnpadded(configuration.vrf_key)],
    ["promise", publicKeyOf(promiseSeed), parseVkey(configuration.promise_key).publicKey],
  ];
  for (const [name, own, expected] of pairs) if (!equalBytes(own, expected)) throw new ForeignKeysError(name);
}

/** The root of the stored log when it had `size` epochs. */
export function rootAt(reads: Reads, size: number): Hash {
  return rangeHash(LOG_DOMAINS, logHashes(reads), { start: 0, end: size });
}

/** The stored head must be signed by the log's key and be the root of what is stored. */
export function checkHead(reads: Reads, { epoch, note }: StoredHead, { logKey }: LogSettings): Head {
  const { size, root } = openCheckpoint(note, logKey);
  if (size !== epoch + 1) throw new IntegrityError("the signed head has another size than the database");
  if (Buffer.compare(rootAt(reads, size), root) !== 0) throw new IntegrityError("the database has not the signed root");
  return { size, root };
}

/** Brings the anchor up if the process ended before it was written; returns why nothing may be signed, if so. */
function checkAnchor(
  store: Store,
  anchor: Anchor,
  head: StoredHead,
  database: Head,
  { logKey }: LogSettings,
): string | undefined {
  const note = anchor.read();
  const anchored = note === undefined ? undefined : openCheckpoint(note, logKey);
  const verdict = judgeAnchor(database, anchored, (size) => rootAt(store, size));
  if (verdict.action === "roll-forward") anchor.replace(note, head.note);
  return verdict.action === "refuse" ? verdict.reason : undefined;
}
