/** What a lookup weighs at a million users: the bytes of its parts as they are before base64 and JSON. Exact, not timed. */
import { decodeUnpadded, utf8 } from "../../../shared/encoding.ts";
import type { LeafPart, SettlingPart } from "../../../shared/messages.ts";
import type { Figure } from "../table.ts";
import { bigLog } from "./invented-log.ts";

/** A version or an epoch. */
const NUMBER_BYTES = 8;

export function measureWeight(): Promise<Figure[]> {
  const { head, user } = bigLog("weight").newest;
  const core = binary(user.vrf_proof, user.map_proof) + leafBytes(user.leaf);
  const settling = settlingBytes(user.settling);
  const shared = utf8(head.checkpoint).length + binary(head.record, head.record_proof);
  return Promise.resolve([
    { name: "a lookup at 10^6: proof core", measured: core / 1_000, unit: "kB", atMost: true, must: 1.4 },
    { name: "a lookup at 10^6: settling", measured: settling / 1_000, unit: "kB", atMost: true, must: 0.75 },
    {
      name: "a lookup at 10^6: whole, 3 cosigners, without entry",
      measured: (core + settling + shared) / 1_000,
      unit: "kB",
      atMost: true,
      must: 3,
    },
  ]);
}

function binary(...encoded: readonly (string | undefined)[]): number {
  return encoded.reduce((sum, text) => sum + decodeUnpadded(text ?? "").length, 0);
}

function leafBytes(leaf: LeafPart | undefined): number {
  const hashes = binary(leaf?.history_root, leaf?.last_leaf_proof, leaf?.commitment, leaf?.opening);
  return 2 * NUMBER_BYTES + hashes;
}

function settlingBytes({ map_proof, leaf }: SettlingPart): number {
  return 2 * NUMBER_BYTES + binary(map_proof, leaf?.history_root, leaf?.consistency);
}
