/** The auditor against a real log behind the real HTTP API, whose answers a test may change on the way. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Api } from "../../appservice/api-routes.ts";
import { AuditSource } from "../../appservice/audit-source.ts";
import { Auditor, serveAuditor, type AuditorOptions } from "../../appservice/auditor.ts";
import { systemClock } from "../../appservice/clock.ts";
import { Cosigners } from "../../appservice/cosigners.ts";
import { createApiServer } from "../../appservice/http-api.ts";
import type { RunningLog } from "../../appservice/sequencer.ts";
import { serveWitness, Witness } from "../../appservice/witness.ts";
import { openCosignatures } from "../../shared/crypto/cosignature.ts";
import { publicKeyOf } from "../../shared/crypto/ed25519.ts";
import { COSIGNATURE_KEY, formatVkey, noteKeyOf, parseVkey } from "../../shared/crypto/signed-note.ts";
import { utf8 } from "../../shared/encoding.ts";
import { changesHash, encodeEpochChanges } from "../../shared/log/change-list.ts";
import { openCheckpoint } from "../../shared/log/checkpoint.ts";
import type { EpochRecord } from "../../shared/log/epoch-record.ts";
import { DAY_MS, HOUR_MS } from "../../shared/parameters.ts";
import { verifyEvidence } from "../../shared/proofs/evidence.ts";
import { FakeService } from "../client-plugin/fake-service.ts";
import { OwnLog } from "../support/own-log.ts";
import { TestLog } from "../support/test-log.ts";
import { TestUser } from "../support/test-user.ts";

const seed = new Uint8Array(32).fill(9);
const cosigner = { name: "auditor.example", seed };
const auditorKey = noteKeyOf({ name: cosigner.name, type: COSIGNATURE_KEY, publicKey: publicKeyOf(seed) });
const quiet = { error: () => undefined, warn: () => undefined, info: () => undefined, debug: () => undefined };

/** A real log behind the real HTTP API, whose answers a test may change on the way. */
class ServedLog {
  readonly log: OwnLog;
  running: RunningLog;
  /** Where answers may be changed, and the same log without lies. */
  url = "";
  behind = "";
  /** Changes what an answer to a path holds; undefined leaves it. */
  lie: ((path: string, body: Buffer) => Buffer | undefined) | undefined;
  readonly end: AbortController = new AbortController();
  #users = 0;

  private constructor(log: OwnLog, running: RunningLog) {
    this.log = log;
    this.running = running;
  }

  static async start(settleMs?: number): Promise<ServedLog> {
    const log = await OwnLog.create(settleMs === undefined ? {} : { settle_ms: settleMs });
    const served = new ServedLog(log, await log.start());
    await served.#listen();
    return served;
  }

  async #listen(): Promise<void> {
    const write = { checkReader: () => undefined, notReady: () => [] };
    const api = Object.defineProperty({ write }, "read", { get: () => this.running.directory }) as unknown as Api;
    const gate = {
      userOf: () => "",
      count: async () => {
        await Promise.resolve();
      },
    };
    const { signal } = this.end;
    const parts = { api, gate, logger: quiet, serviceUrl: "http://x", answered: () => undefined };
    const honest = createApiServer(parts).listen({ port: 0, host: "127.0.0.1", signal });
    await once(honest, "listening");
    this.behind = `http://127.0.0.1:${(honest.address() as AddressInfo).port}`;
    const server = createServer((request, response) => {
      void fetch(this.behind + (request.url ?? "")).then(async (answer) => {
        const body = Buffer.from(await answer.arrayBuffer());
        const said = this.lie?.(request.url ?? "", body) ?? body;
        response.writeHead(said.length === 0 ? 404 : answer.status).end(said);
      });
    }).listen({ port: 0, host: "127.0.0.1", signal });
    await once(server, "listening");
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  /** An epoch with the keys of one more user, or further ones of `name`. */
  async change(name = `user${this.#users++}`, ...devices: readonly string[]): Promise<void> {
    const user = new TestUser(`@${name}:example.org`, "LAPTOP", ...devices);
    await this.submit([{ userId: user.userId, entry: user.entry() }]);
  }

  async submit(changes: readonly { readonly userId: string; readonly entry: Uint8Array }[]): Promise<void> {
    const { clock } = this.log;
    const merged = changes.map(
      async (change) => await this.running.sequencer.submit({ ...change, observedMs: clock.now() }),
    );
    await clock.runUntil(Promise.all(merged));
  }

  async close(): Promise<void> {
    this.end.abort();
    await this.running.sequencer.close();
    this.log.remove();
  }

