/** A small log with a past, of which every fault gets a copy of its own. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { createLog, databaseOf } from "../../appservice/create-log.ts";
import { writeKeys } from "../../appservice/keys-file.ts";
import type { LogKeys } from "../../appservice/log-settings.ts";
import { formatConfiguration } from "../../shared/directory/configuration.ts";
import { encodeUnpadded } from "../../shared/encoding.ts";
import type { LogFiles } from "../support/log-copy.ts";
import { configurationOf, START_MS } from "../support/own-log.ts";
import { seedOf } from "../support/test-user.ts";
import { HereLog } from "./here-log.ts";
import { entryOf, Ledger } from "./ledger.ts";
import type { Fact } from "./ledger.ts";
import type { Random } from "./random.ts";
import { Verifier } from "./verifier.ts";

/** The configuration of the service, below the directory of the log. */
export const CONFIG = "config.yaml";
const CONFIG_TEXT = `homeserver:
  url: http://127.0.0.1:8008
  server_name: example.org
registration: registration.yaml
data: data
anchor: anchor/head
keys: keys.json
listeners:
  appservice: { port: 29328 }
  api: { port: 29329 }
  metrics: { port: 29330 }
service_url: https://ckv.example.org
`;
const SAVED = "said.json";

interface SavedLog {
  readonly configurationText: string;
  readonly nowMs: number;
  readonly facts: readonly Fact[];
}

/** Where a log lies, with what it said so far. */
export class FaultLog implements LogFiles {
  readonly directory: string;
  readonly dataDirectory: string;
  readonly database: string;
  readonly anchorFile: string;
  readonly keysFile: string;
  readonly ledger: Ledger;
  readonly verifier: Verifier;
  /** When the next life of the log begins. */
  nowMs: number;

  private constructor(directory: string, files: LogFiles, ledger: Ledger, verifier: Verifier, nowMs: number) {
    this.directory = directory;
    this.dataDirectory = files.dataDirectory;
    this.database = databaseOf(files.dataDirectory);
    this.anchorFile = files.anchorFile;
    this.keysFile = files.keysFile;
    this.ledger = ledger;
    this.verifier = verifier;
    this.nowMs = nowMs;
  }

