/** A log with many users, made as fast as the store allows: indices are hashes instead of VRF outputs. */
import { hash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { LAYOUT } from "../../appservice/create-log.ts";
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

const RUN = randomBytes(16).toString("hex");
let made = 0;

/** A new entry for a user: right size, and content that none had. Made at little cost: who submits shares the processors. */
export function newEntry(): Uint8Array {
  return Buffer.from(`${RUN}${++made}`.padEnd(ENTRY_BYTES, "a"), "latin1");
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

const CONFIGURATION = { settle_ms: SETTLE_DEFAULT_MS, heartbeat_ms: 60_000 };
/** Logs of earlier runs. */
const KEPT = fileURLToPath(new URL("../../.cache/bench", import.meta.url));

/**
 * A log of `users` users with one version each, and how many were loaded a second; undefined: it is a copy of one that an
 * earlier run made. `fresh`: make it again. `progress` is told how many there are.
 */
export async function bigLog(
  users: number,
  fresh: boolean,
  progress: (done: number) => void,
): Promise<{ readonly log: OwnLog; readonly perSecond: number | undefined }> {
  const kept = join(KEPT, `${LAYOUT.replaceAll(" ", "-")}-${users}`);
  if (fresh) rmSync(kept, { recursive: true, force: true });
  const perSecond = existsSync(kept) ? undefined : await load(users, kept, progress);
  return { log: OwnLog.copyOf(kept, CONFIGURATION), perSecond };
}

/** Makes a log in `directory`, which is there only when it is whole. */
async function load(users: number, directory: string, progress: (done: number) => void): Promise<number> {
  const unfinished = `${directory}.unfinished`;
  rmSync(unfinished, { recursive: true, force: true });
  const started = performance.now();
  mkdirSync(unfinished, { recursive: true });
  const log = await OwnLog.create(CONFIGURATION, Date.now() - DAY_MS, unfinished);
  const { writer, close } = await openWriter(log, MAX_CHANGES_PER_EPOCH);
  for (let start = 0; start < users; start += MAX_CHANGES_PER_EPOCH) {
    const end = Math.min(users, start + MAX_CHANGES_PER_EPOCH);
    for (let i = start; i < end; i++) writer.submit(userOf(i), newEntry(), log.clock.now());
    log.clock.advance(1);
    await writer.closeEpoch(log.clock.now());
    progress(end);
  }
  await close();
  renameSync(unfinished, directory);
  return (users / (performance.now() - started)) * 1_000;
}
