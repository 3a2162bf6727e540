import assert from "node:assert/strict";
import fc from "fast-check";
import { encodeBase64 } from "../../../shared/encoding.ts";
import { publicKeyOf } from "../../../shared/crypto/ed25519.ts";
import { ED25519_KEY, noteKeyOf, signNote } from "../../../shared/crypto/signed-note.ts";
import {
  formatCheckpoint,
  openCheckpoint,
  originOf,
  parseCheckpoint,
  serverOfOrigin,
  signCheckpoint,
} from "../../../shared/log/checkpoint.ts";
import { emptyRoot } from "../../../shared/merkle/tree.ts";
import { assertOnlyMalformed, assertRefused } from "../../support/mutations.ts";

const seed = new Uint8Array(32).fill(1);
const origin = originOf("example.org:8448", 1);
const key = noteKeyOf({ name: origin, type: ED25519_KEY, publicKey: publicKeyOf(seed) });
const root = new Uint8Array(32).fill(9);

describe("shared/log/checkpoint", () => {
  it("opens what it signs", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 2 ** 53 - 1 }),
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        (size, anyRoot) => {
          const checkpoint = { origin, size, root: anyRoot };
          assert.deepEqual(openCheckpoint(signCheckpoint(checkpoint, { seed }), key), checkpoint);
        },
      ),
      { numRuns: 20 },
    );
    assert.equal(parseCheckpoint(formatCheckpoint({ origin, size: 0, root: emptyRoot })).size, 0);
  });

  it("refuses another key, and another origin under the right key", () => {
    const note = signCheckpoint({ origin, size: 1, root }, { seed });
    const other = noteKeyOf({ name: origin, type: ED25519_KEY, publicKey: publicKeyOf(new Uint8Array(32)) });
    assertRefused(() => openCheckpoint(note, other), "bad-signature");
    const disguised = signNote(formatCheckpoint({ origin: originOf("evil.org", 1), size: 1, root }), {
      name: origin,
      seed,
    });
    assertRefused(() => openCheckpoint(disguised, key), "malformed");
  });

  it("refuses what is no checkpoint", () => {
    const hash = encodeBase64(root);
    const wrong = {
      "leading-zero": `${origin}\n01\n${hash}\n`,
      sign: `${origin}\n+1\n${hash}\n`,
      exponent: `${origin}\n1e3\n${hash}\n`,
      "size-2^53": `${origin}\n9007199254740992\n${hash}\n`,
      "size-2^64": `${origin}\n18446744073709551616\n${hash}\n`,
      "short-root": `${origin}\n1\n${encodeBase64(root.slice(1))}\n`,
      "unpadded-root": `${origin}\n1\n${hash.slice(0, -1)}\n`,
      "extension-line": `${origin}\n1\n${hash}\nmore\n`,
      "no-last-newline": `${origin}\n1\n${hash}`,
      "no-origin": `\n1\n${hash}\n`,
      "empty-log-with-root": `${origin}\n0\n${hash}\n`,
    };
    for (const [name, text] of Object.entries(wrong)) assertRefused(() => parseCheckpoint(text), "malformed", name);
    assertOnlyMalformed(fc.string({ unit: fc.constantFrom("a", "\n", "0", "1", hash, "=") }), parseCheckpoint, 3_000);
  });

  it("knows whose log an origin is", () => {
    for (const server of ["example.org", "example.org:8448", "localhost:1234", "[::1]:8008", "1.2.3.4"]) {
      assert.equal(serverOfOrigin(originOf(server, 12)), server);
    }
    for (const wrong of [
      "example.org/ckv/0",
      "example.org/ckv/01",
      "example.org/ckv/",
      "/ckv/1",
      "a/b/ckv/1",
      "a/ckv/1/ckv/2",
      "a b/ckv/1",
      "a+b/ckv/1",
      "a/ckv/1\n",
      "a/CKV/1",
    ]) {
      assertRefused(() => serverOfOrigin(wrong), "malformed", wrong);
    }
    for (const server of ["example.org/ckv/1", "", "a b"]) assert.throws(() => originOf(server, 1), RangeError);
    assert.throws(() => originOf("example.org", 0), RangeError);
  });
});
