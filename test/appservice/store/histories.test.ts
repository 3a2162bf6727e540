/** Paths from a stored history: those of a plain tree over its versions, whether the newest content was read or not. */
import assert from "node:assert/strict";
import { encodeChanges } from "../../../appservice/store/change-lists.ts";
import { appendToTip, EMPTY_TIP, HistoryReader } from "../../../appservice/store/histories.ts";
import { positionOf } from "../../../appservice/store/records.ts";
import type { Tip, VersionContent } from "../../../appservice/store/records.ts";
import type { Reads } from "../../../appservice/store/store.ts";
import type { Hash } from "../../../shared/crypto/hash.ts";
import { sha256 } from "../../../shared/crypto/hash.ts";
import { encodeHex, utf8 } from "../../../shared/encoding.ts";
import { historyLeaf } from "../../../shared/history/history.ts";
import { proveConsistency } from "../../../shared/merkle/consistency.ts";
import { HISTORY_DOMAINS } from "../../../shared/merkle/tree.ts";

/** Versions that each epoch merges. */
const MERGED = [1, 1, 3, 1, 2, 4, 1, 1];

/** A history after some epochs, in the change lists of a store in memory. */
class StoredHistory {
  readonly leaves: Hash[] = [];
  newest = positionOf(0, 0);
  content!: VersionContent;
  readonly #values = new Map<string, Uint8Array>();

  constructor(merged: readonly number[]) {
    let tip: Tip = EMPTY_TIP;
    for (const [i, count] of merged.entries()) {
      const epoch = i + 1;
      const before = tip;
      const commitments = Array.from({ length: count }, (_, k) => sha256(utf8(`${epoch}/${k}`)));
      this.newest = positionOf(epoch, 0);
      for (const commitment of commitments) {
        const version = tip.size + 1;
        const rest = { observedMs: 0, day: 0, dayCount: 1, opening: commitment, userId: "", entry: commitment };
        this.content = { version, commitment, before: tip, ...rest };
        this.leaves.push(historyLeaf({ version, epoch, commitment }));
        tip = appendToTip(tip, commitment, this.newest);
      }
      const { puts } = encodeChanges(epoch, [{ index: new Uint8Array(32), before, commitments }]);
      for (const { key, value } of puts) this.#values.set(encodeHex(key), value);
    }
  }

  readonly reads: Reads = {
    get: (key) => this.#values.get(encodeHex(key)),
    range: () => Promise.reject(new Error("nothing reads a range of a history")),
  };
}

const path = (history: HistoryReader, from: number, to: number): readonly string[] =>
  proveConsistency(HISTORY_DOMAINS, history.hash, from, to).map(encodeHex);

describe("a stored history", () => {
  for (let epochs = 1; epochs <= MERGED.length; epochs++) {
    it(`has the paths of a tree over its versions, with and without the newest content, after ${epochs} epochs`, () => {
      const { leaves, newest, content, reads } = new StoredHistory(MERGED.slice(0, epochs));
      for (let from = 1; from <= leaves.length; from++) {
        const expected = proveConsistency(HISTORY_DOMAINS, leaves, from, leaves.length).map(encodeHex);
        assert.deepEqual(path(new HistoryReader(reads, newest), from, leaves.length), expected);
        assert.deepEqual(path(new HistoryReader(reads, newest, content), from, leaves.length), expected);
      }
    });
  }

  it("reads no row for one more version whose content was read", () => {
    const { leaves, newest, content } = new StoredHistory([1, 1]);
    const none: Reads = { get: () => assert.fail("a row was read"), range: () => assert.fail("a range was read") };
    const expected = proveConsistency(HISTORY_DOMAINS, leaves, 1, 2).map(encodeHex);
    assert.deepEqual(path(new HistoryReader(none, newest, content), 1, 2), expected);
  });
});
