import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { specificationExamples, SPECIFICATION, withExamples } from "../support/specification-examples.ts";

describe("shared/README.md", () => {
  it("holds the examples that its own rules give", async () => {
    const text = await readFile(SPECIFICATION, "utf8");
    assert.equal(text, withExamples(text));
  });

  it("has a place for every example", async () => {
    const text = await readFile(SPECIFICATION, "utf8");
    for (const name of specificationExamples().keys()) assert.ok(text.includes(`<!-- example: ${name} -->`), name);
  });
});
