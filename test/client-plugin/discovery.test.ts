/** Where a log is, by the word of its own server alone. */
import assert from "node:assert/strict";
import { ALICE, World } from "./world.ts";

describe("discovery", () => {
  for (const [name, wellKnown, reason] of [
    ["has none", 404, "no-log"],
    ["does not answer", 500, "offline"],
  ] as const) {
    it(`takes no log from a room that the own homeserver shows: a server that ${name}`, async () => {
      const world = new World();
      world.otherwise = async (url, init) =>
        url.includes("/.well-known/") ? new Response("", { status: wellKnown }) : await world.service.fetch(url, init);
      world.client.getRoomIdForAlias = async () => await Promise.resolve({ room_id: "!forged:example.org" });
      const honest = world.client.http.authedRequest.bind(world.client.http);
      world.client.http.authedRequest = async <T>(method: string, path: string, ...rest: []) =>
        path.includes("/state/org.matrix-ckv.configuration/")
          ? ({ text: world.log.configurationText } as T)
          : await honest<T>(method, path, ...rest);
      await world.start();
      await world.pass(2_000);
      assert.deepEqual(world.ckv.statusOf(ALICE).verdict, { kind: "unchecked", reason });
      world.stop();
    });
  }
});
