/** The service on a real Synapse, with accounts made by plain HTTP. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { AuditSource } from "../../appservice/audit-source.ts";
import { Auditor } from "../../appservice/auditor.ts";
import { acknowledgementMessage } from "../../appservice/account-requests.ts";
import { systemClock } from "../../appservice/clock.ts";
import { loadConfig } from "../../appservice/config.ts";
import { examine } from "../../appservice/doctor.ts";
import { init, makeKeys, vkeyOf, type InitFiles } from "../../appservice/init.ts";
import { readKeys, writeKeys } from "../../appservice/keys-file.ts";
import type { Logger } from "../../appservice/logger.ts";
import { parseRegistration } from "../../appservice/registration.ts";
import { runService, type RunningService } from "../../appservice/service.ts";
import { initSuccessor, nextOrigin } from "../../appservice/successor.ts";
import { publicKeyOf, signEd25519 } from "../../shared/crypto/ed25519.ts";
import { openCosignatures } from "../../shared/crypto/cosignature.ts";
import { openPromise } from "../../shared/proofs/promise.ts";
import { COSIGNATURE_KEY, noteKeyOf, parseVkey } from "../../shared/crypto/signed-note.ts";
import {
  configurationHash,
  formatConfiguration,
  parseConfiguration,
  type Configuration,
} from "../../shared/directory/configuration.ts";
import { encodeHex, encodeUnpadded } from "../../shared/encoding.ts";
import { openCheckpoint } from "../../shared/log/checkpoint.ts";
import {
  parseLookupAnswer,
  parseRefreshAnswer,
  parseSessionAnswer,
  parseStatementAnswer,
  type LookupAnswer,
  MATRIX_NAMES,
} from "../../shared/messages.ts";
import { verifyLookup, type VerifiedLookup } from "../../shared/proofs/lookup.ts";
import { freePort } from "../support/port.ts";
import { startSynapse, type Synapse, type SynapseUser } from "../support/synapse.ts";
import { TestUser } from "../support/test-user.ts";

const HEARTBEAT_MS = 1_000;
const PATIENCE_MS = 15_000;

/** Everything the service logs, to look for what must not be there. */
class CapturedLog implements Logger {
  readonly lines: string[] = [];
  readonly error: Logger["error"] = (fields, message) => {
    this.#add(fields, message);
  };
  readonly warn: Logger["warn"] = (fields, message) => {
    this.#add(fields, message);
  };
  readonly info: Logger["info"] = (fields, message) => {
    this.#add(fields, message);
  };
  readonly debug: Logger["debug"] = (fields, message) => {
    this.#add(fields, message);
  };
  #add(fields: object, message: string): void {
    this.lines.push(`${message} ${JSON.stringify(fields)}`);
  }
}

async function eventually<Result>(what: string, probe: () => Promise<Result | undefined>): Promise<Result> {
  const endMs = Date.now() + PATIENCE_MS;
  for (;;) {
    const result = await probe();
    if (result !== undefined) return result;
    if (Date.now() > endMs) throw new Error(`waited in vain: ${what}`);
    await delay(50);
  }
}

