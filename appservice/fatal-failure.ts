/** Why the log can't go on, in a form that passes between threads, with the status that the process ends with. */
import type { Failure } from "./sequencer-messages.ts";

/** Node says so in several words: of a thread that can't start, of one that runs out of heap, of a file that can't be opened. */
const IS_SHORT = /too many open files|EMFILE|ENFILE|ENOMEM|ERR_WORKER_OUT_OF_MEMORY|ERR_WORKER_INIT_FAILED/;

/** What the error says of itself; else 75 if the machine had no more to give, and 70 for whatever must not happen. */
export function fatalFailure(error: unknown): Failure {
  if (!(error instanceof Error)) return { name: "Error", message: "unknown failure", exitCode: 70 };
  const { name, message, code, exitCode } = error as NodeJS.ErrnoException & { readonly exitCode?: unknown };
  const cause = error.cause instanceof Error ? `: ${error.cause.message}` : "";
  if (typeof exitCode === "number") return { name, message: message + cause, exitCode };
  const isShort = IS_SHORT.test(`${code ?? ""} ${message}`);
  const next = isShort
    ? "raise the limit of memory or of open files that it names"
    : "stop the service, run matrix-ckv fsck, and report what this says";
  return { name, message: `${message.replace(/\.$/, "")}. Next: ${next}${cause}`, exitCode: isShort ? 75 : 70 };
}
