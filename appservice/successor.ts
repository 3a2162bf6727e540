/** `matrix-ckv init --successor-of`: a new log that takes over the map and the histories of one that has ended. */
import { existsSync, mkdirSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { originOf } from "../shared/log/checkpoint.ts";
import { carryOver, openOldLog, type OldLog } from "./carry-over.ts";
import type { Config } from "./config.ts";
import { createLog, databaseOf } from "./create-log.ts";
import { configurationOf, configYaml, filesOf, InitError, makeKeys, vkeyOf, writeNew, type NewLog } from "./init.ts";
import { readKeys, writeKeys } from "./keys-file.ts";
import type { LogSettings } from "./log-settings.ts";
import { indexProver } from "./native-vrf.ts";
import { checkHead, checkLayout, readNewestSettings } from "./open-log.ts";
import { openLevelStore } from "./store/level-store.ts";
import { takeLock } from "./store/lock.ts";
import { HEAD_KEY, parseHead } from "./store/records.ts";
import { getReferenced, type Reads } from "./store/store.ts";
import { wellKnownOf } from "./well-known.ts";

export interface SuccessorOptions {
  /** The configuration of the log that ended; its service must not run. */
  readonly old: Config;
  /** config.yaml to write; the rest goes beside it. */
  readonly config: string;
  readonly data: string;
  readonly anchor: string;
  /** The keys that the final epoch names; undefined: the old log has none, and the new one gets new keys. */
  readonly keysFile?: string;
  readonly nowMs: number;
  readonly progress: (what: string, done: number) => void;
}

/** Origin of the log after this one. */
export function nextOrigin(origin: string): string {
  const [, server = "", number = ""] = /^(.*)\/ckv\/([1-9][0-9]{0,8})$/.exec(origin) ?? [];
  return originOf(server, Number(number) + 1);
}

/**
 * Makes the successor: keys or those given, configuration, database, anchor, config.yaml. The registration stays that of the
 * old log, which the homeserver knows. Throws InitError, LockedError, IntegrityError.
 */
export async function initSuccessor(options: SuccessorOptions): Promise<NewLog> {
  const { old } = options;
  const files = {
    ...filesOf(options),
    registration: old.registration,
    ...(options.keysFile === undefined ? {} : { keys: resolve(options.keysFile) }),
  };
  const made = [files.config, files.data, files.anchor, ...(options.keysFile === undefined ? [files.keys] : [])];
  const present = made.filter((path) => existsSync(path));
  if (present.length > 0) throw new InitError(`nothing was changed: ${present.join(", ")} is there already`);
  const lock = await takeLock(old.data);
  try {
    const store = await openLevelStore(databaseOf(old.data));
    try {
      return await takeOver(options, files, openEnded(store));
    } finally {
      await store.close();
    }
  } finally {
    await lock.release();
  }
}

interface EndedLog {
  readonly log: OldLog;
  readonly settings: LogSettings;
}

function openEnded(store: Reads): EndedLog {
  checkLayout(store);
  const head = parseHead(getReferenced(store, HEAD_KEY, "the head"));
  const settings = readNewestSettings(store, head.epoch);
  checkHead(store, head, settings);
  return { log: openOldLog(store), settings };
}

async function takeOver(options: SuccessorOptions, files: NewLog["files"], ended: EndedLog): Promise<NewLog> {
  const { old, keysFile, nowMs, progress } = options;
  const { log, settings } = ended;
  const { configuration } = settings;
  const origin = nextOrigin(configuration.origin);
  const keys = keysFile === undefined ? makeKeys() : readKeys(keysFile);
  checkEnd(log, keysFile === undefined ? undefined : vkeyOf(origin, keys.logSeed), configuration.origin);
  if (nowMs <= log.record.timestampMs) {
    throw new InitError(
      "the clock is behind the last epoch of the old log. Next: set the clock of this machine by NTP",
    );
  }
  const { settle_ms: settleMs, heartbeat_ms: heartbeatMs, merge_delay_ms: mergeDelayMs } = configuration;
  const { url: homeserverUrl, serverName } = old.homeserver;
  const { serviceUrl } = old;
  const terms = { homeserverUrl, serverName, serviceUrl, settleMs, heartbeatMs, mergeDelayMs };
  const predecessor = { origin: configuration.origin, log_key: configuration.log_key };
  const configurationText = configurationOf(terms, keys, origin, predecessor);
  for (const path of Object.values<string>({ ...files })) mkdirSync(dirname(path), { recursive: true });
  if (keysFile === undefined) writeKeys(files.keys, keys);
  const { data: dataDirectory, anchor: anchorFile } = files;
  const place = { dataDirectory, anchorFile, keysFile: files.keys, configurationText, nowMs };
  await createLog(place, async (store) => {
    const map = await carryOver(log, store, indexProver(keys.vrfSeed), progress);
    return { ...map, puts: [] };
  });
  const { appservice, api, metrics } = old.listeners;
  const ports = { appservice: appservice.port, api: api.port, metrics: metrics.port };
  writeNew(files.config, configYaml({ ...terms, ports }, files), 0o644);
  return { files, wellKnown: wellKnownOf(origin, serviceUrl, keys) };
}

/** The old log has ended in this successor; or, where its end is lost, whoever asks for one knows that. */
function checkEnd({ names }: OldLog, successorKey: string | undefined, origin: string): void {
  if (successorKey !== undefined && names !== successorKey) {
    const cause =
      names === undefined
        ? `the last epoch of ${origin} is no final one`
        : `the final epoch of ${origin} names ${names}, which are not these keys`;
    throw new InitError(
      `${cause}. Next: run "matrix-ckv close-log" on it first, with the same --successor-keys; only where it can't sign any more, use --without-final-epoch`,
    );
  }
  if (successorKey === undefined && names !== undefined) {
    throw new InitError(
      `the final epoch of ${origin} names its successor. Next: give the keys made for it, --successor-keys`,
    );
  }
}
