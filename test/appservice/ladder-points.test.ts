/** Multiples by X25519, against noble/curves. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { ED25519_TORSION_SUBGROUP, ed25519 } from "@noble/curves/ed25519.js";
import { numberToBytesLE } from "@noble/curves/utils.js";
import { fieldOfBytes } from "../../appservice/field-bytes.ts";
import { encodeAll, ladderPoints, ladderScalar, multiply } from "../../appservice/ladder-points.ts";
import type { LadderPoint, LadderScalar, Summed } from "../../appservice/ladder-points.ts";
import { loadSodium } from "../../appservice/libsodium.ts";
import type { Sodium } from "../../appservice/libsodium.ts";
import { ORDER } from "../../shared/crypto/edwards25519.ts";
import { decodeHex, encodeHex } from "../../shared/encoding.ts";

type Reference = InstanceType<typeof ed25519.Point>;

const { BASE } = ed25519.Point;
const sodium = loadSodium() as Sodium;
const torsions = ED25519_TORSION_SUBGROUP.map((hex) => ed25519.Point.fromBytes(decodeHex(hex)));

function summed(X: Reference): Summed {
  return { y: fieldOfBytes(X.toBytes()), ySum: fieldOfBytes(X.add(BASE).toBytes()) };
}

function prepared(X: Reference): LadderPoint {
  const [point] = ladderPoints([summed(X)]) ?? [];
  assert(point !== undefined);
  return point;
}

function split(scalar: bigint): LadderScalar | undefined {
  return ladderScalar(sodium, numberToBytesLE(scalar, 32));
}

function multiple(point: LadderPoint, scalar: bigint): string {
  const parts = split(scalar);
  assert(parts !== undefined);
  const found = multiply(sodium, point, parts);
  const [encoded] = (found && encodeAll([found])) ?? [];
  assert(encoded !== undefined);
  return encodeHex(encoded);
}

/** Points of the curve, those with a part of small order among them. */
const point = fc
  .tuple(fc.bigInt({ min: 2n, max: ORDER - 2n }), fc.constantFrom(...torsions))
  .map(([scalar, torsion]) => BASE.multiplyUnsafe(scalar).add(torsion));
const [low, high] = [2n ** 251n, 2n ** 252n];

describe("appservice/ladder-points", () => {
  it("multiplies as noble/curves does, by scalars of either half", () => {
    const scalar = fc.oneof(
      fc.bigInt({ min: ORDER - high + 2n, max: high - 2n }),
      fc.constantFrom(ORDER - high + 2n, low - 1n, low, low + 1n, ORDER - low, ORDER - low - 1n, high - 2n),
    );
    fc.assert(
      fc.property(point, scalar, (X, by) => {
        const H = X.clearCofactor();
        assert.equal(encodeHex(prepared(X).encoded), H.toHex());
        assert.equal(multiple(prepared(X), by), H.multiplyUnsafe(by).toHex());
      }),
      { numRuns: 60 },
    );
  });

  it("leaves a scalar aside that X25519 would take for another one", () => {
    for (const by of [0n, 1n, 2n, ORDER - high, ORDER - high + 1n, high - 1n, high, high + 1n, ORDER - 1n]) {
      assert.equal(split(by), undefined, by.toString());
    }
  });

  it("leaves points of small order aside, with all that were to be prepared beside them", () => {
    const others = [5n, 6n].map((scalar) => summed(BASE.multiply(scalar)));
    assert.equal(ladderPoints(others)?.length, 2);
    for (const torsion of torsions) {
      assert.equal(ladderPoints([...others, summed(torsion)]), undefined);
    }
  });

  it("leaves a multiple aside whose neighbour is not the next one", () => {
    const [X, parts] = [prepared(BASE.multiply(7n)), split(high - 12345n)];
    assert(parts !== undefined);
    assert.notEqual(multiply(sodium, X, parts), undefined);
    for (const eightMore of [parts.eight, split(high - 12343n)?.eightMore]) {
      assert.equal(multiply(sodium, X, { ...parts, eightMore: eightMore as Buffer }), undefined);
    }
    const other = prepared(BASE.multiply(8n));
    assert.equal(multiply(sodium, { ...X, uBeforeClearing: other.uBeforeClearing }, parts), undefined);
  });
});
