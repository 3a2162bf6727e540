import { closeSync, constants, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { ConflictError, StorageError, UnknownOutcomeError } from "./store.ts";

/**
 * The anchor: a file outside the data directory, ideally on another disk, with the newest signed checkpoint. A database
 * that was rolled back is older than its anchor.
 */
export interface Anchor {
  /** The checkpoint in the file; undefined if there is no file. Throws `StorageError`. */
  read(): string | undefined;
  /**
   * Replaces `before` (undefined: no file) by `after`, durably. Throws `ConflictError` if the file holds something else,
   * `StorageError` if that can't be seen, `UnknownOutcomeError` if writing failed.
   */
  replace(before: string | undefined, after: string): void;
}

/** The anchor in `file`. */
export function openAnchor(file: string): Anchor {
  const read = (): string | undefined => readIfThere(file);
  return {
    read,
    replace(before, after) {
      if (read() !== before) throw new ConflictError(`${file} holds another checkpoint than the one to be replaced`);
      try {
        writeDurably(file, after);
      } catch (cause) {
        throw new UnknownOutcomeError(`${file} could not be written`, { cause });
      }
    },
  };
}

function readIfThere(file: string): string | undefined {
  try {
    // As bytes: Node ends the process, without a word, where closing a file fails that it reads as a text.
    return readFileSync(file).toString("utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new StorageError(file, { cause: error });
  }
}

/**
 * Temporary file, fsync, rename, fsync of the directory, which stays open throughout so that a late error is not lost. All in
 * one go: a thread that builds the next epoch meanwhile would come to each of these steps tens of milliseconds late.
 */
function writeDurably(file: string, text: string): void {
  const directory = openSync(dirname(file), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const temporary = `${file}.new`;
    const written = openSync(temporary, "w", 0o644);
    try {
      writeFileSync(written, text);
      fsyncSync(written);
    } finally {
      closeSync(written);
    }
    renameSync(temporary, file);
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}
