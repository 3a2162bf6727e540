/** Opens an existing log for its writer, and says whether it may be written. */
import { openCheckpoint } from "../shared/log/checkpoint.ts";
import { configurationHash } from "../shared/directory/configuration.ts";
import { decodeUnpadded, equalBytes, fromUtf8 } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import { publicKeyOf } from "../shared/crypto/ed25519.ts";
import { parseVkey } from "../shared/crypto/signed-note.ts";
import { vrfPublicKey } from "../shared/crypto/vrf.ts";
import { parseEpochRecord } from "../shared/log/epoch-record.ts";
import { LOG_DOMAINS, rangeHash } from "../shared/merkle/tree.ts";
import type { Hash } from "../shared/crypto/hash.ts";
import { databaseOf, LAYOUT, parseLayout } from "./create-log.ts";
import type { Layout } from "./create-log.ts";
import { forkEvidence, keepEvidence } from "./fork-evidence.ts";
import { readSettings } from "./log-settings.ts";
import type { LogKeys, LogSettings } from "./log-settings.ts";
import { indexProver } from "./native-vrf.ts";
import type { IndexProver } from "./native-vrf.ts";
import { judgeAnchor, judgeExternalHead } from "./start-checks.ts";
import type { Head, Refusal } from "./start-checks.ts";
import { openAnchor } from "./store/anchor.ts";
import type { Anchor } from "./store/anchor.ts";
import { readCustody } from "./store/custody.ts";
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
    super(
      `the ${name} key in the keys file does not match this log's configuration: these are the keys of another log. Next: set "keys" in the configuration to the file that was made with this database`,
    );
    this.name = "ForeignKeysError";
  }
}

/** The anchor file is that of another log, or no anchor at all. */
export class ForeignAnchorError extends Error {
  override readonly name = "ForeignAnchorError";
  /** sysexits.h EX_CONFIG. */
  readonly exitCode = 78;

