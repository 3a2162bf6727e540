import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Homeserver } from "../../appservice/homeserver.ts";
import type { Transaction } from "../../appservice/transaction.ts";
import { freePort } from "../support/port.ts";

const REGISTRATION = {
  id: "ckv",
  url: "http://127.0.0.1:1",
  asToken: "the-as-token",
  hsToken: "the-hs-token",
  senderLocalpart: "ckv",
};

describe("homeserver", () => {
  let end: AbortController;
  let stub: Server;
  let url: string;
  let homeserver: Homeserver;
  let answer: { status: number; body: string };
  const asked: { method: string; url: string; authorization: string | undefined }[] = [];

  before(async () => {
    end = new AbortController();
    stub = createServer((request, response) => {
      const { method = "", url = "", headers } = request;
      asked.push({ method, url, authorization: headers.authorization });
      response.writeHead(answer.status, answer.status === 302 ? { location: "/other" } : {}).end(answer.body);
    }).listen({ port: 0, host: "127.0.0.1", signal: end.signal });
    await once(stub, "listening");
    url = `http://127.0.0.1:${(stub.address() as AddressInfo).port}`;
    homeserver = new Homeserver(url, "example.org", REGISTRATION, end.signal);
  });
  after(() => {
    end.abort();
  });
  beforeEach(() => {
    asked.length = 0;
    answer = { status: 200, body: "{}" };
  });

  it("knows its own users from those of others", () => {
    assert.ok(homeserver.isLocalUser("@alice:example.org"));
    for (const userId of ["@ckv:example.org", "@_ckv_watch:example.org", "@a:example.org:1", "@a:other.org", "alice"]) {
      assert.ok(!homeserver.isLocalUser(userId), userId);
    }
  });

  it("acts as the watcher only where it must", async () => {
    await homeserver.joinAsWatcher("!room");
    await homeserver.sendState("!room", "t", {});
    assert.deepEqual(
      asked.map(({ url }) => new URL(url, "http://x").searchParams.get("user_id")),
      ["@_ckv_watch:example.org", null],
    );
    assert.ok(
      asked.every(({ authorization, url }) => authorization === "Bearer the-as-token" && !url.includes("token")),
    );
  });

  it("asks /keys/query for all devices and hands on the text as it came", async () => {
    answer.body = `{"device_keys": {"@a:x": {}} , "x": 1.50}`;
    assert.equal(await homeserver.queryKeys(["@a:x"]), answer.body);
  });

  for (const [name, given, expected] of [
    ["a Matrix error", { status: 403, body: `{"errcode":"M_FORBIDDEN","error":"no"}` }, [403, "M_FORBIDDEN"]],
    ["a proxy's page", { status: 502, body: "<html>" }, [502, undefined]],
    ["no JSON", { status: 200, body: "<html>" }, [0, undefined]],
    ["a redirect", { status: 302, body: "" }, [0, undefined]],
    ["no UTF-8", { status: 200, body: "\ud800" }, [0, undefined]],
    ["a missing member", { status: 200, body: "{}" }, [0, undefined]],
  ] as const) {
    it(`tells of ${name} without a secret`, async () => {
      answer = given;
      await assert.rejects(homeserver.whoami(), (error: { status: number; errcode?: string; message: string }) => {
        assert.deepEqual([error.status, error.errcode], expected);
        return !error.message.includes("the-as-token");
      });
    });
  }

  it("takes hostile answers of /sync as far as they go", async () => {
    answer.body = `{"next_batch":"n","device_lists":{"changed":["@a:x",5,null]},"rooms":{"join":{"!r":{"timeline":{"events":[1,{"type":"t"}]}}}}}`;
    const { changed, events, limited, nextBatch } = await homeserver.sync("!r", "s", 1);
    assert.deepEqual([changed, events, limited, nextBatch], [["@a:x"], [{}, { type: "t" }], false, "n"]);
  });

  describe("transactions", () => {
    const taken: Transaction[] = [];
    let listener: string;
    let failing = false;

    before(async () => {
      const port = await freePort();
      listener = `http://127.0.0.1:${port}`;
      await homeserver.listen({ host: "127.0.0.1", port }, async (transaction) => {
        await Promise.resolve();
        if (failing) throw new Error("disk full");
        taken.push(transaction);
      });
    });
    beforeEach(() => {
      taken.length = 0;
    });

    const push = async (authorization: string | undefined, body: unknown, query = ""): Promise<Response> =>
      await fetch(`${listener}/_matrix/app/v1/transactions/7${query}`, {
        method: "PUT",
        headers: { "content-type": "application/json", ...(authorization === undefined ? {} : { authorization }) },
        body: JSON.stringify(body),
      });

    it("are acknowledged once they are durable", async () => {
      const changed = ["@alice:example.org"];
      const body = { events: [], "org.matrix.msc3202.device_lists": { changed, left: [] } };
      assert.equal((await push("Bearer the-hs-token", body)).status, 200);
      assert.deepEqual(taken, [{ id: "7", changed, events: [] }]);
      failing = true;
      assert.equal((await push("Bearer the-hs-token", body)).status, 500);
      failing = false;
    });

    it("are taken from the homeserver alone", async () => {
      const wrong = [
        "Bearer wrong",
        "Bearer the-hs-tokenx",
        "Bearer the-as-token",
        "Basic the-hs-token",
        "the-hs-token",
        "",
      ];
      for (const authorization of [undefined, ...wrong]) {
        const status = (await push(authorization, {})).status;
        assert.ok(status === 401 || status === 403, `${authorization ?? "none"}: ${status}`);
      }
      assert.equal((await push(undefined, {}, "?access_token=the-hs-token")).status, 401);
      assert.equal((await fetch(`${listener}/_matrix/app/v1/ping`, { method: "POST" })).status, 401);
      assert.deepEqual(taken, []);
    });

    it("may hold anything", async () => {
      for (const body of [{}, [], { events: 5 }, { "org.matrix.msc3202.device_lists": { changed: "x" } }]) {
        assert.equal((await push("Bearer the-hs-token", body)).status, 200);
      }
      assert.ok(taken.every(({ changed, events }) => changed.length === 0 && events.length === 0));
    });

    it("answers a ping, and knows no users or rooms beyond its own", async () => {
      const headers = { authorization: "Bearer the-hs-token" };
      assert.equal((await fetch(`${listener}/_matrix/app/v1/ping`, { method: "POST", headers })).status, 200);
      for (const path of ["users/@_ckv_x:example.org", "rooms/%23ckv:example.org"]) {
        assert.equal((await fetch(`${listener}/_matrix/app/v1/${path}`, { headers })).status, 404);
      }
    });
  });
});
