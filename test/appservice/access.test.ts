/** Who gets at what over HTTP: the real routes behind real sessions, and what a stranger sends to the homeserver's listener. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { connect, Socket, type AddressInfo } from "node:net";
import { mock } from "node:test";
import type { Api } from "../../appservice/api-routes.ts";
import { systemClock } from "../../appservice/clock.ts";
import { Homeserver } from "../../appservice/homeserver.ts";
import { createApiServer } from "../../appservice/http-api.ts";
import { SessionTable, sharedLimit } from "../../appservice/session-table.ts";
import { Sessions } from "../../appservice/sessions.ts";
import type { RunningLog } from "../../appservice/sequencer.ts";
import type { Transaction } from "../../appservice/transaction.ts";
import { DAY_MS } from "../../shared/parameters.ts";
import { OwnLog } from "../support/own-log.ts";
import { freePort } from "../support/port.ts";
import { TestUser } from "../support/test-user.ts";

const SERVER = "example.org";
const ORIGINS = [undefined, "https://app.example.org", "https://evil.example", "null"];
const quiet = { error: () => undefined, warn: () => undefined, info: () => undefined, debug: () => undefined };

/** Sends a request piece by piece on a bare connection. Resolves with all that came back once the other side closed it. */
async function talk(port: number, head: string, more: () => string | undefined): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  let answer = "";
  socket.on("data", (data) => (answer += data.toString("latin1"))).on("error", () => undefined);
  await once(socket, "connect");
  socket.write(head);
  const sending = setInterval(() => {
    const piece = more();
    if (piece !== undefined && !socket.destroyed) socket.write(piece);
  }, 1);
  await new Promise((resolve) => socket.once("close", resolve));
  clearInterval(sending);
  return answer;
}

const endless = (): string => `4000\r\n${"a".repeat(0x4000)}\r\n`;

