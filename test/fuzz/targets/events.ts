import assert from "node:assert/strict";
import { VerificationError } from "../../../shared/errors.ts";
import {
  parseCompareCancelContent,
  parseCompareCommitContent,
  parseCompareContent,
  parseCompareNonceContent,
  parseCompareRevealContent,
  parseEpochContent,
  parseHeadContent,
  parseProvenLeaf,
  parseWarningContent,
} from "../../../shared/messages.ts";
import { openProvenLeaf } from "../../../shared/proofs/evidence.ts";
import { Choices, edited } from "../edits.ts";
import { ALICE, testLog } from "../fixtures.ts";
import type { FuzzTarget } from "../target.ts";
import { assertUnpolluted, hostJson, seedsOf, unlessRefused } from "../target.ts";

const PARSERS = [
  parseCompareCancelContent,
  parseCompareCommitContent,
  parseCompareContent,
  parseCompareNonceContent,
  parseCompareRevealContent,
  parseEpochContent,
  parseHeadContent,
  parseWarningContent,
] as const;

const bytes = "A".repeat(43);
const log_key = (): string => testLog().vkey;
const contents = (): readonly unknown[] => [
  testLog().provenLeaf(ALICE, testLog().size - 2),
  { ...testLog().head(), epoch: testLog().size - 1, "m.relates_to": {} },
  {
    heads: [{ origin: testLog().origin, log_key: log_key(), checkpoint: testLog().newest.note, more: 1 }],
    about: { size: 7, n: 6, history_root: bytes, enrolled: true, on: false },
    ask: { size: 7, n: 6, history_root: bytes },
    proof: testLog().provenLeaf(ALICE, 3),
  },
  { user_id: ALICE, code: "head-fork", since_ms: 1 },
  { session: bytes, commitment: bytes },
  { session: bytes, nonce: bytes, log_keys: { initiator: log_key(), responder: "" } },
  { session: bytes, reason: "compare-timeout", __proto__x: { polluted: 1 } },
];

/**
 * The content of an event of ours, as JSON or with a first byte below 7 a true one with edits. Unnamed members are
 * dropped, and a proven leaf opens only to what the log's map holds.
 */
export const target: FuzzTarget = {
  seeds: () => [...seedsOf(...contents()), ...contents().map((_, kind) => Uint8Array.of(kind, 0, 3, 9, 1, 6, 2))],
  run(input) {
    const choices = new Choices(input);
    const mode = choices.u8();
    const value = mode < contents().length ? edited(contents()[mode], choices) : hostJson(input);
    for (const parse of PARSERS) {
      const parsed = unlessRefused<unknown>(() => parse(value), "malformed");
      if (parsed !== undefined) assert.deepEqual(parse(parsed), parsed);
    }
    checkLeaf(value);
    assertUnpolluted();
  },
};

function checkLeaf(value: unknown): void {
  const part = unlessRefused(() => parseProvenLeaf(value), "malformed");
  if (part === undefined) return;
  try {
    const { index, leaf, record } = openProvenLeaf(part, testLog().logKey);
    const held = testLog().epoch(record.epoch).map.get(index);
    assert.equal(leaf?.n, held?.n);
    assert.deepEqual(leaf?.root, held?.historyRoot);
  } catch (error) {
    if (!(error instanceof VerificationError)) throw error;
  }
}
