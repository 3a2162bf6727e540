import { closeSync, constants, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { ConflictError, UnknownOutcomeError } from "./store.ts";

/**
 * The anchor: a file outside the data directory, ideally on another disk, with the newest signed checkpoint. A database
 * that was rolled back is older than its anchor.
 */
export interface Anchor {
  /** The checkpoint in the file; undefined if there is no file. */
  read(): string | undefined;
  /**
   * Replaces `before` (undefined: no file) by `after`, durably. Throws `ConflictError` if the file holds something else,
   * `UnknownOutcomeError` if writing failed.
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
    return readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Temporary file, fsync, rename, fsync of the directory, which stays open throughout so that a late error is not lost. */
function writeDurably(file: string, text: string): void {
  const directory = openSync(dirname(file), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const temporary = `${file}.new`;
    const descriptor = openSync(temporary, "w", 0o644);
    try {
      // Goes on after a short write, as writeSync does not.
      writeFileSync(descriptor, text);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(temporary, file);
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}
