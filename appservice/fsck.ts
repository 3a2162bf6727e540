/** `matrix-ckv fsck`: is a stopped log whole, and does it fit its anchor? */
import { readNewestSettings, rootAt, checkHead, checkLayout, ForeignAnchorError, openAnchored } from "./open-log.ts";
import { databaseOf } from "./create-log.ts";
import { forgetDiskFailures } from "./disk-failures.ts";
import type { LogSettings } from "./log-settings.ts";
import { indexProver } from "./native-vrf.ts";
import { checkVrfKey, verifyVrf, vrfPublicKey } from "../shared/crypto/vrf.ts";
import { decodeUnpadded, equalBytes, utf8 } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import { judgeAnchor } from "./start-checks.ts";
import { openAnchor } from "./store/anchor.ts";
import { checkStore } from "./store/fsck.ts";
import type { CheckReport, IndexCheck } from "./store/fsck.ts";
import { checkTables } from "./store/level-files.ts";
import { openLevelStore } from "./store/level-store.ts";
import { takeLock } from "./store/lock.ts";
import { HEAD_KEY, parseHead, type StoredUser } from "./store/records.ts";
import { getReferenced, IntegrityError } from "./store/store.ts";
import type { Store } from "./store/store.ts";

export interface StoppedLog {
  readonly dataDirectory: string;
  readonly anchorFile: string;
  /** Proves indices about fifteen times as fast as they are verified without it. */
  readonly vrfSeed?: Uint8Array;
  /** Users whose index is proven again from the user id, spread over all; default `INDEX_SAMPLE`. */
  readonly sample?: number;
  readonly onIndices?: IndexCheck["onChecked"];
}

/** A few seconds' worth. */
export const INDEX_SAMPLE = 1_000;

/**
 * Checks everything; true if nothing is wrong, and then forgets what was noted of a failing disk. Changes nothing else.
 * Throws `LockedError` while the service runs, `StorageError`.
 */
export async function fsck(log: StoppedLog, report: (report: CheckReport) => void): Promise<boolean> {
  const lock = await takeLock(log.dataDirectory);
  try {
    if (!checkFiles(databaseOf(log.dataDirectory), report)) return false;
    const store = await openLevelStore(databaseOf(log.dataDirectory));
    const sound = await checkLog(store, log, report).finally(() => store.close());
    if (sound) forgetDiskFailures(log);
    return sound;
  } finally {
    await lock.release();
  }
}

/** LevelDB may end the process on a damaged table, so its files come first; without them there is nothing to open. */
function checkFiles(database: string, report: (report: CheckReport) => void): boolean {
  let sound = true;
  let done = 0;
  for (const { problem } of checkTables(database)) {
    report({ kind: "progress", what: "tables", done: ++done });
    if (problem === undefined) continue;
    report({ kind: "problem", message: problem.message });
    sound = false;
  }
  return sound;
}

async function checkLog(store: Store, log: StoppedLog, report: (report: CheckReport) => void): Promise<boolean> {
  const problem = (message: string): false => {
    report({ kind: "problem", message });
    return false;
  };
  try {
    checkLayout(store);
    const head = parseHead(getReferenced(store, HEAD_KEY, "the head"));
    const settings = readNewestSettings(store, head.epoch);
    const database = checkHead(store, head, settings);
    const note = openAnchor(log.anchorFile).read();
    const anchored = note === undefined ? undefined : openAnchored(note, settings, log.anchorFile);
    const anchor = judgeAnchor(database, anchored, (size) => rootAt(store, size));
    const fits = anchor.action !== "refuse" || problem(anchor.reason);
    const indices = indexCheck(log, settings);
    return (await checkStore(store, head.epoch, settings.configuration.settle_ms, report, indices)) && fits;
  } catch (error) {
    if (error instanceof IntegrityError) return problem(error.finding);
    if (error instanceof VerificationError || error instanceof ForeignAnchorError) return problem(error.message);
    throw error;
  }
}

/** A proof is the only one there is for its user id, so whoever has the seed makes it again instead of verifying it. */
function indexCheck({ vrfSeed, sample, onIndices }: StoppedLog, { configuration }: LogSettings): IndexCheck {
  const vrfKey = checkVrfKey(decodeUnpadded(configuration.vrf_key));
  const isOwn = vrfSeed !== undefined && equalBytes(vrfPublicKey(vrfSeed), vrfKey);
  const prove = isOwn ? indexProver(vrfSeed) : undefined;
  const isRight = (userId: string, { index, vrfProof }: StoredUser): boolean => {
    if (prove === undefined) return isProven(vrfKey, userId, { index, vrfProof });
    const proven = prove(userId);
    return equalBytes(proven.proof, vrfProof) && equalBytes(proven.index, index);
  };
  return {
    sample: sample ?? INDEX_SAMPLE,
    check: (userId, stored) => {
      if (!isRight(userId, stored)) throw new IntegrityError("the index of a user is not the one its VRF proof gives");
    },
    onChecked: onIndices ?? ((): void => undefined),
  };
}

function isProven(vrfKey: Uint8Array, userId: string, { index, vrfProof }: StoredUser): boolean {
  try {
    return equalBytes(verifyVrf(vrfKey, utf8(userId), vrfProof), index);
  } catch (error) {
    if (error instanceof VerificationError) return false;
    throw error;
  }
}
