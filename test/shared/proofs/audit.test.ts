import assert from "node:assert/strict";
import fc from "fast-check";
import { configurationHash } from "../../../shared/directory/configuration.ts";
import { compareBytes, encodeUnpadded } from "../../../shared/encoding.ts";
import {
  changeListProblem,
  changesHash,
  encodeChangeList,
  encodeEpochChanges,
  parseChangeList,
  parseEpochChanges,
} from "../../../shared/log/change-list.ts";
import type { Change } from "../../../shared/log/change-list.ts";
import { encodeEpochRecord } from "../../../shared/log/epoch-record.ts";
import type { EpochRecord } from "../../../shared/log/epoch-record.ts";
import { encodeMapProof, rootOfLeaves } from "../../../shared/map/map-proof.ts";
import { PrefixTree } from "../../../shared/map/prefix-tree.ts";
import { auditCheckpoint, auditEpoch, leafChangeOf, startAudit, startAuditAt } from "../../../shared/proofs/audit.ts";
import type { AuditState, EpochData } from "../../../shared/proofs/audit.ts";
import { createEpochEvidence, verifyEvidence } from "../../../shared/proofs/evidence.ts";
import { sha256 } from "../../../shared/crypto/hash.ts";
import type { Hash } from "../../../shared/crypto/hash.ts";
import { assertOnlyMalformed, assertRefused, flippedBits } from "../../support/mutations.ts";
import { TestLog } from "../../support/test-log.ts";
import { TestUser } from "../../support/test-user.ts";
import { assertVerdict, codeOf } from "../../support/verdicts.ts";
import { without } from "../../support/without.ts";

const START = 1_000_000;
const USERS = ["alice", "bob", "carol", "dan", "eve"].map((name) => `@${name}:example.org`);
const entries = USERS.map((userId) => new TestUser(userId, "A").entry());

/** Three epochs: some users, more versions, a heartbeat; then one with old and new users, which is not yet audited. */
function logWithEpochs(): TestLog {
  const log = new TestLog({ startMs: START });
  for (const i of [0, 1, 2]) log.setEntry(USERS[i]!, entries[i]!);
  log.closeEpoch(START + 1_000);
  for (const i of [0, 0, 1]) log.setEntry(USERS[i]!, entries[i]!);
  log.closeEpoch(START + 2_000);
  log.closeEpoch(START + 3_000);
  for (const i of [0, 2, 3, 4, 4]) log.setEntry(USERS[i]!, entries[i]!);
  log.closeEpoch(START + 4_000);
  return log;
}

const log = logWithEpochs();
const dataOf = (of: TestLog, epoch: number): EpochData => ({
  record: of.epoch(epoch).bytes,
  changes: of.epoch(epoch).changes,
});
const stateAt = (of: TestLog, epoch: number): AuditState =>
  of.epochs
    .slice(0, epoch + 1)
    .reduce(
      (state, each) =>
        auditEpoch(
          state,
          { record: each.bytes, changes: each.changes, configuration: each.configuration },
          each.record.timestampMs,
        ),
      startAudit(of.epoch(0).configuration),
    );
const before = stateAt(log, 3);
const last = log.epoch(4);
const changes = parseChangeList(last.changes.list);
const proofFor = (list: readonly Change[]): Uint8Array => log.epoch(3).map.proveBatch(list.map(({ index }) => index));

/** The last epoch with another list (and a record that names it), and other members of the record. */
function changed(
  list: readonly Change[] | Uint8Array,
  record: Partial<EpochRecord> = {},
  proof = last.changes.proof,
): EpochData {
  const bytes = list instanceof Uint8Array ? list : encodeChangeList(list);
  const lied = { ...last.record, changesHash: changesHash(bytes), ...record };
  return { record: encodeEpochRecord(lied), changes: { list: bytes, proof } };
}

const audit = (data: EpochData, nowMs = START + 4_000): AuditState => auditEpoch(before, data, nowMs);
const refuse = (data: EpochData, code: Parameters<typeof assertVerdict>[1], name?: string): void => {
  assertVerdict(() => audit(data), code, name);
};
const rehashed = (hash: Hash): Hash => sha256(hash);

