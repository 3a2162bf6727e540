import assert from "node:assert/strict";
import fc from "fast-check";
import { signNote } from "../../../shared/crypto/signed-note.ts";
import { decodeUnpadded, encodeUnpadded, fromUtf8 } from "../../../shared/encoding.ts";
import {
  verifyEvidence,
  createBrokenPromiseEvidence,
  createOtherMergedEvidence,
  createPromiseConflictEvidence,
} from "../../../shared/proofs/evidence.ts";
import { brokenPromise, isDue, openPromise, signPromise, verifyPromise } from "../../../shared/proofs/promise.ts";
import type { MergePromise, PromiseContext } from "../../../shared/proofs/promise.ts";
import { decodePath } from "../../../shared/messages.ts";
import type { PromisePart } from "../../../shared/messages.ts";
import { assertOnlyMalformed, assertRefused } from "../../support/mutations.ts";
import { TestLog } from "../../support/test-log.ts";
import { TestUser } from "../../support/test-user.ts";
import { assertVerdict } from "../../support/verdicts.ts";
import { without } from "../../support/without.ts";

const ALICE = "@alice:example.org";
const START = 1_000_000;
const NOW = START + 2_000;
const [v1, v2, v3] = ["A1", "A2", "A3"].map((id) => new TestUser(ALICE, id).entry()) as [
  Uint8Array,
  Uint8Array,
  Uint8Array,
];

function logWithAlice(): TestLog {
  const log = new TestLog({ startMs: START });
  log.setEntry(ALICE, v1);
  log.closeEpoch(START + 1_000);
  return log;
}

const contextOf = (log: TestLog, change: Partial<PromiseContext> = {}): PromiseContext => ({
  configuration: log.configuration,
  userId: ALICE,
  index: log.indexOf(ALICE),
  newestN: 1,
  nowMs: NOW,
  ...change,
});

const signLines = (log: TestLog, text: string): string =>
  signNote(text, { name: `${log.origin}/promise`, seed: log.promiseSeed });

describe("promise", () => {
  const log = logWithAlice();
  const part = log.promise(ALICE, v2, NOW);
  const { promise } = verifyPromise(contextOf(log), part);
  const resigned = (change: Partial<MergePromise>, origin = log.origin): PromisePart => ({
    ...part,
    note: signPromise({ ...promise, ...change }, { origin, seed: log.promiseSeed }),
  });
  const refuse = (changed: PromisePart, name: string, change: Partial<PromiseContext> = {}): void => {
    assertVerdict(() => verifyPromise(contextOf(log, change), changed), "promise-invalid", name);
  };

  it("names version, commitment and time, and opens to its entry", () => {
    assert.equal(promise.version, 2);
    assert.equal(promise.mergeByMs - promise.receivedMs, log.configuration.merge_delay_ms);
    assert(verifyPromise(contextOf(log), part).entry.devices.has("A2"));
  });

  it("is refused with another time, origin, index, version, entry or opening", () => {
    refuse(resigned({ mergeByMs: promise.mergeByMs + 31_536_000_000 }), "merge_by + 1 year");
    refuse(resigned({ receivedMs: NOW + 60_001, mergeByMs: NOW + 120_001 }), "received in the future");
    refuse(resigned({}, "example.org/ckv/2"), "other origin");
    refuse(resigned({ index: log.indexOf("@bob:example.org") }), "other index");
    refuse(part, "passed merge_by", { nowMs: promise.mergeByMs + 1 });
    refuse(part, "version already seen", { newestN: 2 });
    refuse(part, "another user", { userId: "@bob:example.org" });
    refuse({ ...part, entry: fromUtf8(v3) }, "other entry");
    refuse({ ...part, opening: encodeUnpadded(new Uint8Array(32)) }, "other opening");
    refuse({ ...part, note: part.note.replace("\n2\n", "\n3\n") }, "note not signed");
    const other = new TestLog({ number: 2 });
    other.setEntry(ALICE, v1);
    refuse(other.promise(ALICE, v2, NOW), "other log");
  });

  it("has one form", () => {
    const key = log.promiseKey;
    const note = (lines: readonly (string | number)[]) =>
      signLines(log, `${[`${log.origin}/promise`, ...lines].join("\n")}\n`);
    const good = part.note.split("\n").slice(1, 6);
    assert.deepEqual(openPromise(note(good), key), promise);
    const bad: Record<string, readonly (string | number)[]> = {
      "leading zero": good.with(1, "02"),
      "version 0": good.with(1, "0"),
      negative: good.with(3, "-1"),
      "2^53": good.with(4, "9007199254740992"),
      "unpadded hash": good.with(0, good[0]!.replace("=", "")),
      "short hash": good.with(2, "AAAA"),
      "line missing": good.slice(0, 4),
      "line more": [...good, "x"],
    };
    for (const [name, lines] of Object.entries(bad))
      assertRefused(() => openPromise(note(lines), key), "malformed", name);
    assertOnlyMalformed(fc.string(), (text) => openPromise(text, key));
  });

  it("is due at the first head from merge_by on, and at the last of a log", () => {
    const record = log.newest.record;
    assert.equal(isDue(promise, { ...record, timestampMs: promise.mergeByMs - 1 }, false), false);
    assert.equal(isDue(promise, { ...record, timestampMs: promise.mergeByMs }, false), true);
    assert.equal(isDue(promise, record, true), true);
  });
});

