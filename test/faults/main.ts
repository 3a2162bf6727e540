/**
 * `npm run faults`: hits a log with every fault that this machine can make, and holds what is left against all that was
 * ever said. Options: `--seed S`, `--crash-points N` (SIGKILLs, default 1,000), `--bit-flips N` (10,000), `--only "kind,kind"`,
 * `--case N` with `--only` for a single one, whose files are kept. Exit status 1 if a word was broken.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { runCampaign } from "./campaign.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    "crash-points": { type: "string" },
    "bit-flips": { type: "string" },
    only: { type: "string" },
    case: { type: "string" },
  },
});

const MEMORY = "/dev/shm";
const onDisk = mkdtempSync(join(tmpdir(), "ckv-faults-"));
const inMemory = mkdtempSync(join(existsSync(MEMORY) ? MEMORY : tmpdir(), "ckv-faults-"));
const isOne = values.case !== undefined;
process.once("exit", () => {
  for (const place of isOne ? [] : [onDisk, inMemory]) rmSync(place, { recursive: true, force: true });
});
process.once("SIGINT", () => process.exit(130));

const sound = await runCampaign({
  seed: values.seed ?? String(Date.now()),
  crashPoints: Number(values["crash-points"] ?? 1_000),
  bitFlips: Number(values["bit-flips"] ?? 10_000),
  ...(values.only === undefined ? {} : { only: values.only.split(",") }),
  ...(values.case === undefined ? {} : { onlyCase: Number(values.case) }),
  onDisk,
  inMemory,
  print: (text) => {
    console.log(text);
  },
  say: (text) => {
    process.stderr.write(process.stderr.isTTY ? `\r${text.padEnd(99)}` : `${text}\n`);
  },
});
process.exit(sound ? 0 : 1);