describe("audit", () => {
  it("takes an honest log, epoch by epoch, and each of its heads", () => {
    const state = log.checkLog();
    assert.equal(state.record?.epoch, 4);
    assert.deepEqual(auditCheckpoint(state, last.note).size, 5);
  });

  it("refuses a history that would grow beyond what a version can be", () => {
    const size = Number.MAX_SAFE_INTEGER;
    const old = { size, hashes: Array.from({ length: 53 }, () => sha256(last.record.mapRoot)) };
    const endless = { index: changes[0]!.index, old, commitments: changes[0]!.commitments };
    refuse(changed([endless], {}, proofFor([endless])), "audit-list-hash");
    assertRefused(() => parseChangeList(encodeChangeList([endless])), "malformed");
    const almost = { ...endless, old: { size: size - 1, hashes: old.hashes.slice(1) }, commitments: [old.hashes[0]!] };
    refuse(changed([almost], {}, proofFor([almost])), "audit-old-leaf");
  });

  it("takes a new configuration with its text, and refuses a fixed field", () => {
    const changing = logWithEpochs();
    changing.reconfigure({ heartbeat_ms: 1_000 });
    changing.closeEpoch(START + 5_000);
    changing.checkLog();
    const state = stateAt(changing, 4);
    const data = { ...dataOf(changing, 5), configuration: changing.configurationText };
    const take = (each: EpochData) => auditEpoch(state, each, START + 5_000);
    assert.equal(take(data).configuration.heartbeat_ms, 1_000);
    assertVerdict(() => take(dataOf(changing, 5)), "audit-data-missing");
    assertVerdict(() => take({ ...data, configuration: log.configurationText }), "audit-data-missing", "not the text");
    changing.reconfigure({ heartbeat_ms: 2_000 });
    const lied = { ...changing.epoch(5).record, configurationHash: configurationHash(changing.configurationText) };
    const grown = { ...data, record: encodeEpochRecord(lied), configuration: changing.configurationText };
    assertVerdict(
      () =>
        auditEpoch(
          take(data),
          { ...grown, record: encodeEpochRecord({ ...lied, epoch: 6, timestampMs: START + 5_500 }) },
          START + 6_000,
        ),
      "audit-config",
    );
  });

  it("starts in the middle with a whole map", () => {
    const { record, bytes } = log.epoch(3);
    const leaves = USERS.slice(0, 3).map((userId) => {
      const leaf = log.epoch(3).map.get(log.indexOf(userId));
      assert(leaf !== undefined);
      return leaf;
    });
    const whole = { configuration: log.configurationText, record: bytes, log: before.log };
    const dump = { ...whole, mapRoot: rootOfLeaves(leaves, 0), labels: leaves.length };
    const state = startAuditAt(dump);
    assert.deepEqual(auditCheckpoint(state, log.epoch(3).note).size, record.epoch + 1);
    assert.equal(auditEpoch(state, dataOf(log, 4), START + 4_000).record?.epoch, 4);
    assertVerdict(() => startAuditAt({ ...dump, labels: leaves.length - 1 }), "audit-labels");
    const other = rootOfLeaves(leaves.with(0, { ...leaves[0]!, n: 9 }), 0);
    assertVerdict(() => startAuditAt({ ...dump, mapRoot: other }), "audit-old-leaf");
    assertVerdict(() => startAuditAt({ ...dump, log: stateAt(log, 2).log }), "audit-gap");
  });

  it("refuses a record of another form, position, time", () => {
    refuse({ ...dataOf(log, 4), record: last.bytes.slice(1) }, "audit-record");
    refuse({ ...dataOf(log, 4), record: last.bytes.with(0, 2) }, "audit-record");
    refuse(changed(changes, { epoch: 5 }), "audit-gap", "skipped epoch");
    refuse(changed(changes, { epoch: 3 }), "audit-gap", "repeated epoch");
    refuse(changed(changes, { timestampMs: START + 3_000 }), "audit-time", "same time");
    assertVerdict(() => audit(dataOf(log, 4), START + 4_000 - 60_001), "audit-observed", "ahead of the clock");
    assertVerdict(
      () => auditEpoch(startAudit(log.configurationText), dataOf(log, 1), START + 1_000),
      "audit-gap",
      "no epoch 0",
    );
  });

  it("refuses a list that is not the record's, not whole, or out of order", () => {
    refuse({ ...dataOf(log, 4), changes: log.epoch(2).changes }, "audit-list-hash");
    refuse(changed(Uint8Array.of(...last.changes.list, 0)), "audit-list-hash", "bytes left over");
    refuse(changed(last.changes.list.slice(0, -1)), "audit-list-hash", "cut");
    refuse(changed(changes.toReversed()), "audit-order");
    refuse(changed([changes[0]!, ...changes]), "audit-duplicate");
    refuse(changed(changes.with(1, { ...changes[1]!, commitments: [] })), "audit-empty-entry");
    const nine = Array.from({ length: 9 }, () => changes[1]!.commitments[0]!);
    refuse(changed(changes.with(1, { ...changes[1]!, commitments: nine })), "audit-limit", "nine versions");
  });

  it("refuses changes that do not start from the old map", () => {
    const known = changes.findIndex(({ old }) => old.size > 0);
    const fresh = changes.findIndex(({ old }) => old.size === 0);
    const asNew = changes.with(known, { ...changes[known]!, old: { size: 0, hashes: [] } });
    refuse(changed(asNew), "audit-not-new", "old_n = 0 for a known index");
    const asOld = changes.with(fresh, { ...changes[fresh]!, old: changes[known]!.old });
    refuse(changed(asOld), "audit-old-leaf", "a new index as known");
    const { size, hashes } = changes[known]!.old;
    const wrong = changes.with(known, { ...changes[known]!, old: { size, hashes: hashes.map(rehashed) } });
    refuse(changed(wrong), "audit-old-leaf", "wrong frontier");
    const other = log.epoch(1).map.proveBatch(changes.map(({ index }) => index));
    refuse(changed(changes, {}, other), "audit-old-leaf", "batch proof of another map");
  });

  it("refuses changes that do not lead to the new map", () => {
    refuse(changed(changes, { mapRoot: rehashed(last.record.mapRoot) }), "audit-new-root");
    const otherCommitment = changes.with(0, { ...changes[0]!, commitments: changes[0]!.commitments.map(rehashed) });
    refuse(changed(otherCommitment), "audit-new-root", "another commitment");
    refuse(changed(changes.slice(1), { labels: 5 }, proofFor(changes.slice(1))), "audit-new-root", "a change left out");
    refuse(changed([], {}, proofFor([])), "audit-new-root", "empty list with new root");
    const elsewhere = new PrefixTree(log.epoch(3).map);
    for (const { index, new: leaf } of changes.map((change) => leafChangeOf(change, 5)))
      elsewhere.set(index, leaf.n, leaf.historyRoot);
    refuse(changed(changes, { mapRoot: elsewhere.root }), "audit-new-root", "history leaf with another epoch number");
    const siblings = new PrefixTree(last.map);
    siblings.set(log.indexOf(USERS[1]!), 1, rehashed(last.record.mapRoot));
    refuse(changed(changes, { mapRoot: siblings.root }), "audit-new-root", "other siblings for the new root");
  });

  it("refuses labels that do not add up, also in a heartbeat", () => {
    refuse(changed(changes, { labels: last.record.labels + 1 }), "audit-labels");
    refuse(changed(changes, { labels: last.record.labels - 1 }), "audit-labels");
    const heartbeat = changed([], { mapRoot: log.epoch(3).map.root, labels: 4 }, proofFor([]));
    refuse(heartbeat, "audit-labels", "heartbeat");
  });

  it("refuses more than 100 versions of an index in a day", () => {
    const busy = new TestLog({ startMs: START });
    for (let i = 0; i < 100; i++) busy.setEntry(USERS[0]!, entries[0]!);
    for (let epoch = 0; epoch < 13; epoch++) busy.closeEpoch(START + 1_000 + epoch);
    busy.checkLog();
    const nextDay = busy.fork();
    busy.setEntry(USERS[0]!, entries[0]!);
    busy.closeEpoch(START + 2_000);
    assertVerdict(() => busy.checkLog(), "audit-limit");
    nextDay.setEntry(USERS[0]!, entries[0]!);
    nextDay.closeEpoch(START + 86_400_000);
    nextDay.checkLog();
  });

  it("refuses another log root, and a head the log did not sign", () => {
    const state = log.checkLog();
    const other = logWithEpochs();
    other.closeEpoch(START + 5_000);
    assertVerdict(() => auditCheckpoint(state, log.epoch(3).note), "audit-log-root", "another size");
    assertVerdict(
      () => auditCheckpoint(log.checkLog(), new TestLog({ number: 2 }).head().checkpoint),
      "audit-log-root",
    );
    const fork = log.fork();
    fork.epochs.pop();
    fork.closeEpoch(START + 4_500);
    assertVerdict(() => auditCheckpoint(state, fork.newest.note), "audit-log-root", "a fork");
  });

  it("waits where the batch proof is no proof: that is missing data, not a lie", () => {
    refuse(changed(changes, {}, new Uint8Array(5)), "audit-data-missing");
  });

  it("refuses every flipped bit of record, list and proof", () => {
    for (const { name, value } of flippedBits(last.bytes, 3)) {
      const code = codeOf(() => audit({ ...dataOf(log, 4), record: value }, START * 10 ** 9));
      const isTimeAlone = code === undefined && name !== "";
      assert(isTimeAlone || code!.startsWith("audit-"), name);
    }
    for (const { name, value } of flippedBits(last.changes.list, 11)) {
      assertVerdict(
        () => audit({ record: last.bytes, changes: { ...last.changes, list: value } }),
        "audit-list-hash",
        name,
      );
    }
    for (const { name, value } of flippedBits(last.changes.proof)) {
      const code = codeOf(() => audit({ record: last.bytes, changes: { ...last.changes, proof: value } }));
      assert(code?.startsWith("audit-"), name);
    }
  });
});

