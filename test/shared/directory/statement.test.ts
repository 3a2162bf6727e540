import assert from "node:assert/strict";
import { sha256 } from "../../../shared/crypto/hash.ts";
import { compareStatements, signContinues, verifyStatement } from "../../../shared/directory/statement.ts";
import type { Stated } from "../../../shared/directory/statement.ts";
import { encodeUnpadded, utf8 } from "../../../shared/encoding.ts";
import { parseStatement } from "../../../shared/messages.ts";
import type { Statement } from "../../../shared/messages.ts";
import { assertRefused } from "../../support/mutations.ts";
import { TestUser } from "../../support/test-user.ts";

const ALICE = "@alice:example.org";
const since = { n: 3, root: sha256(utf8("root")) };
const user = new TestUser(ALICE);
const said = (ckv: "on" | "off", counter: number, by: TestUser = user): Statement =>
  by.statement({ ckv, counter, since });
const stated = (statement: Statement | undefined, by: TestUser = user): Stated => ({
  userId: ALICE,
  masterKey: by.masterKey,
  statement,
});
const resetUser = new TestUser(ALICE);
resetUser.reset("new");

describe("statement", () => {
  it("is by this user and key, in one form", () => {
    const statement = parseStatement(JSON.parse(JSON.stringify(said("on", 1))));
    assert.deepEqual({ ...verifyStatement(statement, ALICE, user.masterKey) }, { ...statement });
    assertRefused(() => verifyStatement(statement, "@bob:example.org", user.masterKey), "bad-signature");
    assertRefused(() => verifyStatement(statement, ALICE, resetUser.masterKey), "bad-signature");
    const changes: readonly Partial<Statement>[] = [
      { ckv: "off" },
      { counter: 2 },
      { since: { version: 4, root: encodeUnpadded(since.root) } },
      { since: { version: 3, root: encodeUnpadded(sha256(since.root)) } },
      { signature: said("on", 2).signature },
      { continues: signContinues(resetUser.masterSeed, { userId: ALICE, newKey: user.masterKey }) },
    ];
    for (const change of changes) {
      assertRefused(() => verifyStatement({ ...statement, ...change }, ALICE, user.masterKey), "bad-signature");
    }
    assertRefused(() => parseStatement({ ...statement, more: 1 }), "malformed");
    assertRefused(() => parseStatement({ ...statement, counter: 0 }), "malformed");
    assertRefused(() => parseStatement({ ...statement, purpose: "else" }), "malformed");
    assertRefused(() => parseStatement({ ...statement, continues: null }), "malformed");
  });

  it("carries the word of the key before it, for this user and key alone", () => {
    const continues = signContinues(user.masterSeed, { userId: ALICE, newKey: resetUser.masterKey });
    verifyStatement(resetUser.statement({ ckv: "on", counter: 1, since, continues }), ALICE, resetUser.masterKey);
    const others = [
      signContinues(user.masterSeed, { userId: "@bob:example.org", newKey: resetUser.masterKey }),
      signContinues(user.masterSeed, { userId: ALICE, newKey: user.masterKey }),
      { ...continues, master_key: encodeUnpadded(resetUser.masterKey) },
    ];
    for (const other of others) {
      const statement = resetUser.statement({ ckv: "on", counter: 1, since, continues: other });
      assertRefused(() => verifyStatement(statement, ALICE, resetUser.masterKey), "bad-signature");
    }
  });

  it("says nothing while it stays as it was", () => {
    assert.deepEqual(compareStatements(undefined, stated(undefined)), []);
    assert.deepEqual(compareStatements(undefined, stated(said("on", 1))), []);
    assert.deepEqual(compareStatements(stated(said("on", 1)), stated(said("on", 1))), []);
    assert.deepEqual(compareStatements(stated(undefined), stated(said("on", 1))), []);
    assert.deepEqual(compareStatements(stated(said("off", 1)), stated(said("on", 2))), []);
  });

  it("off counts by the accepted key with a higher counter", () => {
    assert.deepEqual(compareStatements(stated(said("on", 1)), stated(said("off", 2))), ["statement-off"]);
    assert.deepEqual(compareStatements(stated(said("on", 3)), stated(said("off", 2))), ["statement-replayed"]);
    assert.deepEqual(compareStatements(stated(said("on", 3)), stated(said("off", 3))), ["statement-conflict"]);
    assert.deepEqual(compareStatements(stated(said("on", 3)), stated(undefined)), ["statement-missing"]);
    const forged = { ...said("on", 3), ckv: "off" as const };
    assert.deepEqual(compareStatements(stated(said("on", 3)), stated(forged)), ["statement-signature"]);
  });

  it("a reset is told as a reset, and nothing else is said about the statement", () => {
    const off = resetUser.statement({ ckv: "off", counter: 9, since });
    const lapsed = ["reset-unsigned", "statement-lapsed"];
    assert.deepEqual(compareStatements(stated(said("on", 1)), stated(off, resetUser)), lapsed);
    assert.deepEqual(compareStatements(stated(said("on", 1)), stated(undefined, resetUser)), lapsed);
    assert.deepEqual(compareStatements(stated(undefined), stated(undefined, resetUser)), ["reset-unsigned"]);
    const continues = signContinues(user.masterSeed, { userId: ALICE, newKey: resetUser.masterKey });
    const signed = resetUser.statement({ ckv: "on", counter: 1, since, continues });
    assert.deepEqual(compareStatements(stated(said("on", 1)), stated(signed, resetUser)), [
      "reset-signed",
      "statement-lapsed",
    ]);
    const third = new TestUser(ALICE);
    third.reset("third");
    assert.deepEqual(compareStatements(stated(undefined, third), stated(signed, resetUser)), ["reset-unsigned"]);
  });
});
