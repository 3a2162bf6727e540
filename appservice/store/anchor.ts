import { constants, readFileSync } from "node:fs";
import { open, rename } from "node:fs/promises";
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
   * Replaces `before` (undefined: no file) by `after`; resolves when that is durable. Rejects with `ConflictError` if the
   * file holds something else, `StorageError` if that can't be seen, `UnknownOutcomeError` if writing failed.
   */
  replace(before: string | undefined, after: string): Promise<void>;
}

/** The anchor in `file`. */
export function openAnchor(file: string): Anchor {
  const read = (): string | undefined => readIfThere(file);
  return {
    read,
    async replace(before, after) {
      if (read() !== before) throw new ConflictError(`${file} holds another checkpoint than the one to be replaced`);
      try {
        await writeDurably(file, after);
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
    throw new StorageError(file, { cause: error });
  }
}

/** Temporary file, fsync, rename, fsync of the directory, which stays open throughout so that a late error is not lost. */
async function writeDurably(file: string, text: string): Promise<void> {
  const directory = await open(dirname(file), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const temporary = `${file}.new`;
    const written = await open(temporary, "w", 0o644);
    try {
      await written.writeFile(text);
      await written.sync();
    } finally {
      await written.close();
    }
    await rename(temporary, file);
    await directory.sync();
  } finally {
    await directory.close();
  }
}
