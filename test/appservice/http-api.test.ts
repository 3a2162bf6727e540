import assert from "node:assert/strict";
import { once } from "node:events";
import { request as httpRequest, type Server } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { ApiError } from "../../appservice/api-error.ts";
import { ROUTES, type Api } from "../../appservice/api-routes.ts";
import { createApiServer } from "../../appservice/http-api.ts";
import { HomeserverError } from "../../appservice/homeserver-error.ts";
import type { ErrorAnswer } from "../../shared/messages.ts";
import { tilePath } from "../../shared/log/tiles.ts";

const ALICE = "@alice:example.org";
const AUTHORIZED = { authorization: "Bearer good" };

/** Answers with what it was asked. */
const api = {
  read: {
    lookup: async (userId: string) => await Promise.resolve(JSON.stringify({ looked: userId })),
    lookups: async (userIds: readonly string[]) => await Promise.resolve({ looked: userIds }),
    settled: async () => {
      await Promise.resolve(undefined);
    },
    historyConsistency: async (_user: string, from: number) => {
      if (from === 7) throw new Error("a bug with a secret");
      return await Promise.resolve({ proof: "" });
    },
    historyVersions: async () => {
      await Promise.resolve(undefined);
    },
    checkpoint: async () => await Promise.resolve("a note\n"),
    tile: async (tile: Parameters<typeof tilePath>[0]) => await Promise.resolve(Buffer.from(tilePath(tile))),
    changes: async (epoch: number) => await Promise.resolve(epoch < 5 ? Uint8Array.of(epoch) : undefined),
    settlingRecords: async () => await Promise.resolve({ record: "", record_proof: "" }),
    configuration: async (hash?: Uint8Array) => await Promise.resolve(hash === undefined ? "{}" : undefined),
  },
  write: {
    session: async (_request: unknown, address: string) => await Promise.resolve({ session: address, user_id: ALICE }),
    refresh: async () => {
      await Promise.resolve();
      throw new HomeserverError("POST /keys/query: with an as_token", 0);
    },
    enrol: async (userId: string) => await Promise.resolve({ room_id: userId }),
    state: async () => await Promise.resolve({}),
    acknowledge: async () => {
      await Promise.resolve();
    },
    checkReader: (userId: string | undefined) => {
      if (userId === undefined) throw new ApiError("forbidden", "named auditors only");
    },
    notReady: () => ["the homeserver sleeps"],
  },
} as unknown as Api;

