import assert from "node:assert/strict";
import { areaUnderCurve } from "./classifier.ts";

describe("areaUnderCurve", () => {
  it("is 1 for what a threshold separates, in either direction, and half for what is alike", () => {
    assert.equal(areaUnderCurve([1, 2, 3], [4, 5]), 1);
    assert.equal(areaUnderCurve([4, 5], [1, 2, 3]), 1);
    assert.equal(areaUnderCurve([1, 1, 1], [1, 1]), 0.5);
    assert.equal(areaUnderCurve([1, 4], [2, 3]), 0.5);
    assert.equal(areaUnderCurve([1, 2], [2, 3]), 0.875);
  });

  it("finds a difference of a tenth in noise", () => {
    const noise = Array.from({ length: 2_000 }, (_, i) => (i * 7_919) % 2_000);
    assert.ok(areaUnderCurve(noise, noise) < 0.501);
    assert.ok(
      areaUnderCurve(
        noise.map((value) => value + 200),
        noise,
      ) > 0.55,
    );
  });
});
