/** What every store must do. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { it } from "mocha";
import { ConflictError, RANGE_BYTES, rangeBytes } from "../../appservice/store/store.ts";
import type { KeyValue, Reads, Snapshot, Store } from "../../appservice/store/store.ts";
import { eachInRange } from "../../appservice/store/level-store.ts";
import { utf8 } from "../../shared/encoding.ts";

const pair = (key: string, value: string): { key: Uint8Array; value: Uint8Array } => ({
  key: utf8(key),
  value: utf8(value),
});

/** A store under test. */
export interface StoreUnderTest {
  /** Empty before each case. */
  readonly current: () => Store;
  /** Closes it and opens it again, where it outlives being closed. */
  readonly reopen?: () => Promise<void>;
}

/** Cases for a store. */
export function describeStore({ current, reopen }: StoreUnderTest): void {
  const read = (key: string): string | undefined => {
    const value = current().get(utf8(key));
    return value === undefined ? undefined : Buffer.from(value).toString();
  };

  it("has what was put, and not what was deleted", async () => {
    await current().commit({ puts: [pair("a", "1"), pair("b", "2"), pair("empty", "")] });
    await current().commit({ puts: [pair("a", "3")], deletes: [utf8("b"), utf8("never there")] });
    assert.deepEqual([read("a"), read("b"), read("empty"), read("none")], ["3", undefined, "", undefined]);
    await current().commit({});
    assert.equal(read("a"), "3");
  });

  it("keeps what it was given, whatever becomes of the caller's bytes", async () => {
    const given = { key: Buffer.from("a"), value: Buffer.from("1") };
    await current().commit({ puts: [given] });
    for (const bytes of [given.key, given.value]) bytes.fill(0);
    assert.equal(read("a"), "1");
  });

  it("writes all of a commit or nothing: an expectation that fails leaves no trace", async () => {
    await current().commit({ puts: [pair("a", "1"), pair("empty", "")] });
    const wrong = [
      pair("a", "2"),
      pair("a", ""),
      { key: utf8("a"), value: undefined },
      { key: utf8("empty"), value: undefined },
      pair("none", ""),
    ];
    for (const expected of wrong) {
      const commit = { expect: [pair("empty", ""), expected], puts: [pair("b", "1")], deletes: [utf8("a")] };
      await assert.rejects(current().commit(commit), ConflictError);
    }
    assert.deepEqual([read("a"), read("b")], ["1", undefined]);
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

  it("ends a range that holds much, and leaves nothing out when going on", async () => {
    const size = RANGE_BYTES / 4;
    const keys = ["a", "b", "c", "d", "e", "f"];
    for (const key of keys) await current().commit({ puts: [{ key: utf8(key), value: new Uint8Array(size) }] });
    const first = await current().range(utf8("a"), utf8("z"), 100);
    assert(
      first.length < keys.length && rangeBytes(first) >= RANGE_BYTES && rangeBytes(first) < RANGE_BYTES + 2 * size,
    );
    const seen: string[] = [];
    for await (const { key } of eachInRange(current(), utf8("a"), utf8("z"))) seen.push(Buffer.from(key).toString());
    assert.deepEqual(seen, keys);
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

  it("is what a map of strings would be, with any commits, snapshots and readers at once", async function () {
    this.timeout(60_000);
    await fc.assert(
      fc.asyncProperty(fc.array(step(reopen !== undefined), { minLength: 1, maxLength: 60 }), async (steps) => {
        await clear(current());
        await new Run(current, reopen).all(steps);
      }),
      { numRuns: 30 },
    );
  });
}

// ------------------------------------------------------------------------------------------------------------- property

/** Few keys of few bytes, so that steps meet; with the bytes that order and C strings stumble over. */
const keyBytes: fc.Arbitrary<Uint8Array> = fc
  .array(fc.constantFrom(0x00, 0x01, 0x61, 0x7f, 0x80, 0xff), { minLength: 1, maxLength: 3 })
  .map((bytes) => Uint8Array.from(bytes));
const valueBytes = fc.uint8Array({ maxLength: 40 });

type Step =
  | {
      readonly kind: "commit";
      readonly puts: readonly KeyValue[];
      readonly deletes: readonly Uint8Array[];
      /** The key whose value is expected: as it is, or as it is not. */
      readonly expect: readonly { readonly key: Uint8Array; readonly holds: boolean }[];
    }
  | { readonly kind: "snapshot" }
  | { readonly kind: "close snapshot"; readonly which: number }
  | { readonly kind: "range"; readonly from: Uint8Array; readonly to: Uint8Array; readonly limit: number }
  | { readonly kind: "reopen" };

function step(canReopen: boolean): fc.Arbitrary<Step> {
  const puts = fc.array(fc.record({ key: keyBytes, value: valueBytes }), { maxLength: 6 });
  const deletes = fc.array(keyBytes, { maxLength: 3 });
  // Almost always as it is, or nothing would ever be written.
  const holds = fc.integer({ min: 0, max: 9 }).map((roll) => roll > 0);
  const expect = fc.array(fc.record({ key: keyBytes, holds }), { maxLength: 2 });
  const commit = fc.record({ kind: fc.constant("commit" as const), puts, deletes, expect });
  const limit = fc.integer({ min: 1, max: 12 });
  return fc.oneof(
    { weight: 6, arbitrary: commit },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("snapshot" as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("close snapshot" as const), which: fc.nat() }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("range" as const), from: keyBytes, to: keyBytes, limit }) },
    ...(canReopen ? [{ weight: 1, arbitrary: fc.record({ kind: fc.constant("reopen" as const) }) }] : []),
  );
}

type Model = ReadonlyMap<string, string>;
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** Runs steps on a store and on a map, and compares everything that can be read after each. */
class Run {
  readonly #current: () => Store;
  readonly #reopen: (() => Promise<void>) | undefined;
  #model: Model = new Map();
  /** Open snapshots, each with the map as it was. */
  readonly #snapshots: { readonly snapshot: Snapshot; readonly model: Model }[] = [];

  constructor(current: () => Store, reopen: (() => Promise<void>) | undefined) {
    this.#current = current;
    this.#reopen = reopen;
  }

  async all(steps: readonly Step[]): Promise<void> {
    for (const each of steps) {
      // Readers that begin before a step and end after it see one state or the other.
      const before = this.#model;
      const reading = all(this.#current());
      await this.#one(each, reading);
      const seen = await reading;
      assert(same(seen, before) || same(seen, this.#model), "a reader saw a state between two");
      assert.deepEqual(await all(this.#current()), this.#model);
      for (const { snapshot, model } of this.#snapshots) assert.deepEqual(await all(snapshot), model);
    }
    await this.#closeSnapshots();
  }

  async #one(each: Step, reading: Promise<unknown>): Promise<void> {
    switch (each.kind) {
      case "commit":
        await this.#commit(each);
        return;
      case "snapshot":
        this.#snapshots.push({ snapshot: this.#current().snapshot(), model: this.#model });
        return;
      case "close snapshot":
        await this.#snapshots.splice(each.which % (this.#snapshots.length + 1), 1)[0]?.snapshot.close();
        return;
      case "range":
        await checkRange(this.#current(), this.#model, each);
        return;
      case "reopen":
        await reading;
        await this.#closeSnapshots();
        await this.#reopen?.();
    }
  }

  async #commit({ puts, deletes, expect }: Extract<Step, { kind: "commit" }>): Promise<void> {
    // A key that is put and deleted at once has no defined end.
    const kept = puts.filter(({ key }) => !deletes.some((other) => hex(other) === hex(key)));
    const expected = expect.map(({ key, holds }) => {
      const value = this.#model.get(hex(key));
      if (holds) return { key, value: value === undefined ? undefined : Buffer.from(value, "hex") };
      return { key, value: value === undefined ? new Uint8Array() : undefined };
    });
    const commit = this.#current().commit({ expect: expected, puts: kept, deletes });
    if (expect.some(({ holds }) => !holds)) {
      await assert.rejects(commit, ConflictError);
      return;
    }
    await commit;
    const next = new Map(this.#model);
    for (const { key, value } of kept) next.set(hex(key), hex(value));
    for (const key of deletes) next.delete(hex(key));
    this.#model = sorted(next);
    for (const { key } of puts) {
      const value = this.#current().get(key);
      assert.equal(value === undefined ? undefined : hex(value), next.get(hex(key)));
    }
  }

  async #closeSnapshots(): Promise<void> {
    for (const { snapshot } of this.#snapshots.splice(0)) await snapshot.close();
  }
}

function sorted(model: Model): Model {
  return new Map([...model].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function same(a: Model, b: Model): boolean {
  return a.size === b.size && [...a].every(([key, value]) => b.get(key) === value);
}

async function all(reads: Reads): Promise<Model> {
  const pairs = await reads.range(Uint8Array.of(), Uint8Array.of(0xff, 0xff, 0xff, 0xff), 10_000);
  return new Map(pairs.map(({ key, value }) => [hex(key), hex(value)]));
}

async function checkRange(
  reads: Reads,
  model: Model,
  { from, to, limit }: Extract<Step, { kind: "range" }>,
): Promise<void> {
  const expected = [...model].filter(([key]) => key >= hex(from) && key < hex(to)).slice(0, limit);
  const found = await reads.range(from, to, limit);
  assert.deepEqual(
    found.map(({ key, value }) => [hex(key), hex(value)]),
    expected,
  );
}

async function clear(store: Store): Promise<void> {
  for await (const { key } of eachInRange(store, Uint8Array.of(), Uint8Array.of(0xff, 0xff, 0xff, 0xff))) {
    await store.commit({ deletes: [key] });
  }
}
