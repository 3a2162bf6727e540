/** Deletes what is kept for a while only: maps at old settling epochs, and batch proofs that auditors had time to read. */
import { DAY_MS, SETTLED_MAPS_KEPT_MS } from "../shared/parameters.ts";
import { parseEpochRecord } from "../shared/log/epoch-record.ts";
import { afterKind, epochKey, kindKey, numbersOfKey, parseEpoch, SUPERSEDED_KIND } from "./store/records.ts";
import { getReferenced } from "./store/store.ts";
import type { Store } from "./store/store.ts";
import { parseSuperseded } from "./store/superseded-tiles.ts";

/** An auditor that is this late starts again from a dump of the map. */
export const AUDIT_PROOFS_KEPT_MS: number = 30 * DAY_MS;

/** Records read, and deleted in one commit. Proofs can be large, and lists of tiles name many. */
const LISTS_AT_ONCE = 10;
const PROOFS_AT_ONCE = 20;

/** Deletes tiles of settled maps, and proofs, that are too old at `nowMs`. Resolves when they are gone. */
export async function prune(store: Store, nowMs: number): Promise<void> {
  await deleteBefore(store, SUPERSEDED_KIND, nowMs - SETTLED_MAPS_KEPT_MS, LISTS_AT_ONCE, parseSuperseded);
  await deleteBefore(store, "q", nowMs - AUDIT_PROOFS_KEPT_MS, PROOFS_AT_ONCE, () => []);
}

/**
 * Deletes records of a kind whose keys are an epoch, from the oldest up to those closed at `timeMs` or later, and with each
 * the records that it names.
 */
async function deleteBefore(
  store: Store,
  kind: string,
  timeMs: number,
  atOnce: number,
  namedBy: (value: Uint8Array) => readonly Uint8Array[],
): Promise<void> {
  for (;;) {
    const oldest = await store.range(kindKey(kind), afterKind(kind), atOnce);
    const old = oldest.filter(({ key }) => timeOf(store, key) < timeMs);
    if (old.length > 0) await store.commit({ deletes: old.flatMap(({ key, value }) => [key, ...namedBy(value)]) });
    if (old.length === 0 || old.length < oldest.length) return;
  }
}

function timeOf(store: Store, key: Uint8Array): number {
  const [epoch = 0] = numbersOfKey(key);
  return parseEpochRecord(parseEpoch(getReferenced(store, epochKey(epoch), "an epoch")).record).timestampMs;
}
