import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

const ATTACKS = 93;
const FAULTS = 80;

/** Rows of all tables in a document, as their cells, of those whose first cell is of the given form. */
function rowsOf(file: string, first: RegExp): string[][] {
  const lines = readFileSync(file, "utf8").split("\n");
  const rows = lines.filter((line) => line.startsWith("| ")).map((line) => line.slice(2, -2).split(" | "));
  return rows.map((cells) => cells.map((cell) => cell.trim())).filter(([cell = ""]) => first.test(cell));
}

interface Named {
  /** A test file, or a campaign. */
  readonly where: string;
  readonly titles: readonly string[];
}

/** Each named test file or campaign with the titles that follow it. */
function namedIn(cell: string): Named[] {
  return [...cell.matchAll(/`(test\/[^`]+\.test\.ts|npm run [a-z]+)` ("[^`]*)/g)].map(
    ([, where = "", quoted = ""]) => ({
      where,
      titles: [...quoted.matchAll(/"((?:[^"\\]|\\")+)"/g)].map(([, title = ""]) => title),
    }),
  );
}

/** All sources and file names of a campaign, or the source of a test. */
function sourceOf(where: string): string {
  const path = where.startsWith("npm run ") ? `test/${where.slice("npm run ".length)}` : where;
  if (!existsSync(path)) return "";
  if (statSync(path).isFile()) return readFileSync(path, "utf8");
  const files = readdirSync(path, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"));
  return files.map((file) => `${file}\n${readFileSync(join(path, file), "utf8")}`).join("\n");
}

function checkNamed(row: string, cell: string): void {
  for (const { where, titles } of namedIn(cell)) {
    const source = sourceOf(where);
    assert.notEqual(source, "", `${row}: there is no ${where}`);
    assert.ok(titles.length > 0, `${row}: ${where} without a title`);
    for (const title of titles) {
      assert.ok(source.includes(title), `${row}: ${where} has no "${title}"`);
    }
  }
}

describe("docs/attacks.md", () => {
  const rows = rowsOf("docs/attacks.md", /^\d+$/);

  it("has every attack once, in order", () => {
    assert.deepEqual(
      rows.map(([number]) => Number(number)),
      Array.from({ length: ATTACKS }, (_, at) => at + 1),
    );
  });

  it("names tests that exist", () => {
    for (const [number = "", , , cell = ""] of rows) {
      assert.ok(namedIn(cell).length > 0, number);
      checkNamed(number, cell);
    }
  });
});

describe("docs/reliability.md", () => {
  const rows = rowsOf("docs/reliability.md", /^F\d\d/);

  it("has every fault once, in order", () => {
    const numbers = Array.from({ length: FAULTS }, (_, at) => `F${String(at + 1).padStart(2, "0")}`);
    assert.deepEqual(
      rows.map(([number]) => number),
      numbers.flatMap((number) => (number === "F02" ? [number, "F02b"] : [number])),
    );
  });

  it("names what shows it, which exists", () => {
    for (const [number = "", fault = "", must = "", cell = ""] of rows) {
      assert.ok(fault !== "" && must !== "" && namedIn(cell).length > 0, number);
      checkNamed(number, cell);
    }
  });

  it("names what shows each invariant", () => {
    const invariants = rowsOf("docs/reliability.md", /^(?!F\d\d|#|Invariant|-)/);
    assert.ok(invariants.length >= 10);
    for (const [invariant = "", cell = ""] of invariants) {
      assert.ok(namedIn(cell).length > 0, invariant);
      checkNamed(invariant, cell);
    }
  });
});
