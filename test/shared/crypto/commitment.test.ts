import assert from "node:assert/strict";
import { decodeHex, encodeHex, utf8 } from "../../../shared/encoding.ts";
import { commit, type Opening, verifyCommitment } from "../../../shared/crypto/commitment.ts";
import { assertRefused, flippedBits } from "../../support/mutations.ts";
import { frozenVectors } from "../../support/vectors.ts";

const { commitment: vector } = frozenVectors("ckv.json") as {
  commitment: { userId: string; version: number; entry: string; opening: string; commitment: string };
};

describe("shared/crypto/commitment", () => {
  const opened: Opening = {
    userId: vector.userId,
    version: vector.version,
    entry: utf8(vector.entry),
    opening: decodeHex(vector.opening),
  };
  const commitment = decodeHex(vector.commitment);
  const refused = (value: Uint8Array, opening: Opening, name: string): void => {
    assertRefused(
      () => {
        verifyCommitment(value, opening);
      },
      "bad-commitment",
      name,
    );
  };

  it("is what a second implementation computes", () => {
    assert.equal(encodeHex(commit(opened)), vector.commitment);
    verifyCommitment(commitment, opened);
  });

  it("refuses every flipped bit, another user and another version", () => {
    for (const { name, value } of flippedBits(commitment)) refused(value, opened, `commitment ${name}`);
    for (const { name, value } of flippedBits(opened.opening)) refused(commitment, { ...opened, opening: value }, name);
    for (const { name, value } of flippedBits(opened.entry)) refused(commitment, { ...opened, entry: value }, name);
    refused(commitment, { ...opened, userId: "@zoe:example.org" }, "other-user");
    for (const version of [vector.version - 1, vector.version + 1])
      refused(commitment, { ...opened, version }, "version");
    refused(commitment.slice(1), opened, "short");
  });

  it("takes openings of 32 bytes only", () => {
    assertRefused(() => commit({ ...opened, opening: new Uint8Array(31) }), "malformed");
  });
});
