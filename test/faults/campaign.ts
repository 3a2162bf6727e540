/** Runs kinds of faults one after the other, and prints what came of them. */
import { failingCalls, killedAtCalls, killedAtRandom } from "./crashes.ts";
import { bitFlips, bitFlipsInLarge, lostFiles, truncations } from "./damages.ts";
import type { CaseResult, Kind, Options, Outcome } from "./kinds.ts";
import { failsTwice, fullDisk, shortOfEverything, swappedFiles, twoOfThem, wrongClock } from "./places.ts";
import { findStrace } from "./strace.ts";
import type { Violation } from "./verifier.ts";

export interface CampaignOptions extends Options {
  /** Names of the kinds to run; absent: all. */
  readonly only?: readonly string[];
  /** The one case to run of them. */
  readonly onlyCase?: number;
  /** Progress, and the result. */
  readonly say: (text: string) => void;
  readonly print: (text: string) => void;
}

interface Tally {
  readonly kind: string;
  readonly rows: string;
  cases: number;
  hits: number;
  readonly outcomes: Map<Outcome, number>;
  readonly causes: Map<string, number>;
  readonly violations: Map<Violation["kind"], number>;
}

const OUTCOMES: readonly Outcome[] = [
  "not reached",
  "refused",
  "found on read",
  "found by fsck",
  "unharmed",
  "shorter",
];
const VIOLATIONS: readonly Violation["kind"][] = ["lost", "second signature", "wrong answer", "other"];
const PROGRESS_EVERY_MS = 2_000;

/** Every kind by its name; undefined where this machine can't make it. */
const KINDS: { readonly [name: string]: (options: Options) => Promise<Kind> | Kind | undefined } = {
  "kill at a system call": (options) => (findStrace() === undefined ? undefined : killedAtCalls(options)),
  "kill at any time": (options) => killedAtRandom(options, findStrace() !== undefined),
  "system call fails": (options) => (findStrace() === undefined ? undefined : failingCalls(options)),
  "disk fails twice": failsTwice,
  "full disk": fullDisk,
  "bit flip": bitFlips,
  "bit flip in a large log": bitFlipsInLarge,
  "cut file": truncations,
  "lost file": lostFiles,
  "swapped files": swappedFiles,
  "two of them": twoOfThem,
  "wrong clock": wrongClock,
  "short of everything": shortOfEverything,
};

/** Runs a campaign; true if every word of every log was kept. */
export async function runCampaign(options: CampaignOptions): Promise<boolean> {
  const { seed, only, say, print } = options;
  const unknown = only?.filter((name) => KINDS[name] === undefined) ?? [];
  if (unknown.length > 0)
    throw new RangeError(`no such fault: ${unknown.join(", ")}; there are: ${Object.keys(KINDS).join(", ")}`);
  print(`seed ${seed}`);
  const tallies: Tally[] = [];
  const failed: string[] = [];
  for (const [name, make] of Object.entries(KINDS)) {
    if (only?.includes(name) === false) continue;
    say(`${name}: making logs`);
    const kind = await make(options);
    if (kind === undefined) {
      print(`${name}: not possible on this machine (needs ${name === "full disk" ? "mount" : "strace"})`);
      continue;
    }
    try {
      tallies.push(await runKind(kind, options, failed));
    } finally {
      await kind.close?.();
    }
  }
  say("");
  printTallies(tallies, print);
  for (const line of failed) print(line);
  return failed.length === 0;
}

async function runKind(kind: Kind, options: CampaignOptions, failed: string[]): Promise<Tally> {
  const { onlyCase, say, print } = options;
  const tally: Tally = {
    kind: kind.name,
    rows: kind.rows,
    cases: 0,
    hits: 0,
    outcomes: new Map(),
    causes: new Map(),
    violations: new Map(),
  };
  const [first, end] = onlyCase === undefined ? [0, kind.cases] : [onlyCase, onlyCase + 1];
  let next = first;
  let toldMs = 0;
  const work = async (): Promise<void> => {
    while (next < end) {
      const index = next++;
      const result = await kind.run(index, onlyCase !== undefined);
      count(tally, result);
      if (onlyCase !== undefined) print(`${result.what}: ${result.outcome} ${result.cause ?? ""}`);
      for (const violation of result.violations) {
        failed.push(
          `VIOLATION ${kind.name}, ${result.what}: ${violation.kind}: ${violation.what}\n  again: ${again(kind, index, options)}`,
        );
        say(failed.at(-1) ?? "");
      }
      if (performance.now() - toldMs < PROGRESS_EVERY_MS) continue;
      toldMs = performance.now();
      say(`${kind.name}: ${tally.cases} of ${kind.cases}, ${tally.hits} hits, ${failed.length} violations`);
    }
  };
  await Promise.all(Array.from({ length: kind.atOnce }, work));
  return tally;
}

/** The command that runs this case again, and keeps its files. */
function again({ name }: Kind, index: number, { seed, crashPoints, bitFlips }: Options): string {
  const counts = `--crash-points ${crashPoints} --bit-flips ${bitFlips}`;
  return `npm run faults -- --seed ${seed} ${counts} --only "${name}" --case ${index}`;
}

function count(tally: Tally, { outcome, hits, cause, violations }: CaseResult): void {
  const add = <Key>(counts: Map<Key, number>, key: Key): void => {
    counts.set(key, (counts.get(key) ?? 0) + 1);
  };
  tally.cases += 1;
  tally.hits += hits;
  add(tally.outcomes, outcome);
  if (cause !== undefined) add(tally.causes, cause);
  for (const { kind } of violations) add(tally.violations, kind);
}

function printTallies(tallies: readonly Tally[], print: (text: string) => void): void {
  const header = [
    "fault",
    "rows",
    "cases",
    "hits",
    ...OUTCOMES,
    ...VIOLATIONS.map((kind) => (kind === "other" ? "OTHER" : kind.toUpperCase())),
  ];
  const rows = tallies.map((tally) => [
    tally.kind,
    tally.rows,
    ...[tally.cases, tally.hits].map(String),
    ...OUTCOMES.map((outcome) => String(tally.outcomes.get(outcome) ?? 0)),
    ...VIOLATIONS.map((kind) => String(tally.violations.get(kind) ?? 0)),
  ]);
  const table = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
  for (const row of table)
    print(row.map((cell, i) => (i < 2 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join("  "));
  for (const { kind, causes } of tallies) {
    if (causes.size > 0) print(`\n${kind}, refused because:`);
    for (const [cause, times] of [...causes].sort(([, a], [, b]) => b - a))
      print(`  ${String(times).padStart(6)}  ${cause}`);
  }
}
