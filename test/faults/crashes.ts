/** A process that is killed, or whose system calls fail: at every call on the way of a write, and at any time. */
import { setTimeout as delay } from "node:timers/promises";
import { join } from "node:path";
import { examine } from "./examine.ts";
import type { Examination } from "./examine.ts";
import { FaultLog, live } from "./fault-log.ts";
import { causeOf, complaintsAbout } from "./kinds.ts";
import type { CaseResult, Kind, Options } from "./kinds.ts";
import { killGroup, liveOnce } from "./life.ts";
import type { Life, LifeOptions, WorkloadShape } from "./life.ts";
import { Random } from "./random.ts";
import { findStrace, injectingArguments, listingArguments, readPoints } from "./strace.ts";
import type { Point } from "./strace.ts";
import type { Violation } from "./verifier.ts";

const USERS = 5;
const PAST = { users: USERS, lives: 3, epochsPerLife: 3 };

/** A log and what its next life will be; each crash gets a copy. */
export interface Scene {
  readonly log: FaultLog;
  readonly shape: WorkloadShape;
  /** Every call on the way of a write that the life makes; empty if nobody asked, or without strace. */
  readonly points: readonly Point[];
}

/** Different lives: with and without witness, slow and fast time, new users. */
export async function makeScene(parent: string, name: string, number: number, withPoints = false): Promise<Scene> {
  const log = await FaultLog.create(parent, `${name} ${number}`);
  await live(log, PAST, new Random(name, "past", number));
  const shape = {
    seed: `${name} ${number}`,
    timesFaster: number % 2 === 0 ? 1 : 100,
    users: USERS,
    changes: 8,
    witness: number % 4 >= 2,
    newUsers: number % 5 === 4,
    patient: false,
  };
  const strace = findStrace();
  if (!withPoints || strace === undefined) return { log, shape, points: [] };
  const listing = log.copy(parent);
  const output = join(listing.directory, "calls");
  await liveOnce(listing, shape, { wrapper: [strace, ...listingArguments(listing, output)] });
  const points = readPoints(listing, output);
  listing.remove();
  return { log, shape, points };
}

/** SIGKILL at the entry of each call on the way of a write, one run for each. */
export async function killedAtCalls(options: Options): Promise<Kind> {
  const strace = findStrace();
  // A third of the logs are hit twice.
  const wanted = strace === undefined ? 0 : Math.ceil(options.crashPoints * 0.7);
  const cases: { readonly scene: Scene; readonly point: Point }[] = [];
  for (let number = 0; cases.length < wanted; number++) {
    const scene = await makeScene(options.onDisk, `${options.seed} kill`, number, true);
    if (scene.points.length === 0) throw new Error("strace shows no call on the way of a write");
    cases.push(...scene.points.slice(0, wanted - cases.length).map((point) => ({ scene, point })));
  }
  return {
    name: "kill at a system call",
    rows: "F01 F43",
    cases: cases.length,
    atOnce: 1,
    async run(index, keep) {
      const { scene, point } = cases[index]!;
      const random = new Random(options.seed, "kill at a system call", index);
      const second = random.oneIn(3) ? random.pick(scene.points) : undefined;
      return await crash(scene, options.onDisk, keep, describePoint(point), (log, life) => {
        const at = [point, second][life];
        return at && { wrapper: [strace ?? "", ...injectingArguments(log, at, "signal=KILL")] };
      });
    },
  };
}

/** SIGKILL at any time, again and again on one log, also while it recovers. */
export function killedAtRandom(options: Options, withStrace: boolean): Kind {
  const wanted = withStrace ? Math.ceil(options.crashPoints * 0.5) : options.crashPoints;
  const killsPerLog = 3;
  let scenes: Promise<Scene[]> | undefined;
  return {
    name: "kill at any time",
    rows: "F01",
    cases: Math.ceil(wanted / killsPerLog),
    atOnce: 1,
    async run(index, keep) {
      scenes ??= makeScenes(options);
      const random = new Random(options.seed, "kill at any time", index);
      const scene = random.pick(await scenes);
      const lastMs = 1_500;
      return await crash(scene, options.onDisk, keep, "killed at random", (_log, life) =>
        life >= killsPerLog ? undefined : { meddle: (child, said) => killLater(child, said, random.below(lastMs)) },
      );
    },
  };
}

async function makeScenes({ onDisk, seed }: Options): Promise<Scene[]> {
  const scenes: Scene[] = [];
  for (let number = 0; number < 5; number++) scenes.push(await makeScene(onDisk, `${seed} random`, number));
  return scenes;
}

type Child = Parameters<NonNullable<LifeOptions["meddle"]>>[0];

/** Kills once the log has begun to write, or after a while even before. */
async function killLater(child: Child, said: () => { facts: readonly unknown[] }, afterMs: number): Promise<void> {
  const isGone = (): boolean => child.exitCode !== null || child.signalCode !== null;
  for (let waited = 0; waited < 400 && !isGone() && said().facts.length === 0; waited++) {
    if (afterMs % 5 === 0 && waited * 10 > afterMs) break;
    await delay(10);
  }
  await delay(afterMs % 5 === 0 ? 0 : afterMs % 300);
  killGroup(child);
}

