/** Deletes what is kept for a while only: maps at old settling epochs, and batch proofs that auditors had time to read. */
import { DAY_MS, SETTLED_MAPS_KEPT_MS } from "../shared/parameters.ts";
import { parseEpochRecord } from "../shared/log/epoch-record.ts";
import { afterKind, epochKey, kindKey, numbersOfKey, parseEpoch } from "./store/records.ts";
import { getReferenced } from "./store/store.ts";
import type { Store } from "./store/store.ts";

/** An auditor that is this late starts again from a dump of the map. */
export const AUDIT_PROOFS_KEPT_MS: number = 30 * DAY_MS;

/** Records read, and deleted in one commit. Proofs can be large. */
const SETTLED_AT_ONCE = 500;
const PROOFS_AT_ONCE = 20;

/** Deletes settled tiles and proofs that are too old at `nowMs`. Resolves when they are gone. */
export async function prune(store: Store, nowMs: number): Promise<void> {
  await deleteBefore(store, "s", nowMs - SETTLED_MAPS_KEPT_MS, SETTLED_AT_ONCE);
  await deleteBefore(store, "q", nowMs - AUDIT_PROOFS_KEPT_MS, PROOFS_AT_ONCE);
}

/** Deletes records of a kind whose keys begin with an epoch, from the oldest up to those closed at `timeMs` or later. */
async function deleteBefore(store: Store, kind: string, timeMs: number, atOnce: number): Promise<void> {
  for (;;) {
    const oldest = await store.range(kindKey(kind), afterKind(kind), atOnce);
    const old = oldest.map(({ key }) => key).filter((key) => timeOf(store, key) < timeMs);
    if (old.length > 0) await store.commit({ deletes: old });
    if (old.length === 0 || old.length < oldest.length) return;
  }
}

function timeOf(store: Store, key: Uint8Array): number {
  const [epoch = 0] = numbersOfKey(key.subarray(0, 9));
  return parseEpochRecord(parseEpoch(getReferenced(store, epochKey(epoch), "an epoch")).record).timestampMs;
}