describe("access", () => {
  let homeserver: Server;
  let api: Server;
  let url: string;
  let log: OwnLog;
  let running: RunningLog;
  let session: string;
  const end = new AbortController();

  before(async () => {
    homeserver = createServer((request, response) => {
      const token = new URL(request.url ?? "", "http://x").searchParams.get("access_token") ?? "";
      if (token.startsWith("@")) response.end(JSON.stringify({ sub: token.split("|")[0] }));
      else response.writeHead(401).end("{}");
    }).listen(0, "127.0.0.1");
    await once(homeserver, "listening");
    log = await OwnLog.create();
    running = await log.start();
    const base = `http://127.0.0.1:${(homeserver.address() as AddressInfo).port}`;
    const gate = new SessionTable(sharedLimit(300));
    const sessions = new Sessions({
      servers: new Map([[SERVER, base]]),
      clock: systemClock,
      sessionsPerMinute: 5,
      add: (session) => {
        gate.add(session);
        return Promise.resolve();
      },
    });
    const write = {
      session: async ({ openid_token: token }, address) => await sessions.open(token, address),
      checkReader: () => Promise.resolve(),
      notReady: () => Promise.resolve([]),
    } as Partial<Api["write"]> as Api["write"];
    const parts = { api: { read: running.directory, write }, gate, logger: quiet };
    api = createApiServer({ ...parts, serviceUrl: "https://ckv.example.org", answered: () => undefined });
    api.listen(0, "127.0.0.1");
    await once(api, "listening");
    url = `http://127.0.0.1:${(api.address() as AddressInfo).port}`;
    session = await openSession("@alice:example.org", "10.0.0.1");
  });
  after(async () => {
    end.abort();
    for (const server of [homeserver, api]) {
      server.close();
      server.closeAllConnections();
    }
    await running.sequencer.close();
    log.remove();
  });

  async function ask(path: string, body: object, address = "10.0.0.9", bearer = session): Promise<Response> {
    const headers = { authorization: `Bearer ${bearer}`, "x-forwarded-for": address };
    return await fetch(url + path, { method: "POST", headers, body: JSON.stringify(body) });
  }
  async function exchange(accessToken: string, address: string, server = SERVER): Promise<Response> {
    const token = { access_token: accessToken, token_type: "Bearer", matrix_server_name: server, expires_in: 3600 };
    const headers = { "x-forwarded-for": address };
    return await fetch(`${url}/v1/session`, {
      method: "POST",
      headers,
      body: JSON.stringify({ openid_token: token }),
    });
  }
  async function openSession(accessToken: string, address: string): Promise<string> {
    return ((await (await exchange(accessToken, address)).json()) as { readonly session: string }).session;
  }

  it("lets any page ask every route, and no page use somebody's cookies", async () => {
    const { paths } = (await (await fetch(`${url}/openapi.json`)).json()) as {
      readonly paths: { readonly [path: string]: { readonly [method: string]: object } };
    };
    for (const [path, methods] of Object.entries(paths)) {
      for (const [method, origin] of Object.keys(methods).flatMap((each) =>
        ORIGINS.map((from) => [each, from] as const),
      )) {
        const target = url + path.replace(/\{[a-z]+\}/, "0");
        const headers = { cookie: "session=x", ...(origin === undefined ? {} : { origin }) };
        const body = method === "get" ? null : "{}";
        const asked = { ...headers, "access-control-request-method": method.toUpperCase() };
        for (const response of [
          await fetch(target, { method: method.toUpperCase(), headers, body }),
          await fetch(target, { method: "OPTIONS", headers: asked }),
        ]) {
          const what = `${method} ${path} from ${origin ?? "no page"}: ${response.status}`;
          assert.equal(response.headers.get("access-control-allow-origin"), "*", what);
          assert.equal(response.headers.get("access-control-allow-credentials"), null, what);
          assert.equal(response.headers.get("set-cookie"), null, what);
          assert.equal(response.headers.get("x-content-type-options"), "nosniff", what);
          assert.notEqual(response.status, 500, what);
          await response.arrayBuffer();
        }
      }
    }
  });

  it("takes nobody for somebody: no token, a cookie, a query, another scheme, a token that is none", async () => {
    for (const headers of [
      {},
      { cookie: `session=${session}` },
      { authorization: session },
      { authorization: `Basic ${session}` },
      { authorization: `Bearer ${session}x` },
      { authorization: `Bearer ${session.slice(0, -1)}` },
    ]) {
      const response = await fetch(`${url}/v1/lookup?access_token=${session}`, {
        method: "POST",
        headers,
        body: JSON.stringify({ user_id: "@bob:example.org" }),
      });
      assert.equal(response.status, 401);
    }
  });

  it("exchanges a token once, and remembers none that was refused as good", async () => {
    assert.equal((await exchange("@bob:example.org|1", "10.0.0.2")).status, 200);
    assert.equal((await exchange("@bob:example.org|1", "10.0.0.2")).status, 401);
    assert.equal((await exchange("expired", "10.0.0.2")).status, 401);
    assert.equal((await exchange("expired", "10.0.0.2")).status, 401);
    assert.equal((await exchange("@bob:evil.example", "10.0.0.2")).status, 401);
  });

  it("opens no connection for a server that the operator did not name", async () => {
    const opened = mock.method(Socket.prototype, "connect");
    const add = (): Promise<void> => Promise.reject(new Error("a session was opened"));
    const none = { servers: new Map(), clock: systemClock, sessionsPerMinute: 100, add };
    const names = ["evil.example", "127.0.0.1", "127.0.0.1:80", "[::1]", "localhost", "2130706433", "169.254.169.254"];
    try {
      for (const name of [...names, "[::ffff:10.0.0.1]", "a.b@c/d?e#f", "http://x"]) {
        const token = { access_token: "x", token_type: "Bearer", matrix_server_name: name, expires_in: 1 };
        await assert.rejects(new Sessions(none).open(token, "1"), { code: "forbidden" }, name);
      }
      assert.equal(opened.mock.callCount(), 0);
    } finally {
      opened.mock.restore();
    }
  });

  it("says when to come again to who asks too much, and answers everybody else", async () => {
    const users = Array.from({ length: 100 }, (_, i) => `@u${i}:example.org`);
    const greedy = await openSession("@greedy:example.org", "10.0.0.3");
    const statuses: number[] = [];
    for (let i = 0; i < 5; i++) {
      const response = await ask("/v1/lookups", { user_ids: users }, "10.0.0.3", greedy);
      statuses.push(response.status);
      if (response.status === 429) assert.match(response.headers.get("retry-after") ?? "", /^([1-9]|[1-5]\d|60)$/);
      await response.arrayBuffer();
    }
    assert.deepEqual(statuses, [200, 200, 200, 429, 429]);
    assert.equal((await ask("/v1/lookup", { user_id: "@bob:example.org" })).status, 200);
    const openings = [];
    for (let i = 0; i < 6; i++) openings.push((await exchange(`@carol:example.org|${i}`, "10.0.0.4")).status);
    assert.deepEqual(openings, [200, 200, 200, 200, 200, 429]);
    assert.equal((await exchange("@dora:example.org|1", "10.0.0.5")).status, 200);
  });

  it("says at once that there is no such epoch yet, and bounds every range", async () => {
    for (const path of ["/v1/changes/1000000", "/v1/settling/1000000?size=1000001", "/log/tile/0/x123/456"])
      assert.equal((await fetch(url + path)).status, 404, path);
    const many = Array.from({ length: 501 }, (_, i) => `@u${i}:example.org`);
    for (const [path, body] of [
      ["/v1/lookups", { user_ids: many }],
      ["/v1/history/versions", { user_id: "@bob:example.org", from: 2, to: 1 }],
      ["/v1/history/versions", { user_id: "@bob:example.org", from: 0, to: 1 }],
      ["/v1/settled", { user_id: "@bob:example.org", epoch: -1 }],
    ] as const)
      assert.equal((await ask(path, body)).status, 400, path);
    const beyond = await ask("/v1/history/versions", { user_id: "@bob:example.org", from: 1, to: 2 ** 52 });
    assert.equal(beyond.status, 404);
  });

  it("answers a body that never ends, and closes the connection", async () => {
    const { port } = api.address() as AddressInfo;
    const head = (authorization: string): string =>
      `POST /v1/lookup HTTP/1.1\r\nhost: x\r\n${authorization}transfer-encoding: chunked\r\n\r\n`;
    assert.match(await talk(port, head(`authorization: Bearer ${session}\r\n`), endless), /^HTTP\/1\.1 413 /);
    assert.match(await talk(port, head(""), endless), /^HTTP\/1\.1 401 /);
  });

  it("limits the time for headers and for a whole request, and looks at it often", () => {
    assert.ok(api.headersTimeout > 0 && api.headersTimeout <= 10_000);
    assert.ok(api.requestTimeout > 0 && api.requestTimeout <= 30_000);
    assert.ok(api.maxConnections <= 10_000);
  });

  describe("the homeserver's listener", () => {
    const taken: Transaction[] = [];
    let port: number;

    before(async () => {
      port = await freePort();
      const registration = {
        id: "ckv",
        url: "http://127.0.0.1:1",
        asToken: "as",
        hsToken: "hs",
        senderLocalpart: "ckv",
      };
      const listening = new Homeserver("http://127.0.0.1:1", SERVER, registration, end.signal);
      await listening.listen({ host: "127.0.0.1", port }, async (transaction) => {
        taken.push(transaction);
        await Promise.resolve();
      });
    });

    const put = (authorization: string, rest: string): string =>
      `PUT /_matrix/app/v1/transactions/1 HTTP/1.1\r\nhost: x\r\n${authorization}content-type: application/json\r\n${rest}`;

    it("reads nothing of a body before the token", async () => {
      for (const [authorization, status] of [
        ["", 401],
        ["authorization: Bearer wrong\r\n", 403],
        ["authorization: Bearer hs0\r\n", 403],
        ["authorization: Bearer h\r\n", 403],
      ] as const) {
        const answer = await talk(port, put(authorization, "transfer-encoding: chunked\r\n\r\n"), endless);
        assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), authorization);
      }
      assert.deepEqual(taken, []);
    });

    it("takes one token only, from one header", async () => {
      const body = "content-length: 2\r\nconnection: close\r\n\r\n{}";
      const twice = put("authorization: Bearer wrong\r\nauthorization: Bearer hs\r\n", body);
      assert.match(await talk(port, twice, () => undefined), /^HTTP\/1\.1 403 /);
      assert.deepEqual(taken, []);
      assert.match(await talk(port, put("authorization: Bearer hs\r\n", body), () => undefined), /^HTTP\/1\.1 200 /);
      assert.equal(taken.length, 1);
    });

    it("answers a body that is no JSON, and shows nothing of itself", async () => {
      for (const body of ["{", "[1", "\u0000", `{"a":`]) {
        const rest = `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`;
        const answer = await talk(port, put("authorization: Bearer hs\r\n", rest), () => undefined);
        assert.match(answer, /^HTTP\/1\.1 400 /);
        assert.ok(!/node_modules|\.js:|SyntaxError/.test(answer));
      }
    });
  });
});

