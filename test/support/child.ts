import type { ChildProcess } from "node:child_process";
import { once } from "node:events";

/** Every child that runs; what is still here when this process ends is killed with it. */
const running = new Set<ChildProcess>();

process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});
for (const [signal, status] of [
  ["SIGTERM", 143],
  ["SIGHUP", 129],
] as const) {
  process.on(signal, () => process.exit(status));
}

/** Ties a child to this process, so that it never outlives it. Returns the child. */
export function tied<Child extends ChildProcess>(child: Child): Child {
  running.add(child);
  child.once("exit", () => running.delete(child));
  return child;
}

/** Sends a signal and resolves once the child is gone; after `patienceMs` it is killed. */
export async function end(child: ChildProcess, signal: NodeJS.Signals, patienceMs = 10_000): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  const impatience = setTimeout(() => child.kill("SIGKILL"), patienceMs);
  child.kill(signal);
  await gone;
  clearTimeout(impatience);
}
