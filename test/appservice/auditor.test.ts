/** The auditor against a real log behind the real HTTP API, whose answers a test may change on the way. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Api } from "../../appservice/api-routes.ts";
import { Auditor, serveAuditor } from "../../appservice/auditor.ts";
import { systemClock } from "../../appservice/clock.ts";
import { Cosigners } from "../../appservice/cosigners.ts";
import { createApiServer } from "../../appservice/http-api.ts";
import type { RunningLog } from "../../appservice/sequencer.ts";
import { serveWitness, Witness } from "../../appservice/witness.ts";
import { openCosignatures } from "../../shared/crypto/cosignature.ts";
import { publicKeyOf } from "../../shared/crypto/ed25519.ts";
import { COSIGNATURE_KEY, formatVkey, noteKeyOf, parseVkey } from "../../shared/crypto/signed-note.ts";
import { openCheckpoint, signCheckpoint } from "../../shared/log/checkpoint.ts";
import { OwnLog } from "../support/own-log.ts";
import { TestUser } from "../support/test-user.ts";

const seed = new Uint8Array(32).fill(9);
const cosigner = { name: "auditor.example", seed };
const auditorKey = noteKeyOf({ name: cosigner.name, type: COSIGNATURE_KEY, publicKey: publicKeyOf(seed) });
const quiet = { error: () => undefined, warn: () => undefined, info: () => undefined, debug: () => undefined };

describe("auditor", () => {
  let log: OwnLog;
  let running: RunningLog;
  let server: Server;
  let url: string;
  /** Changes what an answer to a path holds; undefined leaves it. */
  let lie: ((path: string, body: Buffer) => Buffer | undefined) | undefined;
  let end: AbortController;
  let users = 0;

  beforeEach(async () => {
    end = new AbortController();
    lie = undefined;
    log = await OwnLog.create();
    running = await log.start();
    const write = { checkReader: () => undefined, notReady: () => [] };
    const api = Object.defineProperty({ write }, "read", { get: () => running.directory }) as unknown as Api;
    const gate = {
      userOf: () => "",
      count: async () => {
        await Promise.resolve();
      },
    };
    const honest = createApiServer({ api, gate, logger: quiet, serviceUrl: "http://x", answered: () => undefined });
    honest.listen({ port: 0, host: "127.0.0.1", signal: end.signal });
    await once(honest, "listening");
    const behind = `http://127.0.0.1:${(honest.address() as AddressInfo).port}`;
    server = createServer((request, response) => {
      void fetch(behind + (request.url ?? "")).then(async (answer) => {
        const body = Buffer.from(await answer.arrayBuffer());
        const said = lie?.(request.url ?? "", body) ?? body;
        response.writeHead(said.length === 0 ? 404 : answer.status).end(said);
      });
    }).listen({ port: 0, host: "127.0.0.1", signal: end.signal });
    await once(server, "listening");
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });

  afterEach(async () => {
    end.abort();
    await running.sequencer.close();
    log.remove();
  });

  /** An epoch with the keys of one more user, or further ones of `name`. */
  async function change(name = `user${users++}`, ...devices: readonly string[]): Promise<void> {
    const user = new TestUser(`@${name}:example.org`, "LAPTOP", ...devices);
    const change = { userId: user.userId, entry: user.entry(), observedMs: log.clock.now() };
    await log.clock.runUntil(running.sequencer.submit(change));
  }

  const stateFile = (): string => join(log.directory, "audit.json");
  const open = (): Auditor =>
    new Auditor({
      serviceUrl: url,
      logKey: log.configuration.log_key,
      stateFile: stateFile(),
      cosigner,
      nowMs: () => log.clock.now(),
    });
  const sizeOf = (note: string): number => openCheckpoint(note, parseVkey(log.configuration.log_key)).size;

  it("replays every epoch and cosigns the head, and goes on after a restart", async () => {
    const notes: string[] = [];
    const served: string[] = [];
    for (const name of ["a", "b", "a"]) {
      await change(name, `PHONE${notes.length}`);
      served.push(await running.directory.checkpoint());
      notes.push(await open().advance());
    }
    assert.ok(notes.every((note) => openCosignatures(note, [auditorKey]).length === 1));
    assert.deepEqual(notes.map(sizeOf), served.map(sizeOf));
    assert.equal(new Set(served).size, 3);
    assert.equal(open().cosigned, notes.at(-1));
    assert.equal(await open().advance(), notes.at(-1));
  });

  it("serves what it cosigned", async () => {
    const auditor = open();
    const port = await serveAuditor(auditor, { host: "127.0.0.1", port: 0 }, end.signal);
    assert.equal((await fetch(`http://127.0.0.1:${port}/checkpoint`)).status, 404);
    await change();
    const note = await auditor.advance();
    const answer = await fetch(`http://127.0.0.1:${port}/checkpoint`);
    assert.deepEqual([await answer.text(), answer.headers.get("access-control-allow-origin")], [note, "*"]);
  });

  it("waits when data is missing, without holding it against the log", async () => {
    await change();
    const auditor = open();
    for (const missing of ["/v1/changes/1", "/log/tile/entries", "/v1/configuration/", "/log/checkpoint"]) {
      lie = (path) => (path.startsWith(missing) ? Buffer.alloc(0) : undefined);
      await assert.rejects(auditor.advance(), { code: "audit-data-missing" }, missing);
    }
    lie = undefined;
    assert.equal(sizeOf(await auditor.advance()), sizeOf(await running.directory.checkpoint()));
  });

  it("waits when the log serves an older head than the one audited", async () => {
    await change();
    const old = await (await fetch(`${url}/log/checkpoint`)).arrayBuffer();
    await change();
    const auditor = open();
    await auditor.advance();
    lie = (path) => (path === "/log/checkpoint" ? Buffer.from(old) : undefined);
    await assert.rejects(auditor.advance(), { code: "audit-data-missing" });
  });

  it("does not start on another log than the one it was told", async () => {
    const other = new Auditor({
      serviceUrl: url,
      logKey: log.configuration.promise_key,
      stateFile: stateFile(),
      cosigner,
      nowMs: () => log.clock.now(),
    });
    await assert.rejects(other.advance(), { code: "audit-data-missing" });
    assert.ok(!existsSync(stateFile()));
  });

  for (const [name, code, tamper] of [
    ["another change list", "audit-list-hash", flip("/v1/changes/", 40)],
    ["another record", "audit-record", flip("/log/tile/entries", 2 + 121 + 2)],
    ["a record of another number", "audit-gap", flip("/log/tile/entries", 2 * (2 + 121) + 2 + 8)],
    ["another map root", "audit-new-root", flip("/log/tile/entries", 2 * (2 + 121) + 2 + 30)],
    ["another number of labels", "audit-labels", flip("/log/tile/entries", 2 * (2 + 121) + 2 + 24)],
  ] as const) {
    it(`finds ${name}: final, written down, never cosigned`, async () => {
      await change("a");
      await change("b");
      lie = tamper;
      await assert.rejects(open().advance(), { code, exitCode: 70 });
      const fault = JSON.parse(readFileSync(`${stateFile()}.fault.json`, "utf8")) as { code: string; record: string };
      assert.equal(fault.code, code);
      lie = undefined;
      assert.throws(open, { code, exitCode: 70 });
    });
  }

  it("finds a second head for the size it has audited", async () => {
    await change();
    const auditor = open();
    const size = sizeOf(await auditor.advance());
    const fork = signCheckpoint(
      { origin: log.configuration.origin, size, root: new Uint8Array(32).fill(1) },
      { seed: log.keys.logSeed },
    );
    lie = (path) => (path === "/log/checkpoint" ? Buffer.from(fork) : undefined);
    await assert.rejects(auditor.advance(), { code: "audit-log-root" });
  });

  it("is no condition for publishing, but a witness is", async () => {
    const witnessSeed = new Uint8Array(32).fill(3);
    const vkey = formatVkey({ name: "w.example", type: COSIGNATURE_KEY, publicKey: publicKeyOf(witnessSeed) });
    const logs = [parseVkey(log.configuration.log_key)];
    const stateDirectory = join(log.directory, "witness");
    const witness = new Witness({ name: "w.example", seed: witnessSeed, logs, stateDirectory, nowMs: Date.now });
    const port = await serveWitness(witness, { host: "127.0.0.1", port: 0 }, end.signal);
    const cosigners = new Cosigners([{ vkey, url: `http://127.0.0.1:${port}` }], systemClock, quiet);
    await running.sequencer.close();
    running = await log.start({ cosign: cosigners.cosign.bind(cosigners) });
    await change();
    await change();
    const note = await open().advance();
    assert.equal(openCosignatures(note, [parseVkey(vkey), auditorKey]).length, 2);
  });
});

/** Changes one byte of the answers to a path, of those that are so long. */
function flip(prefix: string, position: number): (path: string, body: Buffer) => Buffer | undefined {
  return (path, body) => {
    const byte = body[position];
    if (!path.startsWith(prefix) || byte === undefined) return undefined;
    const changed = Buffer.from(body);
    changed[position] = byte ^ 1;
    return changed;
  };
}
