/** Rows of a stored change list: one alone is the same as among all. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { encodeChanges } from "../../../appservice/store/change-lists.ts";
import { parseChunk, parseChunkRow, ROWS_PER_CHUNK } from "../../../appservice/store/records.ts";
import { IntegrityError } from "../../../appservice/store/store.ts";
import { frontierLength } from "../../../shared/merkle/tree.ts";

const hash = fc.uint8Array({ minLength: 32, maxLength: 32 });
const row = fc
  .record({ index: hash, size: fc.nat(1_000), commitments: fc.array(hash, { minLength: 1, maxLength: 8 }) })
  .chain(({ index, size, commitments }) => {
    const length = { minLength: frontierLength(size), maxLength: frontierLength(size) };
    const before = fc.record({
      size: fc.constant(size),
      hashes: fc.array(hash, length),
      positions: fc.array(fc.nat(), length),
    });
    return before.map((tip) => ({ index, before: tip, commitments }));
  });

describe("rows of a change list", () => {
  it("are the same one by one as all at once, in every piece", () => {
    fc.assert(
      fc.property(fc.array(row, { minLength: 1, maxLength: ROWS_PER_CHUNK + 5 }), (rows) => {
        const { puts } = encodeChanges(1, rows);
        puts.forEach(({ value }, piece) => {
          const all = parseChunk(value);
          all.forEach((expected, i) => {
            assert.deepEqual(parseChunkRow(value, i), expected);
            assert.deepEqual(expected.before.positions, rows[piece * ROWS_PER_CHUNK + i]!.before.positions);
          });
          assert.equal(parseChunkRow(value, all.length), undefined);
          assert.equal(parseChunkRow(value, all.length + 7), undefined);
        });
      }),
      { numRuns: 50 },
    );
  });

  it("are refused with a typed error where bytes are missing or changed", () => {
    const damage = fc.record({ at: fc.nat(), value: fc.nat(255), cut: fc.boolean(), wanted: fc.nat(6) });
    fc.assert(
      fc.property(fc.array(row, { minLength: 1, maxLength: 4 }), damage, (rows, { at, value, cut, wanted }) => {
        const stored = Uint8Array.from(encodeChanges(1, rows).puts[0]!.value);
        const place = at % stored.length;
        stored[place] = value;
        try {
          parseChunkRow(cut ? stored.subarray(0, place) : stored, wanted);
        } catch (error) {
          assert(error instanceof IntegrityError, String(error));
        }
      }),
      { numRuns: 2_000 },
    );
  });
});
