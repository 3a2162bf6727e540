/** Stored inputs: one a line, in base64; lines that begin with # say what the next one once did. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Where inputs are kept for good: what reaches new code, and what once was a finding. */
export type Kept = "corpus" | "regressions";

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

/** Replaces the stored inputs of a target, shortest first. */
export function writeInputs(kept: Kept, target: string, inputs: readonly Uint8Array[]): void {
  const lines = inputs.map((input) => Buffer.from(input).toString("base64"));
  writeFileSync(fileOf(kept, target), `${lines.join("\n")}\n`);
}
