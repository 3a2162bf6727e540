import assert from "node:assert/strict";
import { parseEvidence, formatEvidence, verifyEvidence } from "../../shared/proofs/evidence.ts";
import type { Evidence } from "../../shared/proofs/evidence.ts";
import { VerdictError } from "../../shared/verdict-codes.ts";
import type { VerdictCode } from "../../shared/verdict-codes.ts";

/** The code with which something is refused; undefined when it is not. Anything but a VerdictError is passed on. */
export function codeOf(run: () => unknown): VerdictCode | undefined {
  return refusalOf(run)?.code;
}

function refusalOf(run: () => unknown): VerdictError | undefined {
  const { stackTraceLimit } = Error;
  try {
    Error.stackTraceLimit = 0;
    run();
    return undefined;
  } catch (error) {
    if (error instanceof VerdictError) return error;
    throw error;
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

export function assertVerdict(run: () => unknown, code: VerdictCode, name?: string): void {
  assert.equal(codeOf(run), code, name);
}

/** Refused with this code and evidence of this kind, which convinces anyone who reads it from its file. */
export function assertEvidence(run: () => unknown, code: VerdictCode, kind: Evidence["kind"]): Evidence {
  const refusal = refusalOf(run);
  assert.equal(refusal?.code, code);
  const { evidence } = refusal;
  assert(evidence !== undefined, "no evidence");
  const file = formatEvidence(evidence);
  assert.equal(verifyEvidence(file).kind, kind);
  return parseEvidence(file);
}
