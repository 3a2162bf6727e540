import assert from "node:assert/strict";
import { bech32m } from "@scure/base";
import fc from "fast-check";
import { decodeBech32m, encodeBech32m } from "../../../shared/codes/bech32m.ts";
import { assertOnlyMalformed, assertRefused } from "../../support/mutations.ts";

/** Well-formed by BIP-350, "Test vectors for Bech32m", with the prefix; and ill-formed, with what is wrong. */
const VALID: readonly (readonly [string, string])[] = [
  ["A1LQFN3A", "a"],
  ["a1lqfn3a", "a"],
  ["split1checkupstagehandshakeupstreamerranterredcaperredlc445v", "split"],
];
const INVALID: readonly (readonly [string, string])[] = [
  ["y1b0jsk6g", "y"],
  ["lt1igcx5c0", "lt"],
  ["in1muywd", "in"],
  ["mm1crxm3i", "mm"],
  ["au1s5cgom", "au"],
  ["M1VUXWEZ", "m"],
  ["A1lqfn3a", "a"],
];

describe("shared/codes/bech32m", () => {
  it("is that of a well-kept library, for any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 48 }), (bytes) => {
        const text = encodeBech32m("ckv", bytes);
        assert.equal(text, bech32m.encode("ckv", bech32m.toWords(bytes)));
        assert.deepEqual(decodeBech32m("ckv", text), bytes);
        assert.deepEqual(decodeBech32m("ckv", text.toUpperCase()), bytes);
      }),
    );
  });

  it("takes what BIP-350 calls valid, where it holds whole bytes", () => {
    for (const [text, prefix] of VALID) {
      const expected = Uint8Array.from(
        bech32m.fromWordsUnsafe(bech32m.decode(text as `${string}1${string}`).words) ?? [],
      );
      assert.deepEqual(decodeBech32m(prefix, text), expected);
    }
  });

  it("refuses what BIP-350 calls invalid", () => {
    for (const [text, prefix] of INVALID) assertRefused(() => decodeBech32m(prefix, text), "malformed", text);
    assertOnlyMalformed(fc.string({ maxLength: 40 }), (text) => decodeBech32m("ckv", `ckv1${text}`));
  });

  it("refuses bits left over that are not zero, and a character too many", () => {
    const encode = (words: number[]): string => bech32m.encode("ckv", words);
    assert.deepEqual(decodeBech32m("ckv", encode([1, 4])), Uint8Array.of(9));
    assertRefused(() => decodeBech32m("ckv", encode([1, 5])), "malformed");
    assertRefused(() => decodeBech32m("ckv", encode([1, 4, 0])), "malformed");
    assertRefused(() => decodeBech32m("ckv", encode([0])), "malformed");
  });
});
