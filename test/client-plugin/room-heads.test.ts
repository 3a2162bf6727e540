import assert from "node:assert/strict";
import type { LogView } from "../../client-plugin/log-view.ts";
import type { ClientLike } from "../../client-plugin/matrix.ts";
import { checkRoomHeads } from "../../client-plugin/room-heads.ts";
import { encodeUnpadded } from "../../shared/encoding.ts";

describe("heads of the epochs room", () => {
  it("are no more than were asked for, however many events the homeserver sends", async () => {
    const taken: string[] = [];
    const view = {
      takeHead: async (note: string): Promise<void> => {
        taken.push(note);
        await Promise.resolve();
      },
    } as unknown as LogView;
    const checkpoint = (at: number): string => `example.org/ckv/1\n${String(at)}\n`;
    const record = encodeUnpadded(new Uint8Array(121));
    const chunk = Array.from({ length: 1_000 }, (_, at) => ({
      content: { checkpoint: checkpoint(at), record, epoch: at },
    }));
    let asked = 0;
    const client = {
      getRoomIdForAlias: async () => await Promise.resolve({ room_id: "!ckv:example.org" }),
      http: {
        authedRequest: async (_method: string, _path: string, query: { readonly limit: string }) => {
          asked = Number(query.limit);
          return await Promise.resolve({ chunk });
        },
      },
    } as unknown as ClientLike;
    await checkRoomHeads(client, "example.org", view);
    assert.ok(asked > 0 && asked <= 10);
    assert.deepEqual(
      taken,
      Array.from({ length: asked }, (_, at) => checkpoint(at)),
    );
  });
});
