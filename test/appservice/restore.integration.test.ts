/** A real service on a real Synapse is taken back to yesterday, in every way that a backup allows. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { after, afterEach, before, beforeEach, describe, it } from "mocha";
import { systemClock } from "../../appservice/clock.ts";
import { loadConfig } from "../../appservice/config.ts";
import type { Config } from "../../appservice/config.ts";
import { init } from "../../appservice/init.ts";
import type { InitFiles } from "../../appservice/init.ts";
import { runService } from "../../appservice/service.ts";
import type { RunningService } from "../../appservice/service.ts";
import { serveWitness, Witness } from "../../appservice/witness.ts";
import { publicKeyOf } from "../../shared/crypto/ed25519.ts";
import type { RoomRate } from "../../appservice/room-publisher.ts";
import { COSIGNATURE_KEY, formatVkey, parseVkey, type NoteKey } from "../../shared/crypto/signed-note.ts";
import { parseConfiguration } from "../../shared/directory/configuration.ts";
import { freePort } from "../support/port.ts";
import { startSynapse } from "../support/synapse.ts";
import type { Synapse } from "../support/synapse.ts";

const MAIN = join(import.meta.dirname, "../../appservice/main.ts");
const PATIENCE_MS = 30_000;
const OFTEN: RoomRate = { everyMs: 300, idleEveryMs: 300 };
const SELDOM: RoomRate = { everyMs: 3_600_000, idleEveryMs: 3_600_000 };
const WITNESS = { name: "witness.example", seed: new Uint8Array(32).fill(9) };

describe("a service whose database is taken back", function () {
  this.timeout(120_000);
  let directory: string;
  let files: InitFiles;
  let synapse: Synapse;
  let api: string;
  let running: { readonly service: RunningService; readonly end: AbortController } | undefined;
  /** Copies of data and anchor as they were early, and at the end. */
  let yesterday: string;
  let today: string;
  let logKey: NoteKey;

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), "ckv-restore-"));
    [yesterday, today] = [join(directory, "yesterday"), join(directory, "today")];
    const port = await freePort();
    const ports = { appservice: await freePort(), api: await freePort(), metrics: await freePort() };
    api = `http://127.0.0.1:${ports.api}`;
    const made = await init(
      {
        serverName: `localhost:${port}`,
        homeserverUrl: `http://localhost:${port}`,
        serviceUrl: api,
        appserviceUrl: `http://127.0.0.1:${ports.appservice}`,
        config: join(directory, "config.yaml"),
        data: "data",
        anchor: "anchor/head",
        settleMs: 10_000,
        heartbeatMs: 500,
        mergeDelayMs: 5_000,
        ports,
      },
      Date.now(),
    );
    files = made.files;
    synapse = await startSynapse({ port, registrationPath: files.registration });
    await start();
    await grownBy(2);
    logKey = parseVkey(parseConfiguration(await fetchText("/v1/configuration")).log_key);
    const backup = await ckv("backup", "--to", join(directory, "running.ckv"));
    assert.equal(backup.code, 0, backup.output);
    assert.match(backup.output, /Not in it: the secret keys/);
    await stop();
    keep(yesterday);
    await start();
    await grownBy(4);
    // Until the room has them too.
    await delay(1_500);
    await stop();
    keep(today);
  });
  beforeEach(() => {
    putBack(today, "data");
    putBack(today, "anchor");
  });
  afterEach(stop);
  after(async () => {
    await synapse.close();
    rmSync(directory, { recursive: true });
  });

  it("yesterday's database in place of today's: answers, signs nothing, says what to do", async () => {
    putBack(yesterday, "data");
    await start();
    const reason = await refused();
    assert.match(reason, /older than the anchor.*Next: .*restore/);
    await signsNothing();
  });

  it("yesterday's database and anchor: the room knows better", async () => {
    putBack(yesterday, "data");
    putBack(yesterday, "anchor");
    await start();
    assert.match(await refused(), /rolled back, and the anchor with it.*Next: /);
    await signsNothing();
  });

  it("database and anchor, and a room that has no newer head: the witness knows better, and nothing is signed", async () => {
    const key = { name: WITNESS.name, type: COSIGNATURE_KEY, publicKey: publicKeyOf(WITNESS.seed) } as const;
    const stateDirectory = join(directory, "witness");
    const witness = new Witness({ ...WITNESS, logs: [logKey], stateDirectory, nowMs: Date.now });
    const closing = new AbortController();
    const port = await serveWitness(witness, { host: "127.0.0.1", port: 0 }, closing.signal);
    const witnesses = [{ vkey: formatVkey(key), url: `http://127.0.0.1:${port}` }];
    try {
      await start({ witnesses }, SELDOM);
      await grownBy(2);
      await stop();
      for (const part of Object.keys(parts)) putBack(today, part);
      await start({ witnesses }, SELDOM);
      await assert.rejects(running!.service.finished, { name: "AheadError", exitCode: 70 });
      assert.equal(readFileSync(files.anchor, "utf8"), readFileSync(join(today, "anchor"), "utf8"));
    } finally {
      closing.abort();
    }
  });

  it("a backup of the running service, restored: answers, never signs, and the way to a successor is told", async () => {
    rmSync(files.data, { recursive: true });
    const { code, output } = await ckv("restore", "--from", join(directory, "running.ckv"));
    assert.equal(code, 0, output);
    assert.match(output, /anchor: \d+ epochs, \d+ more than the backup/);
    assert.match(output, /room {2}: \d+ epochs, \d+ more than the backup/);
    assert.match(output, /init --successor-of .*--without-final-epoch/);
    await start();
    assert.match(await refused(), /restored from a backup/);
    await signsNothing();
    const again = await ckv("backup", "--to", join(directory, "again.ckv"));
    assert.ok(again.code !== 0 && again.output.includes("keep that backup"), again.output);
    assert.ok(!existsSync(join(directory, "again.ckv")));
  });

  it("a log that was moved: goes on from the same head in another directory", async () => {
    const bundle = join(directory, "moved.ckv");
    const moved = await ckv("backup", "--to", bundle, "--move");
    assert.equal(moved.code, 0, moved.output);
    await start();
    assert.match(await refused(), /moved away/);
    await signsNothing();
    await stop();
    rmSync(files.data, { recursive: true });
    rmSync(files.anchor);
    const restored = await ckv("restore", "--from", bundle);
    assert.equal(restored.code, 0, restored.output);
    assert.match(restored.output, /anchor: (\d+) epochs, as in the backup/);
    await start();
    await ready();
    await grownBy(2);
  });

  // --------------------------------------------------------------------------------------------------------------------

  const parts: { readonly [part: string]: () => string } = { data: () => files.data, anchor: () => files.anchor };

  function keep(where: string): void {
    for (const [part, path] of Object.entries(parts)) cpSync(path(), join(where, part), COPY);
  }

  function putBack(from: string, part: string): void {
    const path = parts[part]!();
    rmSync(path, { recursive: true, force: true });
    cpSync(join(from, part), path, COPY);
  }

  async function start(changes: Partial<Config> = {}, roomRate: RoomRate = OFTEN): Promise<void> {
    const end = new AbortController();
    const config = { ...loadConfig(files.config, {}), ...changes, log: { level: "error" as const } };
    const quiet = { error: ignore, warn: ignore, info: ignore, debug: ignore };
    const options = { clock: systemClock, logger: quiet, signal: end.signal, roomRate };
    running = { service: await runService(config, options), end };
  }

  async function stop(): Promise<void> {
    running?.end.abort();
    await running?.service.finished.catch(() => undefined);
    running = undefined;
  }

  async function ready(): Promise<void> {
    await eventually("ready", () => running?.service.notReady().length === 0);
  }

  /** Why nothing is signed, once that is decided. */
  async function refused(): Promise<string> {
    let reasons: readonly string[] = [];
    await eventually("a decision", () => {
      reasons = running?.service.notReady() ?? [];
      return reasons.some((reason) => reason.includes("Next: "));
    });
    return reasons.join("; ");
  }

  async function signsNothing(): Promise<void> {
    const before = await fetchText("/log/checkpoint");
    await delay(1_500);
    assert.equal(await fetchText("/log/checkpoint"), before);
  }

  async function grownBy(epochs: number): Promise<void> {
    await ready();
    const first = await published();
    await eventually("epochs", async () => (await published()) >= first + epochs);
  }

  async function published(): Promise<number> {
    return Number((await fetchText("/log/checkpoint")).split("\n")[1]);
  }

  async function fetchText(path: string): Promise<string> {
    return await (await fetch(api + path)).text();
  }

  async function ckv(...args: readonly string[]): Promise<{ readonly code: number; readonly output: string }> {
    return await new Promise((resolve) => {
      const child = execFile(
        process.execPath,
        ["--disable-warning=DEP0060", MAIN, ...args, "--config", files.config],
        (_error, out, problems) => {
          resolve({ code: child.exitCode ?? -1, output: out + problems });
        },
      );
    });
  }
});

const COPY = {
  recursive: true,
  // The lock is a socket, and its holder's alone.
  filter: (path: string): boolean => basename(path) !== "ckv.lock",
};

function ignore(): void {
  // What is logged is other tests' business.
}

async function eventually(what: string, probe: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = Date.now() + PATIENCE_MS;
  while (!(await probe())) {
    if (Date.now() > endMs) throw new Error(`waited in vain: ${what}`);
    await delay(50);
  }
}
