/**
 * What taking a change needs of the database, read before the change is taken and in another thread: the thread of the
 * sequencer is the one that limits how many changes a second become durable.
 */
import type { Hash } from "../shared/crypto/hash.ts";
import type { RecordsRead } from "./sequencer-messages.ts";
import { leafInStored, prefixOf, tileKey, TOP_DEPTH } from "./store/map-tiles.ts";
import type { StoredLeaf } from "./store/map-tiles.ts";
import { parseUser, userKey, versionKey } from "./store/records.ts";
import type { Store } from "./store/store.ts";

/** Records of each change in a `RecordsRead`. */
const RECORDS = 3;
const NOTHING: Uint8Array = new Uint8Array();

/**
 * Of each user the record, the tile below the top of the map that has its leaf, and the newest version, as they stand in the
 * database now. `findInTop`: that of the newest epoch, whenever it is called, for a top is used again once it is released.
 * Throws as `Store.getMany`; resolves to undefined where a store can't read beside this thread.
 */
export async function readAhead(
  store: Store,
  findInTop: (index: Hash) => StoredLeaf | undefined,
  userIds: readonly string[],
): Promise<RecordsRead | undefined> {
  const getMany = store.getMany?.bind(store);
  if (getMany === undefined) return undefined;
  const users = await getMany(userIds.map(userKey));
  const indices = users.map((user) => user && parseUser(user).index);
  const inTop = indices.map((index) => index && findInTop(index));
  const tiles = await getSome(
    getMany,
    indices.map((index, i) => (inTop[i] === undefined ? index && keyBelowTop(index) : undefined)),
  );
  const leaves = indices.map((index, i) => inTop[i] ?? (index && tiles[i] && leafInStored(tiles[i], index)));
  const versions = await getSome(
    getMany,
    leaves.map((leaf) => leaf && versionKey(leaf.position, leaf.n)),
  );
  return pack(
    users.flatMap((user, i) => [user, tiles[i], versions[i]].map((record) => record ?? NOTHING)),
    leaves,
  );
}

function keyBelowTop(index: Hash): Uint8Array {
  return tileKey({ prefix: prefixOf(index, TOP_DEPTH), depth: TOP_DEPTH });
}

/** The values of those keys that there are, each in the place of its key. */
async function getSome(
  getMany: Required<Store>["getMany"],
  keys: readonly (Uint8Array | undefined)[],
): Promise<readonly (Uint8Array | undefined)[]> {
  const values = await getMany(keys.filter((key) => key !== undefined));
  let next = 0;
  return keys.map((key) => (key === undefined ? undefined : values[next++]));
}

function pack(records: readonly Uint8Array[], leaves: readonly (StoredLeaf | undefined)[]): RecordsRead {
  const ends = new Uint32Array(records.length);
  let length = 0;
  records.forEach((record, i) => (ends[i] = length += record.length));
  const bytes = new Uint8Array(length);
  records.forEach((record, i) => {
    bytes.set(record, (ends[i] ?? 0) - record.length);
  });
  const places = new Float64Array(2 * leaves.length);
  leaves.forEach((leaf, i) => {
    places[2 * i] = leaf?.position ?? 0;
    places[2 * i + 1] = leaf?.n ?? 0;
  });
  return { bytes, ends, places };
}

/** What was read for one change; each undefined where it was not. It may be old by now. */
export interface ReadBefore {
  readonly user?: Uint8Array;
  readonly tile?: Uint8Array;
  /** The newest version, and the leaf that says so. */
  readonly version?: { readonly position: number; readonly n: number; readonly bytes: Uint8Array };
}

/** What was read for the change at a place, in memory of its own: a change may wait for long. */
export function readBefore({ bytes, ends, places }: RecordsRead, change: number): ReadBefore {
  const at = RECORDS * change;
  const start = at === 0 ? 0 : (ends[at - 1] as number);
  const own = Buffer.from(bytes.subarray(start, ends[at + RECORDS - 1]));
  const record = (from: number, to: number): Uint8Array =>
    new Uint8Array(own.buffer, own.byteOffset + from - start, to - from);
  const [userEnd, tileEnd, versionEnd] = [ends[at] as number, ends[at + 1] as number, ends[at + 2] as number];
  return {
    ...(userEnd === start ? {} : { user: record(start, userEnd) }),
    ...(tileEnd === userEnd ? {} : { tile: record(userEnd, tileEnd) }),
    ...(versionEnd === tileEnd
      ? {}
      : {
          version: {
            position: places[2 * change] as number,
            n: places[2 * change + 1] as number,
            bytes: record(tileEnd, versionEnd),
          },
        }),
  };
}
