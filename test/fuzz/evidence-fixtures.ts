/** True evidence against logs that lied, and the same forms filled with what an honest log signed. */
import { encodeUnpadded } from "../../shared/encoding.ts";
import { createForkEvidence, createLeafEvidence, createOrderEvidence } from "../../shared/proofs/evidence.ts";
import type { Evidence } from "../../shared/proofs/evidence.ts";
import { encodePath } from "../../shared/messages.ts";
import type { TestLog } from "../support/test-log.ts";
import { TestUser } from "../support/test-user.ts";
import { ALICE, START_MS, testLog } from "./fixtures.ts";

const LATER_MS = START_MS + 7_000;
const entry = (deviceId: string): Uint8Array => new TestUser(ALICE, deviceId).entry();

let made: { readonly guilty: readonly Evidence[]; readonly innocent: readonly Evidence[] } | undefined;

/** One piece of evidence of each kind that a lie of the log itself makes. */
export function guilty(): readonly Evidence[] {
  return (made ??= make()).guilty;
}

/** Files of the same forms that prove nothing. */
export function innocent(): readonly Evidence[] {
  return (made ??= make()).innocent;
}

function later(change: (log: TestLog) => void, lie: Parameters<TestLog["closeEpoch"]>[1] = {}): TestLog {
  const log = testLog().fork();
  change(log);
  log.closeEpoch(LATER_MS, lie);
  return log;
}

function make(): { readonly guilty: readonly Evidence[]; readonly innocent: readonly Evidence[] } {
  const honest = later((log) => {
    log.setEntry(ALICE, entry("NEXT"));
  });
  const gone = later((log) => {
    log.forget(ALICE);
  });
  const other = later((log) => {
    log.forge(
      ALICE,
      Array.from({ length: 7 }, (_, i) => entry(`X${i}`)),
    );
  });
  const shrunk = later(() => undefined, { labels: 0 });
  const reconfigured = later((log) => {
    log.reconfigure({ settle_ms: 20_000 });
  });
  const [key, size] = [testLog().vkey, testLog().size];
  const earlier = testLog().provenLeaf(ALICE, size - 1);
  const configurations = (log: TestLog): Evidence =>
    ({
      format: "matrix-ckv-evidence/v1",
      kind: "E8",
      log_key: key,
      earlier: testLog().head(),
      earlier_configuration: testLog().configurationText,
      later: log.head(),
      later_configuration: log.configurationText,
    }) as const;
  const promises = (second: string): Evidence => {
    const [one, two] = [testLog().fork(), testLog().fork()];
    return {
      format: "matrix-ckv-evidence/v1",
      kind: "E6",
      log_key: key,
      configuration: testLog().configurationText,
      configured: testLog().head(),
      first: one.promise(ALICE, entry("NEXT"), LATER_MS).note,
      second: two.promise(ALICE, entry(second), LATER_MS).note,
    };
  };
  const fork = { format: "matrix-ckv-evidence/v1", log_key: key, earlier: testLog().newest.note } as const;
  const leaves = { format: "matrix-ckv-evidence/v1", log_key: key, earlier } as const;
  return {
    guilty: [
      createForkEvidence(key, gone.newest.note, other.newest.note),
      createLeafEvidence(key, earlier, gone.provenLeaf(ALICE, size)),
      createLeafEvidence(key, earlier, other.provenLeaf(ALICE, size), other.historyConsistency(ALICE, 6, 7)),
      createOrderEvidence(key, testLog().head(), shrunk.head()),
      configurations(reconfigured),
      promises("OTHER"),
    ],
    innocent: [
      { ...fork, kind: "E1", later: honest.newest.note },
      { ...fork, kind: "E2", later: honest.newest.note, hashes: paths(honest, size) },
      { ...leaves, kind: "E3", later: honest.provenLeaf(ALICE, size) },
      { ...leaves, kind: "E4", later: honest.provenLeaf(ALICE, size), hashes: history(honest) },
      { format: "matrix-ckv-evidence/v1", kind: "E7", log_key: key, earlier: testLog().head(), later: honest.head() },
      configurations(honest),
      promises("NEXT"),
      {
        format: "matrix-ckv-evidence/v1",
        kind: "E9",
        log_key: key,
        previous: testLog().provenRecord(size - 1),
        epoch: honest.provenRecord(size),
        changes: encodeUnpadded(honest.newest.changes.list),
        proof: encodeUnpadded(honest.newest.changes.proof),
      },
    ],
  };
}

const paths = (log: TestLog, from: number): string => encodePath(log.logConsistency(from, from + 1));
const history = (log: TestLog): string => encodePath(log.historyConsistency(ALICE, 6, 7));
