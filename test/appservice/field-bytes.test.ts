/** Field elements as bytes, and inverses, against numbers. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { bytesOfField, fieldOfBytes, invertAll, isZeroField } from "../../appservice/field-bytes.ts";
import { numberOf } from "../../shared/crypto/edwards25519.ts";
import { fieldOf, minus, numberOfField, ONE, plus, PRIME, times, ZERO } from "../../shared/crypto/field25519.ts";
import type { Field } from "../../shared/crypto/field25519.ts";

const bytesOf = (number: bigint): Buffer => Buffer.from(number.toString(16).padStart(64, "0"), "hex").reverse();
const modulo = (n: bigint): bigint => ((n % PRIME) + PRIME) % PRIME;
const half = PRIME / 2n;
const corners = [0n, 1n, 18n, 19n, 20n, half - 1n, half, half + 1n, half + 2n, PRIME - 19n, PRIME - 1n];
const number = fc.oneof(fc.bigInt({ min: 0n, max: PRIME - 1n }), fc.constantFrom(...corners));

describe("appservice/field-bytes", () => {
  it("takes every number of 255 bits, whatever bit 255 is, and gives the one below the prime", () => {
    const powers = Array.from({ length: 255 }, (_, bit) => [2n ** BigInt(bit), 2n ** BigInt(bit) - 1n]).flat();
    for (const value of [...corners, ...powers, PRIME, PRIME + 1n, 2n ** 255n - 1n]) {
      const field = fieldOfBytes(bytesOf(value));
      assert.equal(numberOfField(field), value % PRIME);
      assert.equal(numberOf(bytesOfField(field)), value % PRIME);
      assert.deepEqual(fieldOfBytes(bytesOf(value + 2n ** 255n)), field);
    }
  });

  it("gives the number of what was calculated", () => {
    fc.assert(
      fc.property(number, number, (a, b) => {
        const [x, y] = [fieldOfBytes(bytesOf(a)), fieldOf(b)];
        const [difference, sum] = [times(minus(x, y), ONE), times(plus(x, y), ONE)];
        assert.equal(numberOf(bytesOfField(times(x, y))), (a * b) % PRIME);
        assert.equal(numberOf(bytesOfField(difference)), modulo(a - b));
        assert.equal(numberOf(bytesOfField(sum)), (a + b) % PRIME);
        assert.equal(isZeroField(difference), a === b);
      }),
    );
  });

  it("gives the number of reduced elements whose limbs are as large as they may be", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(-0.5, 0, 0.5), { minLength: 12, maxLength: 12 }), (sizes) => {
        const field = sizes.map((size, i) => size * 2 ** Math.ceil(21.25 * (i + 1))) as unknown as Field;
        assert.equal(numberOf(bytesOfField(field)), numberOfField(field));
      }),
    );
  });

  it("inverts all, or none where one is zero", () => {
    fc.assert(
      fc.property(fc.array(number, { maxLength: 20 }), (numbers) => {
        const inverses = invertAll(numbers.map((n) => fieldOfBytes(bytesOf(n))));
        assert.equal(inverses === undefined, numbers.includes(0n));
        inverses?.forEach((inverse, i) => {
          assert.equal((numberOfField(inverse) * (numbers[i] as bigint)) % PRIME, 1n);
        });
      }),
    );
    assert.equal(invertAll([ONE, ZERO, ONE]), undefined);
  });
});
