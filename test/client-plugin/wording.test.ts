import assert from "node:assert/strict";
import { wordingOf } from "../../client-plugin/wording.ts";
import { VERDICT_CODES } from "../../shared/verdict-codes.ts";

const FACTS = { name: "Alice {server}", server: "example.org", since: "2026-01-02 03:04 UTC" };

describe("wording", () => {
  it("names the facts it is given, and takes no name for a placeholder", () => {
    const { title, text } = wordingOf("head-withheld", FACTS);
    assert.match(title, /example\.org/);
    assert.match(text, /2026-01-02 03:04 UTC/);
    assert.match(wordingOf("reset-signed", FACTS).title, /^Alice \{server\} /);
  });

  it("names devices, however many", () => {
    const about = (devices: readonly string[]): string => wordingOf("device-unsigned", { ...FACTS, devices }).text;
    assert.match(about([]), /^A device is/);
    assert.match(about(["PHONE"]), /^The device PHONE is/);
    assert.match(about(["PHONE", "{name}"]), /^The devices PHONE, \{name\} is/);
  });

  for (const code of VERDICT_CODES) {
    it(`leaves no placeholder open: ${code}`, () => {
      const { title, text, action } = wordingOf(code, { ...FACTS, name: "Alice" });
      for (const words of [title, text, action]) {
        assert.ok(words.length > 0);
        assert.doesNotMatch(words, /[{}]|undefined/);
      }
    });
  }
});
