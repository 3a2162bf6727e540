/** Durable updates through the running service: sequencer in its thread, readers taking every epoch. */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { threadsBesideMain } from "../../appservice/answering-threads.ts";
import { systemClock } from "../../appservice/clock.ts";
import type { RunningLog, SequencerOptions } from "../../appservice/sequencer.ts";
import type { OwnLog } from "../support/own-log.ts";
import { newEntry, userOf } from "./big-log.ts";
import { latencies, quantilesOf } from "./rate.ts";
import type { Rate } from "./rate.ts";
import type { Figure } from "./table.ts";

const WARM_UP_SECONDS = 2;
/** Epochs' worth of changes that are always on their way: two being written, one being built, and what fills the next. */
export const WAITING_EPOCHS = 5;

/** As the service starts its log: with the real time, and with as many threads that answer. */
export function ofService(): Pick<SequencerOptions, "clock" | "answeringThreads"> {
  return { clock: systemClock, answeringThreads: threadsBesideMain() };
}

/** Starts the log so that an epoch closes whenever `maxChanges` wait. */
export function startForBench(log: OwnLog, maxChanges: number): Promise<RunningLog> {
  return log.start({ ...ofService(), maxChanges, epochDelayMs: 1_000 });
}

export async function measureUpdates(log: OwnLog, users: number, seconds: number): Promise<readonly Figure[]> {
  return [
    ...(await measure(log, users, seconds, 1_000, { must: 8_000, reach: 12_000 })),
    ...(await measure(log, users, seconds, 100, { must: 3_307, reach: 7_000 })),
    ...(await blocking(log, users, seconds)),
  ];
}

async function measure(
  log: OwnLog,
  users: number,
  seconds: number,
  perEpoch: number,
  aims: { readonly must: number; readonly reach: number },
): Promise<readonly Figure[]> {
  const running = await startForBench(log, perEpoch);
  // Not counted: a thread that just started still compiles what it runs.
  await submitFor(running, users, WARM_UP_SECONDS, WAITING_EPOCHS * perEpoch);
  const updates = await submitFor(running, users, seconds, WAITING_EPOCHS * perEpoch);
  await running.sequencer.close();
  const name = `durable updates, ${perEpoch} per epoch`;
  return [{ name, unit: "1/s", measured: updates.perSecond, ...aims }, ...latencies(name, updates)];
}

/** Keeps `waiting` changes on their way for some seconds, each until it is merged and published. */
export function submitFor(running: RunningLog, users: number, seconds: number, waiting: number): Promise<Rate> {
  return rateOf(seconds, waiting, async () => {
    const userId = userOf(Math.floor(Math.random() * users));
    await running.sequencer.submit({ userId, entry: newEntry(), observedMs: Date.now() });
  });
}

/** Keeps `waiting` changes on their way for some seconds, and counts those that ended in that time. */
export async function rateOf(seconds: number, waiting: number, submit: () => Promise<void>): Promise<Rate> {
  const ends = performance.now() + seconds * 1_000;
  const times: number[] = [];
  const submitOne = async (): Promise<void> => {
    for (let began = performance.now(); began < ends;) {
      await submit();
      const ended = performance.now();
      if (ended < ends) times.push(ended - began);
      began = ended;
    }
  };
  await Promise.all(Array.from({ length: waiting }, submitOne));
  return { perSecond: times.length / seconds, ...quantilesOf(times) };
}

/** How long the answering thread is blocked while 1,000 updates a second are merged, once a second. */
async function blocking(log: OwnLog, users: number, seconds: number): Promise<readonly Figure[]> {
  const running = await startForBench(log, 10_000);
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const stop = new AbortController();
  const load = submitSteadily(running, users, 1_000, stop.signal);
  await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
  delay.disable();
  stop.abort();
  await load;
  await running.sequencer.close();
  const measured = delay.max / 1e6;
  return [{ name: "longest block of the answering thread", unit: "ms", measured, must: 50, reach: 20, atMost: true }];
}

/** Submits `perSecond` changes until aborted, without waiting for them. */
export async function submitSteadily(
  running: RunningLog,
  users: number,
  perSecond: number,
  signal: AbortSignal,
): Promise<void> {
  const started = performance.now();
  // Only those that wait: who kept all that were ever merged would measure how long it takes to collect them.
  const merging = new Set<Promise<unknown>>();
  for (let sent = 0; !signal.aborted;) {
    const due = ((performance.now() - started) / 1_000) * perSecond;
    for (; sent < due; sent++) {
      const userId = userOf(Math.floor(Math.random() * users));
      const submitted = running.sequencer.submit({ userId, entry: newEntry(), observedMs: Date.now() });
      const merged: Promise<unknown> = submitted.then(() => merging.delete(merged));
      merging.add(merged);
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await Promise.all(merging);
}
