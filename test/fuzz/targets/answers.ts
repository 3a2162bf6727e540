import assert from "node:assert/strict";
import { decodeUnpadded } from "../../../shared/encoding.ts";
import { verifyVersion } from "../../../shared/history/history.ts";
import {
  decodePath,
  parseAcknowledgementRequest,
  parseConsistencyAnswer,
  parseEmpty,
  parseEnrolmentAnswer,
  parseErrorAnswer,
  parseHistoryRangeRequest,
  parseLookupRequest,
  parseLookupsRequest,
  parseRefreshAnswer,
  parseRefreshRequest,
  parseSessionAnswer,
  parseSettledAnswer,
  parseSettledRequest,
  parseSettlingRecords,
  parseStatementAnswer,
  parseVersionsAnswer,
} from "../../../shared/messages.ts";
import { verifyHead } from "../../../shared/proofs/head.ts";
import type { VerifiedHead } from "../../../shared/proofs/head.ts";
import { verifyContent, verifyIndex } from "../../../shared/proofs/lookup.ts";
import { verifyLeafUnder, verifySettlingRecords } from "../../../shared/proofs/settling.ts";
import { Choices, edited } from "../edits.ts";
import { ALICE, testLog } from "../fixtures.ts";
import type { FuzzTarget } from "../target.ts";
import { hostJson, seedsOf, unlessRefused, unlessVerdict } from "../target.ts";

const PARSERS = [
  parseAcknowledgementRequest,
  parseConsistencyAnswer,
  parseEmpty,
  parseEnrolmentAnswer,
  parseErrorAnswer,
  parseHistoryRangeRequest,
  parseLookupRequest,
  parseLookupsRequest,
  parseRefreshAnswer,
  parseRefreshRequest,
  parseSessionAnswer,
  parseSettledRequest,
  parseStatementAnswer,
] as const;

const hash = "A".repeat(43);
const valid = (): readonly unknown[] => [
  testLog().settlingRecords(),
  testLog().settled(ALICE, testLog().settlingEpoch()),
  testLog().versions(ALICE, 1, 6),
  { proof: hash },
  { user_id: ALICE, from: 1, to: 3 },
  { user_ids: [ALICE] },
  { user_id: ALICE, epoch: 1 },
  { version: 1, history_root: hash, signature: "A".repeat(86) },
  { session: "s", user_id: ALICE, expires_in_ms: 1 },
  { error: { code: "internal", message: "x" } },
  { promise: { note: "n", opening: hash, entry: "e" } },
  { room_id: "!r:x" },
  { version_expected: 3 },
];

/**
 * Every other HTTP body, as text, or with a first byte below 3 a true settling or history answer with edits. A body that
 * parses is its own parse; what the checks take of settling epochs and versions is what the log holds.
 */
export const target: FuzzTarget = {
  seeds: () => [...seedsOf(...valid()), ...[0, 1, 2].map((kind) => Uint8Array.of(kind, 0, 2, 9, 1, 3, 2, 1))],
  run(input) {
    const choices = new Choices(input);
    const mode = choices.u8();
    const value = mode < 3 ? edited(valid()[mode], choices) : hostJson(input);
    for (const parse of PARSERS) {
      const parsed = unlessRefused<unknown>(() => parse(value), "malformed");
      if (parsed !== undefined) assert.deepEqual(parse(parsed), parsed);
    }
    checkSettling(value);
    checkSettled(value);
    checkVersions(value);
  },
};

let verified: VerifiedHead | undefined;
function head(): VerifiedHead {
  return (verified ??= verifyHead(testLog().known(testLog().newest.record.timestampMs), testLog().head(), []));
}

function checkSettling(value: unknown): void {
  const records = unlessRefused(() => parseSettlingRecords(value), "malformed");
  if (records === undefined) return;
  const settling = unlessVerdict(() => verifySettlingRecords(head(), testLog().settlingEpoch(), records));
  if (settling !== undefined) assert.deepEqual(settling.record, testLog().epoch(testLog().settlingEpoch()).record);
}

function checkSettled(value: unknown): void {
  const settled = unlessRefused(() => parseSettledAnswer(value), "malformed");
  if (settled === undefined) return;
  const epoch = testLog().settlingEpoch();
  const { record } = testLog().epoch(epoch);
  const leaf = settled.leaf && { n: settled.leaf.n, root: decodeUnpadded(settled.leaf.history_root) };
  const index = unlessVerdict(() => verifyIndex(testLog().configuration, undefined, ALICE, settled.vrf_proof));
  if (index === undefined) return;
  assert.deepEqual(index, testLog().indexOf(ALICE));
  const taken = unlessVerdict(() => {
    verifyLeafUnder(record, index, leaf, settled.map_proof);
    return true;
  });
  if (taken === true) assert.equal(leaf?.n ?? 0, testLog().versionsAt(ALICE, epoch).length);
}

function checkVersions(value: unknown): void {
  const answer = unlessRefused(() => parseVersionsAnswer(value), "malformed");
  if (answer === undefined) return;
  const versions = testLog().versionsAt(ALICE, testLog().size - 1);
  const root = decodeUnpadded(testLog().user(ALICE).leaf?.history_root ?? "");
  for (const part of answer.versions) {
    const commitment = decodeUnpadded(part.commitment);
    const proven = unlessRefused(
      () => {
        verifyVersion({ ...part, commitment }, decodePath(part.proof), { n: versions.length, root });
        return true;
      },
      "malformed",
      "bad-inclusion",
    );
    if (proven !== true) continue;
    const truth = versions[part.version - 1];
    assert.deepEqual(commitment, truth?.commitment);
    assert.equal(part.epoch, truth?.epoch);
    const content = unlessVerdict(() => verifyContent(undefined, ALICE, part.version, commitment, part));
    if (content !== undefined) assert.deepEqual(content.bytes, truth?.entry);
  }
}
