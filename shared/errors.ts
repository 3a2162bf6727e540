/** Everything that can be wrong with bytes from outside, at the level of the core. Closed list; design: codes of verdicts. */
export type VerificationErrorCode =
  "malformed" | "bad-inclusion" | "bad-consistency" | "bad-map-proof" | "bad-signature" | "bad-vrf" | "bad-commitment";

/**
 * Bytes from outside that do not parse or do not verify. Thrown by every `parse`, `open` and `verify` of `shared/`, and by
 * nothing else: a wrong argument of our own is a `RangeError`, an unreachable network is the caller's affair.
 */
export class VerificationError extends Error {
  readonly code: VerificationErrorCode;

  constructor(code: VerificationErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.name = "VerificationError";
    this.code = code;
  }
}
