/** One log ends, the next takes its map over: nothing is lost, everything is proven, and an auditor can check it. */
import assert from "node:assert/strict";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import type { Api } from "../../appservice/api-routes.ts";
import { AuditSource } from "../../appservice/audit-source.ts";
import { Auditor } from "../../appservice/auditor.ts";
import { carryOver, openOldLog } from "../../appservice/carry-over.ts";
import { loadConfig } from "../../appservice/config.ts";
import { createLog, databaseOf } from "../../appservice/create-log.ts";
import { fsck } from "../../appservice/fsck.ts";
import { createApiServer } from "../../appservice/http-api.ts";
import { init, makeKeys, vkeyOf, type InitFiles } from "../../appservice/init.ts";
import { readKeys, writeKeys } from "../../appservice/keys-file.ts";
import { startSequencer, type RunningLog } from "../../appservice/sequencer.ts";
import { indexProver } from "../../appservice/native-vrf.ts";
import { openLevelStore } from "../../appservice/store/level-store.ts";
import { initSuccessor, nextOrigin, type SuccessorOptions } from "../../appservice/successor.ts";
import { parseVkey } from "../../shared/crypto/signed-note.ts";
import { parseConfiguration } from "../../shared/directory/configuration.ts";
import { encodeUnpadded } from "../../shared/encoding.ts";
import { parseLookupAnswer, parseVersionsAnswer, type UserPart } from "../../shared/messages.ts";
import { openPredecessor, parsePredecessor, parseSuccessionPage } from "../../shared/proofs/succession.ts";
import { ManualClock, START_MS } from "../support/own-log.ts";
import { TestUser } from "../support/test-user.ts";
import { without } from "../support/without.ts";

const USERS = Array.from({ length: 12 }, (_, i) => new TestUser(`@u${i}:example.org`, "LAPTOP"));

const quiet = { error: () => undefined, warn: () => undefined, info: () => undefined, debug: () => undefined };

