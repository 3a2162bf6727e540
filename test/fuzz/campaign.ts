/** One target under Jazzer.js (libFuzzer): built, run for a time, its new inputs minimised and kept. */
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { build } from "vite";
import { sha256 } from "../../shared/crypto/hash.ts";
import { encodeHex } from "../../shared/encoding.ts";
import { addRegressions, readInputs, writeCorpus } from "./inputs.ts";
import type { FuzzTarget } from "./target.ts";

const repository = join(import.meta.dirname, "..", "..");
const cache = join(repository, ".cache", "fuzz");
const jazzer = join(repository, "node_modules", "@jazzer.js", "core", "dist", "cli.js");

/** What is kept of a corpus: the shortest inputs, up to so many bytes in all and in one. */
const KEPT_BYTES = 24_576;
const KEPT_INPUT_BYTES = 2_048;
/** No input is longer than this, or than one and a half times the longest seed. */
const INPUT_BYTES = 4_096;
/**
 * Wall time after which one input has hung for good, long enough for a machine that does other things. A slow one is found
 * by the CPU time it took (target.ts).
 */
const STUCK_MS = 600_000;
/** The arithmetic of curves has no branches to explore, and is many times slower when they are counted. */
const UNCOUNTED = "curves";
/** How the fuzzer ends that found something: an exception, an input that hung, or one that took all memory. */
const FOUND: readonly number[] = [77, 70, 71];

export interface Outcome {
  readonly target: string;
  readonly seconds: number;
  readonly runs: number;
  readonly edges: number;
  readonly features: number;
  readonly keptInputs: number;
  readonly keptBytes: number;
  readonly findings: number;
}

/** What libFuzzer told last. */
interface Progress {
  readonly runs: number;
  readonly edges: number;
  readonly features: number;
}

/** Fuzzes one target for so many seconds, from its seeds and what is kept. `say`: progress, a line at a time. */
export async function runTarget(name: string, seconds: number, say: (line: string) => void): Promise<Outcome> {
  const { target } = (await import(`./targets/${name}.ts`)) as { readonly target: FuzzTarget };
  const seeds = target.seeds();
  const directory = join(cache, name);
  const [working, found, merged] = ["working", "found", "merged"].map((part) => join(directory, part)) as [
    string,
    string,
    string,
  ];
  rmSync(directory, { recursive: true, force: true });
  for (const path of [working, found, merged]) mkdirSync(path, { recursive: true });
  for (const input of [...seeds, ...readInputs("corpus", name), ...readInputs("regressions", name)]) {
    writeFileSync(join(working, encodeHex(sha256(input))), input);
  }
  const module = await bundle(name, directory);
  const maxBytes = Math.max(INPUT_BYTES, ...seeds.map(({ length }) => Math.ceil(length * 1.5)));
  const mode = target.inTurns === true ? [] : ["--sync"];
  const limits = [`-max_len=${maxBytes}`, "-rss_limit_mb=1024", `-report_slow_units=${STUCK_MS / 1_000}`];
  const started = performance.now();
  const { progress, status, output } = await fuzz(
    [
      module,
      working,
      ...mode,
      "--",
      ...limits,
      `-max_total_time=${seconds}`,
      `-artifact_prefix=${found}/`,
      "-use_value_profile=1",
    ],
    (line) => {
      say(`${name}: ${line}`);
    },
  );
  const tookSeconds = (performance.now() - started) / 1_000;
  if (status !== 0 && !FOUND.includes(status))
    throw new Error(`${name}: the fuzzer ended with status ${status}:\n${output}`);
  const findings = readDirectory(found);
  if (FOUND.includes(status)) say(`${name}: FOUND\n${output}`);
  if (findings.length > 0) addRegressions(name, findings);
  const kept =
    findings.length > 0
      ? readInputs("corpus", name)
      : await keepCorpus(name, { module, working, merged, mode, limits }, seeds);
  return {
    target: name,
    seconds: tookSeconds,
    ...progress,
    keptInputs: kept.length,
    keptBytes: kept.reduce((sum, { length }) => sum + length, 0),
    findings: FOUND.includes(status) ? Math.max(1, findings.length) : 0,
  };
}