  constructor(file: string, origin: string, options: { readonly cause: unknown }) {
    const cause = `${file} holds no head that the key of ${origin} signed`;
    super(`${cause}. Next: set "anchor" in the configuration to the anchor of this log`, options);
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
  /**
   * Why nothing may be signed, with what is known of the log outside this machine: the newest head in the epochs room (a
   * note), or `room-empty`. Undefined if it may. Throws `VerificationError` on a head that the log's key did not sign.
   */
  judge(room: string, wasPosted: boolean): string | undefined;
}

export interface LogPlace {
  readonly dataDirectory: string;
  readonly anchorFile: string;
  readonly keys: LogKeys;
}

/** Why a database is never signed on whatever its anchor says; the others are judged like any. */
const CUSTODY_REFUSALS: { readonly [custody: string]: string } = {
  moved:
    "this log was moved away by backup --move, and goes on where that backup was restored. Next: run it there; if it was restored nowhere, restore it into a new data directory (matrix-ckv restore)",
  copy: "this database was restored from a backup of a log that went on: heads were signed that it does not know, so it answers and never signs. Next: put the newest database back; if that is lost, begin a successor (matrix-ckv init --successor-of <this config.yaml> --without-final-epoch)",
};

/** Opens the database, verifies its newest head, and holds it against the anchor. Throws `IntegrityError`, `LayoutError`. */
export async function openLog({ dataDirectory, anchorFile, keys }: LogPlace): Promise<WritableLog> {
  const store = await openLevelStore(databaseOf(dataDirectory));
  try {
    checkLayout(store);
    const head = parseHead(getReferenced(store, HEAD_KEY, "the head"));
    const settings = readNewestSettings(store, head.epoch);
    checkKeys(settings, keys);
    const anchor = openAnchor(anchorFile);
    const database = checkHead(store, head, settings);
    const judged: JudgedLog = { store, dataDirectory, head, database, settings };
    const refusal = CUSTODY_REFUSALS[readCustody(store) ?? "own"] ?? checkAnchor(judged, anchor, anchorFile);
    return {
      store,
      anchor,
      head,
      settings,
      proveIndex: indexProver(keys.vrfSeed),
      refusal,
      judge(room, wasPosted) {
        const external = room === "room-empty" ? room : openCheckpoint(room, settings.logKey);
        const verdict = judgeExternalHead(database, external, wasPosted, (size) => rootAt(store, size));
        return verdict.action === "refuse" ? tellRefusal(judged, verdict, room) : undefined;
      },
    };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** The stored form of the database is one that this version does not read. Nothing was changed. */
export class LayoutError extends Error {
  override readonly name = "LayoutError";
  /** sysexits.h EX_CONFIG. */
  readonly exitCode = 78;

  constructor(found: Layout, own: Layout) {
    super(
      found.number > own.number
        ? `the stored form is number ${found.number}, made by a newer matrix-ckv; this one reads number ${own.number}. Next: run matrix-ckv ${found.since} or newer`
        : `the stored form is number ${found.number}; this matrix-ckv reads number ${own.number}. Next: run a version from ${found.since} on, but before ${own.since}`,
    );
  }
}

/** Throws `LayoutError` if this version does not read the stored form: there is only one so far, and none is converted. */
export function checkLayout(reads: Reads): void {
  const found = parseLayout(fromUtf8(getReferenced(reads, LAYOUT_KEY, "the layout")));
  const own = parseLayout(LAYOUT);
  if (found.number !== own.number) throw new LayoutError(found, own);
}

/** The configuration that the newest epoch carries. Throws `IntegrityError` if the stored one has another hash. */
export function readNewestSettings(reads: Reads, epoch: number): LogSettings {
  const { record } = parseEpoch(getReferenced(reads, epochKey(epoch), "the newest epoch"));
  const { configurationHash: expected } = parseEpochRecord(record);
  const text = fromUtf8(getReferenced(reads, configurationKey(expected), "the configuration"));
  if (!equalBytes(configurationHash(text), expected)) {
    throw new IntegrityError("the stored configuration is not the one that the newest epoch carries");
  }
  return readSettings(text);
}

/** Throws `ForeignKeysError` unless the seeds belong to the public keys of the configuration. */
export function checkKeys({ configuration, logKey }: LogSettings, { logSeed, vrfSeed, promiseSeed }: LogKeys): void {
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

/** A log whose head is verified and that is now held against what is known of it elsewhere. */
interface JudgedLog {
  readonly store: Store;
  readonly dataDirectory: string;
  readonly head: StoredHead;
  readonly database: Head;
  readonly settings: LogSettings;
}

/** Brings the anchor up if the process ended before it was written; returns why nothing may be signed, if so. */
function checkAnchor(log: JudgedLog, anchor: Anchor, file: string): string | undefined {
  const note = anchor.read();
  const anchored = note === undefined ? undefined : openAnchored(note, log.settings, file);
  const verdict = judgeAnchor(log.database, anchored, (size) => rootAt(log.store, size));
  if (verdict.action === "roll-forward") anchor.replace(note, log.head.note);
  return verdict.action === "refuse" ? tellRefusal(log, verdict, note ?? "") : undefined;
}

/** The head in the anchor. Throws `ForeignAnchorError` if this log's key did not sign it. */
export function openAnchored(note: string, { logKey }: LogSettings, file: string): Head {
  try {
    return openCheckpoint(note, logKey);
  } catch (error) {
    if (error instanceof VerificationError) throw new ForeignAnchorError(file, logKey.name, { cause: error });
    throw error;
  }
}

/** The reason, and where the evidence is if the log's key has signed two histories. */
function tellRefusal(log: JudgedLog, { reason, isFork }: Refusal, other: string): string {
  if (!isFork) return reason;
  const { store, dataDirectory, head, settings } = log;
  const { size } = openCheckpoint(other, settings.logKey);
  const { log_key: logKey } = settings.configuration;
  const later = { note: head.note, size: log.database.size };
  const evidence = forkEvidence(logKey, { note: other, size }, later, logHashes(store));
  return `${reason}. The evidence is in ${keepEvidence(dataDirectory, `head-fork-${size}`, evidence)}`;
}
