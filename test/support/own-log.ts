/** A real log in a temporary directory: database, anchor and keys, with a clock that the test moves. */
import { randomBytes } from "node:crypto";
import { copyFileSync, linkSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Clock } from "../../appservice/clock.ts";
import { createLog, databaseOf } from "../../appservice/create-log.ts";
import { readKeys, writeKeys } from "../../appservice/keys-file.ts";
import type { LogKeys } from "../../appservice/log-settings.ts";
import { startSequencer } from "../../appservice/sequencer.ts";
import type { RunningLog, SequencerOptions } from "../../appservice/sequencer.ts";
import { publicKeyOf } from "../../shared/crypto/ed25519.ts";
import { ED25519_KEY, formatVkey } from "../../shared/crypto/signed-note.ts";
import { vrfPublicKey } from "../../shared/crypto/vrf.ts";
import { formatConfiguration } from "../../shared/directory/configuration.ts";
import type { Configuration } from "../../shared/directory/configuration.ts";
import { encodeUnpadded } from "../../shared/encoding.ts";

export const ORIGIN = "example.org/ckv/1";
/** When the logs of tests begin: a UTC midnight, so that days and settling intervals begin with it. */
export const START_MS: number = 1_800_000_000_000 - (1_800_000_000_000 % 86_400_000);

/** Time that stands still until `advance`. */
export class ManualClock implements Clock {
  #nowMs: number;
  readonly #sleepers = new Set<{ readonly atMs: number; readonly wake: () => void }>();

  constructor(nowMs: number = START_MS) {
    this.#nowMs = nowMs;
  }

  now(): number {
    return this.#nowMs;
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted || ms <= 0) return Promise.resolve();
    return new Promise((resolve) => {
      const sleeper = {
        atMs: this.#nowMs + ms,
        wake: (): void => {
          this.#sleepers.delete(sleeper);
          resolve();
        },
      };
      this.#sleepers.add(sleeper);
      signal.addEventListener("abort", sleeper.wake, { once: true });
    });
  }

  advance(ms: number): void {
    this.#nowMs += ms;
    for (const sleeper of [...this.#sleepers]) if (sleeper.atMs <= this.#nowMs) sleeper.wake();
  }

  /**
   * Lets time go by, a quarter of a second at once, until the promise is settled: fast as long as an epoch takes, then
   * slowly, so that a busy machine does not fit heartbeats in.
   */
  async runUntil<T>(promise: Promise<T>): Promise<T> {
    const settled = Symbol("settled");
    const outcome = promise.then(
      () => settled,
      () => settled,
    );
    for (let step = 0; (await Promise.race([outcome, delay(step < 20 ? 3 : 20)])) !== settled; step++)
      this.advance(250);
    return promise;
  }
}

export function randomKeys(): LogKeys {
  return { logSeed: randomBytes(32), vrfSeed: randomBytes(32), promiseSeed: randomBytes(32) };
}

export function configurationOf(keys: LogKeys, changes: Partial<Configuration> = {}): Configuration {
  const vkey = (name: string, seed: Uint8Array): string =>
    formatVkey({ name, type: ED25519_KEY, publicKey: publicKeyOf(seed) });
  return {
    format_version: 1,
    origin: ORIGIN,
    log_key: vkey(ORIGIN, keys.logSeed),
    vrf_key: encodeUnpadded(vrfPublicKey(keys.vrfSeed)),
    vrf_suite: "ECVRF-EDWARDS25519-SHA512-TAI",
    settle_ms: 10_000,
    merge_delay_ms: 5_000,
    heartbeat_ms: 60_000,
    promise_key: vkey(`${ORIGIN}/promise`, keys.promiseSeed),
    service_url: "http://localhost:1",
    rooms: { epochs: "!epochs:example.org", members: "!members:example.org" },
    witnesses: [],
    auditors: [],
    ...changes,
  };
}

/** A log on disk that can be started, stopped and tampered with. `remove` deletes it. */
export class OwnLog {
  readonly directory: string;
  readonly keys: LogKeys;
  readonly configuration: Configuration;
  readonly clock: ManualClock;

  private constructor(directory: string, keys: LogKeys, configuration: Configuration, startMs: number) {
    this.clock = new ManualClock(startMs);
    this.directory = directory;
    this.keys = keys;
    this.configuration = configuration;
  }

  static async create(
    changes: Partial<Configuration> = {},
    startMs: number = START_MS,
    directory: string = mkdtempSync(join(tmpdir(), "ckv-log-")),
  ): Promise<OwnLog> {
    const keys = randomKeys();
    const log = new OwnLog(directory, keys, configurationOf(keys, changes), startMs);
    writeKeys(log.keysFile, keys);
    const { dataDirectory, anchorFile, keysFile, configuration, clock } = log;
    const configurationText = formatConfiguration(configuration);
    await createLog({ dataDirectory, anchorFile, keysFile, configurationText, nowMs: clock.now() });
    return log;
  }

  /**
   * A copy, in a directory beside it, of a closed log that was made with the same `changes`. Tables that LevelDB has listed
   * never change, so both share them; one that came when the log was being closed it would write again, into both.
   */
  static copyOf(kept: string, changes: Partial<Configuration> = {}): OwnLog {
    const directory = mkdtempSync(`${kept}.copy-`);
    const keys = readKeys(join(kept, "keys.json"));
    const log = new OwnLog(directory, keys, configurationOf(keys, changes), Date.now());
    const database = databaseOf(log.dataDirectory);
    mkdirSync(database, { recursive: true });
    for (const file of ["keys.json", "anchor"]) copyFileSync(join(kept, file), join(directory, file));
    const from = databaseOf(join(kept, "data"));
    const files = readdirSync(from);
    const writtenMs = (file: string): number => statSync(join(from, file)).mtimeMs;
    const listedMs = Math.max(...files.filter((file) => file.startsWith("MANIFEST-")).map(writtenMs));
    for (const file of files) {
      const [source, target] = [join(from, file), join(database, file)];
      if (!file.endsWith(".ldb")) copyFileSync(source, target);
      else if (writtenMs(file) <= listedMs) linkSync(source, target);
    }
    return log;
  }

  get dataDirectory(): string {
    return join(this.directory, "data");
  }

  get anchorFile(): string {
    return join(this.directory, "anchor");
  }

  get keysFile(): string {
    return join(this.directory, "keys.json");
  }

  /** Starts the sequencer; without `options` it signs at once and no time passes by itself. */
  async start(options: Partial<SequencerOptions> = {}): Promise<RunningLog> {
    const { dataDirectory, anchorFile, keysFile, clock } = this;
    const signal = new AbortController().signal;
    return startSequencer({ dataDirectory, anchorFile, keysFile, clock, signal, strictStart: false, ...options });
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}
