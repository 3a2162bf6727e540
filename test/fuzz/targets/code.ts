import assert from "node:assert/strict";
import { decodeBech32m, encodeBech32m } from "../../../shared/codes/bech32m.ts";
import {
  checkPublicCode,
  encodePublicCode,
  matrixLink,
  parseMatrixLink,
  parsePublicCode,
} from "../../../shared/codes/public-code.ts";
import { equalBytes } from "../../../shared/encoding.ts";
import { ALICE, alice } from "../fixtures.ts";
import { Choices, changedBytes } from "../edits.ts";
import type { FuzzTarget } from "../target.ts";
import { seedsOf, textOf, unlessRefused } from "../target.ts";

const own = (): string => encodePublicCode(ALICE, alice().masterKey);

/** What a camera or a person hands in: a public code or a link, or with a first byte below 3 an edit of the true code. */
export const target: FuzzTarget = {
  seeds: () => [
    ...seedsOf(own(), own().toUpperCase(), matrixLink(ALICE, own()), "matrix:u/%40a%3Ab?org.matrix-ckv.code=ckv1qq"),
    Uint8Array.of(0, 9, 1),
    Uint8Array.of(1, 9, 1),
    Uint8Array.of(2, 9, 1),
  ],
  run(input) {
    const choices = new Choices(input);
    const kind = choices.u8();
    const text = kind < 3 ? textOf(changedBytes(new TextEncoder().encode(own()), kind, choices)) : textOf(input);
    checkCode(text);
    const link = unlessRefused(() => parseMatrixLink(text), "malformed");
    if (link === undefined) return;
    checkCode(link.publicCode);
    if (!link.userId.isWellFormed()) return;
    assert.deepEqual(parseMatrixLink(matrixLink(link.userId, link.publicCode)), link);
  },
};

function checkCode(text: string): void {
  const code = unlessRefused(() => parsePublicCode(text), "malformed");
  const plain = text.replaceAll(/\s+/g, "");
  if (code !== undefined) {
    assert.equal(encodeBech32m("ckv", Uint8Array.of(1, ...code.digest)), plain.toLowerCase());
    const mine = equalBytes(code.digest, parsePublicCode(own()).digest);
    const checked = unlessRefused(
      () => {
        checkPublicCode(text, ALICE, alice().masterKey);
        return true;
      },
      "malformed",
      "bad-commitment",
    );
    assert.equal(checked === true, mine);
    if (mine) assert.equal(plain.toLowerCase(), own().replaceAll(" ", ""));
  }
  const bytes = unlessRefused(() => decodeBech32m("ckv", text), "malformed");
  if (bytes !== undefined) assert.equal(encodeBech32m("ckv", bytes), text.toLowerCase());
}