describe("the service on a real homeserver", function () {
  this.timeout(60_000);
  let directory: string;
  let files: InitFiles;
  let synapse: Synapse;
  let service: RunningService;
  let end: AbortController;
  let configuration: Configuration;
  const log = new CapturedLog();
  let api: string;

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), "ckv-service-"));
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
        heartbeatMs: HEARTBEAT_MS,
        mergeDelayMs: 5_000,
        ports,
      },
      Date.now(),
    );
    files = made.files;
    const extraConfig = { extra_well_known_client_content: { [MATRIX_NAMES.wellKnown]: made.wellKnown } };
    synapse = await startSynapse({ port, registrationPath: files.registration, extraConfig });
    await start();
    configuration = parseConfiguration(await (await fetch(`${api}/v1/configuration`)).text());
  });

  after(async () => {
    end.abort();
    await service.finished;
    await synapse.close();
    rmSync(directory, { recursive: true });
  });

  async function start(): Promise<void> {
    end = new AbortController();
    const config = { ...loadConfig(files.config, {}), feed: { sweepIntervalMs: 1_000 } };
    const options = {
      clock: systemClock,
      logger: log,
      signal: end.signal,
      roomRate: { everyMs: 500, idleEveryMs: 1_000 },
    };
    service = await runService(config, options);
    await eventually("ready", async () => await Promise.resolve(service.notReady().length === 0 ? true : undefined));
  }

  async function matrix(user: SynapseUser, method: string, path: string, body?: unknown): Promise<Response> {
    return await fetch(`${synapse.url}/_matrix/client/v3${path}`, {
      method,
      headers: { authorization: `Bearer ${user.accessToken}` },
      body: body === undefined ? null : JSON.stringify(body),
    });
  }

  async function ask(session: string, path: string, body: unknown, method = "POST"): Promise<unknown> {
    const headers = { authorization: `Bearer ${session}`, "content-type": "application/json" };
    const response = await fetch(api + path, { method, headers, body: JSON.stringify(body) });
    const answer: unknown = await response.json();
    assert.equal(response.status, 200, JSON.stringify(answer));
    return answer;
  }

  async function openSession(user: SynapseUser): Promise<string> {
    const path = `/user/${encodeURIComponent(user.userId)}/openid/request_token`;
    const openid_token: unknown = await (await matrix(user, "POST", path, {})).json();
    const response = await fetch(`${api}/v1/session`, { method: "POST", body: JSON.stringify({ openid_token }) });
    const { session, user_id } = parseSessionAnswer(await response.json());
    assert.equal(user_id, user.userId);
    return session;
  }

  async function uploadKeys(account: SynapseUser, keys: TestUser): Promise<void> {
    const signing = { master_key: keys.masterObject(), self_signing_key: keys.selfSigningObject() };
    const uploads = [
      await matrix(account, "POST", "/keys/upload", { device_keys: keys.deviceObject(account.deviceId) }),
      await matrix(account, "POST", "/keys/device_signing/upload", {
        ...signing,
        auth: {
          type: "m.login.password",
          identifier: { type: "m.id.user", user: account.userId },
          password: account.password,
        },
      }),
      await matrix(account, "POST", "/keys/signatures/upload", {
        [account.userId]: { [account.deviceId]: keys.deviceObject(account.deviceId) },
      }),
    ];
    for (const response of uploads) assert.equal(response.status, 200, await response.text());
  }

  async function enrol(account: SynapseUser, session: string): Promise<string> {
    const { room_id } = (await ask(session, "/v1/enrolment", {})) as { room_id: string };
    assert.equal((await matrix(account, "POST", `/join/${encodeURIComponent(room_id)}`, {})).status, 200);
    return room_id;
  }

  async function lookUp(session: string, userId: string): Promise<{ answer: LookupAnswer; verified: VerifiedLookup }> {
    const answer = parseLookupAnswer(await ask(session, "/v1/lookup", { user_id: userId }));
    const known = {
      logKey: parseVkey(configuration.log_key),
      configurations: new Map([[encodeHex(configurationHash(formatConfiguration(configuration))), configuration]]),
      cosignatures: () => [],
      nowMs: Date.now(),
    };
    return { answer, verified: verifyLookup(known, [], {}, userId, answer) };
  }

  async function makeUser(name: string): Promise<{ account: SynapseUser; keys: TestUser; session: string }> {
    const account = await synapse.registerUser(name);
    return { account, keys: new TestUser(account.userId, account.deviceId), session: await openSession(account) };
  }

  async function versionOf(session: string, userId: string, n: number): Promise<VerifiedLookup> {
    return await eventually(`version ${n} of ${userId}`, async () => {
      const { verified } = await lookUp(session, userId);
      return (verified.leaf?.n ?? 0) >= n ? verified : undefined;
    });
  }

  it("enrols an account, logs its keys, and proves it", async () => {
    const { account, keys, session } = await makeUser("alice");
    await uploadKeys(account, keys);
    assert.equal((await lookUp(session, account.userId)).verified.leaf, undefined);
    await enrol(account, session);
    const { leaf } = await versionOf(session, account.userId, 1);
    assert.ok(leaf?.content);
    const { entry } = leaf.content;
    assert.equal(leaf.n, 1);
    assert.deepEqual(entry.masterKey, { kind: "key", key: keys.masterKey });
    assert.deepEqual([...entry.devices.keys()], [account.deviceId]);
    assert.equal(entry.selfSigningKey?.kind === "key" && entry.selfSigningKey.signedByMaster, true);
  });

  it("logs the first keys of a member who enrols before having any", async () => {
    const { account, keys, session } = await makeUser("bob");
    await enrol(account, session);
    await delay(500);
    assert.equal((await lookUp(session, account.userId)).verified.leaf, undefined);
    await uploadKeys(account, keys);
    const { leaf } = await versionOf(session, account.userId, 1);
    assert.ok(leaf?.content?.entry.devices.has(account.deviceId));
  });

  it("logs a further device, and promises it when asked before its epoch", async () => {
    const { account, keys, session } = await makeUser("carol");
    await uploadKeys(account, keys);
    await enrol(account, session);
    const first = await versionOf(session, account.userId, 1);
    const phone = await synapse.logIn(account);
    keys.devices.set(phone.deviceId, {});
    const upload = await matrix(phone, "POST", "/keys/upload", { device_keys: keys.deviceObject(phone.deviceId) });
    assert.equal(upload.status, 200);
    const { promise } = parseRefreshAnswer(await ask(session, "/v1/refresh", { user_id: account.userId }));
    assert.ok(promise);
    assert.ok(promise.entry.includes(phone.deviceId));
    const { version, index } = openPromise(promise.note, parseVkey(configuration.promise_key));
    assert.deepEqual([version, index], [(first.leaf?.n ?? 0) + 1, first.index]);
    const { leaf } = await versionOf(session, account.userId, version);
    assert.ok(leaf?.content?.entry.devices.has(phone.deviceId));
  });

  it("takes a statement and an acknowledgement from their owner, and refuses those of others", async () => {
    const { account, keys, session } = await makeUser("dora");
    await uploadKeys(account, keys);
    await enrol(account, session);
    const { leaf } = await versionOf(session, account.userId, 1);
    assert.ok(leaf);
    const terms = { ckv: "on", counter: 1, since: { n: leaf.n, root: leaf.root } } as const;
    const answer = await ask(session, "/v1/statement", { statement: keys.statement(terms) }, "PUT");
    const { version_expected: expected } = parseStatementAnswer(answer);
    assert.equal(expected, leaf.n + 1);
    const stated = await versionOf(session, account.userId, leaf.n + 1);
    assert.equal(stated.leaf?.content?.entry.statement?.ckv, "on");
    const { n, root } = stated.leaf;
    const about = { version: n, history_root: encodeUnpadded(root) };
    const message = acknowledgementMessage(account.userId, about);
    const signature = encodeUnpadded(signEd25519(keys.selfSigningSeed, message));
    assert.deepEqual(await ask(session, "/v1/acknowledgement", { ...about, signature }), {});

    const { session: other } = await makeUser("eve");
    const put = async (path: string, method: string, as: string, body: unknown): Promise<number> =>
      (await fetch(api + path, { method, headers: { authorization: `Bearer ${as}` }, body: JSON.stringify(body) }))
        .status;
    assert.equal(
      await put("/v1/statement", "PUT", other, { statement: keys.statement({ ...terms, counter: 2 }) }),
      404,
    );
    assert.equal(await put("/v1/statement", "PUT", session, { statement: keys.statement(terms) }), 400);
    assert.equal(await put("/v1/acknowledgement", "POST", other, { ...about, signature }), 404);
    const forged = encodeUnpadded(signEd25519(keys.masterSeed, message));
    assert.equal(await put("/v1/acknowledgement", "POST", session, { ...about, signature: forged }), 400);
  });

  it("answers alike for who is not enrolled and who does not exist", async () => {
    const { account, keys, session } = await makeUser("frank");
    await uploadKeys(account, keys);
    const [present, missing] = [account.userId, `@nobody:${synapse.serverName}`];
    for (const path of ["/v1/refresh", "/v1/history/versions", "/v1/history/consistency"]) {
      const answers = [present, missing].map(async (user_id) => {
        const body = JSON.stringify(path === "/v1/refresh" ? { user_id } : { user_id, from: 1, to: 1 });
        const response = await fetch(api + path, {
          method: "POST",
          headers: { authorization: `Bearer ${session}` },
          body,
        });
        return [response.status, await response.text()];
      });
      assert.deepEqual(await answers[0], await answers[1], path);
    }
    const [one, two] = [await lookUp(session, present), await lookUp(session, missing)];
    assert.deepEqual(Object.keys(one.answer.user), Object.keys(two.answer.user));
    assert.deepEqual([one.verified.leaf, two.verified.leaf], [undefined, undefined]);
  });

  it("puts heads of the log into the epochs room, for everybody to read", async () => {
    const { account } = await makeUser("gina");
    const alias = encodeURIComponent(`#ckv:${synapse.serverName}`);
    const { room_id } = (await (await matrix(account, "GET", `/directory/room/${alias}`)).json()) as {
      room_id: string;
    };
    const filter = encodeURIComponent(JSON.stringify({ types: ["org.matrix-ckv.epoch"] }));
    const path = `/rooms/${encodeURIComponent(room_id)}/messages?dir=b&limit=20&filter=${filter}`;
    const { chunk } = (await (await matrix(account, "GET", path)).json()) as {
      chunk: { content: { checkpoint: string; epoch: number } }[];
    };
    assert.ok(chunk.length >= 2);
    const key = parseVkey(configuration.log_key);
    for (const { content } of chunk) assert.equal(openCheckpoint(content.checkpoint, key).size, content.epoch + 1);
    const epochs = chunk.map(({ content }) => content.epoch);
    assert.deepEqual(
      epochs,
      [...epochs].sort((a, b) => b - a),
    );
    const send = `/rooms/${encodeURIComponent(room_id)}/send/m.room.message/1`;
    assert.equal((await matrix(account, "POST", `/join/${alias}`, {})).status, 200);
    assert.equal((await matrix(account, "PUT", send, { msgtype: "m.text", body: "hello" })).status, 403);
    const members = encodeURIComponent(`#ckv-members:${synapse.serverName}`);
    assert.equal((await matrix(account, "POST", `/join/${members}`, {})).status, 403);
  });

  it("misses nothing that happened while it was down", async () => {
    const { account, keys, session } = await makeUser("hugo");
    await uploadKeys(account, keys);
    await enrol(account, session);
    await versionOf(session, account.userId, 1);
    end.abort();
    await service.finished;
    const phone = await synapse.logIn(account);
    keys.devices.set(phone.deviceId, {});
    await matrix(phone, "POST", "/keys/upload", { device_keys: keys.deviceObject(phone.deviceId) });
    await delay(500);
    await start();
    const again = await openSession(account);
    const { leaf } = await versionOf(again, account.userId, 2);
    assert.ok(leaf?.content?.entry.devices.has(phone.deviceId));
  });

  it("serves reads and says why it is not ready while the homeserver is away", async () => {
    const { session, account } = await makeUser("ida");
    end.abort();
    await service.finished;
    await synapse.stop();
    const options = { clock: systemClock, logger: log, signal: (end = new AbortController()).signal };
    service = await runService(loadConfig(files.config, {}), options);
    const sizeOf = async (): Promise<number> =>
      openCheckpoint(await (await fetch(`${api}/log/checkpoint`)).text(), parseVkey(configuration.log_key)).size;
    const before = await sizeOf();
    await delay(2 * HEARTBEAT_MS);
    assert.equal(await sizeOf(), before);
    const ready = await fetch(`${api}/readyz`);
    assert.equal(ready.status, 503);
    assert.match(await ready.text(), /the homeserver cannot be reached/);
    assert.equal((await fetch(`${api}/v1/lookup`, { method: "POST", body: "{}" })).status, 401);
    assert.ok(session !== "" && account.userId !== "");
    await synapse.start();
    await eventually("ready again", async () => ((await fetch(`${api}/readyz`)).ok ? true : undefined));
    await eventually("a newer head", async () => ((await sizeOf()) > before ? true : undefined));
  });

  it("passes its own doctor, who finds what is missing", async () => {
    const homeserverYaml = join(synapse.directory, "homeserver.yaml");
    const findings = [];
    const options = { config: loadConfig(files.config, {}), configFile: files.config, nowMs: Date.now };
    for await (const finding of examine({ ...options, homeserverYaml })) findings.push(finding);
    assert.deepEqual(
      findings.filter(({ result }) => result === "problem"),
      [],
    );
    const subjects = findings.filter(({ result }) => result === "unknown").map(({ subject }) => subject);
    assert.deepEqual(subjects, ["auto_join_rooms"]);
  });

  it("stands an audit of every epoch", async () => {
    const seed = new Uint8Array(32).fill(7);
    const auditor = new Auditor({
      source: new AuditSource({ urls: [api] }),
      logKey: configuration.log_key,
      stateFile: join(directory, "audit.json"),
      cosigner: { name: "auditor.example", seed },
      nowMs: Date.now,
    });
    const note = await auditor.advance();
    const key = noteKeyOf({ name: "auditor.example", type: COSIGNATURE_KEY, publicKey: publicKeyOf(seed) });
    assert.equal(openCosignatures(note, [key]).length, 1);
    assert.equal(auditor.cosigned, note);
  });

  it("needs no sweep, and keeps its secrets", async () => {
    const metrics = await (await fetch(`http://127.0.0.1:${service.ports.metrics}/metrics`)).text();
    assert.match(metrics, /^ckv_sweep_missed_total 0$/m);
    const { asToken, hsToken } = parseRegistration(readFileSync(files.registration, "utf8"));
    const seeds = Object.values(JSON.parse(readFileSync(files.keys, "utf8")) as Record<string, string>);
    const everything = [...log.lines, metrics].join("\n");
    for (const secret of [asToken, hsToken, ...seeds]) assert.ok(!everything.includes(secret));
    assert.ok(!/access_token|Bearer/.test(everything));
    assert.deepEqual(
      log.lines.filter((line) => line.includes("failed")),
      [],
    );
  });

  it("ends in an epoch that names its successor, which goes on with every history", async () => {
    const { account, keys, session } = await makeUser("zoe");
    await uploadKeys(account, keys);
    await enrol(account, session);
    const { leaf: was } = await versionOf(session, account.userId, 1);
    assert.ok(was);
    const keysFile = join(directory, "keys-2.json");
    writeKeys(keysFile, makeKeys());
    const origin = nextOrigin(configuration.origin);
    const successor = { origin, log_key: vkeyOf(origin, readKeys(keysFile).logSeed) };
    const { asToken } = parseRegistration(readFileSync(files.registration, "utf8"));
    const closed = await fetch(`http://127.0.0.1:${service.ports.metrics}/operator/close-log`, {
      method: "POST",
      headers: { authorization: `Bearer ${asToken}` },
      body: JSON.stringify(successor),
    });
    const { epoch } = (await closed.json()) as { readonly epoch: number };
    assert.equal(closed.status, 200);
    assert.match(service.notReady().join(), /the log is closed/);
    const final = await (await fetch(`${api}/log/checkpoint`)).text();
    assert.equal(final.split("\n")[1], String(epoch + 1));
    end.abort();
    await service.finished;
    const old = loadConfig(files.config, {});
    const config = join(directory, "next/config.yaml");
    const place = {
      old,
      config,
      data: "data",
      anchor: "anchor/head",
      keysFile,
      nowMs: Date.now(),
      progress: () => undefined,
    };
    ({ files } = await initSuccessor(place));
    await start();
    const again = await openSession(account);
    configuration = parseConfiguration(await (await fetch(`${api}/v1/configuration`)).text());
    assert.deepEqual([configuration.origin, configuration.predecessor?.origin.slice(-2)], [origin, "/1"]);
    const { leaf: is } = await versionOf(again, account.userId, was.n);
    assert.deepEqual([is?.n, is?.root], [was.n, was.root]);
    const phone = await synapse.logIn(account);
    keys.devices.set(phone.deviceId, {});
    await matrix(phone, "POST", "/keys/upload", { device_keys: keys.deviceObject(phone.deviceId) });
    const { leaf: grown } = await versionOf(again, account.userId, was.n + 1);
    assert.ok(grown?.content?.entry.devices.has(phone.deviceId));
  });
});
