/** From nothing to the first answer, after changes that the saved top of the map does not have yet. */
import type { OwnLog } from "../support/own-log.ts";
import { userOf } from "./big-log.ts";
import type { Figure } from "./table.ts";
import { ofService } from "./updates.ts";

export async function measureRestart(log: OwnLog): Promise<readonly Figure[]> {
  const times: number[] = [];
  for (let i = 0; i < 3; i++) {
    const started = performance.now();
    const running = await log.start({ ...ofService(), strictStart: true });
    await running.directory.lookup(userOf(i));
    times.push(performance.now() - started);
    await running.sequencer.close();
  }
  const measured = (times.sort((a, b) => a - b)[1] ?? 0) / 1_000;
  return [{ name: "restart to first answer", unit: "s", measured, must: 2, reach: 0.8, atMost: true }];
}
