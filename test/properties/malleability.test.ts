/** Another text for a valid signature or VRF proof, in the classes that Wycheproof tries: each is refused with its code. */
import assert from "node:assert/strict";
import { ED25519_TORSION_SUBGROUP } from "@noble/curves/ed25519.js";
import fc from "fast-check";
import { publicKeyOf, signEd25519, verifyEd25519 } from "../../shared/crypto/ed25519.ts";
import { proveVrf, verifyVrf, vrfPublicKey } from "../../shared/crypto/vrf.ts";
import { concat, decodeHex } from "../../shared/encoding.ts";
import { assertRefused } from "../support/mutations.ts";

const L = 2n ** 252n + 27742317777372353535851937790883648493n;
const P = 2n ** 255n - 19n;
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 });

function numberOf(bytes: Uint8Array): bigint {
  return bytes.reduceRight((value, byte) => value * 256n + BigInt(byte), 0n);
}
function bytesOf(value: bigint): Uint8Array {
  return Uint8Array.from({ length: 32 }, (_, i) => Number((value >> BigInt(8 * i)) & 255n));
}

/** Points whose eightfold is the identity, and encodings of points with y from p on. */
const SMALL = ED25519_TORSION_SUBGROUP.map(decodeHex);
const NOT_CANONICAL = [P, P + 1n, P + 3n, 2n ** 255n - 1n].flatMap((y) => [bytesOf(y), bytesOf(y + 2n ** 255n)]);

describe("malleable encodings", () => {
  it("of an Ed25519 signature: other scalars, points and lengths", () => {
    fc.assert(
      fc.property(bytes32, fc.uint8Array({ maxLength: 40 }), (seed, message) => {
        const [key, signature] = [publicKeyOf(seed), signEd25519(seed, message)];
        verifyEd25519(key, message, signature);
        const [r, s] = [signature.slice(0, 32), numberOf(signature.slice(32))];
        const scalars = [s + L, s + 2n * L, s + 7n * L, L, L - s, 0n, 2n ** 256n - 1n].filter(
          (other) => other < 2n ** 256n,
        );
        const others = [
          ...scalars.map((other) => concat(r, bytesOf(other))),
          ...[...SMALL, ...NOT_CANONICAL].map((point) => concat(point, bytesOf(s))),
          ...SMALL.map((point) => concat(point, bytesOf(0n))),
          concat(r, signature.slice(32), Uint8Array.of(0)),
          concat(Uint8Array.of(0), signature),
          concat(signature.slice(32), r),
          signature.slice(0, 63),
          new Uint8Array(),
        ];
        for (const [i, other] of others.entries()) {
          assertRefused(
            () => {
              verifyEd25519(key, message, other);
            },
            "bad-signature",
            `signature ${i}`,
          );
        }
        for (const [i, other] of [...SMALL, ...NOT_CANONICAL, key.slice(0, 31), concat(key, r)].entries()) {
          assertRefused(
            () => {
              verifyEd25519(other, message, signature);
            },
            "bad-signature",
            `key ${i}`,
          );
        }
      }),
      { numRuns: 15 },
    );
  });

  it("of a VRF proof: other scalars, points and lengths", () => {
    fc.assert(
      fc.property(bytes32, fc.uint8Array({ maxLength: 40 }), (seed, alpha) => {
        const key = vrfPublicKey(seed);
        const { proof, index } = proveVrf(seed, alpha);
        assert.deepEqual(verifyVrf(key, alpha, proof), index);
        const [gamma, c, s] = [proof.slice(0, 32), proof.slice(32, 48), numberOf(proof.slice(48))];
        const others = [
          ...[s + L, s + 7n * L, L - s, 0n].map((other) => concat(gamma, c, bytesOf(other))),
          ...[...SMALL, ...NOT_CANONICAL].map((point) => concat(point, c, bytesOf(s))),
          concat(gamma, new Uint8Array(16), bytesOf(0n)),
          concat(proof, Uint8Array.of(0)),
          proof.slice(0, 79),
        ];
        for (const [i, other] of others.entries()) {
          assertRefused(() => verifyVrf(key, alpha, other), "bad-vrf", `proof ${i}`);
        }
      }),
      { numRuns: 6 },
    );
  });
});
