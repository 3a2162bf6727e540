/**
 * What is remembered of a disk that failed. After an input/output error the kernel may hold in memory what the disk does not
 * have, and a start reads that memory. One such error may pass: what the next start takes from the journal is written
 * anew. A second within a day means a disk that can't be relied on, so that the whole log has to be checked before anything
 * is signed on it.
 */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DAY_MS } from "../shared/parameters.ts";
import { replaceFileSync } from "./replace-file.ts";
import { StorageError } from "./store/store.ts";

/** Where a log keeps itself: the note stands in both places, because either may be the one that fails. */
export interface LogPlaces {
  readonly dataDirectory: string;
  readonly anchorFile: string;
}

/** The disk failed again, or did not even take the note that it failed. */
export class FailingDiskError extends Error {
  override readonly name = "FailingDiskError";
  /** sysexits.h EX_SOFTWARE: starting again does not help. */
  readonly exitCode = 70;

  constructor(what: string, cause: string) {
    super(
      `${what}, so memory may hold what the disk does not: ${cause}. Next: look at the disk, replace it if it is failing; start the machine anew, so that the disk itself is read; then run matrix-ckv fsck, without which nothing is signed here again`,
    );
  }
}

/** How Node and LevelDB word EIO. No space, no handles and a disk that is read-only say nothing false, and are not counted. */
const INPUT_OUTPUT_ERROR = /EIO: i\/o error.*|IO error: .*Input\/output error/;

interface Note {
  readonly atMs: number;
  readonly isSecond: boolean;
  readonly cause: string;
}

/** The failures of the disk under one log, for the one process that runs it. */
export class DiskFailures {
  readonly #files: readonly string[];
  readonly #now: () => number;
  /** What this process makes of its own failures, which all count as one. Written by `judge`. */
  #judged: "passes" | FailingDiskError | undefined;

  constructor(places: LogPlaces, now: () => number) {
    this.#files = noteFiles(places);
    this.#now = now;
  }

  /** Throws `FailingDiskError` if the disk failed twice within a day and no `fsck` has found the log sound since. */
  check(): void {
    const note = this.#files.map(readNote).find((each) => each?.isSecond === true);
    if (note !== undefined)
      throw new FailingDiskError(`the disk failed twice within a day, last at ${timeOf(note)}`, note.cause);
  }

  /**
   * What the process is to end with after `error`: that itself, or a `FailingDiskError` if it is the second input/output
   * error within a day, or one that could not be noted, so that nobody would know the next one for the second.
   */
  judge(error: unknown): Error {
    const failure = error instanceof Error ? error : new Error("unknown failure", { cause: error });
    const cause = inputOutputErrorOf(failure);
    if (cause === undefined || failure instanceof FailingDiskError) return failure;
    this.#judged ??= this.#note(cause);
    return this.#judged === "passes" ? failure : this.#judged;
  }

  #note(cause: string): "passes" | FailingDiskError {
    const atMs = this.#now();
    const isSecond = this.#files.some((file) => isRecent(file, atMs));
    const noted = this.#files.filter((file) => writeNote(file, { atMs, isSecond, cause }));
    if (isSecond) return new FailingDiskError("the disk failed for the second time within a day", cause);
    if (noted.length === 0)
      return new FailingDiskError("the disk failed, and took no note of it beside database or anchor", cause);
    return "passes";
  }
}

/** After a complete check that found nothing. Throws `StorageError` where the notes can't be removed. */
export function forgetDiskFailures(places: LogPlaces): void {
  for (const file of noteFiles(places)) {
    try {
      rmSync(file, { force: true });
    } catch (cause) {
      throw new StorageError(file, { cause });
    }
  }
}

function noteFiles({ dataDirectory, anchorFile }: LogPlaces): readonly string[] {
  return [join(dataDirectory, "disk-failed"), `${anchorFile}.disk-failed`];
}

/** As the kernel words it; undefined if the error is another. */
function inputOutputErrorOf(error: Error): string | undefined {
  const [own] = INPUT_OUTPUT_ERROR.exec(error.message) ?? [];
  return own ?? (error.cause instanceof Error ? inputOutputErrorOf(error.cause) : undefined);
}

/** Undefined if there is none. One that is no note counts as a second failure. Throws `StorageError`. */
function readNote(file: string): Note | undefined {
  let text: string;
  try {
    text = readFileSync(file).toString("utf8");
  } catch (cause) {
    if (["ENOENT", "ENOTDIR"].includes((cause as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw new StorageError(file, { cause });
  }
  const [, atMs, count, cause] = /^([0-9]{1,15}) (first|second) (.*)\n$/.exec(text) ?? [];
  if (atMs === undefined || cause === undefined) return { atMs: 0, isSecond: true, cause: `${file} can't be read` };
  return { atMs: Number(atMs), isSecond: count === "second", cause };
}

/** A note that the disk does not give back is one of a disk that fails now. */
function isRecent(file: string, nowMs: number): boolean {
  try {
    const note = readNote(file);
    return note !== undefined && (note.isSecond || Math.abs(nowMs - note.atMs) < DAY_MS);
  } catch (error) {
    if (error instanceof StorageError) return true;
    throw error;
  }
}

/** Whether the disk took it. */
function writeNote(file: string, { atMs, isSecond, cause }: Note): boolean {
  try {
    replaceFileSync(file, `${atMs} ${isSecond ? "second" : "first"} ${cause.replaceAll("\n", " ")}\n`);
    return true;
  } catch {
    return false;
  }
}

function timeOf({ atMs }: Note): string {
  return new Date(atMs).toISOString();
}