/** The target and all it imports of this repository as one file of JavaScript, which Jazzer.js can instrument. */
async function bundle(name: string, directory: string): Promise<string> {
  const entry = join(directory, "entry.ts");
  const [guard, file] = [join(import.meta.dirname, "guard.ts"), join(import.meta.dirname, "targets", `${name}.ts`)];
  writeFileSync(
    entry,
    `import { withoutHang } from ${JSON.stringify(guard)};
import { target } from ${JSON.stringify(file)};
const run = withoutHang(target);
for (const seed of target.seeds()) await run(seed);
export function fuzz(input) { return run(input); }
`,
  );
  await build({
    configFile: false,
    root: repository,
    logLevel: "error",
    build: {
      ssr: entry,
      outDir: join(directory, "bundle"),
      target: "node24",
      minify: false,
      rolldownOptions: {
        output: {
          entryFileNames: "target.mjs",
          chunkFileNames: "[name].mjs",
          codeSplitting: { groups: [{ name: UNCOUNTED, test: /\/shared\/crypto\/(?:ed|vrf|field)/ }] },
        },
      },
    },
  });
  return join(directory, "bundle", "target.mjs");
}

const COUNTS = /^#(\d+)\s.*cov: (\d+) ft: (\d+)/;
const TOLD_EVERY_MS = 30_000;

/** Runs the fuzzer; `tell` gets a line now and then. `output`: what it printed last. */
async function fuzz(
  args: readonly string[],
  tell: (line: string) => void,
): Promise<{ readonly progress: Progress; readonly status: number; readonly output: string }> {
  const [module = "", directory = "", ...rest] = args;
  const options = [`--timeout=${STUCK_MS}`, "-i", "*", "-e", "node_modules", "-e", `${UNCOUNTED}.mjs`];
  const child = spawn(process.execPath, [jazzer, module, directory, ...options, ...rest], {
    cwd: repository,
    env: { ...process.env, NODE_OPTIONS: `--import=${join(import.meta.dirname, "addon.ts")}` },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let progress: Progress = { runs: 0, edges: 0, features: 0 };
  let toldMs = performance.now();
  const last: string[] = [];
  const take = (line: string): void => {
    last.push(line);
    if (last.length > 60) last.shift();
    const [, runs, edges, features] = COUNTS.exec(line) ?? [];
    const done = /^Done (\d+) runs/.exec(line)?.[1];
    if (done !== undefined) progress = { ...progress, runs: Number(done) };
    if (runs === undefined) return;
    progress = { runs: Number(runs), edges: Number(edges), features: Number(features) };
    if (performance.now() - toldMs < TOLD_EVERY_MS) return;
    toldMs = performance.now();
    tell(`${progress.runs} runs, ${progress.edges} edges`);
  };
  for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on("line", take);
  const status = await new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      resolve(code ?? -1);
    });
  });
  return { progress, status, output: last.join("\n") };
}

interface Merge {
  readonly module: string;
  readonly working: string;
  readonly merged: string;
  readonly mode: readonly string[];
  readonly limits: readonly string[];
}

/** The fewest inputs that reach all that was reached, of them the shortest: they replace what was kept. */
async function keepCorpus(
  name: string,
  { module, working, merged, mode, limits }: Merge,
  seeds: readonly Uint8Array[],
): Promise<readonly Uint8Array[]> {
  const { status, output } = await fuzz(
    [module, merged, working, ...mode, "--", "-merge=1", ...limits],
    () => undefined,
  );
  if (status !== 0) throw new Error(`${name}: merging ended with status ${status}:\n${output}`);
  const isSeed = new Set(seeds.map((seed) => Buffer.from(seed).toString("base64")));
  const inputs = readDirectory(merged)
    .filter((input) => input.length <= KEPT_INPUT_BYTES && !isSeed.has(Buffer.from(input).toString("base64")))
    .sort((a, b) => a.length - b.length || Buffer.compare(a, b));
  let room = KEPT_BYTES;
  const kept = inputs.filter(({ length }) => (room -= length) >= 0);
  writeCorpus(name, kept);
  return kept;
}

function readDirectory(directory: string): Buffer[] {
  return readdirSync(directory)
    .map((file) => basename(file))
    .map((file) => readFileSync(join(directory, file)));
}
