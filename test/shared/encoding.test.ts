import assert from "node:assert/strict";
import fc from "fast-check";
import {
  canonicalJson,
  checkSafeInteger,
  codePointCompare,
  compareBytes,
  concat,
  decodeBase64,
  decodeHex,
  decodeUnpadded,
  encodeBase64,
  encodeHex,
  encodeUnpadded,
  equalBytes,
  fromUtf8,
  isZero,
  jsonValueOf,
  type JsonObjectSource,
  type JsonValue,
  parseJson,
  parseJsonSource,
  Reader,
  taggedHash,
  utf8,
  Writer,
} from "../../shared/encoding.ts";
import { sha256 } from "../../shared/crypto/hash.ts";
import { assertOnlyMalformed, assertRefused } from "../support/mutations.ts";

const limits = { maxBytes: 10_000, maxDepth: 8 };
const bytes = (): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength: 200 });
const safe = (): fc.Arbitrary<number> => fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });

describe("shared/encoding", () => {
  describe("Writer and Reader", () => {
    it("read back what was written", () => {
      fc.assert(
        fc.property(bytes(), safe(), fc.string({ unit: "binary", maxLength: 300 }), (blob, n, text) => {
          const written = new Writer()
            .u8(n % 256)
            .u16(n % 65_536)
            .u32(n % 2 ** 32)
            .u64(n)
            .bytes(blob)
            .lp16(text);
          const reader = new Reader(written.ascii("end").finish());
          assert.deepEqual(
            [reader.u8(), reader.u16(), reader.u32(), reader.u64()],
            [n % 256, n % 65_536, n % 2 ** 32, n],
          );
          assert.deepEqual(reader.bytes(blob.length), blob);
          assert.equal(fromUtf8(reader.bytes(reader.u16())), text);
          assert.equal(fromUtf8(reader.bytes(3)), "end");
          reader.end();
        }),
      );
    });

    it("write big-endian", () => {
      const written = new Writer().u16(0x0102).u32(0x03040506).u64(0x1f_ffff_ffff_ffff).finish();
      assert.equal(encodeHex(written), "010203040506001fffffffffffff");
    });

    it("refuse what does not fit, as our own mistake", () => {
      for (const n of [-1, 0.5, NaN, 256]) assert.throws(() => new Writer().u8(n), RangeError);
      assert.throws(() => new Writer().u64(2 ** 53), RangeError);
      assert.throws(() => new Writer().lp16(new Uint8Array(65_536)), RangeError);
      assert.throws(() => new Writer().ascii("é"), RangeError);
    });

    it("refuse integers from 2^53 on, missing and left-over bytes", () => {
      assertRefused(() => new Reader(decodeHex("0020000000000000")).u64(), "malformed");
      assertRefused(() => new Reader(Uint8Array.of(1)).u16(), "malformed");
      assertRefused(() => new Reader(Uint8Array.of(1)).bytes(2), "malformed");
      assertRefused(() => {
        new Reader(Uint8Array.of(1)).end();
      }, "malformed");
    });

    it("copy what they read", () => {
      const source = Uint8Array.of(1, 2);
      const taken = new Reader(source).bytes(2);
      source[0] = 9;
      assert.deepEqual(taken, Uint8Array.of(1, 2));
    });
  });

  it("compares, joins and hashes bytes", () => {
    fc.assert(
      fc.property(bytes(), bytes(), (a, b) => {
        assert.equal(equalBytes(a, b), Buffer.compare(a, b) === 0);
        assert.equal(Math.sign(compareBytes(a, b)), Buffer.compare(a, b));
        assert.deepEqual(Buffer.from(concat(a, b)), Buffer.concat([a, b]));
        assert.deepEqual(taggedHash("name", a, b), sha256(concat(utf8("name\0"), a, b)));
      }),
    );
    assert(isZero(new Uint8Array(3)) && !isZero(Uint8Array.of(0, 1)));
    for (const n of [-1, 1.5, NaN, Infinity, 2 ** 53]) assertRefused(() => checkSafeInteger(n, "n"), "malformed");
    assert.equal(checkSafeInteger(2 ** 53 - 1, "n"), 2 ** 53 - 1);
  });

  it("keeps strings as they are, and refuses what is no Unicode", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        assert.equal(fromUtf8(utf8(text)), text);
      }),
    );
    assert.equal(fromUtf8(utf8("\ufeffe\u0301")), "\ufeffe\u0301");
    assertRefused(() => utf8("\ud800"), "malformed");
    for (const hex of ["ff", "c080", "eda080", "f4908080", "e2 82".replace(" ", "")]) {
      assertRefused(() => fromUtf8(decodeHex(hex)), "malformed");
    }
  });

  describe("hex and base64", () => {
    it("read back what was written, as Node writes it", () => {
      fc.assert(
        fc.property(bytes(), (blob) => {
          const node = Buffer.from(blob);
          assert.equal(encodeBase64(blob), node.toString("base64"));
          assert.equal(encodeUnpadded(blob), node.toString("base64").replace(/=+$/, ""));
          assert.equal(encodeHex(blob), node.toString("hex"));
          assert.deepEqual(decodeBase64(encodeBase64(blob)), blob);
          assert.deepEqual(decodeUnpadded(encodeUnpadded(blob)), blob);
          assert.deepEqual(decodeHex(encodeHex(blob)), blob);
        }),
      );
    });

    it("take one text for one value only", () => {
      const text = fc.string({ unit: fc.constantFrom(...Array.from("ABab01+/=-_ \n")), maxLength: 12 });
      const coders = [
        { decode: decodeBase64, encode: encodeBase64 },
        { decode: decodeUnpadded, encode: encodeUnpadded },
        { decode: decodeHex, encode: encodeHex },
      ];
      for (const { decode, encode } of coders) {
        assertOnlyMalformed(
          text,
          (input) => {
            assert.equal(encode(decode(input)), input);
          },
          3_000,
        );
      }
    });

    it("refuse final bits, wrong padding and other alphabets", () => {
      for (const text of ["QQ", "QR==", "QUI", "QUJ=", "QQ=", "Q===", "====", "QQ==QQ==", "Q-==", "QQ==\n", "é==="]) {
        assertRefused(() => decodeBase64(text), "malformed", text);
      }
      for (const text of ["Q", "QR", "QUJ", "QQ==", "QQ ", "\u0151Q", "_w"]) {
        assertRefused(() => decodeUnpadded(text), "malformed", text);
      }
      for (const text of ["0", "AB", "0g", "ab "]) assertRefused(() => decodeHex(text), "malformed", text);
    });
  });

  describe("JSON", () => {
    const json = (): fc.Arbitrary<JsonValue> =>
      fc.letrec<{ value: JsonValue }>((tie) => ({
        value: fc.oneof(
          { maxDepth: 4 },
          fc.constantFrom(null, true, false),
          fc.maxSafeInteger().map((n) => n + 0),
          fc.string({ unit: "binary", maxLength: 8 }),
          fc.array(tie("value"), { maxLength: 4 }),
          fc.dictionary(fc.string({ unit: "binary", maxLength: 4 }), tie("value"), { maxKeys: 4 }),
        ),
      })).value;

    it("parses what it writes, and what others write", () => {
      fc.assert(
        fc.property(json(), (value) => {
          const expected = JSON.stringify(value);
          const large = { maxBytes: 100_000, maxDepth: 8 };
          assert.equal(JSON.stringify(sorted(parseJson(canonicalJson(value), large))), JSON.stringify(sorted(value)));
          assert.equal(canonicalJson(parseJson(canonicalJson(value), large)), canonicalJson(value));
          assert.equal(canonicalJson(parseJson(JSON.stringify(value, null, 1), large)), canonicalJson(value));
          assert.equal(JSON.stringify(sorted(JSON.parse(expected) as JsonValue)), JSON.stringify(sorted(value)));
        }),
      );
    });

    it("accepts exactly the JSON that the host accepts, canonical rules aside", () => {
      const text = fc.string({
        unit: fc.constantFrom(...Array.from('{}[]",: \n\\u00e9a1-.eE+0ntrulfs')),
        maxLength: 12,
      });
      fc.assert(
        fc.property(text, (input) => {
          const host = attempt(() => JSON.parse(input) as unknown);
          const ours = attempt(() => parseJsonSource(input, limits));
          assert.equal(ours.ok, host.ok, input);
        }),
        { numRuns: 20_000 },
      );
    });

    it("sorts keys by code point and writes the shortest form", () => {
      assert.equal(canonicalJson({ b: 1, a: [true, null] }), '{"a":[true,null],"b":1}');
      assert.equal(canonicalJson({ "\u{1f600}": 1, "\uffff": 2 }), '{"\uffff":2,"\u{1f600}":1}');
      assert.equal(canonicalJson('\u0000\u001f\u007f"\\/\b\n\u2028é'), '"\\u0000\\u001f\u007f\\"\\\\/\\b\\n\u2028é"');
      fc.assert(
        fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (a, b) => {
          assert.equal(Math.sign(codePointCompare(a, b)), Buffer.compare(utf8(a), utf8(b)));
        }),
      );
      for (const wrong of [0.5, -0, 2 ** 53, NaN, "\ud800"]) assertRefused(() => canonicalJson([wrong]), "malformed");
    });

    it("refuses every break of canonical JSON", () => {
      const wrong = [
        "1.0",
        "1e3",
        "-0",
        "9007199254740992",
        '"\\ud800"',
        '{"a":1,"a":2}',
        '{"\\udc00":1}',
        '{"a":1,"\\u0061":1}',
      ];
      for (const text of wrong) {
        assertRefused(() => parseJson(text, limits), "malformed", text);
        assertRefused(() => parseJson(`[{"x":${text}}]`, limits), "malformed", text);
      }
      for (const text of ["9007199254740991", "-9007199254740991", "0"])
        assert.equal(parseJson(text, limits), Number(text));
    });

    it("marks what breaks a rule, and leaves the rest readable with its place", () => {
      const text = ' {"good": {"n": 1}, "bad": {"n": 1.5, "m": [true]}} ';
      const source = parseJsonSource(text, limits) as JsonObjectSource;
      const [good, bad] = source.members;
      assert.deepEqual(jsonValueOf(good!.value), Object.assign(Object.create(null) as object, { n: 1 }));
      assertRefused(() => jsonValueOf(bad!.value), "malformed");
      assert.equal(text.slice(bad!.start, bad!.end), '"bad": {"n": 1.5, "m": [true]}');
      assert.equal(text.slice(bad!.value.start, bad!.value.end), '{"n": 1.5, "m": [true]}');
      assert.equal(text.slice(source.start, source.end), text.trim());
    });

    it("makes objects without prototype", () => {
      const value = parseJson('{"__proto__":{"x":1},"constructor":2}', limits);
      assert.equal(Object.getPrototypeOf(value), null);
      assert.deepEqual(Object.keys(value as object), ["__proto__", "constructor"]);
      assert.equal(canonicalJson(value), '{"__proto__":{"x":1},"constructor":2}');
    });

    it("keeps its limits", () => {
      assertRefused(() => parseJson("[".repeat(100_000), { maxBytes: 1_000_000, maxDepth: 8 }), "malformed");
      assert.doesNotThrow(() => parseJson("[[]]", { maxBytes: 4, maxDepth: 2 }));
      assertRefused(() => parseJson("[[]]", { maxBytes: 4, maxDepth: 1 }), "malformed");
      assertRefused(() => parseJson("[[]]", { maxBytes: 3, maxDepth: 2 }), "malformed");
      assert.doesNotThrow(() => parseJson('{"a":[1,2]}', { ...limits, maxValues: 4 }));
      assertRefused(() => parseJson('{"a":[1,2]}', { ...limits, maxValues: 3 }), "malformed");
      assertRefused(() => parseJson('"é"', { maxBytes: 3, maxDepth: 2 }), "malformed");
    });
  });
});

function attempt(run: () => unknown): { ok: boolean } {
  try {
    run();
    return { ok: true };
  } catch {
    return { ok: false };
  }
}

function sorted(value: JsonValue): unknown {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(sorted);
  return Object.entries(value)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, member]) => [key, sorted(member)]);
}
