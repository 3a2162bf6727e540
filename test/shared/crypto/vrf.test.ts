import assert from "node:assert/strict";
import fc from "fast-check";
import { ed25519 } from "@noble/curves/ed25519.js";
import { concat, decodeHex, encodeHex, utf8 } from "../../../shared/encoding.ts";
import { publicKeyOf } from "../../../shared/crypto/ed25519.ts";
import {
  checkVrfKey,
  expandVrfSeed,
  type Group,
  proveVrf,
  proveVrfWith,
  verifyVrf,
  vrfOutput,
  vrfPublicKey,
} from "../../../shared/crypto/vrf.ts";
import { assertRefused, flippedBits } from "../../support/mutations.ts";
import { frozenVectors } from "../../support/vectors.ts";

interface EcvrfExample {
  readonly example: number;
  readonly SK: string;
  readonly PK: string;
  readonly alpha: string;
  readonly pi: string;
  readonly beta: string;
}

const examples = frozenVectors("rfc9381-ed25519-tai.json") as EcvrfExample[];
const ORDER = ed25519.Point.Fn.ORDER;

/** A group whose points are their encodings, as a native library has them. */
const encodedGroup: Group<Uint8Array> = {
  decode(bytes) {
    try {
      return ed25519.Point.fromBytes(bytes).toBytes();
    } catch {
      return undefined;
    }
  },
  encode: (point) => point,
  clearCofactor(point) {
    const cleared = ed25519.Point.fromBytes(point).clearCofactor();
    return cleared.is0() ? undefined : cleared.toBytes();
  },
  multiply: (point, scalar) => ed25519.Point.fromBytes(point).multiply(scalar).toBytes(),
  multiplyBase: (scalar) => ed25519.Point.BASE.multiply(scalar).toBytes(),
};

describe("shared/crypto/vrf", () => {
  const seed = new Uint8Array(32).fill(5);
  const alpha = utf8("@alice:example.org");
  const publicKey = vrfPublicKey(seed);
  const { proof, index } = proveVrf(seed, alpha);

  for (const { example, SK, PK, alpha: input, pi, beta } of examples) {
    it(`reproduces example ${example} of RFC 9381`, () => {
      assert.equal(encodeHex(vrfPublicKey(decodeHex(SK))), PK);
      const proven = proveVrf(decodeHex(SK), decodeHex(input));
      assert.equal(encodeHex(proven.proof), pi);
      assert.equal(encodeHex(proven.index), beta.slice(0, 64));
      assert.equal(encodeHex(vrfOutput(proven.proof)), beta);
      assert.equal(encodeHex(verifyVrf(decodeHex(PK), decodeHex(input), decodeHex(pi))), beta.slice(0, 64));
    });
  }

  it("proves the same bytes with another arithmetic", () => {
    assert.deepEqual(proveVrfWith(encodedGroup, expandVrfSeed(seed), alpha), { proof, index });
  });

  it("verifies what it proves, for any seed and input", () => {
    const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
    fc.assert(
      fc.property(bytes32, fc.uint8Array({ maxLength: 255 }), (anySeed, input) => {
        const proven = proveVrf(anySeed, input);
        assert.deepEqual(verifyVrf(checkVrfKey(vrfPublicKey(anySeed)), input, proven.proof), proven.index);
      }),
      { numRuns: 15 },
    );
  });

  it("refuses every flipped bit of the proof", () => {
    for (const { name, value } of flippedBits(proof)) {
      assertRefused(() => verifyVrf(publicKey, alpha, value), "bad-vrf", name);
    }
  });

  it("refuses another user, another key, and other lengths", () => {
    assertRefused(() => verifyVrf(publicKey, utf8("@bob:example.org"), proof), "bad-vrf");
    assertRefused(() => verifyVrf(publicKeyOf(new Uint8Array(32)), alpha, proof), "bad-vrf");
    assertRefused(() => verifyVrf(publicKey, alpha, proof.slice(0, 79)), "bad-vrf");
    assertRefused(() => verifyVrf(publicKey, alpha, concat(proof, Uint8Array.of(0))), "bad-vrf");
    assertRefused(() => verifyVrf(publicKey.slice(1), alpha, proof), "bad-vrf");
    assertRefused(() => vrfOutput(proof.slice(1)), "bad-vrf");
  });

  it("refuses a scalar that is not reduced, and takes zeros without falling over", () => {
    const s = proof.slice(48).reduceRight((value, byte) => value * 256n + BigInt(byte), 0n);
    const unreduced = Uint8Array.from({ length: 32 }, (_, i) => Number(((s + ORDER) >> BigInt(8 * i)) & 255n));
    assertRefused(() => verifyVrf(publicKey, alpha, concat(proof.slice(0, 48), unreduced)), "bad-vrf");
    assertRefused(() => verifyVrf(publicKey, alpha, concat(proof.slice(0, 32), new Uint8Array(48))), "bad-vrf");
    const identity = concat(Uint8Array.of(1), new Uint8Array(79));
    assertRefused(() => verifyVrf(publicKey, alpha, identity), "bad-vrf");
  });

  it("refuses keys whose eightfold is the identity, and keys that are not canonical", () => {
    for (const key of [
      "01",
      "00",
      "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
      "ee".padEnd(62, "f") + "7f",
    ]) {
      assertRefused(() => checkVrfKey(decodeHex(key.padEnd(64, "0"))), "bad-vrf", key);
    }
    assert.deepEqual(checkVrfKey(publicKey), publicKey);
  });
});