  stateFile(name = "audit"): string {
    return join(this.log.directory, `${name}.json`);
  }

  auditor(options: Partial<AuditorOptions> = {}): Auditor {
    return new Auditor({
      source: new AuditSource({ urls: [this.url] }),
      logKey: this.log.configuration.log_key,
      stateFile: this.stateFile(),
      cosigner,
      nowMs: () => this.log.clock.now(),
      ...options,
    });
  }

  sizeOf(note: string): number {
    return openCheckpoint(note, parseVkey(this.log.configuration.log_key)).size;
  }

  async servedSize(): Promise<number> {
    return this.sizeOf(await this.running.directory.checkpoint());
  }
}

describe("auditor", () => {
  let served: ServedLog;

  beforeEach(async () => {
    served = await ServedLog.start();
  });
  afterEach(async () => {
    await served.close();
  });

  it("replays every epoch and cosigns the head, and goes on after a restart", async () => {
    const notes: string[] = [];
    const heads: string[] = [];
    for (const name of ["a", "b", "a"]) {
      await served.change(name, `PHONE${notes.length}`);
      heads.push(await served.running.directory.checkpoint());
      notes.push(await served.auditor().advance());
    }
    assert.ok(notes.every((note) => openCosignatures(note, [auditorKey]).length === 1));
    assert.deepEqual(
      notes.map((note) => served.sizeOf(note)),
      heads.map((note) => served.sizeOf(note)),
    );
    assert.equal(new Set(heads).size, 3);
    assert.equal(served.auditor().cosigned, notes.at(-1));
    assert.equal(await served.auditor().advance(), notes.at(-1));
  });

  it("serves what it cosigned", async () => {
    const auditor = served.auditor();
    const port = await serveAuditor(auditor, { host: "127.0.0.1", port: 0 }, served.end.signal);
    assert.equal((await fetch(`http://127.0.0.1:${port}/checkpoint`)).status, 404);
    await served.change();
    const note = await auditor.advance();
    const answer = await fetch(`http://127.0.0.1:${port}/checkpoint`);
    assert.deepEqual([await answer.text(), answer.headers.get("access-control-allow-origin")], [note, "*"]);
  });

  it("waits when data is missing, without holding it against the log", async () => {
    await served.change();
    const auditor = served.auditor();
    for (const missing of ["/log/checkpoint", "/log/tile/entries", "/v1/configuration/", "/v1/changes/1"]) {
      served.lie = (path) => (path.startsWith(missing) ? Buffer.alloc(0) : undefined);
      await assert.rejects(auditor.advance(), { code: "audit-data-missing" }, missing);
    }
    served.lie = undefined;
    assert.equal(served.sizeOf(await auditor.advance()), await served.servedSize());
  });

  it("waits when the log serves an older head than the one audited", async () => {
    await served.change();
    const old = await (await fetch(`${served.url}/log/checkpoint`)).arrayBuffer();
    await served.change();
    const auditor = served.auditor();
    await auditor.advance();
    served.lie = (path) => (path === "/log/checkpoint" ? Buffer.from(old) : undefined);
    await assert.rejects(auditor.advance(), { code: "audit-data-missing" });
  });

  it("does not start on another log than the one it was told", async () => {
    await assert.rejects(served.auditor({ logKey: served.log.configuration.promise_key }).advance(), {
      code: "audit-data-missing",
    });
    assert.ok(!existsSync(served.stateFile()));
  });

  for (const [name, code, tamper] of [
    ["another change list", "audit-list-hash", flip("/v1/changes/", 40)],
    ["another batch proof", "audit-old-leaf", flip("/v1/changes/", -1)],
    ["another record", "audit-data-missing", flip("/log/tile/entries", 2 + 121 + 2)],
    ["a record of another number", "audit-data-missing", flip("/log/tile/entries", 2 * (2 + 121) + 2 + 8)],
    ["another map root", "audit-data-missing", flip("/log/tile/entries", 2 * (2 + 121) + 2 + 30)],
    ["another configuration", "audit-data-missing", flip("/v1/configuration/", 5)],
    ["another head", "audit-data-missing", flip("/log/checkpoint", 30)],
  ] as const) {
    it(`is given ${name} that nobody signed: asks again, elsewhere, and holds nothing against the log`, async () => {
      for (const each of ["a", "b", "c"]) await served.change(each);
      served.lie = tamper;
      const auditor = served.auditor();
      await assert.rejects(auditor.advance(), { code, exitCode: 75 });
      assert.ok(!existsSync(`${served.stateFile()}.fault.json`));
      const honest = new AuditSource({ urls: [served.url, served.behind] });
      const note = await served.auditor({ source: honest }).advance();
      served.lie = undefined;
      assert.equal(served.sizeOf(note), await served.servedSize());
      assert.equal(served.sizeOf(await auditor.advance()), served.sizeOf(note));
    });
  }

  it("says so when a log is refused for a day", async () => {
    await served.change();
    served.lie = flip("/v1/changes/1", -1);
    await assert.rejects(served.auditor().advance(), { isLong: false });
    served.log.clock.advance(DAY_MS);
    await assert.rejects(served.auditor().advance(), { isLong: true });
    served.lie = undefined;
    await served.auditor().advance();
    served.lie = flip("/v1/changes/", -1);
    await served.change();
    await assert.rejects(served.auditor().advance(), { isLong: false });
  });

  it("is no condition for publishing, but a witness is", async () => {
    const witnessSeed = new Uint8Array(32).fill(3);
    const vkey = formatVkey({ name: "w.example", type: COSIGNATURE_KEY, publicKey: publicKeyOf(witnessSeed) });
    const logs = [parseVkey(served.log.configuration.log_key)];
    const stateDirectory = join(served.log.directory, "witness");
    const witness = new Witness({ name: "w.example", seed: witnessSeed, logs, stateDirectory, nowMs: Date.now });
    const port = await serveWitness(witness, { host: "127.0.0.1", port: 0 }, served.end.signal);
    const cosigners = new Cosigners([{ vkey, url: `http://127.0.0.1:${port}` }], systemClock, quiet);
    await served.running.sequencer.close();
    served.running = await served.log.start({ cosign: cosigners.cosign.bind(cosigners) });
    await served.change();
    await served.change();
    const note = await served.auditor().advance();
    assert.equal(openCosignatures(note, [parseVkey(vkey), auditorKey]).length, 2);
  });
});

