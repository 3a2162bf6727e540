import assert from "node:assert/strict";
import { joinsOf } from "../../../appservice/key-feed.ts";
import { parseTransaction } from "../../../appservice/transaction.ts";
import { ALICE, BOB } from "../fixtures.ts";
import type { FuzzTarget } from "../target.ts";
import { assertUnpolluted, hostJson, seedsOf } from "../target.ts";

const ROOM = "!members:example.org";
const join = { type: "m.room.member", room_id: ROOM, state_key: ALICE, content: { membership: "join" }, sender: BOB };

/** The body of a transaction: whatever it is, users and joins are texts of it, and nothing throws. */
export const target: FuzzTarget = {
  seeds: () =>
    seedsOf(
      { events: [join], "org.matrix.msc3202.device_lists": { changed: [ALICE, BOB], left: [] } },
      { events: [{ ...join, room_id: "!other:x" }, { ...join, content: null }, null, []], ephemeral: [] },
      '{"events":[{"__proto__":{"type":"m.room.member"}}],"org.matrix.msc3202.device_lists":{"changed":[1,"@a:b"]}}',
    ),
  run(input) {
    const body = hostJson(input);
    const { id, changed, events } = parseTransaction("7", body);
    assert.equal(id, "7");
    for (const userId of changed) assert(typeof userId === "string");
    const joined = joinsOf(events, ROOM);
    for (const userId of joined) assert(typeof userId === "string");
    assert(joined.length <= events.length);
    assertUnpolluted();
  },
};
