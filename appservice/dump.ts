/** Pages of a whole map, for auditors that start in the middle of a log. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Hash } from "../shared/crypto/hash.ts";
import { compareBytes } from "../shared/encoding.ts";
import { DUMP_PAGE_LEAVES, encodeDumpPage } from "../shared/map/dump.ts";
import { bitAt } from "../shared/map/map-proof.ts";
import type { MapLeaf, MapView } from "../shared/map/map-proof.ts";

import { encodeSuccessionPage, SUCCESSION_PAGE_USERS, type Succession } from "../shared/proofs/succession.ts";
import { eachInRange } from "./store/level-store.ts";
import type { MapReader } from "./store/map-reader.ts";
import { afterKind, bijectionKey, kindKey } from "./store/records.ts";
import { IntegrityError, type Reads } from "./store/store.ts";

/** A page lets others in after this. */
const TURN_MS = 5;

/** The leaves with the smallest indices above `after` (undefined: from the first), as many as a page holds. */
export async function dumpPage<Node>(map: MapView<Node>, after: Hash | undefined): Promise<Uint8Array> {
  const leaves: MapLeaf[] = [];
  let turnEndsMs = performance.now() + TURN_MS;
  for (const leaf of leavesAfter(map, map.top, 0, after)) {
    leaves.push(leaf);
    if (leaves.length === DUMP_PAGE_LEAVES) break;
    if (performance.now() < turnEndsMs) continue;
    await nextTurn();
    turnEndsMs = performance.now() + TURN_MS;
  }
  return encodeDumpPage(leaves);
}

/** Users of the log before with the smallest old indices above `after`, as many as a page holds. `map`: that of epoch 0. */
export async function successionPage(reads: Reads, map: MapReader, after: Hash | undefined): Promise<Uint8Array> {
  const from = after === undefined ? kindKey("x") : new Uint8Array([...bijectionKey(after), 0]);
  const users: Succession[] = [];
  let turnEndsMs = performance.now() + TURN_MS;
  for await (const { key, value } of eachInRange(reads, from, afterKind("x"))) {
    const leaf = map.find(value);
    if (leaf === undefined) throw new IntegrityError("a user that was taken over has no leaf in epoch 0");
    users.push({ oldIndex: key.subarray(1), leaf });
    if (users.length === SUCCESSION_PAGE_USERS) break;
    if (performance.now() < turnEndsMs) continue;
    await nextTurn();
    turnEndsMs = performance.now() + TURN_MS;
  }
  return encodeSuccessionPage(users);
}

/** `after`: only what is above it, given while the walk is on its path. */
function* leavesAfter<Node>(
  map: MapView<Node>,
  node: Node,
  depth: number,
  after: Hash | undefined,
): Generator<MapLeaf> {
  const seen = map.look(node);
  if (seen.kind === "leaf") {
    if (after === undefined || compareBytes(seen.leaf.index, after) > 0) yield seen.leaf;
  } else if (seen.kind === "inner") {
    const isRight = after !== undefined && bitAt(after, depth) === 1;
    if (!isRight) yield* leavesAfter(map, seen.left, depth + 1, after);
    yield* leavesAfter(map, seen.right, depth + 1, isRight ? after : undefined);
  }
}
