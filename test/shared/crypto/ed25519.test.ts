import assert from "node:assert/strict";
import { createPublicKey, verify } from "node:crypto";
import fc from "fast-check";
import { concat, decodeHex, encodeHex, utf8 } from "../../../shared/encoding.ts";
import {
  checkPublicKey,
  publicKeyOf,
  REMEMBERING_CHECKS,
  signEd25519,
  verifyEd25519,
} from "../../../shared/crypto/ed25519.ts";
import { assertRefused, flippedBits } from "../../support/mutations.ts";
import { frozenVectors, itWithVectors } from "../../support/vectors.ts";

const SPKI_PREFIX = decodeHex("302a300506032b6570032100");

interface CctvCase {
  readonly number: number;
  readonly key: string;
  readonly sig: string;
  readonly msg: string;
}

/** What OpenSSL says, which keeps the same rule. */
function opensslAccepts(key: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    const spki = createPublicKey({ key: Buffer.from(concat(SPKI_PREFIX, key)), format: "der", type: "spki" });
    return verify(null, message, spki, signature);
  } catch {
    return false;
  }
}

/** Runs the cases, compares each with OpenSSL, and returns how many are accepted. */
function runCases(vectors: unknown): number {
  let accepted = 0;
  for (const { number, key, sig, msg } of vectors as CctvCase[]) {
    const [publicKey, message, signature] = [decodeHex(key), utf8(msg), decodeHex(sig)];
    if (opensslAccepts(publicKey, message, signature)) {
      verifyEd25519(publicKey, message, signature);
      accepted += 1;
    } else {
      assertRefused(
        () => {
          verifyEd25519(publicKey, message, signature);
        },
        "bad-signature",
        String(number),
      );
    }
  }
  return accepted;
}

describe("shared/crypto/ed25519", () => {
  const seed = new Uint8Array(32).fill(7);
  const message = utf8("message");
  const [publicKey, signature] = [publicKeyOf(seed), signEd25519(seed, message)];

  it("signs as RFC 8032, test 1, does", () => {
    const rfcSeed = decodeHex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
    assert.equal(encodeHex(publicKeyOf(rfcSeed)), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    assert.equal(
      encodeHex(signEd25519(rfcSeed, new Uint8Array())),
      "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155" +
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    );
  });

  it("accepts what it signs, and OpenSSL does, too", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), fc.uint8Array(), (anySeed, anyMessage) => {
        const [key, signed] = [publicKeyOf(anySeed), signEd25519(anySeed, anyMessage)];
        verifyEd25519(key, anyMessage, signed);
        assert(opensslAccepts(key, anyMessage, signed));
      }),
      { numRuns: 20 },
    );
  });

  it("refuses every flipped bit of signature, key and message", () => {
    const refused = (key: Uint8Array, text: Uint8Array, signed: Uint8Array, name: string): void => {
      assertRefused(
        () => {
          verifyEd25519(key, text, signed);
        },
        "bad-signature",
        name,
      );
    };
    for (const { name, value } of flippedBits(signature)) refused(publicKey, message, value, `signature ${name}`);
    for (const { name, value } of flippedBits(publicKey)) refused(value, message, signature, `key ${name}`);
    for (const { name, value } of flippedBits(message)) refused(publicKey, value, signature, `message ${name}`);
    refused(publicKey, message, signature.slice(0, 63), "truncated");
    refused(publicKey, message, concat(signature, Uint8Array.of(0)), "trailing-byte");
    refused(publicKey.slice(1), message, signature, "short key");
  });

  it("gives the same answer however often a key is used", () => {
    for (let use = 0; use < 12; use++) {
      verifyEd25519(publicKey, message, signature);
      assertRefused(() => {
        verifyEd25519(publicKey, utf8("other"), signature);
      }, "bad-signature");
    }
    for (let other = 0; other < 70; other++) checkPublicKey(publicKeyOf(new Uint8Array(32).fill(other)));
    verifyEd25519(publicKey, message, signature);
  });

  it("refuses keys of small order and keys that are not canonical", () => {
    const wrong = [
      "0100000000000000000000000000000000000000000000000000000000000000",
      "0000000000000000000000000000000000000000000000000000000000000000",
      "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
      "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
      "0100000000000000000000000000000000000000000000000000000000000080",
      "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
      "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    ];
    for (const key of wrong) assertRefused(() => checkPublicKey(decodeHex(key)), "bad-signature", key);
    assert.deepEqual(checkPublicKey(publicKey), publicKey);
  });

  it("remembers what held, and nothing else", () => {
    for (let time = 0; time < 2; time += 1) {
      REMEMBERING_CHECKS.verify(publicKey, message, signature);
      for (const { value: flipped } of flippedBits(signature, 61)) {
        assertRefused(() => {
          REMEMBERING_CHECKS.verify(publicKey, message, flipped);
        }, "bad-signature");
      }
      assertRefused(() => {
        REMEMBERING_CHECKS.verify(publicKey, concat(message, message), signature);
      }, "bad-signature");
      assertRefused(() => {
        REMEMBERING_CHECKS.verify(concat(publicKey, signature), message.subarray(0, 0), signature.subarray(0, 0));
      }, "bad-signature");
    }
  });

  it("agrees with OpenSSL on the frozen CCTV cases", () => {
    runCases(frozenVectors("ed25519-cctv-sample.json"));
  });
  itWithVectors(
    "agrees with OpenSSL on all 914 CCTV cases, of which 43 are accepted",
    "ed25519-cctv.json",
    (vectors) => {
      assert.equal((vectors as unknown[]).length, 914);
      assert.equal(runCases(vectors), 43);
    },
  );
});
