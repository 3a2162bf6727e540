import assert from "node:assert/strict";
import { openCosignatures } from "../../../shared/crypto/cosignature.ts";
import { appendSignature, parseNote } from "../../../shared/crypto/signed-note.ts";
import { utf8 } from "../../../shared/encoding.ts";
import { COSIGNED_AT_S, cosignedNote, testLog, WITNESS } from "../fixtures.ts";
import { Choices, changedBytes } from "../edits.ts";
import type { FuzzTarget } from "../target.ts";
import { seedsOf, textOf, unlessRefused } from "../target.ts";

/**
 * A cosigned note, or with a first byte below 16 an edit of the signature line of a true one. A cosignature counts only
 * over the very text and time that were cosigned.
 */
export const target: FuzzTarget = {
  seeds: () => [
    ...seedsOf(cosignedNote(), testLog().newest.note),
    Uint8Array.of(0, 0, 3),
    Uint8Array.of(1, 60, 1),
    Uint8Array.of(2, 200, 90),
  ],
  run(input) {
    const note = (input[0] ?? 255) < 16 ? editedNote(input) : textOf(input);
    const found = unlessRefused(() => openCosignatures(note, [WITNESS]), "malformed", "bad-signature");
    for (const { timestampS } of found ?? []) {
      assert.equal(timestampS, COSIGNED_AT_S, "a time that was never cosigned");
      assert.equal(parseNote(note).text, parseNote(cosignedNote()).text, "a text that was never cosigned");
    }
    const line = textOf(input.slice(1));
    const appended = unlessRefused(() => appendSignature(testLog().newest.note, line), "malformed");
    if (appended !== undefined) parseNote(appended);
  },
};

function editedNote(input: Uint8Array): string {
  const choices = new Choices(input);
  return textOf(changedBytes(utf8(cosignedNote()), choices.u8() % 3, choices));
}
