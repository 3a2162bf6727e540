import assert from "node:assert/strict";
import { formatSignatureLine, formatVkey, openNote, parseNote, parseVkey } from "../../../shared/crypto/signed-note.ts";
import { formatCheckpoint, openCheckpoint, parseCheckpoint, serverOfOrigin } from "../../../shared/log/checkpoint.ts";
import { parsePolicy } from "../../../shared/log/policy.ts";
import { cosignedNote, testLog, WITNESS } from "../fixtures.ts";
import type { FuzzTarget } from "../target.ts";
import { seedsOf, textOf, unlessRefused } from "../target.ts";

/** Signed notes, checkpoints, verifier keys and policies: each has one form, and opens only with a text that was signed. */
export const target: FuzzTarget = {
  seeds: () => [
    ...seedsOf(testLog().newest.note, cosignedNote(), testLog().vkey, formatVkey(WITNESS), testLog().origin),
    ...seedsOf(`log ${testLog().vkey}\nwitness w ${formatVkey(WITNESS)} https://w\ngroup g all w\nquorum g\n`),
  ],
  run(input) {
    const text = textOf(input);
    const note = unlessRefused(() => parseNote(text), "malformed");
    if (note !== undefined) {
      const again = `${note.text}\n${note.signatures.map((line) => `${formatSignatureLine(line)}\n`).join("")}`;
      assert.equal(again, text, "another form of the same note");
      const opened = unlessRefused(() => openNote(text, [testLog().logKey]), "malformed", "bad-signature");
      if (opened !== undefined) assert(signedTexts().has(opened.text), "a text that the log never signed");
      const head = unlessRefused(() => openCheckpoint(text, testLog().logKey), "malformed", "bad-signature");
      if (head !== undefined) assert.equal(formatCheckpoint(head), note.text);
    }
    const checkpoint = unlessRefused(() => parseCheckpoint(text), "malformed");
    if (checkpoint !== undefined) assert.equal(formatCheckpoint(checkpoint), text);
    const key = unlessRefused(() => parseVkey(text), "malformed", "bad-signature");
    if (key !== undefined) assert.equal(formatVkey(key), text);
    unlessRefused(() => parsePolicy(text), "malformed", "bad-signature");
    unlessRefused(() => serverOfOrigin(text), "malformed");
  },
};

function signedTexts(): ReadonlySet<string> {
  return new Set(testLog().epochs.map(({ note }) => parseNote(note).text));
}
