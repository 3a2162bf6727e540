/** What is read for changes before they are taken, and what it can't do: it may be old. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "mocha";
import { databaseOf } from "../../appservice/create-log.ts";
import { LogWriter } from "../../appservice/log-writer.ts";
import { openLog } from "../../appservice/open-log.ts";
import type { WritableLog } from "../../appservice/open-log.ts";
import { NOTHING_READ, ReadAhead, readAhead, readBefore } from "../../appservice/read-ahead.ts";
import type { ReadBefore } from "../../appservice/read-ahead.ts";
import { readMap, TileCache } from "../../appservice/store/map-reader.ts";
import { bitsOf, changeTop } from "../../appservice/store/map-top.ts";
import type { EpochsBelowTop } from "../../appservice/store/map-top.ts";
import {
  encodeLeaf,
  encodeTile,
  INNER,
  Tile,
  TILE_HEIGHT,
  tileKey,
  TOP_DEPTH,
} from "../../appservice/store/map-tiles.ts";
import { encodeUser, parseUser, userKey, versionKey } from "../../appservice/store/records.ts";
import type { KeyValue, Store } from "../../appservice/store/store.ts";
import { parseEpochRecord } from "../../shared/log/epoch-record.ts";
import type { CommittedEpoch } from "../../appservice/log-writer.ts";
import { fsck } from "../../appservice/fsck.ts";
import { utf8 } from "../../shared/encoding.ts";
import { MemoryStore } from "../support/memory-store.ts";
import { OwnLog } from "../support/own-log.ts";

const USERS = ["@a:example.org", "@b:example.org", "@c:example.org"];
const NOBODY = "@nobody:example.org";

describe("reading ahead", () => {
  let log: OwnLog;
  let opened: WritableLog;
  let writer: LogWriter;
  let newest: CommittedEpoch;
  beforeEach(async () => {
    log = await OwnLog.create();
    opened = await openLog(log);
    const handOver = (epoch: CommittedEpoch): Promise<void> => {
      newest = epoch;
      return Promise.resolve();
    };
    writer = await LogWriter.open({ ...opened, keys: log.keys, maxChanges: 100, handOver });
  });
  afterEach(async () => {
    await opened.store.close();
    log.remove();
  });

  const closeEpoch = async (): Promise<void> => {
    log.clock.advance(1_000);
    await writer.closeEpoch(log.clock.now());
    await writer.flush();
  };
  const entryOf = (userId: string, version: number): Uint8Array => utf8(`${userId}/${version}`);
  /** What reading ahead would give, were the leaf in a tile below the top. */
  const read = (userId: string): ReadBefore => {
    const user = opened.store.get(userKey(userId))!;
    const { mapRoot } = parseEpochRecord(newest.record);
    const map = readMap(changeTop([], writer.packedTop()), mapRoot, opened.store, new TileCache(10));
    const { position, n } = map.find(parseUser(user).index)!;
    return { user, tiles: [], version: { position, n, bytes: opened.store.get(versionKey(position, n))! } };
  };
  const take = (userId: string, version: number, before: ReadBefore): number => {
    const change = { number: 0, userId, entry: entryOf(userId, version), observedMs: log.clock.now() };
    writer.load([before]);
    return writer.take(change, before)!.version;
  };

  it("is done by a thread where there is much to read, until that is closed", async () => {
    for (const userId of USERS) writer.submit(userId, entryOf(userId, 1), log.clock.now());
    await closeEpoch();
    const { epochsBelowTop } = writer;
    const reader = new ReadAhead({ database: databaseOf(log.dataDirectory), epochsBelowTop });
    assert.equal(await reader.read(USERS), undefined, "few");
    const others = Array.from({ length: 20 }, (_, i) => `@other${i}:example.org`);
    const [first, second] = await Promise.all([reader.read([...USERS, ...others]), reader.read([...others, ...USERS])]);
    USERS.forEach((userId, i) => {
      const stored = new Uint8Array(opened.store.get(userKey(userId))!);
      assert.deepEqual(readBefore(first!, i), { ...NOTHING_READ, user: stored });
      assert.deepEqual(readBefore(second!, others.length + i), { ...NOTHING_READ, user: stored });
    });
    others.forEach((_, i) => {
      assert.deepEqual(readBefore(second!, i), NOTHING_READ);
    });
    await reader.close();
    assert.equal(await reader.read(others), undefined, "closed");
  });

  it("is given up where the thread can't open the database", async () => {
    const { epochsBelowTop } = writer;
    const reader = new ReadAhead({ database: databaseOf(`${log.dataDirectory}-is-elsewhere`), epochsBelowTop });
    const others = Array.from({ length: 20 }, (_, i) => `@other${i}:example.org`);
    const answers = await Promise.all([reader.read(others), reader.read(others)]);
    assert.deepEqual(answers, [undefined, undefined]);
    await reader.close();
  });

  it("is what a change is built on, or is left aside where it has grown old", async () => {
    for (const userId of USERS) writer.submit(userId, entryOf(userId, 1), log.clock.now());
    await closeEpoch();
    const old = USERS.map(read);
    assert.equal(take(USERS[0]!, 2, old[0]!), 2);
    assert.equal(take(USERS[1]!, 2, old[1]!), 2);
    // Not on disk yet: the reading is of before.
    log.clock.advance(1_000);
    await writer.closeEpoch(log.clock.now());
    assert.equal(take(USERS[0]!, 3, old[0]!), 3);
    await writer.flush();
    await closeEpoch();
    assert.equal(take(USERS[1]!, 3, old[1]!), 3);
    assert.equal(take(USERS[1]!, 3, old[1]!), 3, "the same entry again");
    assert.equal(take(USERS[2]!, 2, old[2]!), 2);
    await closeEpoch();
    assert.equal(take(USERS[2]!, 2, old[2]!), 2, "the entry that is the newest already");
    const { user } = old[2]!;
    const [tiles, version] = [[{ writtenIn: 1, bytes: user! }], undefined];
    writer.load([{ user: user!.subarray(1), tiles, version }, { user, tiles, version }, NOTHING_READ]);
    assert.equal(take(USERS[2]!, 3, old[2]!), 3, "after something that can't be read");
    await opened.store.close();
    const { dataDirectory, anchorFile } = log;
    assert(await fsck({ dataDirectory, anchorFile }, () => undefined));
    opened = await openLog(log);
  });

  it("finds the tiles below the top, and there the leaf that says which version is the newest", async () => {
    const tile = new Tile(new Uint8Array(32), TOP_DEPTH);
    for (const slot of [1, 3, 7, 15, 30, 60]) tile.kinds[slot] = INNER;
    const [tileEpoch, deeperEpoch] = [7, 5];
    tile.setLink(120, new Int32Array(8), 0, deeperEpoch);
    const deeper = new Tile(Uint8Array.of(0, 0, 0x38, ...new Uint8Array(29)), TOP_DEPTH + TILE_HEIGHT);
    const puts: KeyValue[] = [];
    // Of the four users with the same first 18 bits two have their leaves in the tile, and one in the tile below it.
    const users = [0x00, 0x20, 0x38, 0x30, 0xff].map((bits, i) => ({ userId: `@${i}:example.org`, bits }));
    users.forEach(({ userId, bits }, i) => {
      const index = new Uint8Array(32);
      index[2] = bits;
      if (bits === 0xff) index[0] = bits;
      puts.push({ key: userKey(userId), value: encodeUser({ index, vrfProof: new Uint8Array(80).fill(i) }) });
      puts.push({ key: versionKey(100 + i, i + 1), value: utf8(`version of ${userId}`) });
      const leaf = encodeLeaf({ index, n: i + 1, historyRoot: new Uint8Array(32), position: 100 + i });
      if (i < 2) tile.setLeaf(i === 0 ? 2 : 6, leaf);
      if (i === 2) deeper.setLeaf(1, leaf);
    });
    const stored = encodeTile(tile);
    const storedDeeper = encodeTile(deeper);
    puts.push(
      { key: tileKey(tileEpoch, tile), value: stored },
      { key: tileKey(deeperEpoch, deeper), value: storedDeeper },
    );
    const epochsBelowTop: EpochsBelowTop = new Float64Array(new SharedArrayBuffer(8 * 2 ** TOP_DEPTH));
    epochsBelowTop[bitsOf(tile.prefix, TOP_DEPTH)] = tileEpoch;
    const memory = new MemoryStore();
    await memory.commit({ puts });
    const store: Store = {
      get: memory.get.bind(memory),
      getMany: (keys) => Promise.resolve(keys.map((key) => memory.get(key))),
      range: memory.range.bind(memory),
      snapshot: memory.snapshot.bind(memory),
      commit: memory.commit.bind(memory),
      close: memory.close.bind(memory),
    };
    const records = await readAhead(store, epochsBelowTop, [NOBODY, ...users.map(({ userId }) => userId)]);
    const found = [NOBODY, ...users].map((_, i) => readBefore(records!, i));
    assert.deepEqual(found[0], NOTHING_READ);
    users.forEach(({ userId }, i) => {
      const { user, version, tiles } = found[i + 1]!;
      assert.equal(parseUser(user!).vrfProof[0], i);
      const upper = { writtenIn: tileEpoch, bytes: new Uint8Array(stored) };
      const lower = { writtenIn: deeperEpoch, bytes: new Uint8Array(storedDeeper) };
      assert.deepEqual(tiles, i === 4 ? [] : i === 2 ? [upper, lower] : [upper]);
      const newest = { position: 100 + i, n: i + 1, bytes: utf8(`version of ${userId}`) };
      assert.deepEqual(version, i < 3 ? newest : undefined);
    });
  });

  it("is left to who takes the change where a store can't read beside its thread", async () => {
    assert.equal(await readAhead(new MemoryStore(), writer.epochsBelowTop, USERS), undefined);
  });
});
