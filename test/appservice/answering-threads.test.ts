/** The public API, answered by several threads at once: to who asks they are one. */
import assert from "node:assert/strict";
import { Agent, request } from "node:http";
import type { OutgoingHttpHeaders } from "node:http";
import { mock } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { AnsweringThreads } from "../../appservice/answering-threads.ts";
import { ApiError } from "../../appservice/api-error.ts";
import type { WriteSide } from "../../appservice/api-routes.ts";
import { steadyMs, systemClock } from "../../appservice/clock.ts";
import { databaseOf } from "../../appservice/create-log.ts";
import { AnswerMetrics, createMetrics, type Readings } from "../../appservice/metrics.ts";
import type { RunningLog, SequencerOptions } from "../../appservice/sequencer.ts";
import { serveApi } from "../../appservice/serve-api.ts";
import { keyOf, SESSION_MS, SessionTable, sharedLimit } from "../../appservice/session-table.ts";
import { parseVkey } from "../../shared/crypto/signed-note.ts";
import { vrfOutput } from "../../shared/crypto/vrf.ts";
import { decodeUnpadded, utf8 } from "../../shared/encoding.ts";
import { openCheckpoint } from "../../shared/log/checkpoint.ts";
import { parseEpochRecord } from "../../shared/log/epoch-record.ts";
import { parseMapProof, verifyMapProof } from "../../shared/map/map-proof.ts";
import type { LookupAnswer } from "../../shared/messages.ts";
import { freePort } from "../support/port.ts";
import { OwnLog } from "../support/own-log.ts";

const BESIDE = 2;
/** So many that each thread has some, but for one run in thousands of millions. */
const CONNECTIONS = 60;
const MINUTE_MS = 60_000;
const TOKEN = "token-of-a-test";
const ASKER = "@asker:example.org";

/** What stands for a cosignature of the head of this size. */
function cosignatureOf(size: number): string {
  const bytes = Buffer.alloc(76);
  bytes.writeUInt32BE(size, 72);
  return bytes.toString("base64");
}

interface Said {
  readonly status: number;
  readonly text: string;
}

type Ask = (method: string, path: string, body?: object, token?: string) => Promise<Said>;

/** Somebody with a connection of their own, which stays with the thread that took it. */
class Connection {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  readonly #port: number;

  constructor(port: number) {
    this.#port = port;
  }

  readonly ask: Ask = (method, path, body, token = TOKEN) =>
    new Promise((resolve, reject) => {
      const headers: OutgoingHttpHeaders = { authorization: `Bearer ${token}` };
      const options = { host: "127.0.0.1", port: this.#port, method, path, agent: this.#agent, headers };
      const asking = request(options, (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (part: string) => (text += part));
        response.once("end", () => {
          resolve({ status: response.statusCode ?? 0, text });
        });
      });
      asking.once("error", reject).end(body === undefined ? undefined : JSON.stringify(body));
    });

  close(): void {
    this.#agent.destroy();
  }
}

