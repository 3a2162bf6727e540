import assert from "node:assert/strict";
import fc from "fast-check";
import {
  fieldOf,
  invert,
  minus,
  numberOfField,
  ONE,
  plus,
  powerForRoots,
  PRIME,
  times,
  ZERO,
} from "../../../shared/crypto/field25519.ts";
import type { Field } from "../../../shared/crypto/field25519.ts";

const modulo = (n: bigint): bigint => ((n % PRIME) + PRIME) % PRIME;
const number = fc.oneof(
  fc.bigInt({ min: 0n, max: PRIME - 1n }),
  fc.constantFrom(0n, 1n, 2n, 19n, PRIME / 2n, PRIME / 2n + 1n, PRIME - 2n, PRIME - 1n),
);

/** A reduced number whose limbs are as large as they may be, each with this sign. */
function largest(signs: readonly boolean[]): Field {
  const unit = (limb: number): number => 2 ** Math.ceil(21.25 * limb);
  return signs.map((isNegative, limb) => (isNegative ? -0.5 : 0.5) * unit(limb + 1)) as unknown as Field;
}
const signs = fc.array(fc.boolean(), { minLength: 12, maxLength: 12 });

function sumOf(summands: readonly Field[]): Field {
  return summands.reduce(plus, ZERO);
}

describe("shared/crypto/field25519", () => {
  it("holds every number below the prime", () => {
    fc.assert(
      fc.property(number, (a) => {
        assert.equal(numberOfField(fieldOf(a)), a);
      }),
    );
  });

  it("adds, subtracts and multiplies as integers do, modulo the prime", () => {
    fc.assert(
      fc.property(number, number, (a, b) => {
        const [x, y] = [fieldOf(a), fieldOf(b)];
        assert.equal(numberOfField(plus(x, y)), modulo(a + b));
        assert.equal(numberOfField(minus(x, y)), modulo(a - b));
        assert.equal(numberOfField(times(x, y)), modulo(a * b));
      }),
      { numRuns: 1_000 },
    );
  });

  for (const [left, right] of [
    [1, 1],
    [2, 4],
    [4, 2],
    [8, 1],
  ] as const) {
    it(`multiplies sums of ${left} and ${right} of the largest limbs exactly, and reduces the product`, () => {
      fc.assert(
        fc.property(signs, signs, (p, q) => {
          const [x, y] = [sumOf(Array<Field>(left).fill(largest(p))), sumOf(Array<Field>(right).fill(largest(q)))];
          const product = times(x, y);
          assert.equal(numberOfField(product), modulo(numberOfField(x) * numberOfField(y)));
          largest(Array<boolean>(12).fill(false)).forEach((limit, limb) => {
            // The last carry is taken from the lowest limb only: the one above may exceed its half by a 64th.
            assert(Math.abs(product[limb] ?? Infinity) <= limit * (limb === 1 ? 65 / 64 : 1), `limb ${limb}`);
          });
        }),
        { numRuns: 1_000 },
      );
    });
  }

  it("inverts, and raises to the power of (p - 5) / 8", () => {
    fc.assert(
      fc.property(number, (a) => {
        assert.equal(numberOfField(times(invert(fieldOf(a)), fieldOf(a))), a === 0n ? 0n : 1n);
        let power = 1n;
        for (const bit of ((PRIME - 5n) / 8n).toString(2)) power = modulo(power * power * (bit === "1" ? a : 1n));
        assert.equal(numberOfField(powerForRoots(fieldOf(a))), power);
      }),
      { numRuns: 50 },
    );
  });

  it("knows zero and one", () => {
    assert.deepEqual([numberOfField(ZERO), numberOfField(ONE)], [0n, 1n]);
  });
});
