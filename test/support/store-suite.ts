/** What every store must do. */
import assert from "node:assert/strict";
import { it } from "mocha";
import { ConflictError } from "../../appservice/store/store.ts";
import type { Store } from "../../appservice/store/store.ts";
import { utf8 } from "../../shared/encoding.ts";

const pair = (key: string, value: string): { key: Uint8Array; value: Uint8Array } => ({
  key: utf8(key),
  value: utf8(value),
});

/** Cases for a store that `current` returns, empty before each. */
export function describeStore(current: () => Store): void {
  const read = (key: string): string | undefined => {
    const value = current().get(utf8(key));
    return value === undefined ? undefined : Buffer.from(value).toString();
  };

  it("has what was put, and not what was deleted", async () => {
    await current().commit({ puts: [pair("a", "1"), pair("b", "2"), pair("empty", "")] });
    await current().commit({ puts: [pair("a", "3")], deletes: [utf8("b")] });
    assert.deepEqual([read("a"), read("b"), read("empty"), read("none")], ["3", undefined, "", undefined]);
  });

  it("writes all of a commit or nothing: an expectation that fails leaves no trace", async () => {
    await current().commit({ puts: [pair("a", "1")] });
    for (const expected of [pair("a", "2"), { key: utf8("a"), value: undefined }, pair("none", "")]) {
      await assert.rejects(current().commit({ expect: [expected], puts: [pair("b", "1")] }), ConflictError);
    }
    assert.equal(read("b"), undefined);
    await current().commit({
      expect: [pair("a", "1"), { key: utf8("none"), value: undefined }],
      puts: [pair("b", "1")],
    });
    assert.equal(read("b"), "1");
  });

  it("reads ranges in bytewise order, from the first key up to but without the last", async () => {
    const keys = ["a", "a\0", "aa", "b", "é", "z"];
    await current().commit({ puts: [...keys].reverse().map((key) => pair(key, key)) });
    const range = async (from: string, to: string, limit: number): Promise<string[]> =>
      (await current().range(utf8(from), utf8(to), limit)).map(({ key }) => Buffer.from(key).toString());
    assert.deepEqual(await range("a", "b", 10), ["a", "a\0", "aa"]);
    assert.deepEqual(await range("a", "b", 2), ["a", "a\0"]);
    assert.deepEqual(await range("b", "\u{ffff}", 10), ["b", "z", "é"]);
    assert.deepEqual(await range("c", "c", 10), []);
  });

  it("keeps a snapshot as it was", async () => {
    await current().commit({ puts: [pair("a", "1"), pair("b", "1")] });
    const snapshot = current().snapshot();
    await current().commit({ puts: [pair("a", "2"), pair("c", "2")], deletes: [utf8("b")] });
    const pairs = await snapshot.range(utf8("a"), utf8("z"), 10);
    const seen = pairs.map(({ key, value }) => [key, value].map((bytes) => Buffer.from(bytes).toString()).join("="));
    assert.deepEqual(seen, ["a=1", "b=1"]);
    assert.equal(Buffer.from(snapshot.get(utf8("a")) ?? []).toString(), "1");
    assert.equal(snapshot.get(utf8("c")), undefined);
    await snapshot.close();
    assert.equal(read("a"), "2");
  });
}
