/** Hits a process at one system call of one file, by strace. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { LogFiles } from "../support/log-copy.ts";

/** Files that a fault aims at: what the database and the anchor are written to. */
export type Target =
  "journal" | "manifest" | "table" | "current" | "database directory" | "anchor" | "anchor directory" | "lock";
/** How many files of a kind a run may begin. */
const NUMBERS = 60;

const WRITE_CALLS = ["openat", "write", "fdatasync", "fsync", "rename", "unlink", "close", "bind", "mkdir"] as const;
export type WriteCall = (typeof WRITE_CALLS)[number];

/** A system call on the way of a write, and how often it was made before (from 1, by the thread that makes most of them). */
export interface Point {
  readonly target: Target;
  readonly call: WriteCall;
  readonly nth: number;
}

/** Path of strace; undefined if there is none. */
export function findStrace(): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  return folders.map((folder) => join(folder, "strace")).find((path) => existsSync(path));
}

/** Arguments of strace that write every call on the way of a write to `output`; the command follows. */
export function listingArguments(files: LogFiles, output: string): string[] {
  const trace = `trace=${WRITE_CALLS.join(",")}`;
  return ["-f", "--seccomp-bpf", "-qq", "-y", "-e", "signal=none", "-o", output, "-e", trace, ...pathArguments(files)];
}

/**
 * Arguments of strace for one fault: `effect` is what follows the call in `-e inject=`. Stopping at the chosen calls alone
 * (seccomp) is faster, but strace then sends no signals.
 */
export function injectingArguments(files: LogFiles, { target, call, nth }: Point, effect: string): string[] {
  const options = ["-f", ...(effect.startsWith("signal=") ? [] : ["--seccomp-bpf"]), "-qq", "-o", "/dev/null"];
  const inject = `inject=${call}:${effect}:when=${nth}`;
  return [...options, "-e", `trace=${call}`, "-e", inject, ...pathArguments(files, target)];
}

function pathArguments(files: LogFiles, only?: Target): string[] {
  const paths = Object.entries(pathsOf(files)).filter(([target]) => only === undefined || target === only);
  return paths.flatMap(([, list]) => list.flatMap((path) => ["-P", path]));
}

/** The paths behind each target, those included that a run may make. */
function pathsOf({ dataDirectory, anchorFile }: LogFiles): { readonly [target in Target]: readonly string[] } {
  const database = join(dataDirectory, "db");
  const used = readdirSync(database).map((name) => Number(/[0-9]{6}/.exec(name)?.[0] ?? 0));
  const first = Math.min(...used.filter((number) => number > 0));
  const numbers = Array.from({ length: Math.max(...used) - first + NUMBERS }, (_, i) =>
    String(first + i).padStart(6, "0"),
  );
  const numbered = (name: (number: string) => string): string[] =>
    numbers.map((number) => join(database, name(number)));
  return {
    journal: numbered((number) => `${number}.log`),
    manifest: numbered((number) => `MANIFEST-${number}`),
    table: numbered((number) => `${number}.ldb`),
    current: [...numbered((number) => `${number}.dbtmp`), join(database, "CURRENT")],
    "database directory": [database],
    anchor: [`${anchorFile}.new`, anchorFile],
    "anchor directory": [join(anchorFile, "..")],
    lock: [join(dataDirectory, "ckv.lock"), join(database, "LOCK")],
  };
}

/** All points of a run, from what strace wrote. */
export function readPoints(files: LogFiles, output: string): Point[] {
  const targets = Object.entries(pathsOf(files)) as [Target, readonly string[]][];
  const targetOf = new Map(targets.flatMap(([target, paths]) => paths.map((path) => [path, target] as const)));
  const counts = new Map<string, number>();
  const most = new Map<string, { readonly target: Target; readonly call: WriteCall; readonly count: number }>();
  for (const line of readFileSync(output, "latin1").split("\n")) {
    const [, thread = "", name = ""] = /^([0-9]+) +([a-z0-9]+)\(/.exec(line) ?? [];
    const call = WRITE_CALLS.find((each) => each === name);
    const path = [...line.matchAll(/[<"](\/[^>"]*)[>"]/g)]
      .map(([, each = ""]) => each)
      .find((each) => targetOf.has(each));
    const target = targetOf.get(path ?? "");
    if (call === undefined || target === undefined) continue;
    const count = (counts.get(`${thread} ${call} ${target}`) ?? 0) + 1;
    counts.set(`${thread} ${call} ${target}`, count);
    const key = `${call} ${target}`;
    if (count > (most.get(key)?.count ?? 0)) most.set(key, { target, call, count });
  }
  return [...most.values()].flatMap(({ target, call, count }) =>
    Array.from({ length: count }, (_, i) => ({ target, call, nth: i + 1 })),
  );
}
