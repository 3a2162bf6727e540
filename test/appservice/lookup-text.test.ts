import assert from "node:assert/strict";
import fc from "fast-check";
import { asciiJson } from "../../appservice/lookup-text.ts";

describe("asciiJson", () => {
  it("is ASCII, and the same value again once it is parsed", () => {
    const texts = fc.oneof(fc.string({ unit: "binary" }), fc.string({ unit: "grapheme" }), fc.constant("\ud800"));
    fc.assert(
      fc.property(texts, (text) => {
        const json = asciiJson({ text });
        assert.match(json, /^[ -\x7f]*$/);
        assert.deepEqual(JSON.parse(json), { text });
      }),
    );
  });

  it("escapes the dash before a signature", () => {
    assert.equal(asciiJson("\u2014 name"), String.raw`"\u2014 name"`);
  });
});
