/** From what is wrong with bytes to what a verdict says: each step of a check has one code. */
import { VerificationError } from "../errors.ts";
import { VerdictError } from "../verdict-codes.ts";
import type { VerdictCode } from "../verdict-codes.ts";

/**
 * Runs one step. A VerificationError in it becomes a VerdictError with the step's code; bytes that are `malformed` are a
 * `bad-answer` in any step, unless the step has a code for them. Everything else passes through.
 */
export function inStep<T>(code: VerdictCode, check: () => T, codeIfMalformed: VerdictCode = "bad-answer"): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof VerificationError)) throw error;
    const verdict = error.code === "malformed" ? codeIfMalformed : code;
    throw new VerdictError(verdict, error.message, { cause: error });
  }
}
