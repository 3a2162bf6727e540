/** After a restore: what is known of the log outside its database, for the operator to read. The start decides for itself. */
import { existsSync, readFileSync } from "node:fs";
import { VerificationError } from "../shared/errors.ts";
import { openCheckpoint } from "../shared/log/checkpoint.ts";
import type { Config } from "./config.ts";
import { databaseOf } from "./create-log.ts";
import { HomeserverError } from "./homeserver-error.ts";
import { Homeserver } from "./homeserver.ts";
import { rootAt } from "./open-log.ts";
import { parseRegistration } from "./registration.ts";
import type { RestoredLog } from "./restore.ts";
import { readRoomHead } from "./room-publisher.ts";
import { EPOCHS_ALIAS } from "./rooms.ts";
import { openAnchor } from "./store/anchor.ts";
import { openLevelStore } from "./store/level-store.ts";
import type { Reads } from "./store/store.ts";

const ROOM_TIMEOUT_MS = 15_000;

/** What one place says of the log. */
export interface Comparison {
  readonly where: string;
  readonly says: string;
}

/** The anchor, the room, and that the witnesses are still to be asked. Reads only. */
export async function* compareHeads(
  config: Config,
  dataDirectory: string,
  log: RestoredLog,
): AsyncGenerator<Comparison> {
  const store = await openLevelStore(databaseOf(dataDirectory));
  try {
    const anchored = openAnchor(config.anchor).read();
    yield {
      where: "anchor",
      says: anchored === undefined ? `${config.anchor} is missing` : compare(store, log, anchored),
    };
    yield { where: "room  ", says: await compareRoom(config, store, log) };
    for (const { vkey } of config.witnesses)
      yield { where: "witness", says: `${vkey} is asked when the service starts` };
  } finally {
    await store.close();
  }
}

async function compareRoom(
  { homeserver: { url, serverName }, registration }: Config,
  store: Reads,
  log: RestoredLog,
): Promise<string> {
  if (!existsSync(registration)) return `not asked: ${registration} is missing`;
  const homeserver = new Homeserver(
    url,
    serverName,
    parseRegistration(readFileSync(registration, "utf8")),
    AbortSignal.timeout(ROOM_TIMEOUT_MS),
  );
  try {
    const roomId = await homeserver.resolveAlias(`#${EPOCHS_ALIAS}:${serverName}`);
    const head = roomId === undefined ? undefined : await readRoomHead(homeserver, roomId, log.settings.logKey);
    return head === undefined ? "holds no head of this log" : compare(store, log, head.note);
  } catch (error) {
    if (error instanceof HomeserverError) return `not asked: ${error.message}`;
    throw error;
  }
}

function compare(store: Reads, { epoch, settings }: RestoredLog, note: string): string {
  const own = epoch + 1;
  try {
    const { size, root } = openCheckpoint(note, settings.logKey);
    if (size > own) return `${size} epochs, ${size - own} more than the backup`;
    if (Buffer.compare(rootAt(store, size), root) === 0) return `${size} epochs, as in the backup`;
    return `ANOTHER HISTORY: its head of ${size} epochs is not that of the backup; two were signed`;
  } catch (error) {
    if (error instanceof VerificationError) return "holds no head that this log's key signed";
    throw error;
  }
}
