/** New users: a VRF proof each, then the same as an update. */
import type { OwnLog } from "../support/own-log.ts";
import { newEntry } from "./big-log.ts";
import { latencies } from "./rate.ts";
import type { Figure } from "./table.ts";
import { rateOf, startForBench, WAITING_EPOCHS } from "./updates.ts";

const PER_EPOCH = 1_000;
const WARM_UP_EPOCHS = 3;

export async function measureEnrolments(log: OwnLog, seconds: number): Promise<readonly Figure[]> {
  const running = await startForBench(log, PER_EPOCH);
  let next = 0;
  const enrol = async (): Promise<void> => {
    const userId = `@new${next++}:example.org`;
    await running.sequencer.submit({ userId, entry: newEntry(), observedMs: Date.now() });
  };
  // Not counted: the threads that make the proofs start with the first of them, and then compile what they run.
  for (let i = 0; i < WARM_UP_EPOCHS; i++) await Promise.all(Array.from({ length: PER_EPOCH }, enrol));
  const rate = await rateOf(seconds, WAITING_EPOCHS * PER_EPOCH, enrol);
  await running.sequencer.close();
  const name = "enrolments";
  return [{ name, unit: "1/s", measured: rate.perSecond, must: 3_500, reach: 4_500 }, ...latencies(name, rate)];
}
