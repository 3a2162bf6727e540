import assert from "node:assert/strict";
import { decodeUnpadded, encodeHex, encodeUnpadded } from "../../../shared/encoding.ts";
import { parseLookupAnswer, parseLookupsAnswer } from "../../../shared/messages.ts";
import type { LookupAnswer } from "../../../shared/messages.ts";
import { verifyHead } from "../../../shared/proofs/head.ts";
import type { KnownLog } from "../../../shared/proofs/head.ts";
import { verifyLookup } from "../../../shared/proofs/lookup.ts";
import type { KnownUser, VerifiedLookup } from "../../../shared/proofs/lookup.ts";
import { verifySettlingRecords } from "../../../shared/proofs/settling.ts";
import type { VerifiedSettling } from "../../../shared/proofs/settling.ts";
import { Choices, edited } from "../edits.ts";
import { ALICE, BOB, NOBODY, testLog } from "../fixtures.ts";
import type { FuzzTarget } from "../target.ts";
import { hostJson, seedsOf, unlessRefused, unlessVerdict } from "../target.ts";

const USERS = [ALICE, BOB, NOBODY];

/**
 * A lookup answer as text, or with a first byte below 24 a true answer with edits. Bit 0 says whether an older state of the user
 * is known, bit 1 whether the index is not, the rest whose answer it is. Whatever the verifier takes says of the user what the log says.
 */
export const target: FuzzTarget = {
  seeds: () => [
    ...seedsOf(...USERS.map((user) => testLog().lookup(user)), testLog().lookups(USERS)),
    ...[0, 1, 2, 4, 7, 8].map((user) => Uint8Array.of(user, 0, 3, 7, 1)),
    Uint8Array.of(1, 2, 5, 0, 1, 3, 9, 2),
  ],
  run(input) {
    const choices = new Choices(input);
    const mode = choices.u8();
    const userId = USERS[(mode >> 2) % 3] ?? ALICE;
    const value = mode < 24 ? edited(testLog().lookup(userId), choices) : hostJson(input);
    const all = unlessRefused(() => parseLookupsAnswer(value), "malformed");
    if (all !== undefined) assert.deepEqual(parseLookupsAnswer(all), all);
    const answer = unlessRefused(() => parseLookupAnswer(value), "malformed");
    if (answer === undefined) return;
    assert.deepEqual(parseLookupAnswer(answer), answer);
    const verified = unlessVerdict(() => verify(userId, answer, mode));
    if (verified !== undefined) checkFacts(userId, verified);
  },
};

interface Reader {
  readonly log: KnownLog;
  readonly settling: VerifiedSettling;
}

let reader: Reader | undefined;
/** What the account knows of the log before each answer. */
function readerOf(): Reader {
  const log = testLog();
  const known = log.known(log.newest.record.timestampMs, log.head());
  const head = verifyHead(known, log.head(), []);
  return { log: known, settling: verifySettlingRecords(head, log.settlingEpoch(), log.settlingRecords()) };
}

function verify(userId: string, answer: LookupAnswer, mode: number): VerifiedLookup {
  const { log, settling } = (reader ??= readerOf());
  const index = mode % 4 < 2 ? { index: testLog().indexOf(userId) } : {};
  return verifyLookup(log, [], { settling, ...index, ...(mode % 2 === 1 ? accepted(userId) : {}) }, userId, answer);
}

/** What an account would hold that looked the user up three epochs ago. */
function accepted(userId: string): KnownUser {
  const log = testLog();
  const epoch = log.size - 4;
  const proven = log.provenLeaf(userId, epoch);
  if (proven.leaf === undefined) return {};
  const { n, history_root } = proven.leaf;
  const { timestampMs } = log.epoch(epoch).record;
  const path = log.historyConsistency(userId, n, log.versionsAt(userId, log.size - 1).length);
  return { accepted: { n, root: decodeUnpadded(history_root), epoch, timestampMs, proven }, path };
}

function checkFacts(userId: string, { head, index, leaf, settled }: VerifiedLookup): void {
  const log = testLog();
  assert.equal(head.checkpoint.size, log.size);
  assert.equal(encodeHex(index), encodeHex(log.indexOf(userId)));
  const versions = log.versionsAt(userId, log.size - 1);
  assert.equal(leaf?.n ?? 0, versions.length);
  const last = versions.at(-1);
  if (leaf !== undefined && last !== undefined) {
    assert.equal(encodeUnpadded(leaf.root), log.user(userId).leaf?.history_root);
    assert.equal(leaf.mergedIn, last.epoch);
    assert.deepEqual(leaf.commitment, last.commitment);
    if (leaf.content !== undefined) assert.deepEqual(leaf.content.bytes, last.entry);
  }
  assert.equal(settled?.leaf?.n ?? 0, log.versionsAt(userId, log.settlingEpoch()).length);
}