describe("threads that answer", () => {
  let log: OwnLog;
  let running: RunningLog;
  let port: number;
  let connections: readonly Connection[];
  let end: AbortController;
  let gate: SessionTable;
  let errors: object[];
  const metrics = new AnswerMetrics();
  const written: { readonly name: string; readonly args: readonly unknown[] }[] = [];

  const write: WriteSide = {
    session: (...args) => {
      written.push({ name: "session", args });
      return Promise.resolve({ session: "s", user_id: ASKER, expires_in_ms: 1 });
    },
    refresh: (userId) => Promise.reject(new ApiError("rate-limited", `not ${userId} again`, 7)),
    enrol: () => Promise.reject(new Error("a secret that is nobody's")),
    state: () => Promise.reject(new ApiError("forbidden", "no")),
    acknowledge: (...args) => {
      written.push({ name: "acknowledge", args });
      return Promise.resolve();
    },
    checkReader: () => Promise.resolve(),
    notReady: () => Promise.resolve(["for a reason"]),
  };

  /** Starts the log with threads, and a connection for everybody. */
  const start = async (
    options: Partial<SequencerOptions> = {},
    lookupsPerMinute = 1_000_000,
    maxConnections?: number,
  ): Promise<void> => {
    running = await log.start({
      ...{ clock: systemClock, maxChanges: 20, epochDelayMs: 1, answeringThreads: BESIDE },
      ...options,
    });
    errors = [];
    end = new AbortController();
    const limit = sharedLimit(lookupsPerMinute);
    gate = new SessionTable(limit);
    const parts = {
      api: { read: running.directory, write },
      gate,
      logger: { error: (fields: object) => errors.push(fields) },
      serviceUrl: "https://ckv.example.org",
      answered: metrics.answered,
      ...(maxConnections === undefined ? {} : { maxConnections }),
    };
    const { threads } = running;
    const served = await serveApi(parts, { threads, limit }, { host: "127.0.0.1", port: 0 }, end.signal);
    await served.all;
    port = served.port;
    await addSession(TOKEN, ASKER);
    connections = Array.from({ length: CONNECTIONS }, () => new Connection(port));
  };
  const addSession = async (token: string, userId: string): Promise<void> => {
    const session = { key: keyOf(token), userId, endsMs: steadyMs() + SESSION_MS };
    gate.add(session);
    await running.threads.addSession(session);
  };
  const stop = async (): Promise<void> => {
    end.abort();
    for (const connection of connections) connection.close();
    await running.sequencer.close();
  };
  /** The same question over every connection. */
  const askAll = (...question: Parameters<Ask>): Promise<readonly Said[]> =>
    Promise.all(connections.map(({ ask }) => ask(...question)));
  const submit = (userId: string, content: number): Promise<unknown> => {
    const entry = utf8(`{"devices":{},"n":${content},"user_id":"${userId}"}`);
    return running.sequencer.submit({ userId, entry, observedMs: Date.now() });
  };
  const sizeOf = (checkpoint: string): number => openCheckpoint(checkpoint, parseVkey(log.configuration.log_key)).size;

  const epochOf = (text: string): number =>
    parseEpochRecord(decodeUnpadded((JSON.parse(text) as LookupAnswer).head.record)).epoch;
  /** The epoch of a lookup's answer whose proof holds there. */
  const checkedEpoch = (text: string): number => {
    const { head, user } = JSON.parse(text) as LookupAnswer;
    const { mapRoot, epoch } = parseEpochRecord(decodeUnpadded(head.record));
    assert.equal(sizeOf(head.checkpoint), epoch + 1);
    const index = vrfOutput(decodeUnpadded(user.vrf_proof)).slice(0, 32);
    const leaf = user.leaf && { n: user.leaf.n, historyRoot: decodeUnpadded(user.leaf.history_root) };
    assert.deepEqual(verifyMapProof(parseMapProof(decodeUnpadded(user.map_proof)), index, leaf), mapRoot);
    return epoch;
  };

  beforeEach(async () => {
    log = await OwnLog.create({}, Date.now() - MINUTE_MS);
  });
  afterEach(async () => {
    await stop();
    log.remove();
  });

  it("each answer soundly at every moment, and together never go back behind an answer that anybody has", async function () {
    this.timeout(60_000);
    await start();
    const { threads } = running;
    const take = threads.take.bind(threads);
    // So that others have time to see what one shows before the rest can.
    mock.method(threads, "take", async (...args: Parameters<typeof take>) => {
      await delay(15);
      await take(...args);
    });
    const userAt = (i: number): string => `@busy${i % 200}:example.org`;
    let newest = 0;
    const seen = new Set<number>();
    const isEnough = (): boolean => seen.size >= 60;
    let answers = 0;
    const change = async (from: number): Promise<void> => {
      for (let i = from; !isEnough(); i += 40) await submit(userAt(i), i);
    };
    const read = async ({ ask }: Connection, from: number): Promise<void> => {
      for (let i = from; !isEnough(); i += CONNECTIONS) {
        const before = newest;
        const { status, text } = await ask("POST", "/v1/lookup", { user_id: userAt(i) });
        assert.equal(status, 200, text);
        // To check a proof takes longer than to answer: who checked all would not see much.
        const epoch = ++answers % 50 === 0 ? checkedEpoch(text) : epochOf(text);
        assert(epoch >= before, `epoch ${epoch} is answered after ${before} was`);
        newest = Math.max(newest, epoch);
        seen.add(epoch);
      }
    };
    await Promise.all([
      ...Array.from({ length: 40 }, (_, i) => change(i)),
      ...connections.map((connection, i) => read(connection, i)),
    ]);
    const counted = await Promise.all([metrics.read(), threads.readMetrics()]);
    for (const text of [counted[0], ...counted[1]]) assert.match(JSON.stringify(text), /"route":"\/v1\/lookup"/);
  });

  it("hold up the next epoch until each has its snapshot", async () => {
    await start();
    const { threads } = running;
    const take = threads.take.bind(threads);
    let [atOnce, most] = [0, 0];
    const slow = mock.method(threads, "take", async (...args: Parameters<typeof take>) => {
      most = Math.max(most, ++atOnce);
      await delay(60);
      await take(...args);
      atOnce -= 1;
    });
    await Promise.all(Array.from({ length: 200 }, (_, i) => submit(`@slow${i}:example.org`, i)));
    assert(slow.mock.callCount() >= 10, "an epoch has 20 changes");
    assert.equal(most, 1);
  });

  it("are not waited for to answer, but before anything is signed", async () => {
    const arrived = Promise.withResolvers<undefined>();
    const all = AnsweringThreads.prototype;
    const take = Object.getOwnPropertyDescriptor(all, "take")?.value as AnsweringThreads["take"];
    const late = mock.method(all, "take", async function (this: AnsweringThreads, ...args: Parameters<typeof take>) {
      await arrived.promise;
      await take.apply(this, args);
    });
    try {
      running = await log.start({ clock: systemClock, strictStart: true, answeringThreads: BESIDE });
      const { sequencer, directory } = running;
      assert.equal(checkedEpoch(await directory.lookup("@x:example.org")), 0);
      sequencer.setExternalHead("room-empty");
      await delay(50);
      assert.equal(sequencer.status().signing, false);
      arrived.resolve(undefined);
      while (!sequencer.status().signing) await delay(5);
    } finally {
      arrived.resolve(undefined);
      late.mock.restore();
      await running.sequencer.close();
      // For those that follow.
      await start();
    }
  });

  it("are waited for before a service with witnesses says that it is ready", async () => {
    const { promise: arrived, resolve: arrive } = Promise.withResolvers<undefined>();
    running = await log.start({
      ...{ clock: systemClock, strictStart: true, answeringThreads: BESIDE },
      cosign: async (note) => {
        await arrived;
        return note;
      },
    });
    const { sequencer, directory, threads } = running;
    const prepare = threads.prepare.bind(threads);
    mock.method(threads, "prepare", async (...args: Parameters<typeof prepare>) => {
      // Longer than they take to begin.
      await threads.readMetrics();
      await delay(200);
      await prepare(...args);
    });
    sequencer.setExternalHead("room-empty");
    arrive(undefined);
    while (!sequencer.status().signing) await delay(2);
    assert.equal(checkedEpoch(await directory.lookup("@x:example.org")), 0);
    await sequencer.close();
    await start();
  });

  it("all publish a head in the moment in which it has its cosignatures", async function () {
    this.timeout(60_000);
    let release = (): void => undefined;
    let asked = 0;
    await start({
      cosign: async (note, size, _consistency, signal) => {
        asked = size;
        const { promise, resolve } = Promise.withResolvers<undefined>();
        release = (): void => {
          resolve(undefined);
        };
        signal.addEventListener("abort", release);
        await promise;
        return `${note}— witness.example ${cosignatureOf(size)}\n`;
      },
    });
    for (const { status } of await askAll("GET", "/log/checkpoint")) assert.equal(status, 503);
    release();
    let shown = 0;
    for (let round = 0; round < 3; round++) {
      const next = asked + 1;
      const merged = submit(`@u${round}:example.org`, round).then(() => true);
      while (asked < next) {
        release();
        await delay(5);
      }
      const texts = new Set((await askAll("GET", "/log/checkpoint")).map(({ text }) => text));
      assert.equal(texts.size, 1, "all show the same head");
      const [text = ""] = texts;
      assert(text.endsWith(`— witness.example ${cosignatureOf(sizeOf(text))}\n`), text);
      assert(sizeOf(text) < asked && sizeOf(text) > shown, "a head that waits for its cosignature is not shown");
      shown = sizeOf(text);
      while ((await Promise.race([merged, delay(5)])) !== true) release();
    }
  });

  it("know one session as soon as it is open, and count its questions together", async () => {
    const allowed = 25;
    await start({}, allowed);
    for (const { status } of await askAll("POST", "/v1/lookup", { user_id: "@x:example.org" }, "another"))
      assert.equal(status, 401);
    await addSession("another", "@another:example.org");
    const answers = await askAll("POST", "/v1/lookup", { user_id: "@x:example.org" }, "another");
    const statuses = answers.map(({ status }) => status);
    assert.equal(statuses.filter((status) => status === 200).length, allowed);
    assert.equal(statuses.filter((status) => status === 429).length, CONNECTIONS - allowed);
  });

  it("pass on to the main thread what changes something, and its refusals to who asks", async () => {
    await start();
    const { length: before } = written;
    const openid = {
      openid_token: { access_token: "x", token_type: "Bearer", matrix_server_name: "example.org", expires_in: 1 },
    };
    for (const { status, text } of await askAll("POST", "/v1/session", openid)) {
      assert.equal(status, 200, text);
      assert.equal((JSON.parse(text) as { session: string }).session, "s");
    }
    const sessions = written.slice(before);
    assert.equal(sessions.length, CONNECTIONS);
    for (const { name, args } of sessions) {
      assert.equal(name, "session");
      assert.deepEqual(JSON.parse(JSON.stringify(args)), [openid, "127.0.0.1"]);
    }
    for (const { status, text } of await askAll("POST", "/v1/refresh", { user_id: "@x:example.org" })) {
      assert.equal(status, 429);
      assert.match(text, /not @x:example.org again/);
    }
    for (const { status, text } of await askAll("GET", "/readyz")) {
      assert.equal(status, 503);
      assert.match(text, /for a reason/);
    }
    for (const { status, text } of await askAll("POST", "/v1/enrolment", {})) {
      assert.equal(status, 500);
      assert.doesNotMatch(text, /secret/);
    }
    assert.equal(errors.length, CONNECTIONS, "each failure of ours is told once");
    for (const { status } of await askAll("GET", "/v1/changes/0")) assert.equal(status, 200);
  });

  it("are counted together by the metrics", async () => {
    await start();
    const none = new Proxy({} as Readings, { get: () => () => 0 });
    const own = createMetrics(none, () => running.threads.readMetrics());
    const total = async (): Promise<number> => {
      const { text } = await own.scrape();
      const found = /^ckv_http_answers_total\{route="\/healthz",status="200"\} (\d+)$/m.exec(text)?.[1];
      return Number(found ?? 0);
    };
    const ofMain = async (): Promise<number> => {
      const { length } = JSON.stringify(await metrics.read()).split('"/healthz"');
      return length;
    };
    assert.equal(await total(), 0);
    await askAll("GET", "/healthz");
    await askAll("GET", "/healthz");
    const beside = await total();
    assert(beside > 0 && beside < 2 * CONNECTIONS, `${beside} answered beside the main thread`);
    assert((await ofMain()) > 1);
    const { text } = await own.scrape();
    assert.match(text, /^ckv_http_seconds_count\{route="\/healthz"\} /m);
    assert.equal(text.match(/^# TYPE ckv_http_answers_total counter$/gm)?.length, 1);
  });

  it("take no more connections together than one would alone", async () => {
    await start({}, 1_000_000, 12);
    const asked = await Promise.allSettled(connections.map(({ ask }) => ask("GET", "/healthz")));
    const answered = asked.filter(({ status }) => status === "fulfilled").length;
    // Four each, where so many came.
    assert.equal(answered, 12);
  });

  it("do not listen where another service does", async () => {
    await start();
    const own = { read: running.directory, write };
    const parts = { api: own, gate, logger: { error: () => undefined }, serviceUrl: "x", answered: () => undefined };
    const { threads } = running;
    const beside = { threads, limit: sharedLimit(1) };
    await assert.rejects(serveApi(parts, beside, { host: "127.0.0.1", port }, end.signal), { code: "EADDRINUSE" });
    const other = await freePort();
    assert.equal((await serveApi(parts, beside, { host: "127.0.0.1", port: other }, end.signal)).port, other);
  });

  it("end the log when one of them fails while an epoch waits for it", async () => {
    await start();
    const { sequencer, threads } = running;
    const take = threads.take.bind(threads);
    mock.method(threads, "take", async (head: Parameters<typeof take>[0], ...rest: [never, never]) => {
      await take({ ...head, epoch: 999 }, ...rest);
    });
    submit("@x:example.org", 1).catch(() => undefined);
    await assert.rejects(sequencer.finished, { exitCode: 70 });
    // As it is closed after each test: without waiting for the epoch.
  });

  it("listen no more when the service was told to end meanwhile", async () => {
    await start();
    const own = { read: running.directory, write };
    const parts = { api: own, gate, logger: { error: () => undefined }, serviceUrl: "x", answered: () => undefined };
    const beside = { threads: running.threads, limit: sharedLimit(1) };
    const listener = { host: "127.0.0.1", port: 0 };
    await assert.rejects(serveApi(parts, beside, listener, AbortSignal.abort()), { name: "AbortError" });
  });

  it("may be stopped before they serve", async () => {
    running = await log.start({ clock: systemClock, strictStart: true, answeringThreads: BESIDE });
    const { threads } = running;
    const limit = sharedLimit(1);
    const own = { read: running.directory, write };
    const parts = { api: own, gate, logger: { error: () => undefined }, serviceUrl: "x", answered: () => undefined };
    // A name has to be looked up, in which time the second message comes.
    const aborted = new AbortController();
    const { all } = await serveApi(parts, { threads, limit }, { host: "localhost", port: 0 }, aborted.signal);
    aborted.abort();
    await all;
    await running.sequencer.close();
    await running.sequencer.finished;
    await start();
  });

  it("end the log when one of them fails", async () => {
    await start();
    const { sequencer, threads } = running;
    const nothing = {
      ...{ tiles: new Uint16Array(), slots: new Uint8Array(), hashes: new Int32Array(), leaves: new Uint8Array() },
      epochs: new Float64Array(),
    };
    const head = { epoch: 999, note: "", configurationText: "" };
    await assert.rejects(threads.take(head, nothing, undefined), /an epoch/);
    await assert.rejects(sequencer.finished, { exitCode: 70 });
  });

  it("say what keeps them from starting", async () => {
    await start();
    const lost = new AnsweringThreads(1, {
      database: `${databaseOf(log.dataDirectory)}-lost`,
      vrfSeed: log.keys.vrfSeed,
    });
    await assert.rejects(lost.failed, (error: { exitCode: number; message: string }) => {
      assert.equal(typeof error.exitCode, "number");
      assert.match(error.message, /-lost/);
      return true;
    });
    await lost.close();
  });
});
