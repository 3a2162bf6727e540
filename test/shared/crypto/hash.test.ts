import assert from "node:assert/strict";
import { hkdfSha256, hmacSha256 } from "../../../shared/crypto/hash.ts";
import { decodeHex, encodeHex } from "../../../shared/encoding.ts";

describe("shared/crypto/hash", () => {
  it("takes no key of more than one block", () => {
    assert.throws(() => hmacSha256(new Uint8Array(65), new Uint8Array()), RangeError);
    assert.equal(hmacSha256(new Uint8Array(64), new Uint8Array()).length, 32);
  });

  // RFC 5869, "Test Vectors": cases 1 and 3, of whose outputs these are the first block.
  for (const { name, ikm, salt, info, okm } of [
    {
      name: "with salt",
      ikm: "0b".repeat(22),
      salt: "000102030405060708090a0b0c",
      info: "f0f1f2f3f4f5f6f7f8f9",
      okm: "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf",
    },
    {
      name: "without salt",
      ikm: "0b".repeat(22),
      salt: "",
      info: "",
      okm: "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d",
    },
  ]) {
    it(`derives keys as RFC 5869 does, ${name}`, () => {
      const derived = (length: number): string =>
        encodeHex(hkdfSha256(decodeHex(ikm), decodeHex(salt), decodeHex(info), length));
      assert.equal(derived(32), okm);
      assert.equal(derived(8), okm.slice(0, 16));
      assert.throws(() => derived(33), RangeError);
    });
  }
});
