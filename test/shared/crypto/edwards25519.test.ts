import assert from "node:assert/strict";
import fc from "fast-check";
import { ED25519_TORSION_SUBGROUP, ed25519 } from "@noble/curves/ed25519.js";
import {
  basePoint,
  decodePoint,
  encodePoint,
  isIdentity,
  isSmallOrder,
  knownPoint,
  passingPoint,
  sumOfMultiples,
} from "../../../shared/crypto/edwards25519.ts";
import type { PreparedPoint } from "../../../shared/crypto/edwards25519.ts";
import { decodeHex, encodeHex } from "../../../shared/encoding.ts";

type Reference = InstanceType<typeof ed25519.Point>;

/** Two independent libraries: noble/curves says what the sum must be. */
function expected(terms: readonly (readonly [scalar: bigint, point: Reference])[]): string {
  const multiples = terms.map(([scalar, point]) => {
    const size = point.multiplyUnsafe((scalar < 0n ? -scalar : scalar) % ed25519.Point.Fn.ORDER);
    return scalar < 0n ? size.negate() : size;
  });
  return encodeHex(multiples.reduce((sum, each) => sum.add(each), ed25519.Point.ZERO).toBytes());
}

function prepared(reference: Reference, prepare: "passing" | "known"): PreparedPoint {
  const bytes = reference.toBytes();
  const point = decodePoint(bytes);
  const [known] = Array.from({ length: 10 }, () => knownPoint(bytes)).reverse();
  assert(point !== undefined && known !== undefined);
  return prepare === "known" ? known : passingPoint(point);
}

const scalar = fc.bigInt({ min: 1n - ed25519.Point.Fn.ORDER, max: ed25519.Point.Fn.ORDER - 1n });
const way = fc.constantFrom("passing" as const, "known" as const);
/** Points of the curve, those with a part of small order among them. */
const point = fc
  .tuple(fc.bigInt({ min: 0n, max: ed25519.Point.Fn.ORDER - 1n }), fc.constantFrom(...ED25519_TORSION_SUBGROUP))
  .map(([multiple, torsion]) =>
    ed25519.Point.BASE.multiplyUnsafe(multiple).add(ed25519.Point.fromBytes(decodeHex(torsion))),
  );

describe("shared/crypto/edwards25519", () => {
  it("adds multiples as noble/curves does, of any points and with any tables", () => {
    fc.assert(
      fc.property(scalar, scalar, point, point, way, way, (a, b, p, q, wayP, wayQ) => {
        const sum = sumOfMultiples({ scalar: a, of: prepared(p, wayP) }, { scalar: b, of: prepared(q, wayQ) });
        assert.equal(
          encodeHex(encodePoint(sum)),
          expected([
            [a, p],
            [b, q],
          ]),
        );
      }),
      { numRuns: 50 },
    );
  });

  for (const scalar of [0n, 1n, -1n, 8n, 15n, 16n, 17n, 2n ** 64n - 1n, 2n ** 64n, 2n ** 252n, -(2n ** 192n)]) {
    it(`multiplies the base point by ${String(scalar)}`, () => {
      const sum = sumOfMultiples({ scalar, of: basePoint() });
      assert.equal(encodeHex(encodePoint(sum)), expected([[scalar, ed25519.Point.BASE]]));
    });
  }

  it("knows the points of small order", () => {
    for (const reference of ED25519_TORSION_SUBGROUP.map((hex) => ed25519.Point.fromBytes(decodeHex(hex)))) {
      const [small, large] = [reference, reference.add(ed25519.Point.BASE)].map((each) => decodePoint(each.toBytes()));
      assert(small !== undefined && large !== undefined);
      assert.deepEqual([isSmallOrder(small), isSmallOrder(large)], [true, false]);
    }
  });

  it("adds nothing to nothing", () => {
    assert.equal(isIdentity(sumOfMultiples()), true);
  });
});
