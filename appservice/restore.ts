/**
 * `matrix-ckv restore`: a backup into a new database, verified up to its signed head. A backup of a log that went on is for
 * reading only: heads were signed that it does not have, and nobody else has what is missing, since the openings of entries
 * never leave the service. A backup that ended its log (`backup --move`) signs again once it was compared with everything
 * outside (sequencer.ts).
 */
import { existsSync, mkdirSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { VerificationError } from "../shared/errors.ts";
import { BundleError, BundleReader } from "./backup-bundle.ts";
import type { BundleHeader } from "./backup-bundle.ts";
import { syncDirectory } from "./backup.ts";
import { databaseOf, LAYOUT, parseLayout } from "./create-log.ts";
import type { LogSettings } from "./log-settings.ts";
import { checkHead, checkKeys, checkLayout, LayoutError, readNewestSettings } from "./open-log.ts";
import type { LogPlace } from "./open-log.ts";
import { openAnchor } from "./store/anchor.ts";
import { encodeCustody } from "./store/custody.ts";
import { checkStore } from "./store/fsck.ts";
import { createLevelStore } from "./store/level-store.ts";
import { takeLock } from "./store/lock.ts";
import { HEAD_KEY, parseHead } from "./store/records.ts";
import { getReferenced, IntegrityError } from "./store/store.ts";
import type { KeyValue, Store } from "./store/store.ts";

/** Nothing was restored. The message says what to do. */
export class RestoreError extends Error {
  override readonly name = "RestoreError";
  /** sysexits.h EX_CONFIG. */
  readonly exitCode = 78;
}

/** A restored log, stopped. */
export interface RestoredLog {
  readonly header: BundleHeader;
  readonly epoch: number;
  /** The signed head it ends in. */
  readonly note: string;
  readonly settings: LogSettings;
  readonly records: number;
}

/** Says how far it is: bytes of the backup read, or records verified. */
export type RestoreProgress = (what: string, done: number) => void;

/** What is written to disk at once. */
const COMMIT_RECORDS = 2_000;
const COMMIT_BYTES = 4 * 2 ** 20;

/**
 * Restores a backup into a data directory that holds no database. Until everything is verified it stands under another
 * name, so that a run that is interrupted leaves no database, and can be repeated. Throws `RestoreError`, `BundleError`,
 * `LayoutError`, `LockedError`, `IntegrityError`.
 */
export async function restoreLog(from: string, place: LogPlace, progress: RestoreProgress): Promise<RestoredLog> {
  const { dataDirectory } = place;
  const database = databaseOf(dataDirectory);
  if (existsSync(database))
    throw new RestoreError(`${database} is there already, and is never overwritten: name another directory`);
  const reader = await BundleReader.open(from);
  try {
    checkReadable(reader.header);
    await mkdir(dataDirectory, { recursive: true });
    const lock = await takeLock(dataDirectory);
    const staged = `${database}.restoring`;
    try {
      await rm(staged, { recursive: true, force: true });
      const restored = await fill(staged, reader, place, progress);
      if (restored.header.moved) bringAnchor(place.anchorFile, restored.note);
      await syncDirectory(staged);
      await rename(staged, database);
      await syncDirectory(dataDirectory);
      await syncDirectory(dirname(dataDirectory));
      return restored;
    } catch (error) {
      await rm(staged, { recursive: true, force: true });
      throw error;
    } finally {
      await lock.release();
    }
  } finally {
    await reader.close();
  }
}

function checkReadable({ layout }: BundleHeader): void {
  const [found, own] = [parseLayout(layout), parseLayout(LAYOUT)];
  if (found.number !== own.number) throw new LayoutError(found, own);
}

/** A database of what the backup holds, verified. */
async function fill(
  directory: string,
  reader: BundleReader,
  { keys }: LogPlace,
  progress: RestoreProgress,
): Promise<RestoredLog> {
  const { header } = reader;
  await mkdir(directory, { mode: 0o700 });
  const store = await createLevelStore(directory);
  try {
    const writer = new BatchWriter(store);
    const { note, records } = await reader.each(keys.logSeed, async (record) => {
      await writer.add(record);
      progress("bytes read", reader.position);
    });
    await writer.flush();
    const settings = await verify(store, note, reader.path, progress).catch((error: unknown) => {
      if (!(error instanceof VerificationError)) throw error;
      throw new IntegrityError(`what ${reader.path} holds is not the log up to its head: ${error.message}`);
    });
    checkKeys(settings, keys);
    if (settings.configuration.origin !== header.origin)
      throw new BundleError(`${reader.path} is of another log than it says`);
    await store.commit({ puts: [encodeCustody(header.moved ? "arrived" : "copy")] });
    return { header, epoch: parseHead(getReferenced(store, HEAD_KEY, "the head")).epoch, note, settings, records };
  } finally {
    await store.close();
  }
}

/** Commits records some at a time. */
class BatchWriter {
  readonly #store: Store;
  #puts: KeyValue[] = [];
  #bytes = 0;

  constructor(store: Store) {
    this.#store = store;
  }

  async add(record: KeyValue): Promise<void> {
    this.#puts.push(record);
    this.#bytes += record.key.length + record.value.length;
    if (this.#puts.length >= COMMIT_RECORDS || this.#bytes >= COMMIT_BYTES) await this.flush();
  }

  async flush(): Promise<void> {
    await this.#store.commit({ puts: this.#puts });
    [this.#puts, this.#bytes] = [[], 0];
  }
}

/** Everything up to the head in which the backup ends. Throws `IntegrityError` with all that is wrong. */
async function verify(store: Store, note: string, path: string, progress: RestoreProgress): Promise<LogSettings> {
  checkLayout(store);
  const head = parseHead(getReferenced(store, HEAD_KEY, "the head"));
  if (head.note !== note) throw new IntegrityError(`${path} ends in another head than the database in it`);
  const settings = readNewestSettings(store, head.epoch);
  checkHead(store, head, settings);
  const problems: string[] = [];
  const sound = await checkStore(store, head.epoch, settings.configuration.settle_ms, (report) => {
    if (report.kind === "problem") problems.push(report.message);
    else progress(`verified: ${report.what}`, report.done);
  });
  if (!sound) throw new IntegrityError(`what ${path} holds is not the log up to its head: ${problems.join("; ")}`);
  return settings;
}

/** The anchor of a log that was moved: the head with which it ended. One that was brought along stays. */
function bringAnchor(file: string, note: string): void {
  const anchor = openAnchor(file);
  const present = anchor.read();
  if (present === undefined) {
    mkdirSync(dirname(file), { recursive: true });
    anchor.replace(undefined, note);
  } else if (present !== note) {
    throw new RestoreError(
      `${file} anchors another head than the one this backup ends in: the log went on after it, or the anchor is another log's. Nothing was restored`,
    );
  }
}