describe("auditor that begins at a dump", () => {
  let served: ServedLog;
  /** Pages served. */
  let pages: number;
  const count = (path: string): undefined => {
    if (path.startsWith("/v1/dump")) pages += 1;
    return undefined;
  };

  before(async () => {
    // Long against the time that an epoch may take here, so that only the epoch after `advance` begins an interval.
    served = await ServedLog.start(HOUR_MS);
    const entry = utf8('{"a":0}');
    await served.submit(Array.from({ length: 4_100 }, (_, i) => ({ userId: `@u${i}:example.org`, entry })));
    // A settling epoch with all of them, and epochs after it.
    served.log.clock.advance(HOUR_MS);
    for (const name of ["a", "b", "c"]) await served.change(name);
  });
  beforeEach(() => {
    pages = 0;
    served.lie = count;
    rmSync(served.stateFile(), { force: true });
  });
  after(async () => {
    await served.close();
  });

  it("of the newest settling epoch, checks it against the signed head, and goes on from there", async () => {
    const note = await served.auditor({ from: "settling" }).advance();
    assert.equal(served.sizeOf(note), await served.servedSize());
    assert.equal(pages, 2);
    const auditor = served.auditor();
    const { from } = auditor;
    assert.ok(from !== undefined && from > 0 && from < served.sizeOf(note) - 1);
    await served.change("d");
    assert.ok(served.sizeOf(await auditor.advance()) > served.sizeOf(note));
    assert.equal(auditor.from, from);
    assert.equal(pages, 2);
  });

  it("goes on with the page that came after the last one when it is started again", async () => {
    served.lie = (path) => {
      count(path);
      return path.includes("?after=") ? Buffer.alloc(0) : undefined;
    };
    await assert.rejects(served.auditor({ from: "settling" }).advance(), { code: "audit-data-missing" });
    served.lie = count;
    await served.change("e");
    await served.auditor({ from: "settling" }).advance();
    // The first page once, the second twice.
    assert.equal(pages, 3);
  });

  it("refuses leaves that do not give the signed root, and asks for all of them again", async () => {
    for (const position of [39, 40, -1]) {
      served.lie = flip("/v1/dump", position);
      await assert.rejects(served.auditor({ from: "settling" }).advance(), { code: "audit-data-missing" });
    }
    served.lie = (path, body) => (path.startsWith("/v1/dump") ? body.subarray(0, body.length - 72) : undefined);
    await assert.rejects(served.auditor({ from: "settling" }).advance(), { code: "audit-data-missing" });
    served.lie = count;
    await served.auditor({ from: "settling" }).advance();
    assert.equal(pages, 2);
  });

  it("has none of an epoch that is no settling epoch, or not yet there", async () => {
    const size = await served.servedSize();
    for (const from of [size - 1, size, 10 * size]) {
      await assert.rejects(served.auditor({ from }).advance(), { code: "audit-data-missing" });
    }
  });
});

