import assert from "node:assert/strict";
import fc from "fast-check";
import { concat, decodeHex, encodeBase64, encodeHex, utf8 } from "../../../shared/encoding.ts";
import { cosign, openCosignatures } from "../../../shared/crypto/cosignature.ts";
import { publicKeyOf } from "../../../shared/crypto/ed25519.ts";
import { sha256 } from "../../../shared/crypto/hash.ts";
import {
  appendSignature,
  COSIGNATURE_KEY,
  ED25519_KEY,
  formatVkey,
  isSameKey,
  noteKeyOf,
  openNote,
  parseNote,
  parseVkey,
  signNote,
} from "../../../shared/crypto/signed-note.ts";
import { MAX_NOTE_SIGNATURES } from "../../../shared/parameters.ts";
import { assertOnlyMalformed, assertRefused, flippedBits } from "../../support/mutations.ts";
import { frozenVectors } from "../../support/vectors.ts";

interface NoteCase {
  readonly source: string;
  readonly vkey?: string;
  readonly note?: string;
  readonly cosigned_message_hex?: string;
  readonly timestamped_signature_hex?: string;
}
const cases = frozenVectors("c2sp-notes.json") as NoteCase[];

const seed = new Uint8Array(32).fill(1);
const signer = { name: "example.org/ckv/1", seed };
const key = noteKeyOf({ name: signer.name, type: ED25519_KEY, publicKey: publicKeyOf(seed) });
const text = "first\nsecond\n";
const note = signNote(text, signer);

