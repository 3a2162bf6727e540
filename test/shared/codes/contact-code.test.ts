import assert from "node:assert/strict";
import { decodeHex, encodeHex } from "../../../shared/encoding.ts";
import {
  commitToNonce,
  type ComparedParty,
  contactCode,
  formatContactCode,
  openNonce,
  transcriptHash,
} from "../../../shared/codes/contact-code.ts";
import { assertRefused, flippedBits } from "../../support/mutations.ts";
import { frozenVectors } from "../../support/vectors.ts";

type PartyVector = Record<"userId" | "deviceId" | "deviceKey" | "masterKey", string> & { logVkey?: string };
type CodeVector = Record<
  "session" | "initiatorNonce" | "responderNonce" | "transcriptHash" | "commitment" | "code",
  string
>;
const { contactCode: vector } = frozenVectors("ckv.json") as {
  contactCode: { initiator: PartyVector; responder: PartyVector; cases: CodeVector[] };
};

function partyOf({ deviceKey, masterKey, ...rest }: PartyVector): ComparedParty {
  return { ...rest, deviceKey: decodeHex(deviceKey), masterKey: decodeHex(masterKey) };
}
const [initiator, responder] = [partyOf(vector.initiator), partyOf(vector.responder)];

describe("shared/codes/contact-code", () => {
  for (const { session, initiatorNonce, responderNonce, transcriptHash: hash, commitment, code } of vector.cases) {
    it(`gives ${code}, as a second implementation does`, () => {
      const transcript = transcriptHash({ session: decodeHex(session), initiator, responder });
      assert.equal(encodeHex(transcript), hash);
      assert.equal(encodeHex(commitToNonce(transcript, decodeHex(initiatorNonce))), commitment);
      openNonce(decodeHex(commitment), transcript, decodeHex(initiatorNonce));
      assert.equal(contactCode(transcript, decodeHex(initiatorNonce), decodeHex(responderNonce)), code);
    });
  }

  const [first] = vector.cases;
  const session = decodeHex(first!.session);
  const nonce = decodeHex(first!.initiatorNonce);
  const commitment = decodeHex(first!.commitment);

  it("opens only with the same nonce and the same meaning", () => {
    const transcript = transcriptHash({ session, initiator, responder });
    for (const { name, value } of flippedBits(nonce)) {
      assertRefused(
        () => {
          openNonce(commitment, transcript, value);
        },
        "bad-commitment",
        name,
      );
    }
  });

  it("means another thing when any one value differs", () => {
    const other = new Uint8Array(32).fill(0xee);
    const changed: Partial<ComparedParty>[] = [
      { userId: "@mallory:a.example" },
      { deviceId: "BBBBBBBC" },
      { deviceKey: other },
      { masterKey: other },
      { logVkey: "other/ckv/1+00000000+AQ" },
    ];
    const variants = [
      { session, initiator, responder },
      { session: other, initiator, responder },
      { session, initiator: responder, responder: initiator },
      ...changed.map((change) => ({ session, initiator: { ...initiator, ...change }, responder })),
      ...changed.map((change) => ({ session, initiator, responder: { ...responder, ...change } })),
    ];
    assert.equal(new Set(variants.map((variant) => encodeHex(transcriptHash(variant)))).size, variants.length);
    const noLog: ComparedParty = { ...responder, logVkey: "" };
    assert.deepEqual(
      transcriptHash({ session, initiator, responder: noLog }),
      transcriptHash({ session, initiator, responder }),
    );
  });

  it("keeps leading zeros and shows two groups", () => {
    assert(vector.cases.some(({ code }) => code.startsWith("0") && code.length === 8));
    assert.equal(formatContactCode("01234567"), "0123 4567");
  });

  it("refuses nonces, sessions and keys of other lengths", () => {
    const transcript = transcriptHash({ session, initiator, responder });
    assertRefused(() => commitToNonce(transcript, nonce.slice(1)), "malformed");
    assertRefused(() => contactCode(transcript, nonce, new Uint8Array()), "malformed");
    assertRefused(() => transcriptHash({ session: nonce.slice(1), initiator, responder }), "malformed");
    const short = { ...initiator, masterKey: new Uint8Array(31) };
    assertRefused(() => transcriptHash({ session, initiator: short, responder }), "malformed");
  });
});
