import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { formatRegistration, parseRegistration } from "../../appservice/registration.ts";

const SAMPLE = {
  id: "ckv",
  url: "http://127.0.0.1:9009",
  asToken: "made by matrix-ckv init",
  hsToken: "made by matrix-ckv init",
  senderLocalpart: "ckv",
};

interface Namespaced {
  readonly namespaces: {
    readonly users: { regex: string; exclusive: boolean }[];
    readonly aliases: { regex: string }[];
  };
}

describe("registration", () => {
  it("the sample at the top level is what init writes", () => {
    assert.equal(readFileSync("registration.yaml", "utf8"), formatRegistration(SAMPLE, "example.org"));
  });

  it("reads back what it writes", () => {
    assert.deepEqual(parseRegistration(formatRegistration(SAMPLE, "example.org")), SAMPLE);
  });

  it("covers its own users and aliases, and nobody else's", () => {
    const { namespaces } = parse(formatRegistration(SAMPLE, "ex.org:8448")) as Namespaced;
    const matches = (list: readonly { regex: string }[], id: string): boolean =>
      list.some(({ regex }) => new RegExp(`^(?:${regex})`).test(id));
    assert.ok(matches(namespaces.users, "@_ckv_watch:ex.org:8448"));
    for (const id of [
      "@alice:ex.org:8448",
      "@_ckv_watch:exXorg:8448",
      "@_ckv_watch:ex.org:8448.evil",
      "@ckv2:ex.org:8448",
    ]) {
      assert.ok(!matches(namespaces.users, id), id);
    }
    assert.ok(
      matches(namespaces.aliases, "#ckv:ex.org:8448") && matches(namespaces.aliases, "#ckv-members:ex.org:8448"),
    );
    assert.ok(!matches(namespaces.aliases, "#ckvx:ex.org:8448"));
    assert.ok(namespaces.users.every(({ exclusive }) => exclusive));
  });

  for (const member of ["id", "url", "as_token", "hs_token", "sender_localpart"]) {
    it(`names a missing ${member}, and no secret`, () => {
      const text = formatRegistration({ ...SAMPLE, asToken: "secret1", hsToken: "secret2" }, "example.org");
      const without = text.replace(new RegExp(`^${member}: .*$`, "m"), "");
      assert.throws(
        () => parseRegistration(without),
        (error: Error) => error.message.includes(member) && !error.message.includes("secret"),
      );
    });
  }
});
