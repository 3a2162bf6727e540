/** What the builder of epochs sees of those that are not on disk yet. */
import assert from "node:assert/strict";
import { describe, it } from "mocha";
import { InFlightReads } from "../../appservice/in-flight.ts";
import { utf8 } from "../../shared/encoding.ts";
import { MemoryStore } from "../support/memory-store.ts";

describe("reads of epochs in flight", () => {
  it("see the newest write of a key, until each is on disk", async () => {
    const store = new MemoryStore();
    const [key, other] = [utf8("key"), utf8("other")];
    const puts = [1, 2, 3].map((epoch) => [{ key, value: Uint8Array.of(epoch) }]);
    const reads = new InFlightReads(store);
    const settles = puts.map((put) => reads.add(put));
    assert.deepEqual(reads.get(key), Uint8Array.of(3));
    assert.equal(reads.get(other), undefined);
    for (const [i, settle] of settles.entries()) {
      assert.throws(() => reads.range(key, other, 1), RangeError);
      await store.commit({ puts: puts[i]! });
      settle();
      assert.deepEqual(reads.get(key), Uint8Array.of(3), `epoch ${i + 1} is on disk`);
    }
    await store.commit({ puts: [{ key, value: Uint8Array.of(4) }] });
    assert.deepEqual(reads.get(key), Uint8Array.of(4), "nothing is remembered");
    assert.equal((await reads.range(key, other, 1)).length, 1);
  });
});
