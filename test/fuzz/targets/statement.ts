import assert from "node:assert/strict";
import {
  compareStatements,
  signContinues,
  statementMessage,
  verifyStatement,
} from "../../../shared/directory/statement.ts";
import { parseStatement, parseStatementRequest } from "../../../shared/messages.ts";
import { isVerdictCode } from "../../../shared/verdict-codes.ts";
import type { Statement } from "../../../shared/messages.ts";
import { seedOf } from "../../support/test-user.ts";
import { Choices, edited } from "../edits.ts";
import { ALICE, alice } from "../fixtures.ts";
import type { FuzzTarget } from "../target.ts";
import { hostJson, seedsOf, unlessRefused } from "../target.ts";

let made: readonly Statement[] | undefined;
/** One that says on, one that says off and continues an older key. */
const signed = (): readonly Statement[] =>
  (made ??= [
    alice().statement({ ckv: "on", counter: 1, since: { n: 1, root: seedOf("root") } }),
    alice().statement({
      ckv: "off",
      counter: 2,
      since: { n: 2, root: seedOf("root") },
      continues: signContinues(seedOf("older"), { userId: ALICE, newKey: alice().masterKey }),
    }),
  ]);

/** A statement as JSON, or with a first byte below 4 a signed one with edits. It verifies only as it was signed. */
export const target: FuzzTarget = {
  seeds: () => [
    ...seedsOf(...signed(), { statement: signed()[0] }),
    ...[0, 1, 2, 3].map((mode) => Uint8Array.of(mode, 0, 3, 9, 1)),
  ],
  run(input) {
    const choices = new Choices(input);
    const mode = choices.u8();
    const value = mode < 4 ? edited(signed()[mode % 2], choices) : hostJson(input);
    unlessRefused(() => parseStatementRequest(value), "malformed");
    const statement = unlessRefused(() => parseStatement(value), "malformed");
    if (statement === undefined) return;
    assert.deepEqual(parseStatement(statement), statement);
    const verified = unlessRefused(
      () => verifyStatement(statement, ALICE, alice().masterKey),
      "bad-signature",
      "malformed",
    );
    if (verified !== undefined) {
      const message = Buffer.from(statementMessage(verified)).toString();
      assert(signed().some((each) => Buffer.from(statementMessage(each)).toString() === message));
    }
    const last = { userId: ALICE, masterKey: alice().masterKey, statement: signed()[0] };
    for (const code of compareStatements(last, { ...last, statement })) assert(isVerdictCode(code));
  },
};
