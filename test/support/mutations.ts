import assert from "node:assert/strict";
import { inspect } from "node:util";
import fc from "fast-check";
import { VerificationError, type VerificationErrorCode } from "../../shared/errors.ts";

/** A change to something that verified, named after what was done to it. */
export interface Mutation<T> {
  readonly name: string;
  readonly value: T;
}

/** The bytes with each of their bits flipped, one at a time; or with every `stride`-th, where all would take minutes. */
export function* flippedBits(bytes: Uint8Array, stride = 1): Generator<Mutation<Uint8Array>> {
  for (let bit = 0; bit < bytes.length * 8; bit += stride) {
    const value = bytes.slice();
    value[bit >>> 3]! ^= 1 << (bit & 7);
    yield { name: `flipped-bit-${bit}`, value };
  }
}

/** A list of hashes with bits flipped, and with each element dropped, doubled, swapped, and others added. */
export function* mutatedPaths(path: readonly Uint8Array[], stride = 1): Generator<Mutation<Uint8Array[]>> {
  for (const [i, hash] of path.entries()) {
    for (const { name, value } of flippedBits(hash, stride))
      yield { name: `element-${i}-${name}`, value: path.with(i, value) };
    yield { name: `dropped-${i}`, value: path.toSpliced(i, 1) };
    yield { name: `doubled-${i}`, value: path.toSpliced(i, 0, hash) };
    if (i > 0) yield { name: `swapped-${i}`, value: path.with(i, path[i - 1]!).with(i - 1, hash) };
  }
  yield { name: "leading-garbage", value: [new Uint8Array(32).fill(0x5a), ...path] };
  yield { name: "trailing-garbage", value: [...path, new Uint8Array(32).fill(0x5a)] };
}

/** Asserts that something is refused with this very code. Made for hundreds of thousands of calls: errors get no stack. */
export function assertRefused(run: () => unknown, code: VerificationErrorCode, name?: string): void {
  const { stackTraceLimit } = Error;
  let thrown: unknown = "no refusal";
  try {
    Error.stackTraceLimit = 0;
    run();
  } catch (error) {
    thrown = error;
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
  if (thrown instanceof VerificationError && thrown.code === code) return;
  assert.fail(`${name ?? "it"}: expected ${code}, got ${inspect(thrown)}`);
}

/** Asserts that a parser, given anything, answers or throws `malformed`, and nothing else. */
export function assertOnlyMalformed<T>(anything: fc.Arbitrary<T>, parse: (value: T) => unknown, runs = 300): void {
  fc.assert(
    fc.property(anything, (value) => {
      try {
        parse(value);
      } catch (error) {
        assert(error instanceof VerificationError && error.code === "malformed", String(error));
      }
    }),
    { numRuns: runs },
  );
}
