/** Where a log is, by the word of its own server alone. */
import assert from "node:assert/strict";
import { systemClock } from "../../client-plugin/clock.ts";
import { discoverLog } from "../../client-plugin/log-client.ts";
import type { ClientLike } from "../../client-plugin/matrix.ts";
import { ALICE, BOB, World } from "./world.ts";

const SERVER = "example.org";

describe("discovery", () => {
  const { log } = new World();
  const { service_url, log_key } = log.configuration;
  const named = { service_url, room: `#ckv:${SERVER}`, log_key };

  /** A client of `userId` whose homeserver shows `#ckv:example.org`, or says that there is none. */
  const client = (userId: string, room: "shown" | "missing" | "unreadable"): ClientLike =>
    ({
      getSafeUserId: () => userId,
      getHomeserverUrl: () => "https://matrix.example.org",
      getRoomIdForAlias: async () => {
        if (room === "unreadable") throw new TypeError("no network");
        if (room === "missing") throw Object.assign(new Error("none"), { errcode: "M_NOT_FOUND" });
        return await Promise.resolve({ room_id: "!epochs:example.org" });
      },
      http: { authedRequest: async () => await Promise.resolve({ text: log.configurationText }) },
    }) as unknown as ClientLike;

  const asked: string[] = [];
  const transport = (status: number, document: object = {}): Parameters<typeof discoverLog>[0] => ({
    fetch: async (url) => {
      asked.push(url);
      return await Promise.resolve(new Response(JSON.stringify(document), { status }));
    },
    clock: systemClock,
  });

  it("is by the well-known document of the server itself, whatever a room says", async () => {
    const other = { ...named, service_url: "https://other.example.org" };
    const document = { "org.matrix-ckv": other };
    for (const userId of [ALICE, "@carol:elsewhere.org"]) {
      const found = await discoverLog(transport(200, document), client(userId, "shown"), SERVER);
      assert.deepEqual({ ...found }, other);
    }
    assert.deepEqual(new Set(asked), new Set(["https://example.org/.well-known/matrix/client"]));
  });

  it("then by the room of the own server", async () => {
    for (const status of [200, 404, 500]) {
      assert.deepEqual(await discoverLog(transport(status), client(BOB, "shown"), SERVER), named);
    }
    assert.equal(await discoverLog(transport(404), client(BOB, "missing"), SERVER), undefined);
  });

  it("takes nothing from a room of another server, which the own homeserver could make up", async () => {
    const carol = client("@carol:elsewhere.org", "shown");
    assert.equal(await discoverLog(transport(404), carol, SERVER), undefined);
    await assert.rejects(discoverLog(transport(500), carol, SERVER), { reason: "offline" });
  });

  it("says that there is no log only where both were asked", async () => {
    await assert.rejects(discoverLog(transport(404), client(BOB, "unreadable"), SERVER), { reason: "offline" });
    await assert.rejects(discoverLog(transport(500), client(BOB, "missing"), SERVER), { reason: "offline" });
  });
});
