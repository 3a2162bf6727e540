/** What every fuzz target is made of. A target throws only when it found something; a refusal with a code of the contract is no finding. */
import assert from "node:assert/strict";
import { fromUtf8, utf8 } from "../../shared/encoding.ts";
import { VerificationError } from "../../shared/errors.ts";
import type { VerificationErrorCode } from "../../shared/errors.ts";
import { VerdictError } from "../../shared/verdict-codes.ts";

/** One parser, or a family of them, under any bytes. */
export interface FuzzTarget {
  /** Inputs that reach deep, from which the fuzzer starts. */
  readonly seeds: () => readonly Uint8Array[];
  /** Takes any bytes. Throws, or rejects, when the parser broke its contract. */
  readonly run: (input: Uint8Array) => void | Promise<void>;
  /** Set: `run` waits for something, so the fuzzer must give it turns of the event loop; else it is run without any. */
  readonly inTurns?: true;
}

/** What `parse` returns, or undefined if it refuses with one of these codes. Every other error is passed on: a finding. */
export function unlessRefused<T>(
  parse: () => T,
  ...codes: readonly [VerificationErrorCode, ...VerificationErrorCode[]]
): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (error instanceof VerificationError && codes.includes(error.code)) return undefined;
    throw error;
  }
}

/** As `unlessRefused`, for checks that answer with a verdict. */
export function unlessVerdict<T>(check: () => T): T | undefined {
  try {
    return check();
  } catch (error) {
    if (error instanceof VerdictError) return undefined;
    throw error;
  }
}

/** The input as text: what is no UTF-8 reads as replacement characters, as every HTTP client reads it. */
export function textOf(input: Uint8Array): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(input);
}

/** The input as JSON the way a host parses it (last of doubled members counts), or undefined. */
export function hostJson(input: Uint8Array): unknown {
  try {
    return JSON.parse(fromUtf8(input));
  } catch {
    return undefined;
  }
}

/** Inputs from texts, or from values as JSON. */
export function seedsOf(...values: readonly unknown[]): Uint8Array[] {
  return values.map((value) => utf8(typeof value === "string" ? value : JSON.stringify(value)));
}

/** A parse must leave the prototypes of the language alone and copy no member of one. */
export function assertUnpolluted(): void {
  assert.equal(Object.keys(Object.prototype).length, 0, "a member of Object.prototype was made");
  assert.equal(({} as { readonly polluted?: unknown }).polluted, undefined);
}
