import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "mocha";
import { createLevelStore, openLevelStore } from "../../../appservice/store/level-store.ts";
import { Marks } from "../../../appservice/store/marks.ts";
import type { Store } from "../../../appservice/store/store.ts";

describe("marks", () => {
  let directory: string;
  let store: Store;
  let marks: Marks;
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), "ckv-marks-"));
    store = await createLevelStore(directory);
    marks = await Marks.open(store);
  });
  afterEach(async () => {
    await store.close();
    rmSync(directory, { recursive: true, force: true });
  });
  const restart = async (): Promise<void> => {
    await store.close();
    store = await openLevelStore(directory);
    marks = await Marks.open(store);
  };
  const ids = async (limit = 10, after?: string): Promise<string[]> =>
    (await marks.takeMarks(limit, after)).map(({ userId }) => userId);

  it("come in the order of user ids, after any id, and stay until cleared", async () => {
    await marks.addMarks(["@c:x", "@a:x", "@b:x", "@b:xy"]);
    assert.deepEqual(await ids(), ["@a:x", "@b:x", "@b:xy", "@c:x"]);
    assert.deepEqual(await ids(2), ["@a:x", "@b:x"]);
    assert.deepEqual(await ids(2, "@b:x"), ["@b:xy", "@c:x"]);
    await restart();
    assert.deepEqual(await ids(), ["@a:x", "@b:x", "@b:xy", "@c:x"]);
    assert.equal(await marks.isMarked("@b:x"), true);
    assert.equal(await marks.isMarked("@d:x"), false);
  });

  it("are not cleared if the user was marked again meanwhile, also over a restart", async () => {
    await marks.addMarks(["@a:x"]);
    const [first] = await marks.takeMarks(1);
    await restart();
    await marks.addMarks(["@a:x"]);
    await marks.clearMark("@a:x", first!.generation);
    const [second] = await marks.takeMarks(1);
    assert(second!.generation > first!.generation);
    await marks.clearMark("@a:x", second!.generation);
    assert.deepEqual(await ids(), []);
  });

  it("remember cursors and enrolled users", async () => {
    assert.equal(await marks.getCursor("sync"), undefined);
    await marks.setCursor("sync", "s1");
    await marks.setCursor("sync", "s2");
    for (const userId of ["@b:x", "@a:x", "@b:x"]) await marks.addTracked(userId);
    await restart();
    assert.equal(await marks.getCursor("sync"), "s2");
    assert.equal(await marks.isTracked("@a:x"), true);
    assert.equal(await marks.isTracked("@c:x"), false);
    const tracked: string[] = [];
    for await (const userId of marks.tracked()) tracked.push(userId);
    assert.deepEqual(tracked, ["@a:x", "@b:x"]);
  });
});
