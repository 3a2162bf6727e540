/** The eight digits are the same on both sides, and another for any other pair of people, devices or keys. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { commitToNonce, contactCode, openNonce, transcriptHash } from "../../shared/codes/contact-code.ts";
import type { ComparedParty, Comparison } from "../../shared/codes/contact-code.ts";
import { sha256 } from "../../shared/crypto/hash.ts";
import { encodeHex, utf8 } from "../../shared/encoding.ts";
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

const personOf = (name: string): ComparedParty => ({
  userId: `@${name}:example.org`,
  deviceId: "PHONE",
  deviceKey: sha256(utf8(`${name} device`)),
  masterKey: sha256(utf8(`${name} master`)),
});
const honest = { initiator: personOf("alice"), responder: personOf("bob") };

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

  /**
   * Sessions with somebody between, who swaps the master keys, passes all else on unchanged, and tries no nonces: the two
   * codes agree by chance alone. Of 100,000 such pairs 10 agree in their last four digits on the average and 100 in their
   * last three. For less than one in 10^6 of all choices of nonces a count lies outside of its bounds (binomial: 2.5 in
   * 10^7 are over 30, 5 in 10^7 not from 54 to 154); those here are fixed.
   */
  it("71: of swapped sessions agree as often as chance has it, though both have the same nonces", function () {
    this.timeout(120_000);
    const swapped = sha256(utf8("mallory master"));
    const agreeing = { four: 0, three: 0 };
    for (let run = 0; run < 100_000; run += 1) {
      const bytesOf = (name: string): Uint8Array => sha256(utf8(`${name} ${String(run)}`));
      const [session, nonceA, nonceB] = [bytesOf("session"), bytesOf("alice"), bytesOf("bob")];
      const { initiator, responder } = honest;
      const toAlice = { session, initiator, responder: { ...responder, masterKey: swapped } };
      const toBob = { session, initiator: { ...initiator, masterKey: swapped }, responder };
      const hers = contactCode(transcriptHash(toAlice), nonceA, nonceB);
      const his = contactCode(transcriptHash(toBob), nonceA, nonceB);
      if (hers.slice(-4) === his.slice(-4)) agreeing.four += 1;
      if (hers.slice(-3) === his.slice(-3)) agreeing.three += 1;
    }
    assert.ok(agreeing.four <= 30, `${String(agreeing.four)} of 100,000 agree in four digits`);
    assert.ok(
      agreeing.three >= 54 && agreeing.three <= 154,
      `${String(agreeing.three)} of 100,000 agree in three digits`,
    );
  });
});