describe("http-api", () => {
  let server: Server;
  let url: string;
  const logged: object[] = [];
  const log = (fields: object): void => void logged.push(fields);
  const counted: [string, number][] = [];
  const gate = {
    userOf: (authorization: string | undefined) => {
      if (authorization === "Bearer good") return ALICE;
      throw new ApiError("unauthorized", "no session");
    },
    count: async (userId: string, points: number) => {
      counted.push([userId, points]);
      await Promise.resolve();
    },
  };

  before(async () => {
    const logger = { error: log, warn: log, info: log, debug: log };
    server = createApiServer({
      api,
      gate,
      logger,
      serviceUrl: "https://ckv.example.org",
      answered: () => undefined,
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  after(() => {
    server.closeAllConnections();
    server.close();
  });

  const post = async (path: string, body: unknown, headers: Record<string, string> = AUTHORIZED): Promise<Response> =>
    await fetch(url + path, { method: "POST", headers, body: typeof body === "string" ? body : JSON.stringify(body) });
  const errorOf = async (response: Response): Promise<string> => ((await response.json()) as ErrorAnswer).error.code;

  it("answers a lookup with what the directory says", async () => {
    const response = await post("/v1/lookup", { user_id: "@bob:example.org" });
    assert.deepEqual(await response.json(), { looked: "@bob:example.org" });
    assert.equal(response.headers.get("cache-control"), "no-store");
  });

  it("answers the same where Express finds the route", async () => {
    for (const path of ["/v1/lookup?x=1", "/v1/lookup/", "/V1/lookup"]) {
      const response = await post(path, { user_id: "@bob:example.org" });
      assert.deepEqual(await response.json(), { looked: "@bob:example.org" }, path);
      assert.equal((await post(path, { user_id: "@bob:example.org" }, {})).status, 401);
    }
  });

  it("answers each that asks at once, and a connection in the order in which it asked", async () => {
    const users = Array.from({ length: 40 }, (_, i) => `@${i}:example.org`);
    const answers = users.map(async (user_id): Promise<unknown> => {
      return (await post("/v1/lookup", { user_id })).json();
    });
    assert.deepEqual(
      await Promise.all(answers),
      users.map((looked) => ({ looked })),
    );
    const socket = connect(Number(new URL(url).port), "127.0.0.1");
    const ask = (user: string): string => {
      const body = JSON.stringify({ user_id: user });
      return `POST /v1/lookup HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
    };
    socket.end(users.map(ask).join("") + "GET /v1/nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    const looked = (await text(socket)).matchAll(/"looked":"([^"]+)"|"code":"([^"]+)"/g);
    assert.deepEqual(
      Array.from(looked, ([, user, code]) => user ?? code),
      [...users, "not-found"],
    );
  });

  it("takes the address of who asks from a proxy on this machine", async () => {
    const openid_token = { access_token: "t", token_type: "Bearer", matrix_server_name: "x.org", expires_in: 1 };
    const asked = await post("/v1/session", { openid_token }, { "x-forwarded-for": "192.0.2.9, 198.51.100.7" });
    assert.equal(((await asked.json()) as { session: string }).session, "198.51.100.7");
  });

  it("counts a batch as as many questions as it has users", async () => {
    counted.length = 0;
    await post("/v1/lookups", { user_ids: ["@a:x.org", "@b:x.org", "@c:x.org"] });
    assert.deepEqual(counted, [[ALICE, 3]]);
  });

  it("binds writes to the user of the session", async () => {
    assert.deepEqual(await (await post("/v1/enrolment", {})).json(), { room_id: ALICE });
  });

  for (const path of ["tile/0/000", "tile/1/x001/067.p/8", "tile/entries/003.p/200"]) {
    it(`serves ${path} as C2SP names it`, async () => {
      const response = await fetch(`${url}/log/${path}`);
      assert.equal(await response.text(), path);
      assert.match(response.headers.get("cache-control") ?? "", /immutable/);
    });
  }

  for (const path of [
    "tile/0/0",
    "tile/0/000.p/256",
    "tile/9/x",
    "tile/entries/000.p/0",
    "tile/0/%2e%2e/000",
    "tile/-1/000",
  ]) {
    it(`refuses ${path}`, async () => {
      assert.equal((await fetch(`${url}/log/${path}`)).status, 400);
    });
  }

  for (const route of ROUTES.filter(({ access }) => access === "session")) {
    it(`${route.path} needs a session`, async () => {
      const init = { method: route.method.toUpperCase(), body: "{}" };
      for (const headers of [{}, { authorization: "Bearer bad" }]) {
        const response = await fetch(url + route.path, { ...init, headers });
        assert.equal(response.status, 401);
        assert.equal(response.headers.get("access-control-allow-origin"), "*");
      }
    });

    it(`${route.path} answers a preflight`, async () => {
      const response = await fetch(url + route.path, { method: "OPTIONS" });
      assert.equal(response.status, 204);
      assert.match(response.headers.get("access-control-allow-headers") ?? "", /authorization/);
      assert.match(response.headers.get("access-control-allow-methods") ?? "", /PUT/);
    });
  }

  for (const [name, body] of Object.entries({
    "no JSON": "{",
    "a doubled member": `{"user_id":"@a:x.org","user_id":"@b:x.org"}`,
    "a member too many": { user_id: "@a:x.org", more: 1 },
    "no user id": { user_id: "alice" },
    "a user id that is too long": { user_id: `@${"a".repeat(300)}:x.org` },
    "another type": { user_id: 5 },
    "a list": [],
    "a prototype": `{"__proto__":{"user_id":"@a:x.org"}}`,
    "a lone surrogate": `{"user_id":"@\\ud800:x.org"}`,
    nothing: "",
  })) {
    it(`refuses a lookup with ${name}`, async () => {
      const response = await post("/v1/lookup", body);
      assert.deepEqual([response.status, await errorOf(response)], [400, "bad-request"]);
    });
  }

  it("refuses numbers from 2^53 on, fractions and exponents", async () => {
    for (const from of ["9007199254740992", "1.5", "1e3", "-1", "0"]) {
      const response = await post("/v1/history/versions", `{"user_id":"@a:x.org","from":${from},"to":5}`);
      assert.equal(response.status, 400, from);
    }
  });

  it("tells the failures apart", async () => {
    const cases: [Promise<Response>, number, string][] = [
      [post("/v1/history/versions", { user_id: "@a:x.org", from: 1, to: 2 }), 404, "not-found"],
      [post("/v1/history/versions", { user_id: "@a:x.org", from: 3, to: 2 }), 400, "bad-request"],
      [post("/v1/lookups", { user_ids: ["x".repeat(300_000)] }), 413, "too-large"],
      [post("/v1/refresh", { user_id: "@a:x.org" }), 503, "not-ready"],
      [post("/v1/history/consistency", { user_id: "@a:x.org", from: 7, to: 8 }), 500, "internal"],
      [fetch(`${url}/v1/changes/4`), 403, "forbidden"],
      [fetch(`${url}/v1/changes/5`, { headers: AUTHORIZED }), 404, "not-found"],
      [fetch(`${url}/v1/changes/05`, { headers: AUTHORIZED }), 400, "bad-request"],
      [fetch(`${url}/v1/settling/0`), 400, "bad-request"],
      [fetch(`${url}/v1/configuration/00`), 404, "not-found"],
      [fetch(`${url}/v1/nothing`), 404, "not-found"],
      [fetch(`${url}/v1/changes/%`), 400, "bad-request"],
    ];
    for (const [work, status, code] of cases) {
      const response = await work;
      const text = await response.text();
      assert.deepEqual([response.status, (JSON.parse(text) as ErrorAnswer).error.code], [status, code], response.url);
      assert.equal(response.headers.get("access-control-allow-origin"), "*");
      assert.ok(!/secret|as_token/.test(text));
    }
  });

  it("says why it is not ready, and that it is alive", async () => {
    const ready = await fetch(`${url}/readyz`);
    assert.deepEqual([ready.status, await ready.json()], [503, { ready: false, reasons: ["the homeserver sleeps"] }]);
    assert.equal((await fetch(`${url}/healthz`)).status, 200);
  });

  it("closes a connection whose headers never end", async () => {
    const client = httpRequest(url, { headers: { x: "y".repeat(20_000) } });
    client.end();
    const [response] = (await once(client, "response")) as [{ statusCode: number }];
    assert.equal(response.statusCode, 431);
  });

  it("documents every route with the shapes it is parsed by", async () => {
    const document = (await (await fetch(`${url}/openapi.json`)).json()) as {
      paths: Record<string, Record<string, { requestBody?: object; responses: Record<string, object> }>>;
    };
    assert.equal(Object.values(document.paths).flatMap((path) => Object.keys(path)).length, ROUTES.length);
    assert.ok(document.paths["/v1/lookup"]?.["post"]?.requestBody);
    assert.ok(document.paths["/log/tile/{tile}"]?.["get"]?.responses["200"]);
  });
});
