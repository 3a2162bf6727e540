/** What is left of a log after a fault: it is started, verified, made to go on, and checked by `fsck`. */
import { readFileSync } from "node:fs";
import { fsck } from "../../appservice/fsck.ts";
import type { FaultLog } from "./fault-log.ts";
import { userName } from "./fault-log.ts";
import { HereLog } from "./here-log.ts";
import { entryOf } from "./ledger.ts";
import type { Judgement, Violation } from "./verifier.ts";

/** Why a log did not start, or does not sign, as its operator reads it. */
export interface Refusal {
  readonly message: string;
  /** Status of the process; undefined where it goes on to answer. */
  readonly exitCode: number | undefined;
}

export interface Examination extends Judgement {
  /** Undefined: it started and signs. */
  readonly refusal: Refusal | undefined;
  /** What `fsck` found; empty if the log is sound. */
  readonly problems: readonly string[];
}

export interface ExamineOptions {
  /** Look for damage before the first start, which may tidy it away. */
  readonly fsckFirst?: boolean;
  /** Replay all epochs as an auditor. */
  readonly wholeAudit?: boolean;
  /** As if the tables were too large to be checked at the start. */
  readonly large?: boolean;
  /** `fsck` alone. */
  readonly fsckOnly?: boolean;
}

/** Every number in this range is a change made by an examination. */
const OWN_CHANGES = 1_000_000;

export async function examine(log: FaultLog, options: ExamineOptions = {}): Promise<Examination> {
  const before = options.fsckFirst === true || options.fsckOnly === true ? await check(log) : [];
  if (options.fsckOnly === true) return { violations: [], failedReads: [], refusal: undefined, problems: before };
  const started = await startAndVerify(log, options);
  return { ...started, problems: [...before, ...(await check(log))] };
}

/** Problems by name; those that keep `fsck` from working at all count, too. */
async function check(log: FaultLog): Promise<string[]> {
  const problems: string[] = [];
  try {
    const sound = await fsck(log, (report) => {
      if (report.kind === "problem") problems.push(report.message);
    });
    return sound || problems.length > 0 ? problems : ["fsck found the log unsound without a reason"];
  } catch (error) {
    return [...problems, textOf(error)];
  }
}

async function startAndVerify(
  log: FaultLog,
  { wholeAudit = true, large = false }: ExamineOptions,
): Promise<Omit<Examination, "problems">> {
  let here: HereLog;
  try {
    here = await HereLog.start(log, log.ledger.room, large ? 0 : Infinity);
  } catch (error) {
    return { violations: [], failedReads: [], refusal: { message: textOf(error), exitCode: statusOf(error) } };
  }
  try {
    const { refusal } = here;
    if (refusal !== undefined) {
      const judgement = await log.verifier.verify(here.directory, log.ledger, { wholeAudit: false, older: true });
      return { ...judgement, refusal: { message: refusal, exitCode: undefined } };
    }
    return await goOn(log, here, wholeAudit);
  } finally {
    await here.close();
  }
}

/** Merges what was promised and a change more; all that was ever said must hold under the new head. */
async function goOn(log: FaultLog, here: HereLog, wholeAudit: boolean): Promise<Omit<Examination, "problems">> {
  const { ledger } = log;
  try {
    const userId = userName(0);
    const n = OWN_CHANGES + ledger.facts.length;
    const { version } = here.writer.submit(userId, entryOf(userId, n), log.nowMs);
    log.nowMs = Math.max(log.nowMs, here.lastTimestampMs) + 1_000;
    // More may wait than one epoch merges of one user.
    for (let left = 3; left > 0 && (left === 3 || here.writer.mergeableUsers(log.nowMs) > 0); left--) {
      ledger.add({ said: "head", note: await here.closeEpoch(log.nowMs) });
      log.nowMs += 1_000;
    }
    ledger.add({ said: "head", note: readFileSync(log.anchorFile, "utf8") });
    const judgement = await log.verifier.verify(here.directory, ledger, { wholeAudit, older: false });
    const lookup = await here.directory.historyVersions(userId, version, version).catch(() => undefined);
    const epoch = lookup?.versions[0]?.epoch;
    if (epoch !== undefined) ledger.add({ said: "merged", userId, version, epoch, n });
    const marks = await lostMarks(log, here);
    return { ...judgement, violations: [...judgement.violations, ...marks], refusal: undefined };
  } catch (error) {
    // The service ends with what ended the writer.
    return { violations: [], failedReads: [], refusal: { message: textOf(error), exitCode: statusOf(error) } };
  }
}

/** What the Matrix side was told is kept. */
async function lostMarks({ ledger }: FaultLog, { marks }: HereLog): Promise<Violation[]> {
  const violations: Violation[] = [];
  const lost = (what: string): void => {
    violations.push({ kind: "lost", what });
  };
  for (const userId of ledger.marked) if (!(await marks.isMarked(userId))) lost(`the mark of ${userId}`);
  for (const { userId } of ledger.of("tracked"))
    if (!(await marks.isTracked(userId))) lost(`${userId} is not enrolled`);
  const cursors = new Map(ledger.of("cursor").map(({ name, value }) => [name, value]));
  for (const [name, value] of cursors) {
    if (Number((await marks.getCursor(name)) ?? -1) < value) lost(`the cursor ${name} went back`);
  }
  return violations;
}

/** The message as the command line prints it, with its cause. */
export function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.message + (error.cause instanceof Error ? `: ${error.cause.message}` : "");
}

export function statusOf(error: unknown): number {
  const { exitCode } = error as { readonly exitCode?: unknown };
  return typeof exitCode === "number" ? exitCode : 1;
}
