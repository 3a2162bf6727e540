import assert from "node:assert/strict";
import { sha256 } from "../../../shared/crypto/hash.ts";
import { buildEntry, closedEntry, readEntry } from "../../../shared/directory/entry.ts";
import { utf8 } from "../../../shared/encoding.ts";
import { entryCodes } from "../../../shared/proofs/entry-codes.ts";
import { TestUser } from "../../support/test-user.ts";
import { without } from "../../support/without.ts";

const ALICE = "@alice:example.org";
const user = (): TestUser => new TestUser(ALICE, "A", "B");
const entryOf = (of: TestUser) => readEntry(of.entry());

describe("entry codes", () => {
  it("has nothing to tell of an honest entry, first or again", () => {
    const entry = entryOf(user());
    assert.deepEqual(entryCodes({ entry }), []);
    assert.deepEqual(entryCodes({ entry, last: entry, pin: user().masterKey }), []);
    const more = user();
    more.devices.set("C", {});
    assert.deepEqual(entryCodes({ entry: entryOf(more), last: entry }), []);
  });

  it("tells of devices: unsigned, other keys under a known id, unreadable", () => {
    const unsigned = user();
    unsigned.devices.set("B", { signedByOwner: false });
    assert.deepEqual(entryCodes({ entry: entryOf(unsigned) }), ["device-unsigned"]);
    const other = user();
    other.devices.set("B", { keyName: "other" });
    assert.deepEqual(entryCodes({ entry: entryOf(other), last: entryOf(user()) }), ["device-key-changed"]);
    const { entry } = buildEntry(ALICE, { ...user().observed(), devices: new Map([["A", "{}"]]) });
    assert.deepEqual(entryCodes({ entry }), ["device-unreadable"]);
  });

  it("tells of identities: missing, broken chain, another than the pin, reset", () => {
    const { entry: bot } = buildEntry(ALICE, { devices: new Map() });
    assert.deepEqual(entryCodes({ entry: bot }), ["identity-missing"]);
    const selfSigning = without(user().selfSigningObject(), "signatures");
    const { entry: broken } = buildEntry(ALICE, { ...user().observed(), selfSigningKey: JSON.stringify(selfSigning) });
    assert.deepEqual(entryCodes({ entry: broken }), ["chain-broken"]);
    const reset = user();
    reset.reset("new");
    const question = { entry: entryOf(reset), last: entryOf(user()), pin: user().masterKey };
    assert.deepEqual(entryCodes(question), ["pin-mismatch", "reset-unsigned"]);
  });

  it("tells of statements, refusals and closed accounts", () => {
    const since = { n: 1, root: sha256(utf8("root")) };
    const on = buildEntry(ALICE, user().observed(), [user().statement({ ckv: "on", counter: 1, since })]).entry;
    const off = buildEntry(ALICE, user().observed(), [user().statement({ ckv: "off", counter: 2, since })]).entry;
    assert.deepEqual(entryCodes({ entry: off, last: on }), ["statement-off"]);
    assert.deepEqual(entryCodes({ entry: on, last: off }), ["statement-replayed"]);
    assert.deepEqual(entryCodes({ entry: entryOf(user()), last: on }), ["statement-missing"]);
    assert.deepEqual(entryCodes({ entry: readEntry(closedEntry(ALICE)), last: on }), ["account-closed"]);
    const large = new TestUser(ALICE);
    for (let i = 0; i < 10; i++) large.devices.set(`D${i}`, { extra: { x: "y".repeat(7_000) } });
    assert.deepEqual(entryCodes({ entry: entryOf(large) }), ["entry-refused"]);
  });
});
