import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";

const ATTACKS = 93;
const rows = readFileSync("docs/attacks.md", "utf8")
  .split("\n")
  .filter((line) => /^\| \d+ \|/.test(line))
  .map((line) => line.split(" | "));

/** Each named file with the titles that follow it. */
function testsOf(cell: string): { file: string; titles: string[] }[] {
  return [...cell.matchAll(/`(test\/[^`]+\.test\.ts)` ("[^`]*)/g)].map(([, file = "", quoted = ""]) => ({
    file,
    titles: [...quoted.matchAll(/"([^"]+)"/g)].map(([, title = ""]) => title),
  }));
}

describe("docs/attacks.md", () => {
  it("has every attack once, in order", () => {
    assert.deepEqual(
      rows.map(([number = ""]) => Number(number.slice(2))),
      Array.from({ length: ATTACKS }, (_, at) => at + 1),
    );
  });

  it("names tests that exist, or says why there is none", () => {
    for (const [number = "", , , cell = ""] of rows) {
      const tests = testsOf(cell);
      assert.ok(tests.length > 0 || cell.startsWith("not tested: "), number);
      for (const { file, titles } of tests) {
        assert.ok(existsSync(file), `${number}: ${file}`);
        const source = readFileSync(file, "utf8");
        assert.ok(titles.length > 0, number);
        for (const title of titles) assert.ok(source.includes(title), `${number}: ${file} has no "${title}"`);
      }
    }
  });
});
