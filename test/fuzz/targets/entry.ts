import assert from "node:assert/strict";
import { keysOfAnswer } from "../../../client-plugin/seen-keys.ts";
import {
  buildEntry,
  nextEntry,
  readEntry,
  sameButSignatures,
  splitKeysQuery,
} from "../../../shared/directory/entry.ts";
import { fromUtf8 } from "../../../shared/encoding.ts";
import { Choices, edited } from "../edits.ts";
import { ALICE, alice, BOB, testLog } from "../fixtures.ts";
import type { FuzzTarget } from "../target.ts";
import { assertUnpolluted, seedsOf, textOf, unlessRefused } from "../target.ts";

/**
 * An entry, an answer of `/keys/query`, or with a first byte below 4 a true answer (below 2) or entry with edits. An entry
 * that reads is what building it from itself gives; every answer makes an entry that reads, and makes it once.
 */
export const target: FuzzTarget = {
  seeds: () => [
    ...testLog()
      .versionsAt(ALICE, testLog().size - 1)
      .slice(-2)
      .map(({ entry }) => entry),
    ...seedsOf(alice().keysQuery(), { user_id: ALICE }, '{"devices":{},"user_id":"@a:b"}'),
    ...[0, 1, 2, 3].map((mode) => Uint8Array.of(mode, 0, 7, 2, 1, 3, 30, 4, 9)),
  ],
  run(input) {
    const text = messageOf(input);
    if (text === undefined) return;
    const bytes = new TextEncoder().encode(text);
    const entry = unlessRefused(() => readEntry(bytes), "malformed");
    if (entry !== undefined) {
      assert(sameButSignatures(bytes, bytes));
      assert.deepEqual(readEntry(bytes), entry);
    }
    const observed = unlessRefused(() => splitKeysQuery(text, [ALICE, BOB]), "malformed");
    for (const [userId, keys] of observed ?? []) checkBuilt(userId, keys);
    if (observed !== undefined) keysOfAnswer(text);
    assertUnpolluted();
  },
};

function messageOf(input: Uint8Array): string | undefined {
  const choices = new Choices(input);
  const mode = choices.u8();
  if (mode >= 4) return textOf(input);
  const truth = mode < 2 ? alice().keysQuery() : fromUtf8(testLog().versionsAt(ALICE, 6).at(-1)?.entry ?? input);
  return JSON.stringify(edited(JSON.parse(truth), choices));
}

function checkBuilt(userId: string, keys: Parameters<typeof buildEntry>[1]): void {
  const built = unlessRefused(() => buildEntry(userId, keys), "malformed");
  if (built === undefined) return;
  assert.deepEqual(readEntry(built.bytes), built.entry, "an entry that reads as another one");
  const observation = { kind: "keys", keys } as const;
  const next = nextEntry(userId, undefined, observation);
  if (next !== undefined) assert.equal(nextEntry(userId, next, observation), undefined, "a new version of nothing new");
}
