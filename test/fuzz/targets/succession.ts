import assert from "node:assert/strict";
import { canonicalJson, equalBytes } from "../../../shared/encoding.ts";
import type { JsonValue } from "../../../shared/encoding.ts";
import {
  encodeSuccessionPage,
  openPredecessor,
  parsePredecessor,
  parseSuccessionPage,
} from "../../../shared/proofs/succession.ts";
import { TestLog } from "../../support/test-log.ts";
import { seedOf } from "../../support/test-user.ts";
import { Choices, edited } from "../edits.ts";
import { testLog } from "../fixtures.ts";
import type { FuzzTarget } from "../target.ts";
import { seedsOf, textOf, unlessRefused } from "../target.ts";

const successor = new TestLog({ number: 2 });
const other = new TestLog({ number: 3 });
const ended = testLog().fork();
ended.reconfigure({ successor: { origin: successor.origin, log_key: successor.vkey } });
ended.closeEpoch(ended.newest.record.timestampMs + 1_000);
const END = { head: ended.head(), configuration: ended.newest.configuration };

/**
 * A page of a succession, the end of a log, or with a first byte below 8 a true end with edits. Only what the old log's
 * key has signed opens, and only for the log that it names.
 */
export const target: FuzzTarget = {
  seeds: () => [
    ...seedsOf(END),
    encodeSuccessionPage([{ oldIndex: seedOf("old"), leaf: { index: seedOf("new"), n: 1, historyRoot: seedOf("r") } }]),
    ...[0, 1, 2].map((mode) => Uint8Array.of(mode, 0, 3, 1, 4, 2)),
  ],
  run(input) {
    const page = unlessRefused(() => parseSuccessionPage(input), "malformed");
    if (page !== undefined) assert(equalBytes(encodeSuccessionPage(page), input), "another encoding of the same page");
    const choices = new Choices(input);
    const value = (): JsonValue => edited(JSON.parse(JSON.stringify(END)), choices) as JsonValue;
    const text = choices.u8() < 8 ? unlessRefused(() => canonicalJson(value()), "malformed") : undefined;
    for (const candidate of [text, textOf(input)]) {
      if (candidate === undefined) continue;
      const part = unlessRefused(() => parsePredecessor(candidate), "malformed");
      if (part === undefined) continue;
      const open = (key: string): boolean | undefined =>
        unlessRefused(
          () => openPredecessor(part, ended.logKey, key).isFinal,
          "malformed",
          "bad-signature",
          "bad-inclusion",
          "bad-vrf",
        );
      if (open(successor.vkey) === true) assert.equal(part.configuration, END.configuration);
      assert.notEqual(open(other.vkey), true);
    }
  },
};
