/** A stopped log whose files are damaged, cut or gone. */
import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { tied } from "../support/child.ts";
import { describeDamage, filesOf, randomFlip } from "./damage.ts";
import type { Damage, LogFile } from "./damage.ts";
import type { ExamineOptions } from "./examine.ts";
import type { DamageAnswer, DamageOrder } from "./damage-worker.ts";
import { FaultLog, live } from "./fault-log.ts";
import { causeOf, complaintsAbout } from "./kinds.ts";
import type { CaseResult, Kind, Options } from "./kinds.ts";
import { Random } from "./random.ts";
import type { Violation } from "./verifier.ts";

const WORKER = fileURLToPath(new URL("damage-worker.ts", import.meta.url));
const WORKERS = 2;
const HANGS_AFTER_MS = 300_000;
/** Share of the flips that a log suffers which is too large to be checked at its start. */
const IN_LARGE = 0.3;
const SMALL = { users: 4, lives: 3, epochsPerLife: 4 };

/** Worker processes over one saved log, each with one case at a time; one that died is replaced. */
class DamageWorkers {
  readonly #template: string;
  readonly #parent: string;
  readonly #idle: ChildProcess[] = [];
  readonly #all = new Set<ChildProcess>();
  #nextId = 0;

  constructor(template: string, parent: string) {
    this.#template = template;
    this.#parent = parent;
  }

  /** What came of a damage, or how the process ended over it. */
  async examine(damage: Damage, options: ExamineOptions, keep: boolean): Promise<DamageAnswer["examination"] | string> {
    const worker = this.#idle.pop() ?? this.#start();
    const order: DamageOrder = { id: this.#nextId++, damage, options, keep };
    const answer = await new Promise<DamageAnswer | string>((resolve) => {
      const hangs = setTimeout(() => worker.kill("SIGKILL"), HANGS_AFTER_MS);
      const done = (value: DamageAnswer | string): void => {
        clearTimeout(hangs);
        worker.removeAllListeners("message");
        worker.removeAllListeners("exit");
        resolve(value);
      };
      worker.once("message", (message) => {
        done(message as DamageAnswer);
      });
      worker.once("exit", (status, signal) => {
        this.#all.delete(worker);
        done(`the process ended with ${signal ?? `status ${status}`}`);
      });
      worker.send(order);
    });
    if (typeof answer === "string") return answer;
    this.#idle.push(worker);
    return answer.examination;
  }

  close(): void {
    for (const worker of this.#all) worker.disconnect();
  }

  #start(): ChildProcess {
    const worker = tied(fork(WORKER, [this.#template, this.#parent]));
    this.#all.add(worker);
    return worker;
  }
}

/** One bit of one file. */
export function bitFlips(options: Options): Promise<Kind> {
  const random = new Random(options.seed, "bit flips");
  const flips = Math.ceil(options.bitFlips * (1 - IN_LARGE));
  return damages("bit flip", "F05 F06 F07", options, (files) =>
    Array.from({ length: flips }, () => randomFlip(files, random)),
  );
}

/** One bit of one table, of a log too large to be checked at its start. */
export function bitFlipsInLarge(options: Options): Promise<Kind> {
  const random = new Random(options.seed, "bit flips in a large log");
  const tables = (files: readonly LogFile[]): LogFile[] => files.filter(({ file }) => file.endsWith(".ldb"));
  const flips = Math.floor(options.bitFlips * IN_LARGE);
  const make = (files: readonly LogFile[]): Damage[] =>
    Array.from({ length: flips }, () => randomFlip(tables(files), random));
  return damages("bit flip in a large log", "F05", options, make, true);
}

/** Each file cut: the journal at every 512 bytes, others at eight places. */
export function truncations(options: Options): Promise<Kind> {
  return damages("cut file", "F08", options, (files) =>
    files
      .filter(({ size }) => size > 0)
      .flatMap(({ file, size }) => {
        const step = file.endsWith(".log") ? 512 : Math.max(1, Math.ceil(size / 8));
        const lengths = Array.from({ length: Math.ceil(size / step) }, (_, i) => i * step);
        return [...lengths, size - 1].map((length) => ({ type: "truncate" as const, file, length }));
      }),
  );
}

/** Each file gone. */
export function lostFiles(options: Options): Promise<Kind> {
  return damages("lost file", "F09 F11", options, (files) => files.map(({ file }) => ({ type: "delete", file })));
}

async function damages(
  name: string,
  rows: string,
  options: Options,
  damagesOf: (files: readonly LogFile[]) => readonly Damage[],
  large = false,
): Promise<Kind> {
  const log = await FaultLog.create(options.inMemory, `${options.seed} ${name}`);
  await live(log, SMALL, new Random(options.seed, name, "past"));
  const all = damagesOf(filesOf(log.directory));
  log.save();
  const workers = new DamageWorkers(log.directory, options.inMemory);
  return {
    name,
    rows,
    cases: all.length,
    atOnce: WORKERS,
    async run(index, keep) {
      const damage = all[index]!;
      const examination = await workers.examine(damage, { fsckFirst: index % 2 === 1, large }, keep);
      if (typeof examination !== "string") return judge(damage, examination);
      // LevelDB ends the process on some damaged tables; whoever runs fsck then is told why.
      return judgeDeath(damage, examination, await workers.examine(damage, { fsckOnly: true }, keep));
    },
    close() {
      workers.close();
      return Promise.resolve();
    },
  };
}

/** Found, or harmless; in no case a wrong answer, a second signature, or a loss that nobody is told of. */
function judge(damage: Damage, examination: DamageAnswer["examination"]): CaseResult {
  const what = describeDamage(damage);
  const { refusal, failedReads, problems } = examination;
  const found = refusal !== undefined || failedReads.length > 0 || problems.length > 0;
  const violations: Violation[] = examination.violations.filter(
    ({ kind }) => kind !== "lost" || !(found || isUnprovable(damage)),
  );
  const lost = examination.violations.some(({ kind }) => kind === "lost");
  const result = { hits: 1, what, violations };
  if (refusal !== undefined) {
    violations.push(...complaintsAbout(refusal.message, refusal.exitCode));
    return { ...result, outcome: "refused", cause: causeOf(refusal.message) };
  }
  const [read] = failedReads;
  if (read !== undefined) {
    if (read.exitCode !== 70) violations.push({ kind: "other", what: `unnamed trouble on read: ${read.message}` });
    return { ...result, outcome: "found on read", cause: causeOf(read.message) };
  }
  if (problems.length > 0) return { ...result, outcome: "found by fsck" };
  return { ...result, outcome: lost ? "shorter" : "unharmed" };
}

/**
 * A journal that ends early can't be told from one whose last batch was never finished. Only what came after the newest
 * epoch can be gone so: an epoch that is gone the anchor would tell.
 */
function isUnprovable(damage: Damage): boolean {
  return damage.type === "truncate" && damage.file.endsWith(".log");
}

/** A process that died over the damage; `fsck` must have found it. */
function judgeDeath(damage: Damage, death: string, examination: DamageAnswer["examination"] | string): CaseResult {
  const what = describeDamage(damage);
  const [problem] = typeof examination === "string" ? [] : examination.problems;
  if (problem === undefined)
    return { outcome: "refused", hits: 1, what, violations: [{ kind: "other", what: `${death}; fsck says nothing` }] };
  return { outcome: "found by fsck", hits: 1, what, violations: [], cause: causeOf(`${death}; fsck: ${problem}`) };
}
