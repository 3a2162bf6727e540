import assert from "node:assert/strict";
import fc from "fast-check";
import { publicKeyOf } from "../../../shared/crypto/ed25519.ts";
import { COSIGNATURE_KEY, formatVkey, noteKeyOf } from "../../../shared/crypto/signed-note.ts";
import { checkPolicy, parsePolicy } from "../../../shared/log/policy.ts";
import { assertOnlyMalformed, assertRefused } from "../../support/mutations.ts";
import { seedOf } from "../../support/test-user.ts";

const keyOf = (name: string) => noteKeyOf({ name, type: COSIGNATURE_KEY, publicKey: publicKeyOf(seedOf(name)) });
const [a, b, c] = ["a.example", "b.example", "c.example"].map(keyOf) as [
  ReturnType<typeof keyOf>,
  ReturnType<typeof keyOf>,
  ReturnType<typeof keyOf>,
];
const witnesses = [
  `witness a ${formatVkey(a)}`,
  `witness b ${formatVkey(b)} https://b.example`,
  `witness c ${formatVkey(c)}`,
];
const policy = (...lines: readonly string[]) => parsePolicy([...witnesses, ...lines].join("\n"));

describe("policy", () => {
  it("counts witnesses and groups", () => {
    const any = policy("group g any a b", "quorum g");
    assert.deepEqual(checkPolicy(any, [b]), [b]);
    assertRefused(() => checkPolicy(any, [c]), "bad-signature");
    assertRefused(() => checkPolicy(any, []), "bad-signature");
    const all = policy("group g all a b", "quorum g");
    assertRefused(() => checkPolicy(all, [a]), "bad-signature");
    assert.deepEqual(checkPolicy(all, [a, b]), [a, b]);
    const nested = policy("# comment", "", "group g 2 a b c", "group h all g a", "quorum h");
    assertRefused(() => checkPolicy(nested, [b, c]), "bad-signature");
    assert.deepEqual(checkPolicy(nested, [a, c]), [a, c]);
    assert.deepEqual(checkPolicy(policy("quorum none"), []), []);
    assert.deepEqual(checkPolicy(policy("quorum a"), [a]), [a]);
    const impostor = { ...a, publicKey: b.publicKey };
    assertRefused(() => checkPolicy(policy("quorum a"), [impostor]), "bad-signature");
  });

  it("refuses what is no policy", () => {
    const bad: readonly (readonly string[])[] = [
      [],
      ["quorum x"],
      ["quorum a", "quorum b"],
      ["quorum a b"],
      ["group g 3 a b", "quorum g"],
      ["group g 0 a b", "quorum g"],
      ["group g any", "quorum g"],
      ["group g 2 a a", "quorum g"],
      ["group g any h", "group h any a", "quorum g"],
      ["group a any b", "quorum a"],
      ["group none any b", "quorum none"],
      [`witness d ${formatVkey(a)}`, "quorum a"],
      ["witness d x", "quorum a"],
      ["else", "quorum a"],
    ];
    for (const lines of bad) assertRefused(() => policy(...lines), "malformed", lines.join("; "));
    assertOnlyMalformed(fc.string(), parsePolicy);
  });
});
