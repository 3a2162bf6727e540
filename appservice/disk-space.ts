/** Room on the disks: how little is too little, and what is kept for opening the database when there is none. */
import { randomFillSync } from "node:crypto";
import { closeSync, openSync, rmSync, statfsSync, statSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Clock } from "./clock.ts";
import { StorageError } from "./store/store.ts";
import type { Commit, Store } from "./store/store.ts";

/** Below this nothing is written: a database that runs out of space can't be opened again until there is some. */
export const MIN_FREE_BYTES: number = 64 * 2 ** 20;
/** The same for the disk of the anchor, which may be a small one: two heads stand on it at most. */
export const MIN_FREE_FOR_ANCHOR_BYTES: number = 2 ** 20;
/** What opening takes at most: two journals, each as long as a write buffer, become tables before they are deleted. */
export const RESERVE_BYTES: number = 256 * 2 ** 20;

const LOOK_EVERY_MS = 1_000;
const BLOCK_BYTES = 2 ** 20;
/** As Node and LevelDB word it, of the disk or of the share of it that a user may have. */
const NO_SPACE = /ENOSPC|EDQUOT|No space left on device|Disk quota exceeded/;

/** Bytes that this process may still write to the disk of a directory. */
export function freeBytes(directory: string): number {
  const { bavail, bsize } = statfsSync(directory);
  return bavail * bsize;
}

/** Whether an error, or what caused it, says that the disk is full. */
export function isOutOfSpace(error: unknown): boolean {
  return error instanceof Error && (NO_SPACE.test(error.message) || isOutOfSpace(error.cause));
}

/** A file that takes space until the database needs it to be opened. Nothing is signed without it. */
export class DiskReserve {
  readonly #directory: string;
  readonly #file: string;
  readonly #bytes: number;

  /** `bytes` of 0: none is kept. */
  constructor(dataDirectory: string, bytes: number) {
    this.#directory = dataDirectory;
    this.#file = join(dataDirectory, "reserve");
    this.#bytes = bytes;
  }

  /** Bytes of it that are still to be found: 0 while it stands. */
  get missing(): number {
    return (statSync(this.#file, { throwIfNoEntry: false })?.size ?? 0) >= this.#bytes ? 0 : this.#bytes;
  }

  /** Makes it unless it stands, where `MIN_FREE_BYTES` are left beside it. Whether it stands. Throws `StorageError`. */
  hold(): boolean {
    try {
      if (this.missing === 0) return true;
      this.release();
      if (freeBytes(this.#directory) < MIN_FREE_BYTES + this.#bytes) return false;
      this.#write();
      return true;
    } catch (cause) {
      if (!isOutOfSpace(cause)) throw new StorageError(this.#file, { cause });
      // Somebody else took the space.
      this.release();
      return false;
    }
  }

  /** Gives its space back. Whether there was any. */
  release(): boolean {
    if (this.#bytes === 0) return false;
    const size = statSync(this.#file, { throwIfNoEntry: false })?.size ?? 0;
    rmSync(this.#file, { force: true });
    return size > 0;
  }

  /** Random, because some file systems keep no space for zeros. */
  #write(): void {
    const file = openSync(this.#file, "w", 0o600);
    try {
      const block = randomFillSync(Buffer.allocUnsafe(BLOCK_BYTES));
      for (let left = this.#bytes; left > 0;) left -= writeSync(file, block, 0, Math.min(left, block.length));
    } finally {
      closeSync(file);
    }
  }
}

/** Why nothing is written, for the operator; undefined if there is room enough. Makes the reserve where there is room again. */
export function spaceProblem(
  { dataDirectory, anchorFile }: { readonly dataDirectory: string; readonly anchorFile: string },
  reserve: DiskReserve,
): string | undefined {
  if (!reserve.hold() || freeBytes(dataDirectory) < MIN_FREE_BYTES)
    return tooFull(dataDirectory, MIN_FREE_BYTES + reserve.missing);
  const beside = dirname(anchorFile);
  return freeBytes(beside) < MIN_FREE_FOR_ANCHOR_BYTES ? tooFull(beside, MIN_FREE_FOR_ANCHOR_BYTES) : undefined;
}

function tooFull(directory: string, neededBytes: number): string {
  return `less than ${neededBytes / 2 ** 20} MiB of disk are free. Next: free some for ${directory}; epochs then go on by themselves`;
}

/**
 * A store that writes only where there is room, and waits for it: nothing is acknowledged that is not durable, and a write
 * that fails would end the process, and with it the answers. Once `signal` is aborted it writes all the same.
 */
export function waitingForSpace(store: Store, dataDirectory: string, clock: Clock, signal: AbortSignal): Store {
  const room = async (): Promise<void> => {
    while (!signal.aborted && freeBytes(dataDirectory) < MIN_FREE_BYTES) await clock.sleep(LOOK_EVERY_MS, signal);
  };
  return {
    get: (key) => store.get(key),
    range: (from, to, limit) => store.range(from, to, limit),
    snapshot: () => store.snapshot(),
    close: () => store.close(),
    commit: async (commit: Commit) => {
      await room();
      await store.commit(commit);
    },
  };
}
