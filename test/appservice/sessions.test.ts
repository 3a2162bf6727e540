import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { steadyMs } from "../../appservice/clock.ts";
import { SessionTable, sharedLimit } from "../../appservice/session-table.ts";
import { Sessions } from "../../appservice/sessions.ts";

const SERVER = "example.org";
const token = (accessToken: string, server: string = SERVER): Parameters<Sessions["open"]>[0] => ({
  access_token: accessToken,
  token_type: "Bearer",
  matrix_server_name: server,
  expires_in: 3600,
});

describe("sessions", () => {
  let server: Server;
  let url: string;
  const clock = {
    now: () => 1_000_000,
    sleep: async () => {
      await Promise.resolve();
    },
  };
  const asked: string[] = [];

  before(async () => {
    server = createServer((request, response) => {
      const given = new URL(request.url ?? "", "http://x").searchParams.get("access_token") ?? "";
      asked.push(given);
      if (given === "slow") return void response.writeHead(503).end();
      if (given === "moved") return void response.writeHead(302, { location: "/elsewhere" }).end();
      if (given === "huge") return void response.end("x".repeat(1_000_000));
      if (given === "noise") return void response.end("<html>");
      if (given.startsWith("@")) return void response.end(JSON.stringify({ sub: given.split("|")[0] }));
      response.writeHead(401).end(JSON.stringify({ errcode: "M_UNKNOWN_TOKEN" }));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  after(() => server.close());

  const open = (sessionsPerMinute = 100, table = new SessionTable(sharedLimit(100))): Sessions =>
    new Sessions({
      servers: new Map([[SERVER, url]]),
      clock,
      sessionsPerMinute,
      add: (session) => {
        table.add(session);
        return Promise.resolve();
      },
    });
  const rejects = async (work: Promise<unknown>, code: string): Promise<void> => {
    await assert.rejects(work, { name: "ApiError", code });
  };

  it("gives the user of a good token a session of their own", async () => {
    const table = new SessionTable(sharedLimit(100));
    const sessions = open(100, table);
    const answer = await sessions.open(token("@alice:example.org"), "1");
    assert.equal(answer.user_id, "@alice:example.org");
    assert.equal(table.userOf(`Bearer ${answer.session}`), "@alice:example.org");
    assert.notEqual((await sessions.open(token("@alice:example.org|2"), "1")).session, answer.session);
  });

  it("ends a session in time", async () => {
    let laterMs = 0;
    const table = new SessionTable(sharedLimit(100), () => steadyMs() + laterMs);
    const { session, expires_in_ms: lifeMs } = await open(100, table).open(token("@alice:example.org"), "1");
    laterMs = lifeMs - 10_000;
    assert.equal(table.userOf(`Bearer ${session}`), "@alice:example.org");
    laterMs = lifeMs;
    assert.throws(() => table.userOf(`Bearer ${session}`), { code: "unauthorized" });
  });

  it("takes an OpenID token once", async () => {
    const sessions = open();
    await sessions.open(token("@alice:example.org"), "1");
    await rejects(sessions.open(token("@alice:example.org"), "1"), "unauthorized");
  });

  it("lets a token that could not be checked be tried again", async () => {
    const sessions = open();
    await rejects(sessions.open(token("slow"), "1"), "not-ready");
    await rejects(sessions.open(token("slow"), "1"), "not-ready");
  });

  for (const [name, given, code] of [
    ["an unknown token", token("nobody"), "unauthorized"],
    ["a user of another server", token("@eve:evil.org"), "unauthorized"],
    ["a user whose server only begins alike", token("@eve:example.org.evil.org"), "unauthorized"],
    ["a subject that is no user id", token("@"), "unauthorized"],
    ["an answer that is no JSON", token("noise"), "unauthorized"],
    ["an endless answer", token("huge"), "unauthorized"],
    ["a redirect", token("moved"), "not-ready"],
    ["a server that is not served", token("@eve:evil.org", "evil.org"), "forbidden"],
  ] as const) {
    it(`refuses ${name}`, async () => {
      await rejects(open().open(given, "1"), code);
    });
  }

  it("asks no server that the operator did not name", async () => {
    asked.length = 0;
    await rejects(open().open(token("@eve:127.0.0.1", "127.0.0.1"), "1"), "forbidden");
    assert.deepEqual(asked, []);
  });

  for (const header of [
    undefined,
    "",
    "Bearer",
    "Bearer x y",
    "Basic abc",
    `Bearer ${"a".repeat(300)}`,
    "bearer abc",
  ]) {
    it(`refuses the header ${String(header).slice(0, 20)}`, () => {
      assert.throws(() => new SessionTable(sharedLimit(1)).userOf(header), { code: "unauthorized" });
    });
  }

  it("counts all addresses of one IPv6 network as one", async () => {
    const sessions = open(2);
    const from = async (address: string): Promise<unknown> =>
      await sessions.open(token(`@alice:example.org|${address}`), address);
    await from("2001:db8:1:2::1");
    await from("2001:db8:1:2:ffff:ffff:ffff:ffff");
    await rejects(from("2001:db8:1:2::3"), "rate-limited");
    await from("2001:db8:1:3::1");
    await from("2001:db8::2:0:0:0:1");
    await from("::1");
    for (const address of ["::ffff:192.0.2.1", "::ffff:192.0.2.2", "192.0.2.3"]) {
      await from(address);
      await sessions.open(token(`@alice:example.org|again ${address}`), address);
    }
    await rejects(from("192.0.2.1"), "rate-limited");
  });

  it("limits openings per address", async () => {
    const sessions = open(2);
    await sessions.open(token("@a:example.org"), "1");
    await sessions.open(token("@b:example.org"), "1");
    await assert.rejects(
      sessions.open(token("@c:example.org"), "1"),
      (error: { code: string; retryAfterS: number }) => {
        return error.code === "rate-limited" && error.retryAfterS > 0 && error.retryAfterS <= 60;
      },
    );
    await sessions.open(token("@c:example.org"), "2");
  });
});
