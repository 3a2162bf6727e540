/** Runs a target for the fuzzer, whose bundle begins here: what takes too long is a finding, too. */
import assert from "node:assert/strict";
import type { FuzzTarget } from "./target.ts";

/** CPU time in ms, of all threads, that one input may take: more is a hang. */
const HANG_MS = 1_000;

/** `target.run`, and an input that takes over a second of CPU time is a finding. */
export function withoutHang({ run }: FuzzTarget): FuzzTarget["run"] {
  return (input): void | Promise<void> => {
    const started = process.cpuUsage();
    const checkTime = (): void => {
      const { user, system } = process.cpuUsage(started);
      const spentMs = (user + system) / 1_000;
      assert(spentMs <= HANG_MS, `${input.length} bytes took ${Math.round(spentMs)} ms`);
    };
    const running = run(Uint8Array.from(input));
    if (running instanceof Promise) return running.then(checkTime);
    checkTime();
    return undefined;
  };
}