describe("shared/crypto/signed-note", () => {
  for (const { source, vkey, note: signed } of cases) {
    if (vkey === undefined || signed === undefined) continue;
    it(`opens: ${source}`, () => {
      const known = parseVkey(vkey);
      assert.equal(formatVkey(known), vkey);
      if (known.type === ED25519_KEY) assert.deepEqual(openNote(signed, [known]).verified, [known]);
      else assert.equal(openCosignatures(signed, [known])[0]?.timestampS, 1780000123);
    });
  }

  it("cosigns the very bytes of the specification", () => {
    const { note: signed = "" } = cases.find(({ source }) => source.startsWith("self-generated cosignature")) ?? {};
    const expected = cases.at(-1)!.timestamped_signature_hex!;
    const witness = {
      name: "witness.example.net/w1",
      seed: sha256(utf8("kt test witness key")),
      timestampS: 1780000123,
    };
    const line = cosign(signed, witness);
    assert(signed.includes(`${line}\n`));
    assert.equal(encodeHex(parseNote(`x\n\n${line}\n`).signatures[0]!.signature), expected);
  });

  it("opens what it signs, and gives the text back as it was", () => {
    const line = fc.string({ unit: "binary", maxLength: 20 }).filter((s) => Array.from(s).every((char) => char >= " "));
    fc.assert(
      fc.property(fc.array(line, { minLength: 1, maxLength: 5 }), (lines) => {
        const anyText = `${lines.join("\n")}\n`;
        assert.deepEqual(openNote(signNote(anyText, signer), [key]), { text: anyText, verified: [key] });
      }),
      { numRuns: 30 },
    );
  });

  it("ignores unknown keys, and refuses a note that no known key signed", () => {
    const other = { name: "other.example", seed: new Uint8Array(32).fill(2) };
    const otherKey = noteKeyOf({ name: other.name, type: ED25519_KEY, publicKey: publicKeyOf(other.seed) });
    const both = appendSignature(note, signNote(text, other).split("\n").at(-2)!);
    assert.deepEqual(openNote(both, [key]).verified, [key]);
    assert.deepEqual(openNote(both, [otherKey, key]).verified, [otherKey, key]);
    assertRefused(() => openNote(note, [otherKey]), "bad-signature");
    assertRefused(() => openNote(note, []), "bad-signature");
  });

  it("refuses the whole note where a known key's line is wrong, even beside a right one", () => {
    const wrong = signNote("another text\n", signer).split("\n").at(-2)!;
    assertRefused(() => openNote(appendSignature(note, wrong), [key]), "bad-signature");
    assertRefused(() => openNote(note.replace("first", "First"), [key]), "bad-signature");
  });

  it("refuses every flipped bit of a signature", () => {
    const [{ signature, keyId } = { signature: seed, keyId: "" }] = parseNote(note).signatures;
    for (const { name, value } of flippedBits(signature)) {
      const line = `\u2014 ${signer.name} ${encodeBase64(concat(decodeHex(keyId), value))}`;
      assertRefused(() => openNote(`${text}\n${line}\n`, [key]), "bad-signature", name);
    }
  });

  it("does not take a key of one name for that of another", () => {
    const renamed = noteKeyOf({ ...key, name: "example.org/ckv/2" });
    assert(!isSameKey(renamed, key));
    assertRefused(() => openNote(note, [renamed]), "bad-signature");
  });

  it("refuses what is no note", () => {
    const line = note.split("\n").at(-2)!;
    const wrong = {
      "no-newline": note.slice(0, -1),
      "no-blank-line": `${text}${line}\n`,
      "no-signature": `${text}\n`,
      "control-character": note.replace("first", "fi\u0000rst"),
      "carriage-return": note.replaceAll("\n", "\r\n"),
      "hyphen-for-dash": note.replace("\u2014", "-"),
      "two-spaces": note.replace("\u2014 ", "\u2014  "),
      "trailing-space": note.replace(/\n$/, " \n"),
      unpadded: `${text}\n${line.replace(/=+$/, "")}\n`.replace(line, "\u2014 x QQ"),
      "key-id-only": `${text}\n\u2014 ${signer.name} ${encodeBase64(decodeHex(key.keyId))}\n`,
      "blank-line-at-end": `${note}\n`,
      "lone-surrogate": note.replace("first", "\ud800"),
      "too-many": `${text}\n${`${line}\n`.repeat(MAX_NOTE_SIGNATURES + 1)}`,
      "too-long": `${"x".repeat(70_000)}${note}`,
    };
    for (const [name, value] of Object.entries(wrong)) assertRefused(() => parseNote(value), "malformed", name);
    assert.equal(parseNote(`${text}\n${`${line}\n`.repeat(16)}`).signatures.length, 16);
  });

  it("refuses keys that are not what they say", () => {
    const vkey = formatVkey(key);
    const wrong = {
      "other-id": vkey.replace(key.keyId, "00000000"),
      "other-name": `x${vkey}`,
      "no-name": vkey.slice(signer.name.length),
      space: vkey.replace("example", "exa mple"),
      "upper-case-id": vkey.replace(key.keyId, key.keyId.toUpperCase() + "A").replace("AA+", "A+"),
      "other-type": formatVkey({ ...key, type: 2 }),
      "short-key": formatVkey({ ...key, publicKey: key.publicKey.slice(1) }),
      trailing: `${vkey}A`,
      newline: `${vkey}\n`,
    };
    for (const [name, value] of Object.entries(wrong)) assertRefused(() => parseVkey(value), "malformed", name);
    const smallOrder = formatVkey({ ...key, publicKey: new Uint8Array(32) });
    assertRefused(() => parseVkey(smallOrder), "bad-signature");
    assert.equal(parseVkey(formatVkey({ ...key, type: COSIGNATURE_KEY })).type, COSIGNATURE_KEY);
  });

  it("throws malformed and nothing else, whatever it is given", () => {
    assertOnlyMalformed(fc.string({ unit: "binary" }), parseNote);
    assertOnlyMalformed(
      fc.string({ unit: fc.constantFrom("\u2014", " ", "\n", "a", "+", "QQ==", "AAAAAAAA") }),
      parseNote,
      3_000,
    );
    assertOnlyMalformed(fc.string({ unit: fc.constantFrom("a", "+", "0", "00000000", "A", "=") }), parseVkey, 3_000);
  });
});
