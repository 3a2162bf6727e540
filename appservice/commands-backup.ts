/** The commands that carry a log from one place or time to another. */
import { resolve } from "node:path";
import { BackupError, backUpStopped, writeBackup } from "./backup.ts";
import { systemClock } from "./clock.ts";
import { print } from "./commands-independent.ts";
import { askOperator, CommandError } from "./commands-service.ts";
import type { WithConfig } from "./commands-service.ts";
import { loadConfig } from "./config.ts";
import type { Config } from "./config.ts";
import { readKeys } from "./keys-file.ts";
import type { LogPlace } from "./open-log.ts";
import { restoreLog } from "./restore.ts";
import type { RestoredLog } from "./restore.ts";
import { LockedError } from "./store/lock.ts";

const PROGRESS_EVERY_MS = 2_000;

/** Says on stderr how far a command is, now and then. */
function progress(): (what: string, done: number) => void {
  let toldMs = performance.now();
  return (what, done) => {
    const nowMs = performance.now();
    if (nowMs - toldMs < PROGRESS_EVERY_MS) return;
    toldMs = nowMs;
    process.stderr.write(`${what}: ${done}\n`);
  };
}

function placeOf({ data, anchor, keys }: Config): LogPlace {
  return { dataDirectory: data, anchorFile: anchor, keys: readKeys(keys) };
}

interface BackupArguments extends WithConfig {
  readonly to: string;
  readonly move?: true;
}

export async function runBackup({ config: file, to, move }: BackupArguments): Promise<void> {
  const config = loadConfig(file, process.env);
  const place = placeOf(config);
  const tell = progress();
  const bytes = bytesOf(config, place, move === true);
  const backup = await writeBackup(to, bytes, place.keys.logSeed, (what, done) => {
    tell(`bytes ${what}`, done);
  });
  const epoch = Number(backup.note.split("\n")[1]) - 1;
  print(`${resolve(to)}: ${backup.header.origin} up to epoch ${epoch}, ${backup.records} records, ${backup.bytes} bytes, read back
Mode 0600: it opens every entry, so keep it as secret as the database.
Not in it: the secret keys (${config.keys}), ${file}, ${config.registration}. Keep those elsewhere: without the keys
this backup can't be restored, and whoever has both has the log. Never keep the anchor (${config.anchor}) with it.`);
  if (move === true) {
    print(`This log signs no more; it goes on where this backup is restored, with the same keys:
  matrix-ckv restore --from ${to} -c config.yaml`);
  }
}

/** From the database if nobody has it, else from the service that has. */
async function* bytesOf(config: Config, place: LogPlace, move: boolean): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* backUpStopped(place, { move, nowMs: systemClock.now() });
  } catch (error) {
    if (!(error instanceof LockedError)) throw error;
    if (move) throw new BackupError("the service runs: stop it first, for good, since the log is to go on elsewhere");
    const { body } = await askOperator(config, "backup", {});
    if (body !== null) yield* bodyOf(body);
  }
}

async function* bodyOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* body;
  } catch (error) {
    throw new CommandError(`the service ended or failed meanwhile (${(error as Error).message}): its log says why`, 75);
  }
}

interface RestoreArguments extends WithConfig {
  readonly from: string;
  readonly data?: string;
}

export async function runRestore({ config: file, from, data }: RestoreArguments): Promise<void> {
  const config = loadConfig(file, process.env);
  const dataDirectory = data === undefined ? config.data : resolve(data);
  const restored = await restoreLog(from, { ...placeOf(config), dataDirectory }, progress());
  const { header, epoch, records } = restored;
  print(`${dataDirectory}: ${header.origin} up to epoch ${epoch}, ${records} records, verified up to the signed head`);
  const { compareHeads } = await import("./compare-heads.ts");
  for await (const { where, says } of compareHeads(config, dataDirectory, restored)) print(`${where}: ${says}`);
  if (dataDirectory !== config.data) print(`${file} names another directory: set data: ${dataDirectory}`);
  print(header.moved ? NEXT_AFTER_MOVE(file) : NEXT_AFTER_COPY(file, restored));
}

const NEXT_AFTER_MOVE = (file: string): string =>
  `The log it was made of signs no more. Next: matrix-ckv run -c ${file}. It answers at once, and signs as soon as anchor,
room and witnesses have been seen to know no newer head. Never run the old one again.`;

const NEXT_AFTER_COPY = (file: string, { header }: RestoredLog): string =>
  `This backup was made on ${new Date(header.made_ms).toISOString()}, and the log went on: it has signed heads that are not in here, and
their content is nowhere else (what opens an entry never leaves the service). This copy answers, and never signs.
Next: is the newest database really lost? Put that back instead. If it is, begin a successor, which takes over everybody's
history as it is here; clients tell their users that the log was replaced:
  matrix-ckv init --successor-of ${file} --without-final-epoch -c <new config.yaml>`;
