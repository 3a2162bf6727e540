import assert from "node:assert/strict";
import { encodeBase64, concat, decodeHex } from "../../../shared/encoding.ts";
import { cosign, openCosignatures } from "../../../shared/crypto/cosignature.ts";
import { publicKeyOf } from "../../../shared/crypto/ed25519.ts";
import {
  appendSignature,
  COSIGNATURE_KEY,
  ED25519_KEY,
  noteKeyOf,
  parseNote,
} from "../../../shared/crypto/signed-note.ts";
import { signCheckpoint } from "../../../shared/log/checkpoint.ts";
import { assertRefused, flippedBits } from "../../support/mutations.ts";

const note = signCheckpoint(
  { origin: "example.org/ckv/1", size: 3, root: new Uint8Array(32) },
  { seed: new Uint8Array(32) },
);
const witness = { name: "witness.example", seed: new Uint8Array(32).fill(3) };
const key = noteKeyOf({ name: witness.name, type: COSIGNATURE_KEY, publicKey: publicKeyOf(witness.seed) });

describe("shared/crypto/cosignature", () => {
  const line = cosign(note, { ...witness, timestampS: 1_780_000_000 });
  const cosigned = appendSignature(note, line);

  it("opens what it cosigned, with its time, and none where there is none", () => {
    assert.deepEqual(openCosignatures(cosigned, [key]), [{ key, timestampS: 1_780_000_000 }]);
    assert.deepEqual(openCosignatures(note, [key]), []);
    const later = appendSignature(cosigned, cosign(note, { ...witness, timestampS: 1_780_000_060 }));
    assert.deepEqual(openCosignatures(later, [key]), [{ key, timestampS: 1_780_000_060 }]);
  });

  it("covers the text of the note only, so the order of signatures does not matter", () => {
    assert.equal(cosign(cosigned, { ...witness, timestampS: 1_780_000_000 }), line);
  });

  it("refuses every flipped bit of time and signature", () => {
    const { signature } = parseNote(cosigned).signatures[1]!;
    for (const { name, value } of flippedBits(signature)) {
      const wrong = `\u2014 ${witness.name} ${encodeBase64(concat(decodeHex(key.keyId), value))}`;
      // A time from 2^53 on is no time at all.
      const code = value[0] === 0 && value[1]! < 32 ? "bad-signature" : "malformed";
      assertRefused(() => openCosignatures(appendSignature(note, wrong), [key]), code, name);
    }
    const short = `\u2014 ${witness.name} ${encodeBase64(concat(decodeHex(key.keyId), signature.slice(1)))}`;
    assertRefused(() => openCosignatures(appendSignature(note, short), [key]), "bad-signature");
  });

  it("refuses a cosignature of another checkpoint", () => {
    const other = signCheckpoint(
      { origin: "example.org/ckv/1", size: 4, root: new Uint8Array(32) },
      { seed: new Uint8Array(32) },
    );
    assertRefused(() => openCosignatures(appendSignature(other, line), [key]), "bad-signature");
  });

  it("takes keys that cosign, no others", () => {
    const plain = noteKeyOf({ ...key, type: ED25519_KEY });
    const signed = appendSignature(
      note,
      `\u2014 ${plain.name} ${encodeBase64(concat(decodeHex(plain.keyId), new Uint8Array(64)))}`,
    );
    assert.throws(() => openCosignatures(signed, [plain]), RangeError);
  });
});
