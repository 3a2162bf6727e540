import assert from "node:assert/strict";
import { classOf, isVerdictCode, VERDICT_CODES, type VerdictCode, VerdictError } from "../../shared/verdict-codes.ts";

describe("shared/verdict-codes", () => {
  it("has every code once", () => {
    assert.equal(VERDICT_CODES.length, 122);
    assert.equal(new Set(VERDICT_CODES).size, 122);
  });

  it("knows classes, what becomes a warning, and what circumstances change", () => {
    assert.deepEqual(classOf("bad-answer"), { class: "unchecked", escalatesAfterMs: 86_400_000 });
    assert.deepEqual(classOf("offline"), { class: "unchecked" });
    assert.deepEqual(classOf("head-fork"), { class: "evidence" });
    assert.deepEqual(classOf("reset-unsigned"), { class: "notice", whenPinned: "warning" });
  });

  it("never takes a text from outside for a code", () => {
    assert(isVerdictCode("leaf-vanished"));
    for (const text of ["", "constructor", "__proto__", "Leaf-vanished"]) assert(!isVerdictCode(text));
    assert.throws(() => classOf("nothing" as VerdictCode), RangeError);
  });

  it("carries code and cause in its error", () => {
    const cause = new Error("why");
    const error = new VerdictError("map-proof", "the map proof of @a:x does not verify", { cause });
    assert.deepEqual([error.code, error.cause, error.evidence], ["map-proof", cause, undefined]);
  });
});
