/** What updates leave on disk: for ever (change lists with their positions, records, hashes of the log), and for a while. */
import { afterKind, kindKey, SUPERSEDED_KIND, VERSION_KIND } from "../../appservice/store/records.ts";
import { databaseOf } from "../../appservice/create-log.ts";
import { eachInRange, openLevelStore } from "../../appservice/store/level-store.ts";
import { TILE_KIND } from "../../appservice/store/map-tiles.ts";
import type { OwnLog } from "../support/own-log.ts";
import { openWriter, newEntry, userOf } from "./big-log.ts";
import type { Figure } from "./table.ts";

/** Kinds of records that are never deleted; and versions, of which this many bytes stay when its content is erased. */
const PERMANENT = ["c", "e", "n"];
const ERASED_VERSION_BYTES = 27;
/** Bytes that the database adds to a pair: two lengths, sequence number and our checksum with its version. */
const PAIR_OVERHEAD = 8 + 3 + 9;
const UPDATES = 20_000;
const PER_EPOCH = 1_000;

export async function measureDisk(log: OwnLog, users: number): Promise<readonly Figure[]> {
  log.clock.advance(Math.max(0, Date.now() - log.clock.now()) + 60_000);
  const before = await bytesByKind(log);
  const { writer, close } = await openWriter(log, PER_EPOCH);
  for (let merged = 0; merged < UPDATES; merged += PER_EPOCH) {
    while (writer.pendingUsers < PER_EPOCH) {
      writer.submit(userOf(Math.floor(Math.random() * users)), newEntry(), log.clock.now());
    }
    log.clock.advance(1);
    await writer.closeEpoch(log.clock.now());
  }
  await close();
  const after = await bytesByKind(log);
  /** MB per million updates are bytes per update. */
  const grown = (kind: string): number => ((after.get(kind) ?? 0) - (before.get(kind) ?? 0)) / UPDATES;
  const permanent = PERMANENT.map(grown).reduce((sum, bytes) => sum + bytes, ERASED_VERSION_BYTES);
  const [unit, atMost] = ["MB", true] as const;
  return [
    { name: "disk for ever, per million updates", unit, measured: permanent, must: 200, reach: 120, atMost },
    { name: "entries not yet erased, per million updates", unit, measured: grown(VERSION_KIND) - ERASED_VERSION_BYTES },
    { name: "proofs for auditors, 30 days, per million updates", unit, measured: grown("q") },
    {
      name: "tiles kept for a settling epoch, per user changed since",
      unit: "bytes",
      measured: grown(TILE_KIND) + grown(SUPERSEDED_KIND),
    },
  ];
}

/** Bytes of the records of each kind. They do not compress, and are stored as they are. */
async function bytesByKind(log: OwnLog): Promise<ReadonlyMap<string, number>> {
  const store = await openLevelStore(databaseOf(log.dataDirectory));
  const bytes = new Map<string, number>();
  for (const kind of [...PERMANENT, VERSION_KIND, "q", TILE_KIND, SUPERSEDED_KIND]) {
    let sum = 0;
    for await (const { key, value } of eachInRange(store, kindKey(kind), afterKind(kind))) {
      sum += key.length + value.length + PAIR_OVERHEAD;
    }
    bytes.set(kind, sum);
  }
  await store.close();
  return bytes;
}
