/** What a campaign is made of. */
import type { Violation } from "./verifier.ts";

/** How one case came out, for the table. */
export type Outcome =
  /** All that was ever said holds, and the log goes on. */
  | "unharmed"
  /** It did not start, or ended, or signs nothing: with a cause, a next step, and the right status. */
  | "refused"
  /** A question was refused; answers were right. */
  | "found on read"
  | "found by fsck"
  /** The end of the journal is gone, behind the newest epoch, and nothing can tell: it goes on without. */
  | "shorter"
  /** The process did not reach the point where the fault waited. */
  | "not reached";

export interface CaseResult {
  readonly outcome: Outcome;
  /** Crash points or flips that this case was: one, or more where a log was hit twice. */
  readonly hits: number;
  /** Cause of a refusal in the words of the log, without paths and numbers. */
  readonly cause?: string;
  readonly violations: readonly Violation[];
  /** What was done, for somebody who wants to see it again. */
  readonly what: string;
}

/** A fault, many times over. */
export interface Kind {
  readonly name: string;
  /** Rows of the table of faults in docs/reliability.md. */
  readonly rows: string;
  /** How many cases there are. */
  readonly cases: number;
  /** How many run side by side. */
  readonly atOnce: number;
  /** Runs one; the same number is the same case. `keep`: leave its files where they are. */
  run(index: number, keep: boolean): Promise<CaseResult>;
  close?(): Promise<void>;
}

/** How a campaign was asked for. */
export interface Options {
  readonly seed: string;
  readonly crashPoints: number;
  readonly bitFlips: number;
  /** Where copies lie: a real disk, and one in memory where there is one. */
  readonly onDisk: string;
  readonly inMemory: string;
}

/** A message without what differs from case to case. */
export function causeOf(message: string): string {
  return message
    .split("\n")[0]!
    .replace(/\/[^\s:,"]+/g, "…")
    .replace(/[0-9a-f]{10,}/g, "…")
    .replace(/[0-9]+/g, "N");
}

/** What a person at the terminal needs beside the cause. */
const NEXT_STEP = /Next: |matrix-ckv |restore|put back|must be|did you mean|is missing|chmod|in use by process|line N?/;

/** What is wrong with how a log refused; the status is 70, 75 or 78, or there is none because it still answers. */
export function complaintsAbout(message: string, exitCode: number | undefined): Violation[] {
  const complaints: Violation[] = [];
  if (exitCode !== undefined && ![70, 75, 78].includes(exitCode))
    complaints.push({ kind: "other", what: `ends with status ${exitCode}: ${message}` });
  if (!NEXT_STEP.test(message)) complaints.push({ kind: "other", what: `names no next step: ${message}` });
  return complaints;
}
