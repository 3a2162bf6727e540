import assert from "node:assert/strict";
import fc from "fast-check";
import { formatVkey } from "../../../shared/crypto/signed-note.ts";
import { VerificationError } from "../../../shared/errors.ts";
import type { ProvenLeaf } from "../../../shared/messages.ts";
import {
  attemptEvidence,
  createConfigurationEvidence,
  createForkEvidence,
  createLeafEvidence,
  createOrderEvidence,
  formatEvidence,
  parseEvidence,
  verifyEvidence,
} from "../../../shared/proofs/evidence.ts";
import type { Evidence } from "../../../shared/proofs/evidence.ts";
import { assertOnlyMalformed, assertRefused } from "../../support/mutations.ts";
import { TestLog } from "../../support/test-log.ts";
import { TestUser } from "../../support/test-user.ts";

const ALICE = "@alice:example.org";
const START = 1_000_000;
const entries = [1, 2, 3, 4].map((i) => new TestUser(ALICE, `A${i}`).entry());

/** Alice with three versions; a fork in which she has other ones, or none. */
const honest = new TestLog({ startMs: START });
for (const [i, entry] of entries.slice(0, 3).entries()) {
  honest.setEntry(ALICE, entry);
  honest.closeEpoch(START + 1_000 * (i + 1));
}
function forked(entriesThere: readonly Uint8Array[]): TestLog {
  const fork = honest.fork();
  if (entriesThere.length === 0) fork.forget(ALICE);
  else fork.forge(ALICE, entriesThere);
  fork.closeEpoch(START + 5_000);
  return fork;
}
const earlier = honest.provenLeaf(ALICE, 3);
const later = (log: TestLog): ProvenLeaf => log.provenLeaf(ALICE, 4);

/** One file of each kind that needs no promise or change list (those stand beside their own tests). */
function files(): Map<Evidence["kind"], Evidence> {
  const [none, other] = [forked([]), forked(entries)];
  const longer = honest.fork();
  longer.closeEpoch(START + 4_000, { labels: 0 });
  const reconfigured = honest.fork();
  reconfigured.reconfigure({ settle_ms: 20_000 });
  reconfigured.closeEpoch(START + 4_000);
  const sixth = none.fork();
  sixth.closeEpoch(START + 6_000);
  other.closeEpoch(START + 6_000);
  other.closeEpoch(START + 7_000);
  return new Map<Evidence["kind"], Evidence>([
    ["E1", createForkEvidence(honest.vkey, none.head().checkpoint, forked(entries).head().checkpoint)],
    [
      "E2",
      createForkEvidence(honest.vkey, sixth.head().checkpoint, other.head().checkpoint, other.logConsistency(6, 7)),
    ],
    ["E3", createLeafEvidence(honest.vkey, earlier, later(none))],
    ["E4", createLeafEvidence(honest.vkey, earlier, later(other), other.historyConsistency(ALICE, 3, 4))],
    ["E7", createOrderEvidence(honest.vkey, honest.head(), longer.head())],
    [
      "E8",
      createConfigurationEvidence(honest.vkey, {
        earlier: honest.head(),
        earlier_configuration: honest.configurationText,
        later: reconfigured.head(),
        later_configuration: reconfigured.configurationText,
      }),
    ],
  ]);
}

describe("evidence", () => {
  const all = files();

  it("is one file that names log, code and, where there is one, index", () => {
    for (const [kind, evidence] of all) {
      const fact = verifyEvidence(formatEvidence(evidence));
      assert.equal(fact.kind, kind);
      assert.equal(fact.origin, honest.origin);
      assert.equal(fact.logKey, formatVkey(honest.logKey));
      assert.equal(fact.index !== undefined, kind === "E3" || kind === "E4");
      assert.deepEqual(formatEvidence(parseEvidence(formatEvidence(evidence))), formatEvidence(evidence));
    }
  });

  it("tells by its code what became of a leaf", () => {
    const codes = [[], entries.slice(0, 2), entries.slice(1, 4)].map(
      (there) => verifyEvidence(createLeafEvidence(honest.vkey, earlier, later(forked(there)))).code,
    );
    assert.deepEqual(codes, ["leaf-vanished", "history-shorter", "history-other"]);
  });

  it("proves nothing against an honest log", () => {
    const grown = honest.fork();
    grown.setEntry(ALICE, entries[3]!);
    const [before, size] = [honest.head().checkpoint, honest.size];
    grown.closeEpoch(START + 4_000);
    const path = grown.logConsistency(3, grown.size);
    const attempts = [
      () => createForkEvidence(honest.vkey, before, before),
      () => createForkEvidence(honest.vkey, before, grown.head().checkpoint),
      () => createForkEvidence(honest.vkey, honest.head(3).checkpoint, grown.head().checkpoint, path),
      () => createLeafEvidence(honest.vkey, earlier, later(grown)),
      () => createLeafEvidence(honest.vkey, earlier, later(grown), grown.historyConsistency(ALICE, 3, 4)),
      () => createLeafEvidence(honest.vkey, later(grown), earlier),
      () => createLeafEvidence(honest.vkey, honest.provenLeaf("@nobody:example.org", 3), later(grown)),
      () => createOrderEvidence(honest.vkey, honest.head(), grown.head()),
      () => createOrderEvidence(honest.vkey, grown.head(), honest.head()),
      () =>
        createConfigurationEvidence(honest.vkey, {
          earlier: honest.head(),
          earlier_configuration: honest.configurationText,
          later: grown.head(),
          later_configuration: grown.configurationText,
        }),
    ];
    for (const [i, attempt] of attempts.entries()) {
      assertRefused(attempt, "malformed", `attempt ${i} of ${size}`);
      assert.deepEqual(attemptEvidence(attempt), {});
    }
  });

  it("counts only against the key that signed", () => {
    const stranger = new TestLog({ number: 2 });
    for (const evidence of all.values()) {
      assert.throws(() => verifyEvidence({ ...evidence, log_key: stranger.vkey }), VerificationError);
    }
  });

  it("proves nothing once any character of what is signed or hashed has changed", () => {
    for (const [kind, evidence] of all) {
      const file = formatEvidence(evidence);
      for (let at = 0; at < file.length; at += 13) {
        const char = file.charAt(at);
        if (!/[A-Za-z0-9+/]/.test(char)) continue;
        const changed = `${file.slice(0, at)}${char === "A" ? "B" : "A"}${file.slice(at + 1)}`;
        assert.throws(() => verifyEvidence(changed), VerificationError, `${kind} character ${at}`);
      }
    }
  });

  it("has no members but its own", () => {
    for (const [kind, evidence] of all) {
      assertRefused(() => parseEvidence(formatEvidence({ ...evidence, more: "x" } as never)), "malformed", kind);
      assertRefused(() => parseEvidence(formatEvidence({ ...evidence, format: "x" } as never)), "malformed", kind);
      assertRefused(() => parseEvidence(formatEvidence({ ...evidence, kind: "E0" } as never)), "malformed", kind);
    }
    assertOnlyMalformed(fc.json(), parseEvidence);
    assertOnlyMalformed(fc.string(), parseEvidence);
  });
});
