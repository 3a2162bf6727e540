/** What stays for ever (change lists with their positions, records, hashes of the log), per million updates. */
import { afterKind } from "../../appservice/store/records.ts";
import { databaseOf } from "../../appservice/create-log.ts";
import { eachInRange, openLevelStore } from "../../appservice/store/level-store.ts";
import type { OwnLog } from "../support/own-log.ts";
import { openWriter, randomEntry, userOf } from "./big-log.ts";
import type { Figure } from "./table.ts";

/** Kinds of records that are never deleted; and b, of which this many bytes stay when its content is erased. */
const PERMANENT = ["c", "e", "n"];
const ERASED_VERSION_BYTES = 27;
/** Bytes that the database adds to a pair: two lengths, sequence number and our checksum with its version. */
const PAIR_OVERHEAD = 8 + 3 + 9;
const UPDATES = 20_000;
const PER_EPOCH = 1_000;

export async function measureDisk(log: OwnLog, users: number): Promise<readonly Figure[]> {
  log.clock.advance(Math.max(0, Date.now() - log.clock.now()) + 60_000);
  const before = await bytesOf(log);
  const { writer, close } = await openWriter(log, PER_EPOCH);
  for (let merged = 0; merged < UPDATES; merged += PER_EPOCH) {
    while (writer.pendingUsers < PER_EPOCH) {
      writer.submit(userOf(Math.floor(Math.random() * users)), randomEntry(), log.clock.now());
    }
    log.clock.advance(1);
    await writer.closeEpoch(log.clock.now());
  }
  await close();
  const measured = ((await bytesOf(log)) - before) / UPDATES + ERASED_VERSION_BYTES;
  return [{ name: "disk for ever, per million updates", unit: "MB", measured, must: 200, reach: 120, atMost: true }];
}

/** Bytes of the permanent kinds. They do not compress, and are stored as they are. */
async function bytesOf(log: OwnLog): Promise<number> {
  const store = await openLevelStore(databaseOf(log.dataDirectory));
  let bytes = 0;
  for (const kind of PERMANENT) {
    const from = Uint8Array.of(kind.charCodeAt(0));
    for await (const { key, value } of eachInRange(store, from, afterKind(kind))) {
      bytes += key.length + value.length + PAIR_OVERHEAD;
    }
  }
  await store.close();
  return bytes;
}