describe("successor of a log", function () {
  this.timeout(60_000);
  let root: string;
  let clock: ManualClock;
  let old: InitFiles;
  /** What the old log said of each user at its end. */
  let ended: ReadonlyMap<string, UserPart>;

  const at = (name: string): string => join(root, name);
  const start = async ({ data, anchor, keys }: InitFiles, maxChanges = 10_000): Promise<RunningLog> =>
    await startSequencer({
      dataDirectory: data,
      anchorFile: anchor,
      keysFile: keys,
      clock,
      signal: new AbortController().signal,
      strictStart: false,
      maxChanges,
    });
  const change = async ({ sequencer }: RunningLog, user: TestUser, ...devices: readonly string[]): Promise<void> => {
    for (const device of devices) user.devices.set(device, {});
    const { userId } = user;
    await clock.runUntil(sequencer.submit({ userId, entry: user.entry(), observedMs: clock.now() }));
  };
  const partOf = async ({ directory }: RunningLog, userId: string): Promise<UserPart> =>
    parseLookupAnswer(JSON.parse(await directory.lookup(userId))).user;
  const options = (changes: Partial<SuccessorOptions> = {}): SuccessorOptions => ({
    old: loadConfig(old.config, {}),
    config: at("new/config.yaml"),
    data: "data",
    anchor: "anchor/head",
    keysFile: at("keys-2.json"),
    nowMs: clock.now(),
    progress: () => undefined,
    ...changes,
  });

  before(async () => {
    root = mkdtempSync(join(tmpdir(), "ckv-successor-"));
    clock = new ManualClock();
    const { files } = await init(
      {
        serverName: "example.org",
        homeserverUrl: "http://127.0.0.1:1",
        serviceUrl: "https://ckv.example.org",
        appserviceUrl: "http://127.0.0.1:2",
        config: at("old/config.yaml"),
        data: "data",
        anchor: "anchor/head",
        settleMs: 10_000,
        heartbeatMs: 60_000,
        mergeDelayMs: 5_000,
        ports: { appservice: 0, api: 0, metrics: 0 },
      },
      START_MS,
    );
    old = files;
    const log = await start(old);
    for (const user of USERS) await change(log, user);
    for (const [i, user] of USERS.entries()) if (i % 3 === 0) await change(log, user, `PHONE${i}`);
    await log.marks.addTracked("@u0:example.org");
    await log.sequencer.close();
    cpSync(at("old"), at("unclosed"), { recursive: true });
    writeKeys(at("keys-2.json"), makeKeys());
  });
  after(() => {
    rmSync(root, { recursive: true });
  });
  afterEach(() => {
    rmSync(at("new"), { recursive: true, force: true });
  });

  it("begins with nothing before the old log has ended, or with other keys than it names", async () => {
    await assert.rejects(initSuccessor(options()), {
      exitCode: 78,
      message: /last epoch of example\.org\/ckv\/1 is no final one\. Next: run "matrix-ckv close-log"/,
    });
    assert.ok(!existsSync(at("new")));
  });

  it("ends a log only when every change that waits is merged", async () => {
    const log = await start(old, 2);
    const { origin } = parseConfiguration((await log.directory.configuration()) ?? "");
    const next = nextOrigin(origin);
    const merged = USERS.slice(0, 7).map(async (user, i) => {
      user.devices.set(`LATE${i}`, {});
      const { userId } = user;
      return await log.sequencer.submit({ userId, entry: user.entry(), observedMs: clock.now() });
    });
    const closing = log.sequencer.closeLog({
      origin: next,
      log_key: vkeyOf(next, readKeys(at("keys-2.json")).logSeed),
    });
    const final = await clock.runUntil(closing);
    const epochs = (await Promise.all(merged)).map(({ epoch }) => epoch);
    assert.ok(epochs.every((epoch) => epoch <= final));
    assert.ok(new Set(epochs).size >= 3, "more than one epoch holds");
    assert.match(log.sequencer.status().reason ?? "", /closed/);
    ended = new Map(await Promise.all(USERS.map(async ({ userId }) => [userId, await partOf(log, userId)] as const)));
    await log.sequencer.close();
    const other = at("other-keys.json");
    writeKeys(other, makeKeys());
    await assert.rejects(initSuccessor(options({ keysFile: other })), {
      exitCode: 78,
      message: /which are not these keys/,
    });
    await assert.rejects(initSuccessor(without(options(), "keysFile")), {
      exitCode: 78,
      message: /give the keys made for it/,
    });
  });

  it("takes over every leaf under a new index, and goes on with each history", async () => {
    const { files, wellKnown } = await initSuccessor(options());
    assert.match(wellKnown.log_key, /^example\.org\/ckv\/2\+/);
    assert.equal(loadConfig(files.config, {}).registration, old.registration);
    const check = { dataDirectory: files.data, anchorFile: files.anchor };
    const problems: unknown[] = [];
    assert.ok(
      await fsck(check, (report) => report.kind === "problem" && problems.push(report)),
      JSON.stringify(problems),
    );
    const log = await start(files);
    assert.equal(await log.marks.isTracked("@u0:example.org"), true);
    const first = USERS[0];
    assert.ok(first);
    await change(log, first, "NEW");
    for (const { userId } of USERS) {
      const [was, is] = [ended.get(userId)?.leaf, (await partOf(log, userId)).leaf];
      assert.ok(was && is);
      assert.equal(is.n, userId === first.userId ? was.n + 1 : was.n);
      const settled = await log.directory.settled(userId, 0);
      assert.deepEqual([settled?.leaf?.n, settled?.leaf?.history_root], [was.n, was.history_root], userId);
      const answer = parseVersionsAnswer(
        JSON.parse(JSON.stringify(await log.directory.historyVersions(userId, 1, was.n))),
      );
      assert.equal(answer.versions.at(-1)?.commitment, was.commitment);
      assert.equal(answer.versions.at(-1)?.epoch, was.epoch);
      assert.ok(await log.directory.historyConsistency(userId, 1, is.n));
    }
    await log.sequencer.close();
    assert.ok(await fsck(check, () => undefined));
    // A restart reads the map of epoch 0 back, and a second change finds the first.
    const again = await start(files);
    await change(again, first, "NEWER");
    assert.equal((await partOf(again, first.userId)).leaf?.n, (ended.get(first.userId)?.leaf?.n ?? 0) + 2);
    await again.sequencer.close();
    assert.ok(await fsck(check, () => undefined));
  });

  it("publishes how the old log ended, and where each of its users stands", async () => {
    const { files, wellKnown } = await initSuccessor(options());
    const log = await start(files);
    const part = parsePredecessor((await log.directory.predecessor()) ?? "");
    const oldKey = vkeyOf("example.org/ckv/1", readKeys(old.keys).logSeed);
    const opened = openPredecessor(part, parseVkey(oldKey), wellKnown.log_key);
    assert.deepEqual([opened.isFinal, opened.record.labels], [true, USERS.length]);
    assert.equal(openPredecessor(part, parseVkey(oldKey), oldKey).isFinal, false);
    assert.throws(() => openPredecessor(part, parseVkey(wellKnown.log_key), wellKnown.log_key));
    const users = parseSuccessionPage((await log.directory.succession(undefined)) ?? new Uint8Array());
    assert.equal(users.length, USERS.length);
    const rest = parseSuccessionPage((await log.directory.succession(users[4]?.oldIndex)) ?? new Uint8Array());
    assert.deepEqual(
      rest.map(({ oldIndex }) => encodeUnpadded(oldIndex)),
      users.slice(5).map(({ oldIndex }) => encodeUnpadded(oldIndex)),
    );
    await log.sequencer.close();
    const first = await start(old);
    assert.deepEqual(
      [await first.directory.predecessor(), await first.directory.succession(undefined)],
      [undefined, undefined],
    );
    await first.sequencer.close();
  });

  describe("before an auditor", () => {
    const cosigner = { name: "auditor.example", seed: new Uint8Array(32).fill(9) };
    let end: AbortController;
    beforeEach(() => {
      end = new AbortController();
    });
    afterEach(() => {
      end.abort();
    });

    /** An auditor of what answers in the name of this log, as `lie` changes it on the way. */
    async function auditorOf(
      log: RunningLog,
      logKey: string,
      lie: (path: string, body: Uint8Array) => Uint8Array = (_path, body) => body,
      acceptReplaced = false,
    ): Promise<Auditor> {
      const write = { checkReader: () => undefined, notReady: () => [] };
      const api = { write, read: log.directory } as unknown as Api;
      const gate = {
        userOf: () => "",
        count: async () => {
          await Promise.resolve();
        },
      };
      const server = createApiServer({ api, gate, logger: quiet, serviceUrl: "http://x", answered: () => undefined });
      server.listen({ port: 0, host: "127.0.0.1", signal: end.signal });
      await once(server, "listening");
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const lying = (async (input: string): Promise<Response> => {
        const answer = await fetch(input);
        return new Response(
          lie(new URL(input).pathname, new Uint8Array(await answer.arrayBuffer())) as BodyInit,
          answer,
        );
      }) as typeof fetch;
      const source = new AuditSource({ urls: [url], fetch: lying });
      rmSync(at("audit.json"), { force: true });
      rmSync(at("audit.json.fault.json"), { force: true });
      const nowMs = (): number => clock.now();
      return new Auditor({ source, logKey, stateFile: at("audit.json"), cosigner, nowMs, acceptReplaced });
    }

    it("holds: each leaf of the old map stands in epoch 0, and all that follows", async () => {
      const { files, wellKnown } = await initSuccessor(options());
      const log = await start(files);
      const [first] = USERS;
      assert.ok(first);
      await change(log, first, "AUDITED");
      const auditor = await auditorOf(log, wellKnown.log_key);
      const note = await auditor.advance();
      assert.match(note, /^example\.org\/ckv\/2\n[0-9]+\n[^]*— auditor\.example /);
      assert.equal(auditor.from, 0);
      await log.sequencer.close();
    });

    it("is asked again where a server says another user took a place, or the end was another", async () => {
      const { files, wellKnown } = await initSuccessor(options());
      const log = await start(files);
      for (const [path, position] of [
        ["/v1/succession", 3],
        ["/v1/succession", 40],
        ["/v1/succession", 71],
        ["/v1/succession", 103],
        ["/v1/predecessor", 60],
      ] as const) {
        const auditor = await auditorOf(log, wellKnown.log_key, (asked, body) =>
          asked === path ? body.with(position, (body[position] ?? 0) ^ 1) : body,
        );
        await assert.rejects(auditor.advance(), { code: "audit-data-missing", exitCode: 75 }, `${path} ${position}`);
      }
      await log.sequencer.close();
    });

    it("is convicted by its own records where a user was left out", async () => {
      const { files, wellKnown } = await initSuccessor(options());
      const short = at("new/short");
      const text = await (async (): Promise<string> => {
        const log = await start(files);
        const found = (await log.directory.configuration()) ?? "";
        await log.sequencer.close();
        return found;
      })();
      const oldStore = await openLevelStore(databaseOf(old.data));
      const place = { dataDirectory: join(short, "data"), anchorFile: join(short, "anchor/head") };
      const rest = { keysFile: at("keys-2.json"), configurationText: text, nowMs: clock.now() };
      await createLog({ ...place, ...rest }, async (store) => {
        const prove = indexProver(readKeys(at("keys-2.json")).vrfSeed);
        const map = await carryOver(openOldLog(oldStore), store, prove, () => undefined);
        return { root: map.root, labels: map.labels - 1, puts: [] };
      });
      await oldStore.close();
      const lying = await start({ ...files, data: place.dataDirectory, anchor: place.anchorFile });
      const auditor = await auditorOf(lying, wellKnown.log_key);
      await assert.rejects(auditor.advance(), { code: "audit-labels", exitCode: 70 });
      await lying.sequencer.close();
    });

    it("needs a word for a log before it that never ended", async () => {
      const { files, wellKnown } = await initSuccessor(
        without(options({ old: loadConfig(at("unclosed/config.yaml"), {}) }), "keysFile"),
      );
      const log = await start(files);
      const refused = await auditorOf(log, wellKnown.log_key);
      await assert.rejects(refused.advance(), { code: "audit-data-missing", message: /log-replaced.*Next: / });
      const honest = (_path: string, body: Uint8Array): Uint8Array => body;
      const accepted = await auditorOf(log, wellKnown.log_key, honest, true);
      assert.match(await accepted.advance(), /— auditor\.example /);
      await log.sequencer.close();
    });
  });

  it("overwrites nothing, and does not run beside the old log", async () => {
    await initSuccessor(options());
    const keys = readFileSync(at("keys-2.json"), "utf8");
    await assert.rejects(initSuccessor(options()), { exitCode: 78, message: /nothing was changed/ });
    assert.equal(readFileSync(at("keys-2.json"), "utf8"), keys);
    rmSync(at("new"), { recursive: true });
    const running = await start(old);
    await assert.rejects(initSuccessor(options()), { exitCode: 75 });
    await running.sequencer.close();
  });

  it("takes over a log that can't sign its end, when told so", async () => {
    const lost = without(options({ old: loadConfig(at("unclosed/config.yaml"), {}) }), "keysFile");
    const { files, wellKnown } = await initSuccessor(lost);
    const log = await start(files);
    const part = parsePredecessor((await log.directory.predecessor()) ?? "");
    const oldKey = parseVkey(vkeyOf("example.org/ckv/1", readKeys(old.keys).logSeed));
    assert.equal(openPredecessor(part, oldKey, wellKnown.log_key).isFinal, false);
    assert.ok((await partOf(log, "@u0:example.org")).leaf);
    await log.sequencer.close();
  });

  it("is taken over in its turn", async () => {
    const { files } = await initSuccessor(options());
    writeKeys(at("keys-3.json"), makeKeys());
    const second = await start(files);
    const [, user] = USERS;
    assert.ok(user);
    await change(second, user, "SECOND");
    const n = (await partOf(second, user.userId)).leaf?.n;
    const successor = {
      origin: "example.org/ckv/3",
      log_key: vkeyOf("example.org/ckv/3", readKeys(at("keys-3.json")).logSeed),
    };
    await clock.runUntil(second.sequencer.closeLog(successor));
    await second.sequencer.close();
    const third = await initSuccessor(
      options({ old: loadConfig(files.config, {}), config: at("new/third/config.yaml"), keysFile: at("keys-3.json") }),
    );
    const log = await start(third.files);
    await change(log, user, "THIRD");
    const { leaf } = await partOf(log, user.userId);
    assert.equal(leaf?.n, (n ?? 0) + 1);
    assert.ok(await log.directory.historyConsistency(user.userId, 1, leaf.n));
    await log.sequencer.close();
    assert.ok(await fsck({ dataDirectory: third.files.data, anchorFile: third.files.anchor }, () => undefined));
  });
});
