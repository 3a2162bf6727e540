/**
 * LevelDB 1.20 deletes its files under the lock that every read takes, and what a file has in memory is freed at once: 10 to
 * 30 ms for a journal or a new table of 128 MB, of which a merge ends several. A file that somebody has open only loses its
 * name there, in microseconds. So all are held open, and let go by a thread that nobody waits for.
 */
import { open, readdir } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";

/** So long a deleted file may keep its place on the disk. */
const LOOK_EVERY_MS = 2_000;
/** Handles are few: the newest files are the large ones, and those that the next merges end. */
const MAX_HELD = 512;

/** Holds the files of a database until `close`. What can't be held is only deleted more slowly. */
export class HeldFiles {
  readonly #directory: string;
  readonly #timer: NodeJS.Timeout;
  /** By name. Written by `#look` and `close`. */
  readonly #held = new Map<string, FileHandle>();
  #looking: Promise<void> = Promise.resolve();

  constructor(directory: string) {
    this.#directory = directory;
    this.#timer = setInterval(() => void this.look(), LOOK_EVERY_MS).unref();
    void this.look();
  }

  /** Holds what is new, lets go what was deleted. Never rejects. */
  look(): Promise<void> {
    this.#looking = this.#looking.then(() => this.#look());
    return this.#looking;
  }

  /** Lets go everything. Never rejects. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
    await this.#letGo([...this.#held.keys()]);
  }

  async #look(): Promise<void> {
    const names = await readdir(this.#directory).catch(() => []);
    const newest = names.map(numberOf).sort((a, b) => b.number - a.number);
    const wanted = new Set(newest.slice(0, MAX_HELD).flatMap(({ name, number }) => (number > 0 ? [name] : [])));
    await this.#letGo([...this.#held.keys()].filter((name) => !wanted.has(name)));
    for (const name of wanted) {
      if (this.#held.has(name)) continue;
      const handle = await open(join(this.#directory, name)).catch(() => undefined);
      if (handle !== undefined) this.#held.set(name, handle);
    }
  }

  async #letGo(names: readonly string[]): Promise<void> {
    for (const name of names) {
      const handle = this.#held.get(name);
      this.#held.delete(name);
      await handle?.close().catch(() => undefined);
    }
  }
}

/** The number of a table or a journal, which LevelDB counts up; 0 for any other file. */
function numberOf(name: string): { readonly name: string; readonly number: number } {
  return { name, number: Number(/^(\d+)\.(?:ldb|log)$/.exec(name)?.[1] ?? 0) };
}