/** Lives with faults, as long as `fault` gives one, then the examination: nothing that was said may be missing. */
async function crash(
  scene: Scene,
  parent: string,
  keep: boolean,
  what: string,
  fault: (log: FaultLog, life: number) => LifeOptions | undefined,
): Promise<CaseResult> {
  const log = scene.log.copy(parent);
  let hits = 0;
  const violations: Violation[] = [];
  try {
    for (let life = 0; ; life++) {
      const options = fault(log, life);
      if (options === undefined) break;
      const lived = await liveOnce(log, scene.shape, options);
      if (lived.signal === "SIGKILL") hits += 1;
      else violations.push(...unexpectedEnd(lived));
    }
    const examination = await examine(log);
    violations.push(...mustBeWhole(examination));
    return {
      outcome: hits === 0 ? "not reached" : "unharmed",
      hits,
      violations,
      what: keep ? `${what}: ${log.directory}` : what,
    };
  } finally {
    log.save();
    if (!keep) log.remove();
  }
}

/** A log that no fault has hit ends by itself and well. */
export function unexpectedEnd({ status, signal, complaints, ledger }: Life): Violation[] {
  if (status === 0 && ledger.of("done").length > 0) return [];
  const failed = ledger.of("failed").at(-1)?.message ?? ledger.of("refused").at(-1)?.reason ?? complaints;
  return [{ kind: "other", what: `the log ended with ${signal ?? `status ${status}`}: ${failed.slice(0, 500)}` }];
}

/** After a crash nothing may be damaged. */
export function mustBeWhole({ violations, refusal, failedReads, problems }: Examination): Violation[] {
  return [
    ...violations,
    ...(refusal === undefined ? [] : [{ kind: "other" as const, what: `it does not go on: ${refusal.message}` }]),
    ...failedReads.map((error) => ({ kind: "other" as const, what: `it does not answer: ${error.message}` })),
    ...problems.map((problem) => ({ kind: "other" as const, what: `fsck: ${problem}` })),
  ];
}

/** What an injected result does to a call, and to which calls it may happen. */
interface Effect {
  readonly name: string;
  readonly effect: string;
  readonly calls: readonly string[];
  /** The kernel says that it wrote what it did not: damage, which only has to be found. */
  readonly lies?: true;
}

const EFFECTS: readonly Effect[] = [
  { name: "EIO", effect: "error=EIO", calls: ["write", "fdatasync", "fsync", "rename", "openat", "close"] },
  { name: "ENOSPC", effect: "error=ENOSPC", calls: ["write", "fdatasync", "fsync", "rename", "openat"] },
  { name: "EROFS", effect: "error=EROFS", calls: ["openat", "rename", "unlink"] },
  { name: "EMFILE", effect: "error=EMFILE", calls: ["openat"] },
  { name: "short write", effect: "retval=1", calls: ["write"], lies: true },
  { name: "lost write", effect: "retval=16", calls: ["write"], lies: true },
];

/** Calls that fail, once, as long as the process lives, or without saying so. */
export async function failingCalls(options: Options): Promise<Kind> {
  const strace = findStrace();
  const scene = await makeScene(options.onDisk, `${options.seed} fail`, 0, true);
  const cases = EFFECTS.flatMap((effect) =>
    scene.points.filter(({ call }) => effect.calls.includes(call)).map((point) => ({ effect, point })),
  );
  const random = new Random(options.seed, "failing calls");
  const wanted = Math.min(cases.length, Math.ceil(options.crashPoints / 4));
  // A part of them, spread evenly, when fewer are wanted than there are.
  const chosen = Array.from(
    { length: wanted },
    (_, i) => cases[Math.floor((i * cases.length) / wanted)] ?? random.pick(cases),
  );
  return {
    name: "system call fails",
    rows: "F02 F03 F27 F79",
    cases: chosen.length,
    atOnce: 1,
    async run(index, keep) {
      const { effect, point } = chosen[index]!;
      const what = `${effect.name} at ${describePoint(point)}`;
      const log = scene.log.copy(options.onDisk);
      try {
        const wrapper = [strace ?? "", ...injectingArguments(log, point, effect.effect)];
        const lived = await liveOnce(log, scene.shape, { wrapper });
        const examination = await examine(log);
        const place = keep ? `${what}: ${log.directory}` : what;
        return judgeFailure(lived, examination, effect.lies === true, place);
      } finally {
        log.save();
        if (!keep) log.remove();
      }
    },
  };
}

/** A failed call may end the log, which says why and with which status; what it said before must hold. */
function judgeFailure(lived: Life, examination: Examination, lies: boolean, what: string): CaseResult {
  const failed = lived.ledger.of("failed").at(-1);
  const refused = lived.ledger.of("refused").at(-1);
  const violations: Violation[] = [];
  if (failed !== undefined) violations.push(...complaintsAbout(failed.message, failed.exitCode));
  else if (refused !== undefined) violations.push(...complaintsAbout(refused.reason, undefined));
  else if (!lies || lived.signal !== null) violations.push(...unexpectedEnd(lived));
  const after = lies ? mustBeFound(examination) : mustBeWhole(examination);
  violations.push(...after);
  const message = failed?.message ?? refused?.reason ?? examination.refusal?.message;
  const outcome = message !== undefined ? "refused" : examination.problems.length > 0 ? "found by fsck" : "unharmed";
  return { outcome, hits: 1, violations, what, ...(message === undefined ? {} : { cause: causeOf(message) }) };
}

/** Where the machine lied, what is lost must be found; a wrong answer or a second signature there is none. */
export function mustBeFound({ violations, refusal, failedReads, problems }: Examination): Violation[] {
  const found = refusal !== undefined || failedReads.length > 0 || problems.length > 0;
  const complaints = refusal === undefined ? [] : complaintsAbout(refusal.message, refusal.exitCode);
  return [...violations.filter(({ kind }) => kind !== "lost" || !found), ...complaints];
}

function describePoint({ target, call, nth }: Point): string {
  return `${call} number ${nth} of the ${target}`;
}