  static #in(directory: string, ledger: Ledger, verifier: Verifier, nowMs: number): FaultLog {
    const files = {
      dataDirectory: join(directory, "data"),
      anchorFile: join(directory, "anchor", "head"),
      keysFile: join(directory, "keys.json"),
    };
    return new FaultLog(directory, files, ledger, verifier, nowMs);
  }

  /** The same files, and a ledger that goes its own way: for a life that does not count. */
  twin(): FaultLog {
    return new FaultLog(this.directory, this, this.ledger.copy(), this.verifier, this.nowMs);
  }

  /** The same log, looked for in other places. */
  at(files: LogFiles): FaultLog {
    return new FaultLog(this.directory, files, this.ledger, this.verifier, this.nowMs);
  }

  /** A new log below `parent`. Its keys come from the name, so that a case can be run again. */
  static async create(parent: string, name: string): Promise<FaultLog> {
    const keys = keysOf(name);
    const configurationText = formatConfiguration(configurationOf(keys));
    const log = FaultLog.#in(
      mkdtempSync(join(parent, "log-")),
      new Ledger(),
      new Verifier(configurationText),
      START_MS,
    );
    writeKeys(log.keysFile, keys);
    const { dataDirectory, anchorFile, keysFile } = log;
    await createLog({ dataDirectory, anchorFile, keysFile, configurationText, nowMs: log.nowMs });
    writeFileSync(join(log.directory, CONFIG), CONFIG_TEXT);
    log.ledger.add({ said: "head", note: readFileSync(log.anchorFile, "utf8") });
    log.nowMs += 1_000;
    return log;
  }

  /** A copy below `parent`, without the locks, which are their holder's alone. */
  copy(parent: string): FaultLog {
    const directory = mkdtempSync(join(parent, "log-"));
    const filter = (path: string): boolean => !["ckv.lock", "LOCK"].includes(basename(path));
    cpSync(this.directory, directory, { recursive: true, filter });
    return FaultLog.#in(directory, this.ledger.copy(), this.verifier, this.nowMs);
  }

  /** Writes what is needed to `load` it, beside the data. */
  save(): void {
    const state: SavedLog = {
      configurationText: this.verifier.configurationText,
      nowMs: this.nowMs,
      facts: this.ledger.facts,
    };
    writeFileSync(join(this.directory, SAVED), JSON.stringify(state));
  }

  /** A log that was saved in `directory`. */
  static load(directory: string): FaultLog {
    const saved = JSON.parse(readFileSync(join(directory, SAVED), "utf8")) as SavedLog;
    return FaultLog.#in(directory, new Ledger(saved.facts), new Verifier(saved.configurationText), saved.nowMs);
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function keysOf(name: string): LogKeys {
  return {
    logSeed: seedOf(`${name} log`),
    vrfSeed: seedOf(`${name} vrf`),
    promiseSeed: seedOf(`${name} promise`),
  };
}

export function userName(number: number): string {
  return `@user${number}:example.org`;
}

export interface Past {
  readonly users: number;
  /** How often the log was started and stopped; each start leaves a table behind. */
  readonly lives: number;
  readonly epochsPerLife: number;
}

/** Gives a log a past: changes, marks, promises that are kept and some that are still to be kept. */
export async function live(log: FaultLog, past: Past, random: Random): Promise<void> {
  let n = 0;
  for (let life = 0; life < past.lives; life++) {
    const here = await HereLog.start(log, log.ledger.room);
    try {
      for (let epoch = 0; epoch < past.epochsPerLife; epoch++) {
        n += 100;
        await liveEpoch(log, here, past.users, n, random);
      }
    } finally {
      await here.close();
    }
  }
}

async function liveEpoch(log: FaultLog, here: HereLog, users: number, from: number, random: Random): Promise<void> {
  const { ledger } = log;
  const changed: { userId: string; version: number; n: number }[] = [];
  for (let i = 0; i <= random.below(3); i++) {
    const userId = userName(random.below(users));
    if (changed.some((change) => change.userId === userId)) continue;
    const n = from + i;
    const { version } = here.writer.submit(userId, entryOf(userId, n), log.nowMs);
    changed.push({ userId, version, n });
    if (random.oneIn(3)) await promise(log, here, userId, n);
  }
  log.nowMs += 1_000 + random.below(4_000);
  const note = await here.closeEpoch(log.nowMs);
  log.nowMs += 1_000;
  ledger.add({ said: "head", note });
  const { size } = log.verifier.open(note);
  for (const change of changed) ledger.add({ said: "merged", ...change, epoch: size - 1 });
  await keepMarks(log, here, random);
  if (random.oneIn(3)) {
    await here.marks.setCursor("room.posted", "1");
    ledger.add({ said: "room", note });
  }
  // A promise for the next epoch, which a crash must not make forget.
  const userId = userName(random.below(users));
  const n = from + 50;
  here.writer.submit(userId, entryOf(userId, n), log.nowMs);
  await promise(log, here, userId, n);
}

async function promise(log: FaultLog, here: HereLog, userId: string, n: number): Promise<void> {
  const given = await here.writer.promise(userId, log.nowMs);
  if (given === undefined) return;
  const { version, note, opening } = given;
  if (given.entry.toString() !== entryOf(userId, n).toString()) return;
  log.ledger.add({ said: "promised", userId, version, n, note, opening: encodeUnpadded(opening) });
}

async function keepMarks(log: FaultLog, { marks }: HereLog, random: Random): Promise<void> {
  const userId = userName(random.below(100));
  await marks.addMarks([userId]);
  log.ledger.add({ said: "marked", userId });
  await marks.addTracked(userId);
  log.ledger.add({ said: "tracked", userId });
  const value = log.ledger.facts.length;
  await marks.setCursor("feed", String(value));
  log.ledger.add({ said: "cursor", name: "feed", value });
  const [first] = await marks.takeMarks(1);
  if (first === undefined || !random.oneIn(2)) return;
  log.ledger.add({ said: "clearing", userId: first.userId });
  await marks.clearMark(first.userId, first.generation);
}
