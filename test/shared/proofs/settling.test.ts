import assert from "node:assert/strict";
import { decodePath, encodePath } from "../../../shared/messages.ts";
import type { SettlingPart } from "../../../shared/messages.ts";
import { verifyHead } from "../../../shared/proofs/head.ts";
import type { VerifiedHead } from "../../../shared/proofs/head.ts";
import { verifyUser } from "../../../shared/proofs/lookup.ts";
import type { KnownUser } from "../../../shared/proofs/lookup.ts";
import {
  checkNewestSettling,
  checkOneSettling,
  settlingEpochOf,
  verifySettlingRecords,
} from "../../../shared/proofs/settling.ts";
import { mutatedPaths } from "../../support/mutations.ts";
import { TestLog } from "../../support/test-log.ts";
import { TestUser } from "../../support/test-user.ts";
import { assertEvidence, assertVerdict } from "../../support/verdicts.ts";
import { without } from "../../support/without.ts";

const ALICE = "@alice:example.org";
const START = 1_000_000;
const entryOf = (deviceId: string): Uint8Array => new TestUser(ALICE, deviceId).entry();
const [v1, v2, ghost] = [entryOf("A1"), entryOf("A2"), entryOf("GHOST")];

/** Epochs 0 and 1 in the first interval (v1), 2 opens the second (v2), 3 the same, 4 opens the third. */
function threeIntervals(): TestLog {
  const log = new TestLog({ startMs: START, settleMs: 10_000 });
  log.setEntry(ALICE, v1);
  log.closeEpoch(START + 1_000);
  log.setEntry(ALICE, v2);
  log.closeEpoch(START + 10_000);
  log.closeEpoch(START + 11_000);
  log.closeEpoch(START + 20_500);
  return log;
}

const headOf = (log: TestLog, size = log.size): VerifiedHead =>
  verifyHead(log.known(log.newest.record.timestampMs), log.head(size), []);

function check(log: TestLog, known: KnownUser = {}, part = log.user(ALICE)): ReturnType<typeof verifyUser> {
  const head = headOf(log);
  const settling = verifySettlingRecords(head, log.settlingEpoch(), log.settlingRecords());
  return verifyUser(head, { settling, ...known }, ALICE, part);
}

