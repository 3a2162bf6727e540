/** What stays for ever: change lists, records, log, histories and what stands for erased versions, per million updates. */
import { ClassicLevel } from "classic-level";
import { databaseOf } from "../../appservice/create-log.ts";
import type { OwnLog } from "../support/own-log.ts";
import { openWriter, randomEntry, userOf } from "./big-log.ts";
import type { Figure } from "./table.ts";

/** Kinds of records that are never deleted. */
const PERMANENT = ["c", "e", "n"];
const UPDATES = 50_000;
const PER_EPOCH = 1_000;

export async function measureDisk(log: OwnLog, users: number): Promise<readonly Figure[]> {
  log.clock.advance(Math.max(0, Date.now() - log.clock.now()) + 86_400_000);
  const before = await bytesOf(log);
  const { writer, close } = await openWriter(log, PER_EPOCH);
  let merged = 0;
  for (; merged < UPDATES; merged += PER_EPOCH) {
    while (writer.pendingUsers < PER_EPOCH) {
      writer.submit(userOf(Math.floor(Math.random() * users)), randomEntry(), log.clock.now());
    }
    log.clock.advance(1);
    await writer.closeEpoch(log.clock.now());
  }
  await close();
  const megabytes = (await bytesOf(log)) - before;
  const measured = megabytes / merged;
  return [{ name: "disk for ever, per million updates", unit: "MB", measured, must: 200, reach: 120, atMost: true }];
}

/** Bytes of the permanent kinds on disk, after compaction. */
async function bytesOf(log: OwnLog): Promise<number> {
  const level = new ClassicLevel<Uint8Array>(databaseOf(log.dataDirectory), { keyEncoding: "view", compression: false });
  await level.open();
  let bytes = 0;
  for (const kind of PERMANENT) {
    const [from, to] = [Uint8Array.of(kind.charCodeAt(0)), Uint8Array.of(kind.charCodeAt(0) + 1)];
    await level.compactRange(from, to);
    bytes += await level.approximateSize(from, to);
  }
  await level.close();
  return bytes;
}
