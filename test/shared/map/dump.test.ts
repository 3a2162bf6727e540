import assert from "node:assert/strict";
import fc from "fast-check";
import { compareBytes } from "../../../shared/encoding.ts";
import { DUMP_PAGE_LEAVES, encodeDumpPage, parseDumpPage, RootBuilder } from "../../../shared/map/dump.ts";
import { EMPTY, rootOfLeaves } from "../../../shared/map/map-proof.ts";
import type { MapLeaf } from "../../../shared/map/map-proof.ts";

/** Indices that share many bits as well as such that share none. */
const index = fc.oneof(
  fc.uint8Array({ minLength: 32, maxLength: 32 }),
  fc.tuple(fc.nat(31), fc.nat(255)).map(([at, byte]) => new Uint8Array(32).fill(0x5a).with(at, byte)),
);
const leaf = fc
  .tuple(index, fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), fc.uint8Array({ minLength: 32, maxLength: 32 }))
  .map(([index, n, historyRoot]) => ({ index, n, historyRoot }));
const leaves = fc
  .uniqueArray(leaf, { maxLength: 60, comparator: (a, b) => compareBytes(a.index, b.index) === 0 })
  .map((all) => all.sort((a, b) => compareBytes(a.index, b.index)));

describe("dump of a map", () => {
  it("gives the root of the tree, one leaf after another, also when it goes on from a stored state", () => {
    fc.assert(
      fc.property(leaves, fc.nat(60), (all: readonly MapLeaf[], stop) => {
        let builder = new RootBuilder();
        assert.deepEqual(builder.root(), EMPTY);
        for (const [position, each] of all.entries()) {
          if (position === stop) builder = new RootBuilder(builder.state);
          builder.add(each);
          assert.deepEqual(builder.root(), rootOfLeaves(all.slice(0, position + 1), 0));
        }
        assert.equal(builder.state.labels, all.length);
      }),
    );
  });

  it("refuses leaves out of order, and one twice", () => {
    fc.assert(
      fc.property(leaf, leaf, (a, b) => {
        const [first, second] = compareBytes(a.index, b.index) < 0 ? [b, a] : [a, b];
        const builder = new RootBuilder();
        builder.add(first);
        assert.throws(
          () => {
            builder.add(second);
          },
          { code: "malformed" },
        );
      }),
    );
  });

  it("comes in pages, of which every cut and addition is refused", () => {
    fc.assert(
      fc.property(leaves, (all) => {
        const page = encodeDumpPage(all);
        assert.deepEqual(parseDumpPage(page), all);
        for (const bytes of [page.slice(1), new Uint8Array([...page, 0])]) {
          if (bytes.length % 72 !== 0) assert.throws(() => parseDumpPage(bytes), { code: "malformed" });
        }
      }),
    );
    const zero = encodeDumpPage([{ index: EMPTY, n: 0, historyRoot: EMPTY }]);
    assert.throws(() => parseDumpPage(zero), { code: "malformed" });
    const one = encodeDumpPage([{ index: EMPTY, n: 1, historyRoot: EMPTY }]);
    const long = Buffer.concat(Array.from({ length: DUMP_PAGE_LEAVES + 1 }, () => one));
    assert.throws(() => parseDumpPage(long), { code: "malformed" });
  });
});