describe("settling", () => {
  it("has one newest settling epoch at every head, the first of its interval", () => {
    const log = threeIntervals();
    const expected = [0, 0, 2, 2, 4];
    for (let size = 1; size <= log.size; size++) {
      const head = headOf(log, size);
      assert.equal(log.settlingEpoch(size), expected[size - 1]);
      const settling = verifySettlingRecords(
        head,
        log.settlingEpoch(size),
        log.settlingRecords(log.settlingEpoch(size), size),
      );
      checkNewestSettling(head, settling);
    }
    assert.equal(settlingEpochOf([], 10_000), undefined);
  });

  it("refuses an epoch of an older interval, and one that is not the first of its interval", () => {
    const log = threeIntervals();
    const head = headOf(log, 4);
    const older = verifySettlingRecords(head, 0, log.settlingRecords(0, 4));
    assertVerdict(() => checkNewestSettling(head, older), "settle-overdue");
    assertVerdict(() => verifySettlingRecords(head, 3, log.settlingRecords(3, 4)), "settle-overdue");
    assertVerdict(() => verifySettlingRecords(head, 2, log.settlingRecords(0, 4)), "settle-overdue");
    const alone = without(log.settlingRecords(2, 4), "previous_record", "previous_proof");
    assertVerdict(() => verifySettlingRecords(head, 2, alone), "settle-overdue");
    const newer = verifySettlingRecords(headOf(log), 4, log.settlingRecords(4));
    assertVerdict(() => checkNewestSettling(head, newer), "settle-overdue");
    for (const { name, value } of mutatedPaths(decodePath(log.settlingRecords(2, 4).record_proof), 17)) {
      const changed = { ...log.settlingRecords(2, 4), record_proof: encodePath(value) };
      assertVerdict(() => verifySettlingRecords(head, 2, changed), "settle-overdue", name);
    }
    const stranger = threeIntervals().settlingRecords(2, 3);
    assertVerdict(() => verifySettlingRecords(head, 2, stranger), "settle-overdue", "another size");
  });

  it("convicts a log whose time dips before the epoch it calls settling, or a second one of an interval", () => {
    const log = threeIntervals();
    log.closeEpoch(START + 30_500);
    log.closeEpoch(START + 21_000);
    const later = headOf(log, 7);
    assertEvidence(() => verifySettlingRecords(later, 6, log.settlingRecords(6, 7)), "time-backwards", "E7");
    log.closeEpoch(START + 31_000);
    const head = headOf(log, 8);
    const first = verifySettlingRecords(head, 5, log.settlingRecords(5, 8));
    const second = verifySettlingRecords(head, 7, log.settlingRecords(7, 8));
    checkNewestSettling(head, first);
    checkNewestSettling(head, second);
    assertEvidence(() => checkOneSettling(head, first, second), "time-backwards", "E7");
    assertEvidence(() => checkOneSettling(head, second, first), "time-backwards", "E7");
    assert.equal(checkOneSettling(head, first, first), first);
    const before = verifySettlingRecords(head, 4, log.settlingRecords(4, 8));
    assert.equal(checkOneSettling(head, before, first), first);
  });

  it("shows what is settled, absence included, and what is not yet", () => {
    const log = threeIntervals();
    assert.equal(check(log).settled?.leaf?.n, 2);
    log.setEntry(ALICE, ghost);
    log.closeEpoch(START + 21_000);
    const verified = check(log);
    assert.deepEqual([verified.leaf?.n, verified.settled?.leaf?.n], [3, 2]);
    const early = new TestLog({ startMs: START });
    early.setEntry(ALICE, v1);
    early.closeEpoch(START + 1_000);
    assert.equal(check(early).settled?.leaf, undefined);
  });

  it("refuses a settling part of another epoch, another map, or without its path", () => {
    const log = threeIntervals();
    log.setEntry(ALICE, ghost);
    log.closeEpoch(START + 21_000);
    const part = log.user(ALICE);
    const change = (settling: Partial<SettlingPart>) => ({ ...part, settling: { ...part.settling, ...settling } });
    assertVerdict(() => check(log, {}, change({ epoch: 2 })), "settle-overdue");
    assertVerdict(() => check(log, {}, change({ map_proof: "AAAB" })), "map-proof");
    const leaf = part.settling.leaf!;
    assertVerdict(() => check(log, {}, change({ leaf: { ...leaf, n: 1 } })), "map-proof");
    for (const { name, value } of mutatedPaths(decodePath(leaf.consistency), 17)) {
      const settling = { leaf: { ...leaf, consistency: encodePath(value) } };
      assertVerdict(() => check(log, {}, change(settling)), "history-unproven", name);
    }
  });

  it("catches a leaf that is flipped between epochs, with evidence", () => {
    const log = new TestLog({ startMs: START, settleMs: 10_000 });
    log.setEntry(ALICE, v1);
    log.closeEpoch(START + 1_000);
    log.setEntry(ALICE, ghost);
    log.closeEpoch(START + 2_000);
    const { leaf: accepted } = check(log);
    assert(accepted !== undefined);
    log.revert(ALICE, 1);
    log.closeEpoch(START + 10_500);
    log.revert(ALICE, 2);
    log.closeEpoch(START + 11_000);
    // The victim is answered with the very history it knows, yet what settled is shorter.
    check(log, { accepted, path: [] });
    assertEvidence(() => check(log, { accepted, acceptedBySettling: accepted }), "settle-vanished", "E3");
  });

  it("catches a settled leaf from which the head does not descend", () => {
    const log = new TestLog({ startMs: START, settleMs: 10_000 });
    log.forge(ALICE, [v1, v2, ghost]);
    log.closeEpoch(START + 10_000);
    log.forge(ALICE, [v1, v2]);
    log.closeEpoch(START + 11_000);
    assertEvidence(() => check(log), "settle-vanished", "E3");
    log.forge(ALICE, [v1, v2, v1]);
    log.closeEpoch(START + 11_500);
    assertEvidence(() => check(log), "settle-vanished", "E3");
    log.forget(ALICE);
    log.closeEpoch(START + 12_000);
    assertEvidence(() => check(log), "settle-vanished", "E3");
    log.forge(ALICE, [v1, v2, v1, v2]);
    log.closeEpoch(START + 12_500);
    assertEvidence(() => check(log), "settle-vanished", "E4");
  });

  it("catches an enrolled user who is absent from what settles", () => {
    const log = new TestLog({ startMs: START, settleMs: 10_000 });
    log.setEntry(ALICE, v1);
    log.closeEpoch(START + 1_000);
    const { leaf } = check(log);
    log.forget(ALICE);
    log.closeEpoch(START + 10_000);
    log.forge(ALICE, [v1]);
    log.closeEpoch(START + 11_000);
    assert(leaf !== undefined);
    assertEvidence(() => check(log, { acceptedBySettling: leaf }), "settle-vanished", "E3");
  });

  it("is left out where the policy demands an auditor", () => {
    const log = threeIntervals();
    assert.equal(verifyUser(headOf(log), {}, ALICE, log.user(ALICE)).settled, undefined);
  });
});