describe("change list", () => {
  it("comes back as it was written", () => {
    assert.deepEqual(encodeChangeList(parseChangeList(last.changes.list)), last.changes.list);
    assert.deepEqual(parseEpochChanges(encodeEpochChanges(last.changes)), last.changes);
    assert.equal(changeListProblem(changes), undefined);
    assert(changes.every(({ index }, i) => i === 0 || compareBytes(changes[i - 1]!.index, index) < 0));
    assertRefused(() => parseEpochChanges(Uint8Array.of(0, 0, 1, 0)), "malformed", "list cut off");
  });

  it("parses random bytes or calls them malformed", () => {
    assertOnlyMalformed(fc.uint8Array({ maxLength: 300 }), parseChangeList);
    assertOnlyMalformed(fc.uint8Array({ maxLength: 100 }), parseEpochChanges);
  });
});

describe("audit: evidence E9", () => {
  /** A log whose last epoch has this list and record. */
  function lying(data: EpochData, record: EpochRecord): Parameters<typeof createEpochEvidence>[1] {
    const fork = log.fork();
    fork.epochs.pop();
    fork.closeEpoch(START + 4_000, record);
    return {
      previous: fork.provenRecord(3),
      epoch: fork.provenRecord(4),
      changes: encodeUnpadded(data.changes.list),
      proof: encodeUnpadded(data.changes.proof),
    };
  }
  const recordOf = (list: Uint8Array, change: Partial<EpochRecord> = {}): EpochRecord => ({
    ...last.record,
    changesHash: changesHash(list),
    ...change,
  });

  it("shows a list that breaks its rules, labels that do not add up, a root it does not lead to", () => {
    const cases: readonly (readonly [string, readonly Change[], Partial<EpochRecord>])[] = [
      ["audit-order", changes.toReversed(), {}],
      ["audit-duplicate", [changes[0]!, ...changes], {}],
      ["audit-labels", changes, { labels: 9 }],
      ["audit-new-root", changes, { mapRoot: rehashed(last.record.mapRoot) }],
    ];
    for (const [code, list, change] of cases) {
      const data = changed(list);
      const parts = lying(data, recordOf(data.changes.list, change));
      assert.equal(verifyEvidence(createEpochEvidence(log.vkey, parts)).code, code);
    }
  });

  it("shows what the old map really had", () => {
    const known = changes.findIndex(({ old }) => old.size > 0);
    const { index } = changes[known]!;
    const userId = USERS.find((each) => compareBytes(log.indexOf(each), index) === 0)!;
    const { leaf } = log.provenLeaf(userId, 3);
    const old_leaf = {
      index: encodeUnpadded(index),
      map_proof: encodeUnpadded(encodeMapProof(log.epoch(3).map.prove(index))),
      leaf: leaf!,
    };
    const asNew = changed(changes.with(known, { ...changes[known]!, old: { size: 0, hashes: [] } }));
    const parts = lying(asNew, recordOf(asNew.changes.list, { labels: 6 }));
    const unproven = without(parts, "proof");
    assert.equal(verifyEvidence(createEpochEvidence(log.vkey, { ...unproven, old_leaf })).code, "audit-not-new");
    const frontier = { size: changes[known]!.old.size, hashes: changes[known]!.old.hashes.map(rehashed) };
    const wrong = changed(changes.with(known, { ...changes[known]!, old: frontier }));
    const wrongParts = without(lying(wrong, recordOf(wrong.changes.list)), "proof");
    assert.equal(verifyEvidence(createEpochEvidence(log.vkey, { ...wrongParts, old_leaf })).code, "audit-old-leaf");
  });

  it("proves nothing against an honest epoch, or with a proof of another map", () => {
    const parts = lying(dataOf(log, 4), last.record);
    assertRefused(() => createEpochEvidence(log.vkey, parts), "malformed", "honest");
    const other = encodeUnpadded(log.epoch(1).map.proveBatch(changes.map(({ index }) => index)));
    assertRefused(() => createEpochEvidence(log.vkey, { ...parts, proof: other }), "malformed", "another map's proof");
    const list = encodeUnpadded(log.epoch(2).changes.list);
    assertRefused(() => createEpochEvidence(log.vkey, { ...parts, changes: list }), "malformed", "another list");
  });
});
