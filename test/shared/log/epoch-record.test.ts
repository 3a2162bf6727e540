import assert from "node:assert/strict";
import fc from "fast-check";
import { concat, decodeHex, encodeHex } from "../../../shared/encoding.ts";
import {
  encodeEpochRecord,
  epochLeafHash,
  type EpochRecord,
  parseEpochRecord,
} from "../../../shared/log/epoch-record.ts";
import { assertOnlyMalformed, assertRefused } from "../../support/mutations.ts";
import { frozenVectors } from "../../support/vectors.ts";

type Vector = Record<"mapRoot" | "changesHash" | "configurationHash" | "bytes" | "leafHash", string> &
  Record<"epoch" | "timestampMs" | "labels", number>;
const { epochRecord: vector } = frozenVectors("ckv.json") as { epochRecord: Vector };

describe("shared/log/epoch-record", () => {
  it("is what a second implementation computes", () => {
    const { epoch, timestampMs, labels } = vector;
    const [mapRoot, changesHash] = [decodeHex(vector.mapRoot), decodeHex(vector.changesHash)];
    const record = {
      epoch,
      timestampMs,
      labels,
      mapRoot,
      changesHash,
      configurationHash: decodeHex(vector.configurationHash),
    };
    assert.equal(encodeHex(encodeEpochRecord(record)), vector.bytes);
    assert.equal(encodeHex(epochLeafHash(decodeHex(vector.bytes))), vector.leafHash);
    assert.deepEqual(parseEpochRecord(decodeHex(vector.bytes)), record);
  });

  it("parses what it encodes, and takes one encoding only", () => {
    const [hash, integer] = [fc.uint8Array({ minLength: 32, maxLength: 32 }), fc.integer({ min: 0, max: 2 ** 53 - 1 })];
    const record: fc.Arbitrary<EpochRecord> = fc.record({
      epoch: integer,
      timestampMs: integer,
      labels: integer,
      mapRoot: hash,
      changesHash: hash,
      configurationHash: hash,
    });
    fc.assert(
      fc.property(record, (any) => {
        const encoded = encodeEpochRecord(any);
        assert.equal(encoded.length, 121);
        assert.deepEqual(encodeEpochRecord(parseEpochRecord(encoded)), encoded);
      }),
    );
  });

  it("refuses other formats, lengths and integers", () => {
    const bytes = decodeHex(vector.bytes);
    for (const format of [0, 2, 255]) assertRefused(() => parseEpochRecord(bytes.with(0, format)), "malformed");
    for (const at of [1, 9, 17]) assertRefused(() => parseEpochRecord(bytes.with(at, 0x20)), "malformed");
    assertRefused(() => parseEpochRecord(bytes.slice(0, -1)), "malformed");
    assertRefused(() => parseEpochRecord(concat(bytes, Uint8Array.of(0))), "malformed");
    assertOnlyMalformed(fc.uint8Array({ maxLength: 130 }), parseEpochRecord);
    assert.throws(() => encodeEpochRecord({ ...parseEpochRecord(bytes), mapRoot: new Uint8Array(31) }), RangeError);
  });
});
