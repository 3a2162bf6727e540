import assert from "node:assert/strict";
import { VerificationError } from "../../../shared/errors.ts";
import { formatEvidence, parseEvidence, verifyEvidence } from "../../../shared/proofs/evidence.ts";
import type { EvidenceFact } from "../../../shared/proofs/evidence.ts";
import { utf8 } from "../../../shared/encoding.ts";
import { Choices, edited } from "../edits.ts";
import { guilty, innocent } from "../evidence-fixtures.ts";
import type { FuzzTarget } from "../target.ts";
import { textOf, unlessRefused } from "../target.ts";

/**
 * An evidence file as text, or with a first byte below 32 an edit of one: below 16 of true evidence, from there of the same
 * forms filled by an honest log. Nothing convicts an honest log, and edits of evidence prove nothing but what was proven.
 */
export const target: FuzzTarget = {
  seeds: () => [
    ...guilty().map((file) => utf8(formatEvidence(file))),
    ...guilty().map((_, kind) => Uint8Array.of(kind, 0, 5, 9, 1)),
    ...innocent().map((_, kind) => Uint8Array.of(16 + kind, 3, 2, 4)),
  ],
  run(input) {
    const choices = new Choices(input);
    const mode = choices.u8();
    const original = mode < 16 ? guilty()[mode % guilty().length] : innocent()[mode % innocent().length];
    const file = mode < 32 ? JSON.stringify(edited(original, choices)) : textOf(input);
    const parsed = unlessRefused(() => parseEvidence(file), "malformed");
    const fact = factOf(file);
    if (fact === undefined) return;
    assert(parsed !== undefined, "verified, though it does not parse");
    assert.equal(formatEvidence(parseEvidence(formatEvidence(parsed))), formatEvidence(parsed));
    assert(mode < 16 || mode >= 32, `an honest log was convicted: ${fact.says}`);
    assert(knownFacts().has(said(fact)), `a new fact: ${said(fact)}`);
  },
};

function factOf(file: string): EvidenceFact | undefined {
  try {
    return verifyEvidence(file);
  } catch (error) {
    if (error instanceof VerificationError) return undefined;
    throw error;
  }
}

/** What convicts, without the numbers of the epochs: the same two leaves may be shown under other heads. */
const said = ({ code, index, logKey }: EvidenceFact): string => [code, index, logKey].join(" ");

let facts: ReadonlySet<string> | undefined;
function knownFacts(): ReadonlySet<string> {
  return (facts ??= new Set(guilty().map((file) => said(verifyEvidence(file)))));
}
