/**
 * From a check of the audit that failed to what that means. Records are tied to the signed head before they are looked at,
 * lists and configurations to the records by their hashes; batch proofs are signed by nobody. So a check that fails on
 * signed bytes alone is final, and most are evidence that convinces anybody; one that rests on a batch proof is final only
 * where that proof itself shows, under the signed root before, what stood there. All else is a refusal: asked again.
 */
import { configurationHash, formatConfiguration } from "../shared/directory/configuration.ts";
import { encodeUnpadded, equalBytes } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import { changesHash, parseChangeList } from "../shared/log/change-list.ts";
import { parseEpochRecord } from "../shared/log/epoch-record.ts";
import { disprove, encodeMapProof, parseBatchProof } from "../shared/map/map-proof.ts";
import type { ShownLeaf } from "../shared/map/map-proof.ts";
import { leafChangeOf, type AuditState, type EpochData } from "../shared/proofs/audit.ts";
import { attemptEvidence, createConfigurationEvidence } from "../shared/proofs/evidence.ts";
import { createEpochEvidence, createOrderEvidence } from "../shared/proofs/evidence.ts";
import type { Evidence, ProvenRecord } from "../shared/proofs/evidence.ts";
import type { VerdictCode } from "../shared/verdict-codes.ts";

/** An epoch that failed: the state before it, what the log served, and both records tied to a signed head. */
export interface FailedEpoch {
  readonly code: VerdictCode;
  readonly state: AuditState;
  readonly data: EpochData;
  /** Absent where a record can't be tied by its own number, or there is none before. */
  readonly previous?: ProvenRecord;
  readonly epoch?: ProvenRecord;
}

export type Judgement = { readonly kind: "refused" } | { readonly kind: "final"; readonly evidence?: Evidence };

const REFUSED: Judgement = { kind: "refused" };

/** Checks whose failure is not simply one of signed bytes and evidence E9. */
const JUDGES: { readonly [code in VerdictCode]?: (failed: FailedEpoch) => Judgement } = {
  "audit-data-missing": () => REFUSED,
  "audit-list-hash": (failed) => (isListOfRecord(failed.data) ? judgeSigned(failed) : REFUSED),
  // Nothing may be in the list of epoch 0, whatever a proof says.
  "audit-not-new": (failed) => (failed.state.record === undefined ? { kind: "final" } : judgeLeaf(failed)),
  "audit-old-leaf": judgeLeaf,
  "audit-time": (failed) =>
    final(failed, ({ log_key, previous, epoch }) => createOrderEvidence(log_key, previous, epoch)),
  "audit-config": (failed) => final(failed, (parts) => configurationEvidence(failed, parts)),
};

/** Whether a failed check is for good, and the evidence where there is a portable one. */
export function judgeFailure(failed: FailedEpoch): Judgement {
  return (JUDGES[failed.code] ?? judgeSigned)(failed);
}

function judgeSigned(failed: FailedEpoch): Judgement {
  return final(failed, () => epochEvidence(failed));
}

interface Proven {
  readonly log_key: string;
  readonly previous: ProvenRecord;
  readonly epoch: ProvenRecord;
}

function final({ state, previous, epoch }: FailedEpoch, create: (parts: Proven) => Evidence): Judgement {
  if (previous === undefined || epoch === undefined) return { kind: "final" };
  const { log_key } = state.configuration;
  return { kind: "final", ...attemptEvidence(() => create({ log_key, previous, epoch })) };
}

function isListOfRecord({ record, changes }: EpochData): boolean {
  return equalBytes(changesHash(changes.list), parseEpochRecord(record).changesHash);
}

function epochEvidence({ state, data, previous, epoch }: FailedEpoch, shown?: ShownLeaf): Evidence {
  if (previous === undefined || epoch === undefined) throw new VerificationError("malformed", "no record to tie");
  const { list, proof } = data.changes;
  const parts = { previous, epoch, changes: encodeUnpadded(list) };
  if (shown === undefined) {
    return createEpochEvidence(state.configuration.log_key, { ...parts, proof: encodeUnpadded(proof) });
  }
  const { index, leaf } = shown;
  const old_leaf = {
    index: encodeUnpadded(index),
    map_proof: encodeUnpadded(encodeMapProof(shown.proof)),
    ...(leaf === undefined ? {} : { leaf: { n: leaf.n, history_root: encodeUnpadded(leaf.historyRoot) } }),
  };
  return createEpochEvidence(state.configuration.log_key, { ...parts, old_leaf });
}

/** Only what the batch proof shows under the signed root convicts: another proof may show that all is well. */
function judgeLeaf(failed: FailedEpoch): Judgement {
  const { evidence } = attemptEvidence(() => {
    const { epoch } = parseEpochRecord(failed.data.record);
    const changes = parseChangeList(failed.data.changes.list).map((change) => leafChangeOf(change, epoch));
    const indices = changes.map(({ index }) => index);
    const shown = disprove(parseBatchProof(failed.data.changes.proof, indices), changes);
    if (shown === undefined) throw new VerificationError("malformed", "the proof shows no other leaf");
    return epochEvidence(failed, shown);
  });
  return evidence === undefined ? REFUSED : { kind: "final", evidence };
}

function configurationEvidence({ state, data }: FailedEpoch, { log_key, previous, epoch }: Proven): Evidence {
  const later = data.configuration ?? "";
  if (!equalBytes(configurationHash(later), parseEpochRecord(data.record).configurationHash)) {
    throw new VerificationError("malformed", "not the configuration of the record");
  }
  return createConfigurationEvidence(log_key, {
    earlier: previous,
    earlier_configuration: formatConfiguration(state.configuration),
    later: epoch,
    later_configuration: later,
  });
}
