import assert from "node:assert/strict";
import fc from "fast-check";
import * as messages from "../../shared/messages.ts";
import {
  decodePath,
  encodePath,
  HTTP_SHAPES,
  parseCompareContent,
  parseEpochContent,
  parseHistoryRangeRequest,
  parseLookupAnswer,
  parseLookupRequest,
  parseLookupsAnswer,
  parseLookupsRequest,
  parseSettlingRecords,
  parseUserId,
  parseVersionsAnswer,
  parseWellKnown,
  serverOfUser,
} from "../../shared/messages.ts";
import { assertOnlyMalformed, assertRefused } from "../support/mutations.ts";
import { TestLog } from "../support/test-log.ts";
import { TestUser } from "../support/test-user.ts";

const ALICE = "@alice:example.org";
const log = new TestLog();
log.setEntry(ALICE, new TestUser(ALICE, "PHONE").entry());
log.closeEpoch(1_001_000);
const answer = log.lookup(ALICE);
/** As it comes off the wire: plain objects. */
const wire = (value: unknown): never => JSON.parse(JSON.stringify(value)) as never;
const change = (edit: (answer: Record<string, never>) => void): unknown => {
  const copy = wire(answer) as Record<string, never>;
  edit(copy);
  return copy;
};

describe("messages", () => {
  it("take the answers of an honest log", () => {
    assert.deepEqual(wire(parseLookupAnswer(wire(answer))), wire(answer));
    parseLookupAnswer(wire(log.lookup("@nobody:example.org")));
    parseLookupsAnswer(wire(log.lookups([ALICE, "@nobody:example.org"])));
    parseSettlingRecords(wire(log.settlingRecords()));
    parseVersionsAnswer(wire(log.versions(ALICE, 1, 1)));
  });

  it("refuse members that are missing, unknown, of another type, too long or too short", () => {
    type Parts = { head: Record<string, unknown>; user: Record<string, unknown> & { leaf: Record<string, unknown> } };
    const cases: Record<string, (parts: Parts) => void> = {
      "no head": (parts) => delete (parts as Partial<Parts>).head,
      "no settling": ({ user }) => delete user["settling"],
      "unknown member": ({ user }) => (user["more"] = 1),
      "number as text": ({ user }) => (user.leaf["n"] = "1"),
      "n = 0": ({ user }) => (user.leaf["n"] = 0),
      "n = -0": ({ user }) => (user.leaf["n"] = -0),
      "n = 1.5": ({ user }) => (user.leaf["n"] = 1.5),
      "n = 2^53": ({ user }) => (user.leaf["n"] = 2 ** 53),
      "opening without entry": ({ user }) => delete user.leaf["entry"],
      "entry without opening": ({ user }) => delete user.leaf["opening"],
      "opening of 31 bytes": ({ user }) => (user.leaf["opening"] = "A".repeat(42)),
      "opening of 33 bytes": ({ user }) => (user.leaf["opening"] = "A".repeat(44)),
      "padded base64": ({ user }) => (user["map_proof"] = `${user["map_proof"] as string}=`),
      "final bits set": ({ user }) => (user.leaf["opening"] = `${"A".repeat(42)}B`),
      "record of 64 bytes": ({ head }) => (head["record"] = "A".repeat(86)),
      "path too long": ({ head }) => (head["record_proof"] = "A".repeat(2_308)),
      "null leaf": ({ user }) => (user["leaf"] = null as never),
      "array for object": ({ user }) => (user["settling"] = []),
    };
    for (const [name, edit] of Object.entries(cases)) {
      assertRefused(() => parseLookupAnswer(change(edit as never)), "malformed", name);
    }
  });

  it("bound lists and names", () => {
    const ids = (count: number) => Array.from({ length: count }, (_, i) => `@u${i}:x.org`);
    parseLookupsRequest({ user_ids: ids(500) });
    assertRefused(() => parseLookupsRequest({ user_ids: ids(501) }), "malformed", "501 users");
    assertRefused(() => parseHistoryRangeRequest({ user_id: ALICE, from: 3, to: 2 }), "malformed", "backwards");
    assertRefused(() => parseLookupRequest({ user_id: `@${"x".repeat(300)}:y` }), "malformed", "long id");
    for (const id of ["", "alice:example.org", "@alice", "@alice:", "#a:b", 5, null]) {
      assertRefused(() => parseUserId(id), "malformed", String(id));
    }
    assertRefused(() => parseUserId(`@${"\u00e9".repeat(200)}:y`), "malformed", "255 characters, more bytes");
    assert.equal(serverOfUser("@alice:localhost:8448"), "localhost:8448");
  });

  it("drop what they do not name in event contents, and members of the prototype everywhere", () => {
    const session = "A".repeat(43);
    assert.deepEqual({ ...parseCompareContent({ session, "org.matrix.msgid": "x" }) }, { session });
    assert.equal(Object.getPrototypeOf(parseCompareContent({ session })), null);
    assertRefused(() => parseCompareContent(Object.create({ session })), "malformed", "inherited");
    assertRefused(() => parseEpochContent({ ...log.head(), epoch: -1 }), "malformed");
  });

  it("take service URLs without trailing slash", () => {
    const wellKnown = { room: "#ckv:example.org", log_key: log.vkey };
    for (const service_url of ["https://example.org/ckv", "http://localhost:8080", "https://example.org"]) {
      parseWellKnown({ ...wellKnown, service_url });
    }
    for (const service_url of [
      "https://example.org/",
      "ftp://example.org",
      "https://",
      "https://a b",
      "https://a?b",
      "",
    ]) {
      assertRefused(() => parseWellKnown({ ...wellKnown, service_url }), "malformed", service_url);
    }
  });

  it("hold whole hashes in paths", () => {
    assert.deepEqual(decodePath(encodePath([new Uint8Array(32), new Uint8Array(32).fill(1)])).length, 2);
    assert.deepEqual(decodePath(""), []);
    assertRefused(() => decodePath("AAAA"), "malformed");
  });

  it("answer anything with a checked copy or `malformed`", () => {
    const parsers = Object.entries(messages).filter(([name]) => name.startsWith("parse") && name !== "parseShape");
    assert(parsers.length >= 30);
    for (const [, parse] of parsers) {
      assertOnlyMalformed(fc.anything(), parse as (value: unknown) => unknown, 100);
    }
    const parts = fc.record({ head: fc.anything(), user: fc.anything() });
    assertOnlyMalformed(parts, (value) => parseLookupAnswer(value));
  });

  it("have shapes that are plain data", () => {
    assert.deepEqual(JSON.parse(JSON.stringify(HTTP_SHAPES)), HTTP_SHAPES);
  });
});
