/** `matrix-ckv backup`: a log at one moment into one file, from a running service or from a log that is stopped. */
import { existsSync, statSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { BundleReader, writeBundle } from "./backup-bundle.ts";
import type { BundleEnd, BundleHeader } from "./backup-bundle.ts";
import { databaseOf } from "./create-log.ts";
import type { LogKeys } from "./log-settings.ts";
import { openLog } from "./open-log.ts";
import type { LogPlace } from "./open-log.ts";
import { encodeCustody, readCustody } from "./store/custody.ts";
import { takeLock } from "./store/lock.ts";
import type { Store } from "./store/store.ts";

/** A backup can't be made, or not so. The message says what to do. */
export class BackupError extends Error {
  override readonly name = "BackupError";
  /** sysexits.h EX_CONFIG. */
  readonly exitCode = 78;
}

/** What is in a finished backup. */
export interface Backup extends BundleEnd {
  readonly header: BundleHeader;
  readonly bytes: number;
}

/** Says how many bytes are written, or read back. */
export type BackupProgress = (what: "written" | "checked", bytes: number) => void;

/** The bytes of a backup of a log that runs: at its newest epoch, while it goes on. Throws `BackupError`. */
export async function* backUpRunning(
  store: Store,
  { keys, origin, nowMs }: { readonly keys: LogKeys; readonly origin: string; readonly nowMs: number },
): AsyncGenerator<Uint8Array, void, undefined> {
  checkOwn(store);
  const reads = store.snapshot();
  try {
    yield* writeBundle({ reads, origin, logSeed: keys.logSeed, madeMs: nowMs, moved: false });
  } finally {
    await reads.close();
  }
}

/**
 * The bytes of a backup of a stopped log; with `move` the log signs no more, and goes on where the backup is restored.
 * Throws `LockedError` while it runs, `BackupError`, `IntegrityError`.
 */
export async function* backUpStopped(
  place: LogPlace,
  { move, nowMs }: { readonly move: boolean; readonly nowMs: number },
): AsyncGenerator<Uint8Array, void, undefined> {
  checkOwner(databaseOf(place.dataDirectory));
  const lock = await takeLock(place.dataDirectory);
  try {
    const { store, settings, refusal } = await openLog(place);
    try {
      const isMoved = readCustody(store) === "moved";
      if (!move || !isMoved) checkOwn(store);
      if (move && !isMoved && refusal !== undefined) throw new BackupError(`the log can't go on elsewhere: ${refusal}`);
      const mark = async (): Promise<void> => {
        if (move) await store.commit({ puts: [encodeCustody("moved")] });
      };
      const { origin } = settings.configuration;
      const { logSeed } = place.keys;
      // Sealed only once this log signs no more: nobody can restore the backup before.
      yield* writeBundle({ reads: store, origin, logSeed, madeMs: nowMs, moved: move, beforeSeal: mark });
    } finally {
      await store.close();
    }
  } finally {
    await lock.release();
  }
}

function checkOwn(store: Store): void {
  const custody = readCustody(store);
  if (custody === undefined) return;
  throw new BackupError(
    custody === "moved"
      ? "this log was moved away by an earlier backup --move; back up the one that was restored from it"
      : "this database was restored from a backup and has not gone on since: keep that backup",
  );
}

/** What root leaves in somebody else's database that one can't open any more. */
function checkOwner(database: string): void {
  const owner = existsSync(database) ? statSync(database).uid : undefined;
  if (owner === undefined || owner === process.geteuid?.()) return;
  throw new BackupError(`${database} belongs to user number ${owner}: run this command as that user`);
}

/**
 * Writes a backup to `file`, mode 0600, reads it back, and gives it its name only then: under that name there is a whole
 * backup or none, whenever the process or the machine ends. Throws `BackupError` if there is such a file already.
 */
export async function writeBackup(
  file: string,
  bytes: AsyncIterable<Uint8Array>,
  logSeed: Uint8Array,
  progress: BackupProgress,
): Promise<Backup> {
  if (existsSync(file)) throw new BackupError(`${file} is there already: name a new file`);
  const partial = `${file}.partial`;
  const target = await open(partial, "wx", 0o600).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    throw new BackupError(
      `${partial} is there: another backup is being written, or one was interrupted; then remove it`,
    );
  });
  try {
    let written = 0;
    try {
      for await (const piece of bytes) {
        await target.appendFile(piece);
        progress("written", (written += piece.length));
      }
      await target.sync();
    } finally {
      await target.close();
    }
    const backup = await readBack(partial, logSeed, progress);
    if (existsSync(file)) throw new BackupError(`${file} is there already: name a new file`);
    await rename(partial, file);
    await syncDirectory(dirname(file));
    return { ...backup, bytes: written };
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}

async function readBack(
  file: string,
  logSeed: Uint8Array,
  progress: BackupProgress,
): Promise<BundleEnd & { readonly header: BundleHeader }> {
  const reader = await BundleReader.open(file);
  try {
    const end = await reader.each(logSeed, () => {
      progress("checked", reader.position);
      return Promise.resolve();
    });
    return { ...end, header: reader.header };
  } finally {
    await reader.close();
  }
}

/** Makes names in a directory survive a power cut. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  await handle.sync().finally(() => handle.close());
}