describe("bounds on one user", function () {
  this.timeout(20_000);

  it("one who changes keys without end delays nobody", async () => {
    const log = await OwnLog.create();
    const { sequencer } = await log.start();
    try {
      const submit = (userId: string, devices: number): Promise<{ epoch: number }> => {
        const user = new TestUser(userId, `D${devices}`);
        return sequencer.submit({ userId, entry: user.entry(), observedMs: log.clock.now() });
      };
      // Both are known already, so that nobody waits for the proof of an index; and a day has begun, and its first epoch.
      await log.clock.runUntil(Promise.all([submit("@mallory:example.org", 0), submit("@bob:example.org", 0)]));
      log.clock.advance(DAY_MS);
      await log.clock.runUntil(submit("@carol:example.org", 0));
      const flood = Array.from({ length: 100 }, (_, i) => submit("@mallory:example.org", i + 1));
      const refused = submit("@mallory:example.org", 101);
      const bob = submit("@bob:example.org", 1);
      await assert.rejects(refused, { name: "OverloadedError" });
      const { epoch } = await log.clock.runUntil(bob);
      const epochs = (await log.clock.runUntil(Promise.all(flood))).map((merged) => merged.epoch);
      assert.equal(epoch, Math.min(...epochs));
      assert.equal(Math.max(...epochs) - epoch, Math.ceil(100 / 8) - 1);
    } finally {
      await sequencer.close();
      log.remove();
    }
  });
});
