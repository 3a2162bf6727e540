/** `matrix-ckv fsck`: is a stopped log whole, and does it fit its anchor? */
import { readNewestSettings, rootAt, checkHead, checkLayout, ForeignAnchorError, openAnchored } from "./open-log.ts";
import { databaseOf } from "./create-log.ts";
import { VerificationError } from "../shared/errors.ts";
import { judgeAnchor } from "./start-checks.ts";
import { openAnchor } from "./store/anchor.ts";
import { checkStore } from "./store/fsck.ts";
import type { CheckReport } from "./store/fsck.ts";
import { checkTables } from "./store/level-files.ts";
import { openLevelStore } from "./store/level-store.ts";
import { takeLock } from "./store/lock.ts";
import { HEAD_KEY, parseHead } from "./store/records.ts";
import { getReferenced, IntegrityError } from "./store/store.ts";
import type { Store } from "./store/store.ts";

export interface StoppedLog {
  readonly dataDirectory: string;
  readonly anchorFile: string;
}

/** Checks everything; true if nothing is wrong. Changes nothing. Throws `LockedError` while the service runs. */
export async function fsck(log: StoppedLog, report: (report: CheckReport) => void): Promise<boolean> {
  const lock = await takeLock(log.dataDirectory);
  try {
    if (!checkFiles(databaseOf(log.dataDirectory), report)) return false;
    const store = await openLevelStore(databaseOf(log.dataDirectory));
    try {
      return await checkLog(store, log.anchorFile, report);
    } finally {
      await store.close();
    }
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

async function checkLog(store: Store, anchorFile: string, report: (report: CheckReport) => void): Promise<boolean> {
  const problem = (message: string): false => {
    report({ kind: "problem", message });
    return false;
  };
  try {
    checkLayout(store);
    const head = parseHead(getReferenced(store, HEAD_KEY, "the head"));
    const settings = readNewestSettings(store, head.epoch);
    const database = checkHead(store, head, settings);
    const note = openAnchor(anchorFile).read();
    const anchored = note === undefined ? undefined : openAnchored(note, settings, anchorFile);
    const anchor = judgeAnchor(database, anchored, (size) => rootAt(store, size));
    const fits = anchor.action !== "refuse" || problem(anchor.reason);
    return (await checkStore(store, head.epoch, settings.configuration.settle_ms, report)) && fits;
  } catch (error) {
    const isFinding = [IntegrityError, VerificationError, ForeignAnchorError].some((type) => error instanceof type);
    if (isFinding) return problem((error as Error).message);
    throw error;
  }
}
