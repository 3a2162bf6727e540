/**
 * `npm run fuzz`: every parser of outside bytes under a coverage-guided fuzzer. Options: `--minutes 10` for each target,
 * `--only note,tile`, `--jobs 2` at once. Ends with a table; status 1 if anything was found. What reaches new code goes
 * to test/fuzz/corpus/, what was found to test/fuzz/regressions/, and both are replayed by the tests.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { runTarget } from "./campaign.ts";
import type { Outcome } from "./campaign.ts";

const { values } = parseArgs({
  options: { minutes: { type: "string" }, only: { type: "string" }, jobs: { type: "string" } },
});
const minutes = Number(values.minutes ?? 10);
const jobs = Number(values.jobs ?? 1);
if (!(minutes > 0 && jobs >= 1)) throw new RangeError("--minutes and --jobs are numbers above 0");

const known = readdirSync(join(import.meta.dirname, "targets")).map((file) => file.replace(/\.ts$/, ""));
const targets = values.only?.split(",") ?? known;
const unknown = targets.filter((target) => !known.includes(target));
if (unknown.length > 0) throw new RangeError(`no such target: ${unknown.join(", ")}; there are: ${known.join(", ")}`);

const outcomes: Outcome[] = [];
const waiting = [...targets];
const worker = async (): Promise<void> => {
  for (let target = waiting.shift(); target !== undefined; target = waiting.shift()) {
    try {
      outcomes.push(await runTarget(target, minutes * 60, say));
    } catch (error) {
      say(`${target} did not run: ${error instanceof Error ? error.message : String(error)}`);
      process.exitCode = 1;
    }
  }
};
await Promise.all(Array.from({ length: jobs }, worker));
printTable(outcomes.sort((a, b) => a.target.localeCompare(b.target)));
if (outcomes.some(({ findings }) => findings > 0)) process.exitCode = 1;

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

function printTable(rows: readonly Outcome[]): void {
  const head = ["target", "seconds", "runs", "runs/s", "edges", "features", "kept inputs", "bytes", "findings"];
  const cells = rows.map((row) => [
    row.target,
    row.seconds.toFixed(0),
    row.runs.toLocaleString("en"),
    Math.round(row.runs / row.seconds).toLocaleString("en"),
    ...[row.edges, row.features, row.keptInputs, row.keptBytes, row.findings].map(String),
  ]);
  const widths = head.map((_, column) => Math.max(...[head, ...cells].map((row) => row[column]?.length ?? 0)));
  for (const row of [head, ...cells]) {
    console.log(
      row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join("  "),
    );
  }
}
