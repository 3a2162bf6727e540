/** A log with many users, made as fast as the store allows: indices are hashes instead of VRF outputs. */
import { hash, randomFillSync } from "node:crypto";
import type { LogWriter as Writer } from "../../appservice/log-writer.ts";
import { LogWriter } from "../../appservice/log-writer.ts";
import { openLog } from "../../appservice/open-log.ts";
import type { VrfProof } from "../../shared/crypto/vrf.ts";
import { DAY_MS, MAX_CHANGES_PER_EPOCH, SETTLE_DEFAULT_MS } from "../../shared/parameters.ts";
import { OwnLog } from "../support/own-log.ts";

/** About what an account with three devices has. */
const ENTRY_BYTES = 960;

export function userOf(i: number): string {
  return `@user${i}:example.org`;
}

/** A new entry for a user: right size, random content. */
export function randomEntry(): Uint8Array {
  const entry = Buffer.alloc(ENTRY_BYTES, 0x61);
  randomFillSync(entry, 0, 16);
  for (let i = 0; i < 16; i++) entry[i] = 0x61 + ((entry[i] ?? 0) & 15);
  return entry;
}

export function hashedIndex(userId: string): VrfProof {
  return { index: hash("sha256", userId, "buffer"), proof: new Uint8Array(80) };
}

/** Opens the writer in this thread, without readers. */
export async function openWriter(
  log: OwnLog,
  maxChanges: number,
): Promise<{ writer: Writer; close: () => Promise<void> }> {
  const opened = await openLog(log);
  const handOver = (): Promise<void> => Promise.resolve();
  const parts = { ...opened, keys: log.keys, proveIndex: hashedIndex, maxChanges, handOver };
  const writer = await LogWriter.open(parts);
  const close = async (): Promise<void> => {
    await writer.flush();
    await opened.store.close();
  };
  return { writer, close };
}

/** A log of `users` users with one version each. `progress` is told how many there are. */
export async function createBigLog(users: number, progress: (done: number) => void): Promise<OwnLog> {
  const log = await OwnLog.create({ settle_ms: SETTLE_DEFAULT_MS, heartbeat_ms: 60_000 }, Date.now() - DAY_MS);
  const { writer, close } = await openWriter(log, MAX_CHANGES_PER_EPOCH);
  for (let start = 0; start < users; start += MAX_CHANGES_PER_EPOCH) {
    const end = Math.min(users, start + MAX_CHANGES_PER_EPOCH);
    for (let i = start; i < end; i++) writer.submit(userOf(i), randomEntry(), log.clock.now());
    log.clock.advance(1);
    await writer.closeEpoch(log.clock.now());
    progress(end);
  }
  await close();
  return log;
}