describe("promise: kept and broken", () => {
  const configured = (log: TestLog) => ({ configuration: log.configurationText, configured: log.provenRecord(1) });
  const shown = (log: TestLog, version: number) => {
    const part = log.versions(ALICE, version, version).versions[0]!;
    return {
      leaf: { n: log.versions(ALICE, 1, 1).n, root: decodeUnpadded(log.user(ALICE).leaf!.history_root) },
      version: { ...part, commitment: decodeUnpadded(part.commitment) },
      path: decodePath(part.proof),
    };
  };

  it("is kept, also when the change was undone before the epoch closed", () => {
    const log = logWithAlice();
    const { promise } = verifyPromise(contextOf(log), log.promise(ALICE, v2, NOW));
    log.setEntry(ALICE, v1);
    log.closeEpoch(NOW + 60_000);
    assert.equal(log.versions(ALICE, 1, 3).n, 3);
    assert.equal(brokenPromise(promise, shown(log, 2)), undefined);
    assertRefused(() => brokenPromise(promise, shown(log, 3)), "bad-inclusion", "another version shown");
    const file = { ...configured(log), promise: "", due: log.provenLeaf(ALICE, 2) };
    assertRefused(() => createBrokenPromiseEvidence(log.vkey, file), "malformed");
  });

  it("is broken when absent at a head by which it was due: E5", () => {
    const log = logWithAlice();
    const lying = log.fork();
    const { note } = log.promise(ALICE, v2, NOW);
    lying.closeEpoch(NOW + 59_999);
    const early = { ...configured(lying), promise: note, due: lying.provenLeaf(ALICE, 2) };
    assertRefused(() => createBrokenPromiseEvidence(lying.vkey, early), "malformed", "not due");
    lying.closeEpoch(NOW + 60_000);
    const late = { ...configured(lying), promise: note, due: lying.provenLeaf(ALICE, 3) };
    assert.equal(verifyEvidence(createBrokenPromiseEvidence(lying.vkey, late)).code, "promise-broken");
  });

  it("is broken by another commitment, shown by history or by change list", () => {
    const log = logWithAlice();
    const lying = log.fork();
    const { note } = log.promise(ALICE, v2, NOW);
    lying.setEntry(ALICE, v3);
    lying.closeEpoch(NOW + 60_000);
    const { version, epoch, commitment, proof } = lying.versions(ALICE, 2, 2).versions[0]!;
    const by = { ...configured(lying), promise: note };
    const withHistory = { ...by, due: lying.provenLeaf(ALICE, 2), version: { version, epoch, commitment, proof } };
    assert.equal(verifyEvidence(createBrokenPromiseEvidence(lying.vkey, withHistory)).kind, "E5");
    const withList = { ...by, merged: lying.provenRecord(2), changes: encodeUnpadded(lying.epoch(2).changes.list) };
    assert.equal(verifyEvidence(createOtherMergedEvidence(lying.vkey, withList)).kind, "E5");
    const unshown = without(withHistory, "version");
    assertRefused(() => createBrokenPromiseEvidence(lying.vkey, unshown), "bad-inclusion", "version not shown");
    log.closeEpoch(NOW + 60_000);
    const kept = {
      ...configured(log),
      promise: note,
      merged: log.provenRecord(2),
      changes: encodeUnpadded(log.epoch(2).changes.list),
    };
    assertRefused(() => createOtherMergedEvidence(log.vkey, kept), "malformed", "kept");
  });

  it("is broken by a log that closes before it merges", () => {
    const log = logWithAlice();
    const { note } = log.fork().promise(ALICE, v2, NOW);
    const next = new TestLog({ number: 2 });
    const under = configured(log);
    log.reconfigure({ successor: { origin: next.origin, log_key: next.vkey } });
    log.closeEpoch(NOW + 1_000);
    const by = { ...under, promise: note, due: log.provenLeaf(ALICE, 2) };
    assertRefused(() => createBrokenPromiseEvidence(log.vkey, by), "malformed", "not said to be final");
    const file = createBrokenPromiseEvidence(log.vkey, { ...by, final: log.configurationText });
    assert.equal(verifyEvidence(file).code, "promise-broken");
  });

  it("conflicts with another promise for the same version: E6", () => {
    const log = logWithAlice();
    const [first, second] = [log.fork().promise(ALICE, v2, NOW).note, log.fork().promise(ALICE, v3, NOW).note];
    const file = createPromiseConflictEvidence(log.vkey, { ...configured(log), first, second });
    assert.equal(verifyEvidence(file).code, "promise-conflict");
    const same = { ...configured(log), first, second: first };
    assertRefused(() => createPromiseConflictEvidence(log.vkey, same), "malformed", "agree");
    const stranger = new TestLog({ number: 2 });
    stranger.closeEpoch(START + 1_000);
    assertRefused(
      () => createPromiseConflictEvidence(stranger.vkey, { ...configured(stranger), first, second }),
      "bad-signature",
    );
  });
});
