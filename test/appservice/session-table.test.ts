import assert from "node:assert/strict";
import { QuestionLimit, questionCounts } from "../../appservice/question-limit.ts";
import { keyOf, SessionTable, sharedLimit } from "../../appservice/session-table.ts";

const MINUTE_MS = 60_000;
/** As many sessions as are kept. */
const MANY = 200_000;

const session = (token: string, userId: string): Parameters<SessionTable["add"]>[0] => ({
  key: keyOf(token),
  userId,
  endsMs: Infinity,
});
const limited = { name: "ApiError", code: "rate-limited" };

describe("sessions in several threads", () => {
  it("count the questions of a user together", () => {
    const limit = sharedLimit(3);
    const [one, other] = [new SessionTable(limit, () => 0), new SessionTable(limit, () => 0)];
    for (const table of [one, other])
      for (const name of ["@a:x", "@b:x", "@a:x"]) table.add(session(`${name}-token`, name));
    one.count("@a:x", 2);
    other.count("@a:x", 1);
    for (const table of [one, other])
      assert.throws(() => {
        table.count("@a:x", 1);
      }, limited);
    for (const table of [one, other]) table.count("@b:x", 1);
  });

  it("know nobody's questions but those of users with sessions", () => {
    const table = new SessionTable(sharedLimit(3));
    assert.throws(
      () => {
        table.count("@a:x", 1);
      },
      { name: "ApiError", code: "unauthorized" },
    );
  });

  it("forget the oldest of too many, and count the newest in its place", () => {
    let nowMs = 0;
    const table = new SessionTable(sharedLimit(3), () => nowMs);
    table.add(session("first", "@first:x"));
    table.add(session("second", "@second:x"));
    table.add(session("again", "@first:x"));
    table.count("@second:x", 3);
    // Of these the last makes the first session one too many, and takes the place of @second, whose session is older than the newest of @first.
    for (let i = 0; i < MANY - 2; i++) table.add(session(`t${i}`, `@u${i}:x`));
    assert.throws(() => table.userOf("Bearer first"), { code: "unauthorized" });
    assert.equal(table.userOf("Bearer second"), "@second:x");
    table.add(session("last", "@last:x"));
    assert.throws(() => table.userOf("Bearer second"), { code: "unauthorized" });
    assert.throws(
      () => {
        table.count("@second:x", 1);
      },
      { code: "unauthorized" },
    );
    assert.equal(table.userOf("Bearer again"), "@first:x");
    table.count("@first:x", 3);
    assert.throws(() => {
      table.count("@last:x", 1);
    }, limited);
    nowMs += MINUTE_MS;
    table.count("@last:x", 3);
  });
});

describe("a limit of questions", () => {
  it("begins again with each minute, and says when", () => {
    // In the middle of a minute of any clock.
    let nowMs = 10.5 * MINUTE_MS;
    const limit = new QuestionLimit(questionCounts(2), 5, () => nowMs);
    limit.count(1, 5);
    nowMs += 20_000;
    assert.throws(
      () => {
        limit.count(1, 1);
      },
      { ...limited, retryAfterS: 40 },
    );
    limit.count(0, 5);
    nowMs += 39_999;
    assert.throws(
      () => {
        limit.count(1, 1);
      },
      { ...limited, retryAfterS: 1 },
    );
    nowMs += 1;
    limit.count(1, 5);
    assert.throws(
      () => {
        limit.count(1, 1);
      },
      { ...limited, retryAfterS: 60 },
    );
  });

  it("does not count what it refused", () => {
    const limit = new QuestionLimit(questionCounts(1), 5, () => 0);
    for (let i = 0; i < 3; i++)
      assert.throws(() => {
        limit.count(0, 6);
      }, limited);
    limit.count(0, 5);
  });
});
