/** Damage to the files of a stopped log. */
import { readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import type { Random } from "./random.ts";

export type Damage =
  | { readonly type: "flip"; readonly file: string; readonly offset: number; readonly bit: number }
  | { readonly type: "truncate"; readonly file: string; readonly length: number }
  | { readonly type: "delete"; readonly file: string };

/** A file of a log, by its path below the log's directory. */
export interface LogFile {
  readonly file: string;
  readonly size: number;
}

/** Every file below `directory` that holds something of the log; not sockets, nor what a test keeps there. */
export function filesOf(directory: string): LogFile[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !["said.json", "LOCK"].includes(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => ({ file: relative(directory, path), size: statSync(path).size }))
    .sort((a, b) => (a.file < b.file ? -1 : 1));
}

/** One bit of any file: every second time of the file that any byte lies in, else of any file, so that short ones get their share. */
export function randomFlip(files: readonly LogFile[], random: Random): Damage {
  const filled = files.filter(({ size }) => size > 0);
  const total = filled.reduce((sum, { size }) => sum + size, 0);
  let at = random.below(total);
  const bySize = filled.find(({ size }) => (at -= size) < 0);
  const { file, size } = random.oneIn(2) || bySize === undefined ? random.pick(filled) : bySize;
  return { type: "flip", file, offset: random.below(size), bit: random.below(8) };
}

export function inflict(directory: string, damage: Damage): void {
  const path = join(directory, damage.file);
  switch (damage.type) {
    case "flip": {
      const bytes = readFileSync(path);
      bytes[damage.offset] = (bytes[damage.offset] ?? 0) ^ (1 << damage.bit);
      writeFileSync(path, bytes);
      return;
    }
    case "truncate":
      truncateSync(path, damage.length);
      return;
    case "delete":
      rmSync(path);
  }
}

export function describeDamage(damage: Damage): string {
  switch (damage.type) {
    case "flip":
      return `bit ${damage.bit} of byte ${damage.offset} of ${damage.file}`;
    case "truncate":
      return `${damage.file} cut to ${damage.length} bytes`;
    case "delete":
      return `${damage.file} deleted`;
  }
}
