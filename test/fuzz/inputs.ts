/** Stored inputs: one a line, in base64; lines that begin with # say what the next one once did. */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Where inputs are kept for good: what reaches new code, and what once was a finding. */
type Kept = "corpus" | "regressions";

function fileOf(kept: Kept, target: string): string {
  return join(import.meta.dirname, kept, `${target}.txt`);
}

/** The stored inputs of a target; none if there is no file. */
export function readInputs(kept: Kept, target: string): Uint8Array[] {
  const file = fileOf(kept, target);
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8").split("\n");
  return lines.filter((line) => line !== "" && !line.startsWith("#")).map((line) => Buffer.from(line, "base64"));
}

/** Replaces the corpus of a target. */
export function writeCorpus(target: string, inputs: readonly Uint8Array[]): void {
  writeFileSync(fileOf("corpus", target), linesOf(inputs));
}

/** Adds inputs that were findings: from now on the tests replay them. */
export function addRegressions(target: string, inputs: readonly Uint8Array[]): void {
  appendFileSync(fileOf("regressions", target), linesOf(inputs));
}

function linesOf(inputs: readonly Uint8Array[]): string {
  return inputs.map((input) => `${Buffer.from(input).toString("base64")}\n`).join("");
}
