import { constants, getPriority, setPriority } from "node:os";

/**
 * From now on the thread that calls this gives way to the others of its process: whoever signs or answers is not kept from
 * the processor by what is done ahead. Only Linux has priorities of threads (setpriority(2)); where there are none, or the
 * service may not set them, nothing changes.
 */
export function giveWay(): void {
  if (process.platform !== "linux") return;
  try {
    setPriority(Math.max(getPriority(), constants.priority.PRIORITY_BELOW_NORMAL));
  } catch {
    // It is a matter of speed alone.
  }
}
