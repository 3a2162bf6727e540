/** One life of a log in a process of its own, with or without a fault. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { tied } from "../support/child.ts";
import type { FaultLog } from "./fault-log.ts";
import { Ledger } from "./ledger.ts";
import type { Workload } from "./workload.ts";

const CHILD = fileURLToPath(new URL("workload.ts", import.meta.url));
/** Modules compiled once for all children: most of what a start costs. */
const COMPILED = fileURLToPath(new URL("../../.cache/faults/compiled", import.meta.url));
/** A life takes about a second, on a busy machine a minute. Longer means that it hangs. */
const HANGS_AFTER_MS = 240_000;
/** Entries of one life, at most. */
const ENTRIES_PER_LIFE = 10_000;

export interface Life {
  readonly ledger: Ledger;
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  /** What it wrote for people. */
  readonly complaints: string;
}

export interface LifeOptions {
  /** What stands before the command. */
  readonly wrapper?: readonly string[];
  readonly nodeArguments?: readonly string[];
  /** Does something to the process while it lives. */
  readonly meddle?: (child: ChildProcess, ledger: () => Ledger) => Promise<void>;
}

export type WorkloadShape = Pick<
  Workload,
  "seed" | "timesFaster" | "users" | "changes" | "witness" | "newUsers" | "patient" | "reserveBytes"
>;

/** Runs the log until it ends; what it said goes into its ledger. */
export async function liveOnce(log: FaultLog, shape: WorkloadShape, options: LifeOptions = {}): Promise<Life> {
  const { dataDirectory, anchorFile, keysFile, ledger } = log;
  const { room } = ledger;
  const workload: Workload = {
    ...shape,
    dataDirectory,
    anchorFile,
    keysFile,
    startMs: log.nowMs,
    firstEntry: ENTRIES_PER_LIFE * (1 + ledger.of("started").length),
    ...(room === undefined ? {} : { room }),
  };
  mkdirSync(COMPILED, { recursive: true });
  const node = [process.execPath, ...(options.nodeArguments ?? []), CHILD, JSON.stringify(workload)];
  const [command = "", ...args] = [...(options.wrapper ?? []), ...node];
  // One thread of libuv, so that the nth call is the same in every run.
  const env = { ...process.env, UV_THREADPOOL_SIZE: "1", NODE_COMPILE_CACHE: COMPILED };
  const child = tied(spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], env, detached: true }));
  const life = await watch(child, options.meddle);
  ledger.addAll(life.ledger.facts);
  log.nowMs += longestLifeMs(shape);
  return life;
}

/** More than a life lasts in its own time. */
export function longestLifeMs({ timesFaster }: WorkloadShape): number {
  return 2 * HANGS_AFTER_MS * timesFaster;
}

async function watch(child: ChildProcess, meddle: LifeOptions["meddle"]): Promise<Life> {
  let [said, complaints] = ["", ""];
  child.stdout?.on("data", (data: Buffer) => (said += data.toString()));
  child.stderr?.on("data", (data: Buffer) => (complaints += data.toString()));
  const ended = new Promise<Pick<Life, "status" | "signal">>((resolve) => {
    child.once("close", (status, signal) => {
      resolve({ status, signal });
    });
  });
  const hangs = setTimeout(() => {
    killGroup(child);
  }, HANGS_AFTER_MS);
  const meddled = meddle?.(child, () => Ledger.parse(said)).catch((error: unknown) => {
    killGroup(child);
    throw error;
  });
  meddled?.catch(() => undefined);
  const end = await ended;
  clearTimeout(hangs);
  await meddled;
  // strace dies with what it watched; what is left of the group goes, too.
  killGroup(child);
  return { ...end, ledger: Ledger.parse(said), complaints };
}

/** Ends a life and whatever runs around it. */
export function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