/** A log that signs what is not so. It convicts itself, before anybody. */
describe("auditor of a lying log", () => {
  const ALICE = "@alice:example.org";
  const BOB = "@bob:example.org";
  let directory: string;
  let log: TestLog;
  let service: FakeService;
  let nowMs: number;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "ckv-audit-"));
    nowMs = 2_000_000;
    log = new TestLog();
    service = new FakeService(log);
    for (const name of [ALICE, BOB, "@carol:example.org"]) set(name, "A");
    close();
    set(ALICE, "B");
    close();
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  const set = (userId: string, ...devices: readonly string[]): void => {
    log.setEntry(userId, new TestUser(userId, ...devices).entry());
  };
  const close = (lie?: Partial<EpochRecord>): void => {
    nowMs += 1_000;
    log.closeEpoch(nowMs, lie);
  };
  const stateFile = (): string => join(directory, "state.json");
  const open = (): Auditor => {
    for (const [epoch, { changes }] of service.log.epochs.entries()) {
      service.lies.set(`/v1/changes/${epoch}`, () => encodeEpochChanges(changes));
    }
    const source = new AuditSource({ urls: ["https://example.org/ckv"], fetch: service.fetch as typeof fetch });
    return new Auditor({ source, logKey: log.vkey, stateFile: stateFile(), cosigner, nowMs: () => nowMs });
  };

  const lies: readonly (readonly [name: string, code: string, kind: string | undefined, tell: () => void])[] = [
    [
      "a map that the changes do not lead to",
      "audit-new-root",
      "E9",
      () => {
        set(ALICE, "C");
        close({ mapRoot: new Uint8Array(32).fill(1) });
      },
    ],
    [
      "a leaf that went back without a change",
      "audit-new-root",
      "E9",
      () => {
        log.revert(ALICE, 1);
        close();
      },
    ],
    [
      "labels that do not add up",
      "audit-labels",
      "E9",
      () => {
        close({ labels: 7 });
      },
    ],
    [
      "a change of a leaf that is not there",
      "audit-old-leaf",
      "E9",
      () => {
        log.swapPast("@ghost:example.org", log.versionsAt(ALICE, 2));
        set("@ghost:example.org", "A");
        close();
      },
    ],
    [
      "a list that its own hash stands for, but that is none",
      "audit-list-hash",
      "E9",
      () => {
        const list = Uint8Array.of(1, 2, 3);
        close({ changesHash: changesHash(list) });
        const broken = { ...log.newest, changes: { list, proof: new Uint8Array(32) } };
        log.epochs[log.size - 1] = broken;
      },
    ],
    [
      "time that runs back",
      "audit-time",
      "E7",
      () => {
        close({ timestampMs: 5 });
      },
    ],
    [
      "a fixed field of the configuration",
      "audit-config",
      "E8",
      () => {
        log.reconfigure({ settle_ms: 20_000 });
        close();
      },
    ],
    [
      "a record of another number",
      "audit-gap",
      undefined,
      () => {
        close({ epoch: 9 });
      },
    ],
    [
      "a record that is far ahead of the clock here",
      "audit-observed",
      undefined,
      () => {
        close({ timestampMs: nowMs + 3_600_000 });
      },
    ],
  ];
  for (const [name, code, kind, tell] of lies) {
    it(`finds ${name}: final, ${kind ?? "kept with its bytes"}, never cosigned again`, async () => {
      await open().advance();
      tell();
      const evidenceFile = kind === undefined ? undefined : `${stateFile()}.evidence.json`;
      await assert.rejects(open().advance(), { code, exitCode: 70, evidenceFile });
      const fault = JSON.parse(readFileSync(`${stateFile()}.fault.json`, "utf8")) as { code: string; record: string };
      assert.deepEqual([fault.code, typeof fault.record], [code, "string"]);
      assert.equal(existsSync(`${stateFile()}.evidence.json`), kind !== undefined);
      if (evidenceFile !== undefined) {
        const fact = verifyEvidence(readFileSync(evidenceFile, "utf8"));
        assert.deepEqual([fact.kind, fact.logKey], [kind, log.vkey]);
      }
      assert.throws(open, { code, exitCode: 70, evidenceFile });
    });
  }

  it("asks again where only an unsigned proof says that a leaf was there before", async () => {
    await open().advance();
    log.forget(BOB);
    set(BOB, "X");
    close();
    await assert.rejects(open().advance(), { code: "audit-not-new", exitCode: 75 });
    assert.ok(!existsSync(`${stateFile()}.fault.json`));
  });

  for (const [name, kind, before, after] of [
    ["of the size it has audited", "E1", 1, 1],
    ["that is larger, from a power of two", "E2", 1, 3],
    ["that is larger", "E2", 2, 2],
    ["that is smaller", "E2", 3, 1],
  ] as const) {
    it(`finds a head of another history, ${name}: ${kind}`, async () => {
      const fork = log.fork();
      for (let at = 0; at < before; at += 1) close();
      await open().advance();
      for (let at = 0; at < after; at += 1) fork.closeEpoch(nowMs + 500 + at);
      if (name !== "that is smaller" && kind === "E2") assert.ok(fork.size > log.size || after === before);
      if (after === before && kind === "E2") fork.closeEpoch(nowMs + 900);
      service.log = fork;
      if (name === "that is smaller") {
        // The server shows a smaller head of the other history, and the tiles of the one it has shown before.
        service.log = log;
        service.lies.set("/log/checkpoint", () => fork.head().checkpoint);
      }
      const evidenceFile = `${stateFile()}.evidence.json`;
      await assert.rejects(open().advance(), { code: "audit-log-root", exitCode: 70, evidenceFile });
      const fact = verifyEvidence(readFileSync(evidenceFile, "utf8"));
      assert.deepEqual([fact.kind, fact.code], [kind, "head-fork"]);
    });
  }
});

