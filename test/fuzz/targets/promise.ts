import assert from "node:assert/strict";
import { parseRefreshAnswer } from "../../../shared/messages.ts";
import type { PromisePart } from "../../../shared/messages.ts";
import { openPromise, verifyPromise } from "../../../shared/proofs/promise.ts";
import type { PromiseContext, VerifiedPromise } from "../../../shared/proofs/promise.ts";
import { Choices, edited } from "../edits.ts";
import { ALICE, BOB, START_MS, testLog } from "../fixtures.ts";
import type { FuzzTarget } from "../target.ts";
import { hostJson, seedsOf, textOf, unlessRefused, unlessVerdict } from "../target.ts";
import { TestUser } from "../../support/test-user.ts";

const RECEIVED_MS = START_MS + 6_500;
let made: PromisePart | undefined;
const part = (): PromisePart =>
  (made ??= testLog().fork().promise(ALICE, new TestUser(ALICE, "NEXT").entry(), RECEIVED_MS));

/**
 * The note of a promise, a refresh answer, or with a first byte below 4 a true answer with edits. What is taken is the
 * promise that was given, for the user whom it is about, and for nobody else.
 */
export const target: FuzzTarget = {
  seeds: () => [
    ...seedsOf(part().note, { promise: part() }, {}),
    ...[0, 1, 2, 3].map((mode) => Uint8Array.of(mode, 0, 2, 9, 1)),
  ],
  run(input) {
    const opened = unlessRefused(() => openPromise(textOf(input), testLog().promiseKey), "malformed", "bad-signature");
    if (opened !== undefined) assert.deepEqual(opened, openPromise(part().note, testLog().promiseKey));
    const choices = new Choices(input);
    const value = choices.u8() < 4 ? edited({ promise: part() }, choices) : hostJson(input);
    const answer = unlessRefused(() => parseRefreshAnswer(value), "malformed");
    const given = answer?.promise;
    if (given === undefined) return;
    for (const [userId, newestN, nowMs] of [
      [ALICE, 6, RECEIVED_MS],
      [ALICE, 7, RECEIVED_MS],
      [ALICE, 6, RECEIVED_MS + 100_000],
      [BOB, 1, RECEIVED_MS],
    ] as const) {
      const known: PromiseContext = {
        configuration: testLog().configuration,
        userId,
        index: testLog().indexOf(userId),
        newestN,
        nowMs,
      };
      const verified = unlessVerdict((): VerifiedPromise => verifyPromise(known, given));
      if (verified === undefined) continue;
      assert(userId === ALICE && newestN === 6 && nowMs === RECEIVED_MS, "a promise out of place");
      assert.equal(verified.promise.version, 7);
      assert.equal(given.entry, part().entry);
    }
  },
};
