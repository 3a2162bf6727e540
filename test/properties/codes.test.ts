/** The eight digits are the same on both sides, and another for any other pair of people, devices or keys. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { commitToNonce, contactCode, openNonce, transcriptHash } from "../../shared/codes/contact-code.ts";
import type { ComparedParty, Comparison } from "../../shared/codes/contact-code.ts";
import { encodeHex } from "../../shared/encoding.ts";
import { assertRefused } from "../support/mutations.ts";

const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
const party: fc.Arbitrary<ComparedParty> = fc.record(
  {
    userId: fc.string({ minLength: 1, maxLength: 12 }).map((name) => `@${name}:x`),
    deviceId: fc.string({ maxLength: 8 }),
    deviceKey: bytes32,
    masterKey: bytes32,
    logVkey: fc.string({ minLength: 1, maxLength: 12 }),
  },
  { requiredKeys: ["userId", "deviceId", "deviceKey", "masterKey"] },
);
const comparison: fc.Arbitrary<Comparison> = fc.record({ session: bytes32, initiator: party, responder: party });

/** What a person would call the same comparison: every member, in words. */
const nameOf = (value: Comparison): string =>
  JSON.stringify(value, (_, member: unknown) => (member instanceof Uint8Array ? encodeHex(member) : member), 1);

/** Text moved over the border between two members: the same bytes one after another, but another meaning. */
function shifted({ session, initiator, responder }: Comparison): Comparison {
  const { userId, deviceId } = initiator;
  const moved = { ...initiator, userId: userId.slice(0, -1), deviceId: userId.slice(-1) + deviceId };
  return { session, initiator: moved, responder };
}

describe("contact codes", () => {
  it("are the same for both people, who each know what they mean", () => {
    fc.assert(
      fc.property(comparison, bytes32, bytes32, (meant, nonceA, nonceB) => {
        const [a, b] = [transcriptHash(meant), transcriptHash(structuredClone(meant))];
        openNonce(commitToNonce(a, nonceA), b, nonceA);
        const code = contactCode(a, nonceA, nonceB);
        assert.equal(contactCode(b, nonceA, nonceB), code);
        assert.match(code, /^[0-9]{8}$/);
      }),
      { numRuns: 300 },
    );
  });

  it("stand for one comparison: any two that differ have other transcripts, and their commitments do not open", () => {
    fc.assert(
      fc.property(comparison, comparison, bytes32, fc.nat(3), (one, two, nonce, kind) => {
        const other = [
          two,
          shifted(one),
          { ...one, initiator: one.responder, responder: one.initiator },
          { ...one, responder: { ...one.responder, masterKey: two.responder.masterKey } },
        ][kind]!;
        if (nameOf(one) === nameOf(other)) return;
        const [a, b] = [transcriptHash(one), transcriptHash(other)];
        assert.notEqual(encodeHex(a), encodeHex(b));
        assertRefused(() => {
          openNonce(commitToNonce(a, nonce), b, nonce);
        }, "bad-commitment");
      }),
      { numRuns: 500 },
    );
  });
});
