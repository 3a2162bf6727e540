import assert from "node:assert/strict";
import { bech32m } from "@scure/base";
import fc from "fast-check";
import { decodeHex } from "../../../shared/encoding.ts";
import {
  checkPublicCode,
  encodePublicCode,
  matrixLink,
  parseMatrixLink,
  parsePublicCode,
} from "../../../shared/codes/public-code.ts";
import { assertOnlyMalformed, assertRefused } from "../../support/mutations.ts";
import { frozenVectors } from "../../support/vectors.ts";

const { publicCode: vectors } = frozenVectors("ckv.json") as {
  publicCode: { userId: string; masterKey: string; code: string }[];
};
const { userId, masterKey, code } = vectors[1]!;

describe("shared/codes/public-code", () => {
  for (const vector of vectors) {
    it(`of ${vector.userId} is what a second implementation computes`, () => {
      assert.equal(encodePublicCode(vector.userId, decodeHex(vector.masterKey)), vector.code);
      checkPublicCode(vector.code, vector.userId, decodeHex(vector.masterKey));
    });
  }

  it("is read without regard to white space, or in upper case", () => {
    assert.deepEqual(parsePublicCode(` ${code.replaceAll(" ", "\n")} `), parsePublicCode(code));
    assert.deepEqual(parsePublicCode(code.toUpperCase()), parsePublicCode(code));
    assertRefused(() => parsePublicCode(code.replace("ckv", "Ckv")), "malformed");
  });

  it("refuses every single wrong, dropped, doubled and swapped character", () => {
    const plain = code.replaceAll(" ", "");
    for (let i = 0; i < plain.length; i++) {
      for (const char of "qpzry9x8gf2tvdw0s3jn54khce6mua7lb") {
        if (char === plain[i]) continue;
        assertRefused(
          () => parsePublicCode(plain.slice(0, i) + char + plain.slice(i + 1)),
          "malformed",
          `${i} ${char}`,
        );
      }
      assertRefused(() => parsePublicCode(plain.slice(0, i) + plain.slice(i + 1)), "malformed");
      assertRefused(() => parsePublicCode(plain.slice(0, i + 1) + plain.slice(i)), "malformed");
    }
    assertOnlyMalformed(fc.string({ unit: fc.constantFrom(...Array.from("ckv1qpz 9x8")) }), parsePublicCode);
  });

  it("refuses other prefixes, formats and lengths that are well-formed otherwise", () => {
    const encode = (prefix: string, bytes: number[]): string =>
      bech32m.encode(prefix, bech32m.toWords(Uint8Array.from(bytes)));
    const digest = Array.from({ length: 20 }, () => 7);
    assert.doesNotThrow(() => parsePublicCode(encode("ckv", [1, ...digest])));
    assertRefused(() => parsePublicCode(encode("ckw", [1, ...digest])), "malformed");
    assertRefused(() => parsePublicCode(encode("ckv", [2, ...digest])), "malformed");
    assertRefused(() => parsePublicCode(encode("ckv", [1, ...digest, 7])), "malformed");
    assertRefused(() => parsePublicCode(encode("ckv", [1, ...digest.slice(1)])), "malformed");
  });

  it("refuses another user and another key", () => {
    const refused = (user: string, key: Uint8Array): void => {
      assertRefused(() => {
        checkPublicCode(code, user, key);
      }, "bad-commitment");
    };
    refused("@bob:example.org", decodeHex(masterKey));
    refused(userId, new Uint8Array(32));
  });

  it("travels in a link", () => {
    for (const user of [userId, "@a/b+c=d_é:example.org:8448"]) {
      const link = matrixLink(user, code);
      assert.deepEqual(parseMatrixLink(link), { userId: user, publicCode: code.replaceAll(" ", "") });
      assert.doesNotThrow(() => new URL(link));
    }
    assert.equal(
      matrixLink(userId, code),
      `matrix:u/alice:example.org?org.matrix-ckv.code=${code.replaceAll(" ", "")}`,
    );
    for (const link of [
      "matrix:u/a:b",
      "https://x",
      "matrix:r/a:b?org.matrix-ckv.code=x",
      "matrix:u/%ff?org.matrix-ckv.code=x",
    ]) {
      assertRefused(() => parseMatrixLink(link), "malformed", link);
    }
  });
});