describe("matrix-ckv audit", () => {
  it("F40: ends with 70, leaves evidence and raises the alert; and does not start again", async function () {
    this.timeout(30_000);
    const directory = mkdtempSync(join(tmpdir(), "ckv-audit-"));
    const log = new TestLog();
    log.closeEpoch(2_000_000, { labels: 7 });
    const service = new FakeService(log);
    for (const [epoch, { changes }] of log.epochs.entries()) {
      service.lies.set(`/v1/changes/${epoch}`, () => encodeEpochChanges(changes));
    }
    const server = createServer((request, response) => {
      void service.fetch(`https://example.org/ckv${request.url ?? ""}`).then(async (answer) => {
        response.writeHead(answer.status).end(Buffer.from(await answer.arrayBuffer()));
      });
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const alert = join(directory, "alert.sh");
    writeFileSync(alert, `#!/bin/sh\necho "$@" >> ${join(directory, "alerts")}\n`, { mode: 0o700 });
    const audit = async (): Promise<{ readonly code: number | null; readonly said: string }> => {
      const main = join(import.meta.dirname, "../../appservice/main.ts");
      const options = ["audit", "--service-url", url, "--log-key", log.vkey, "--name", "a.example", "--once"];
      const files = ["--key", join(directory, "key"), "--state", join(directory, "state.json"), "--alert", alert];
      const child = spawn(process.execPath, ["--disable-warning=DEP0060", main, ...options, ...files]);
      let said = "";
      for (const stream of [child.stdout, child.stderr]) stream.on("data", (text: Buffer) => (said += text.toString()));
      const [code] = (await once(child, "close")) as [number | null];
      return { code, said };
    };
    const evidence = join(directory, "state.json.evidence.json");
    const { code, said } = await audit();
    assert.equal(code, 70, said);
    assert.match(said, /labels do not add up \(audit-labels\)\. Next: publish .*verify-evidence/);
    assert.equal(readFileSync(join(directory, "alerts"), "utf8"), `audit-labels ${evidence}\n`);
    assert.equal(verifyEvidence(readFileSync(evidence, "utf8")).code, "audit-labels");
    const again = await audit();
    assert.equal(again.code, 70);
    assert.match(again.said, /an earlier audit failed \(audit-labels\)/);
    assert.doesNotMatch(said + again.said, /^— a\.example/m);
    server.close();
    rmSync(directory, { recursive: true });
  });
});

/** Changes one byte of the answers to a path, of those that are so long; from the end where the position is negative. */
function flip(prefix: string, position: number): (path: string, body: Buffer) => Buffer | undefined {
  return (path, body) => {
    const at = position < 0 ? body.length + position : position;
    const byte = body[at];
    if (!path.startsWith(prefix) || byte === undefined) return undefined;
    const changed = Buffer.from(body);
    changed[at] = byte ^ 1;
    return changed;
  };
}
