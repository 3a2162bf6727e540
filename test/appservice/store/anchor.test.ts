import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "mocha";
import { openAnchor } from "../../../appservice/store/anchor.ts";
import { ConflictError, UnknownOutcomeError } from "../../../appservice/store/store.ts";

describe("anchor", () => {
  let directory: string;
  let file: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "ckv-anchor-"));
    file = join(directory, "anchor");
  });
  afterEach(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  it("is replaced only where it holds what is expected", () => {
    const anchor = openAnchor(file);
    assert.equal(anchor.read(), undefined);
    assert.throws(() => {
      anchor.replace("one", "two");
    }, ConflictError);
    anchor.replace(undefined, "one");
    assert.throws(() => {
      anchor.replace(undefined, "two");
    }, ConflictError);
    anchor.replace("one", "two");
    assert.equal(openAnchor(file).read(), "two");
    assert(!existsSync(`${file}.new`));
  });

  it("tells of a write that failed as one of unknown outcome", () => {
    const blocked = openAnchor(join(directory, "missing", "anchor"));
    assert.throws(() => {
      blocked.replace(undefined, "one");
    }, UnknownOutcomeError);
  });
});
