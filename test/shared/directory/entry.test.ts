import assert from "node:assert/strict";
import { ed25519 } from "@noble/curves/ed25519.js";
import { bytesToNumberLE, numberToBytesLE } from "@noble/curves/utils.js";
import fc from "fast-check";
import { publicKeyOf, signEd25519 } from "../../../shared/crypto/ed25519.ts";
import { sha256, sha512 } from "../../../shared/crypto/hash.ts";
import {
  buildEntry,
  closedEntry,
  nextEntry,
  parseEntry,
  readEntry,
  sameButSignatures,
  splitKeysQuery,
} from "../../../shared/directory/entry.ts";
import type { BuiltEntry, ObservedKeys } from "../../../shared/directory/entry.ts";
import {
  canonicalJson,
  concat,
  encodeUnpadded,
  equalBytes,
  fromUtf8,
  parseJson,
  taggedHash,
  utf8,
} from "../../../shared/encoding.ts";
import type { JsonObject } from "../../../shared/encoding.ts";
import { assertOnlyMalformed, assertRefused, flippedBits } from "../../support/mutations.ts";
import { seedOf, TestUser } from "../../support/test-user.ts";

const ALICE = "@alice:example.org";
const alice = (): TestUser => new TestUser(ALICE, "LAPTOP", "PHONE");
const valueOf = (bytes: Uint8Array): Record<string, never> => JSON.parse(fromUtf8(bytes)) as Record<string, never>;

/** The entry of Alice with one more device text, or with another text under a known id. */
function withDevice(text: string, deviceId = "THIRD"): BuiltEntry {
  const observed = alice().observed();
  return buildEntry(ALICE, { ...observed, devices: new Map([...observed.devices, [deviceId, text]]) });
}

/** The device alone became its digest; the rest is byte for byte as before, and the entry parses. */
function assertAloneUnreadable(built: BuiltEntry, deviceId: string, code = "device-unreadable"): void {
  assert.deepEqual(built.problems, [{ subject: deviceId, code }]);
  assert.equal(built.entry.devices.get(deviceId)?.kind, "unreadable");
  const [before, after] = [valueOf(alice().entry()), valueOf(built.bytes)] as unknown as Record<
    string,
    Record<string, unknown>
  >[];
  for (const member of ["master_key", "self_signing_key", "user_id"]) assert.deepEqual(after![member], before![member]);
  for (const id of Object.keys(before!["devices"]!).filter((each) => each !== deviceId)) {
    assert.deepEqual(after!["devices"]![id], before!["devices"]![id]);
  }
  assert.deepEqual(parseEntry(built.bytes, ALICE), built.entry);
}

const deviceText = (change: (object: JsonObject) => JsonObject | string): string => {
  const user = alice();
  user.devices.set("THIRD", {});
  const changed = change(user.deviceObject("THIRD"));
  return typeof changed === "string" ? changed : JSON.stringify(changed);
};

describe("entry", () => {
  it("keeps all signed fields, no unsigned ones, and the owner's valid signatures", () => {
    const user = alice();
    user.devices.set("THIRD", { extra: { "org.example.unknown": { nested: [1, null, "x"] } } });
    user.devices.set("DEHYDRATED", { extra: { dehydrated: true } });
    user.devices.set("STRANGER", { signedByOwner: false });
    const { entry, bytes, problems } = buildEntry(ALICE, user.observed());
    assert.deepEqual(problems, []);
    assert.deepEqual(parseEntry(bytes, ALICE), entry);
    assert.match(fromUtf8(bytes), /"org\.example\.unknown":\{"nested":\[1,null,"x"\]\}/);
    const facts = [...entry.devices].map(([id, device]) => [id, device.kind === "device" && device.signedByOwner]);
    assert.deepEqual(Object.fromEntries(facts), {
      DEHYDRATED: true,
      LAPTOP: true,
      PHONE: true,
      STRANGER: false,
      THIRD: true,
    });
    const dehydrated = entry.devices.get("DEHYDRATED");
    assert(dehydrated?.kind === "device" && dehydrated.dehydrated);
    assert(entry.masterKey?.kind === "key" && equalBytes(entry.masterKey.key, user.masterKey));
    assert(entry.selfSigningKey?.kind === "key" && entry.selfSigningKey.signedByMaster);
  });

  it("is the same from a raw answer, with unsigned members and foreign signatures left out", () => {
    const user = alice();
    const device = user.deviceObject("PHONE");
    const noisy = {
      ...device,
      unsigned: { device_display_name: "phone", last_seen_ts: 1.5 },
      signatures: { ...(device["signatures"] as JsonObject), "@eve:example.org": { "ed25519:EVE": "AAAA" } },
    };
    const text = user.keysQuery().replace(JSON.stringify(device), JSON.stringify(noisy, undefined, 2));
    assert.notEqual(text, user.keysQuery());
    const observed = splitKeysQuery(text, [ALICE, "@nobody:example.org"]);
    assert.deepEqual(buildEntry(ALICE, observed.get(ALICE)!).bytes, user.entry());
    assert.deepEqual(observed.get("@nobody:example.org"), { devices: new Map() });
  });

  it("leaves out keys an account has not", () => {
    assert.equal(fromUtf8(buildEntry(ALICE, { devices: new Map() }).bytes), `{"devices":{},"user_id":"${ALICE}"}`);
    assert.equal(fromUtf8(closedEntry(ALICE)), `{"user_id":"${ALICE}"}`);
    assert.equal(parseEntry(closedEntry(ALICE), ALICE).kind, "closed");
  });

  it("sorts device ids by code point", () => {
    const user = new TestUser(ALICE, "\u{1F600}", "\uE000", "B", "a", "\u00e9");
    const devices = valueOf(user.entry())["devices"] as unknown as object;
    assert.deepEqual(Object.keys(devices), ["B", "a", "\u00e9", "\uE000", "\u{1F600}"]);
  });

  const spoiled: Record<string, (text: string, object: JsonObject) => string> = {
    float: (text) => text.replace("{", '{"x":1.5,'),
    "2^53": (text) => text.replace("{", '{"x":9007199254740992,'),
    "lone surrogate": (text) => text.replace("{", '{"x":"\\ud800",'),
    "duplicate key": (text) => text.replace("{", `{"user_id":"${ALICE}",`),
    "9 KiB": (_, object) =>
      JSON.stringify(
        alice().signed({ ...withoutSignatures(object), x: "y".repeat(9_000) }, [
          "ed25519:THIRD",
          alice().deviceSeed("THIRD"),
        ]),
      ),
    "nested 40 deep": (text) => text.replace("{", `{"x":${"[".repeat(40)}${"]".repeat(40)},`),
    "no self-signature": (_, object) => JSON.stringify(withoutSignatures(object)),
    "no object": () => "[]",
    "a string": () => '"x"',
  };
  for (const [name, spoil] of Object.entries(spoiled)) {
    it(`makes a device unreadable alone: ${name}`, () => {
      assertAloneUnreadable(withDevice(deviceText((object) => spoil(JSON.stringify(object), object))), "THIRD");
    });
  }

  it("keeps a device named __proto__", () => {
    const user = alice();
    user.devices.set("__proto__", {});
    const { entry, problems, bytes } = buildEntry(ALICE, user.observed());
    assert.deepEqual(problems, []);
    assert.equal(entry.devices.get("__proto__")?.kind, "device");
    assert.deepEqual(parseEntry(bytes, ALICE), entry);
  });

  it("makes a key in another base64 form unreadable, alone", () => {
    for (const spoil of [
      (key: string) => `${key}=`,
      (key: string) => `${key.slice(0, -1)}${nextLetter(key.at(-1)!)}`,
    ]) {
      const user = alice();
      const object = user.deviceObject("PHONE");
      const keys = object["keys"] as Record<string, string>;
      const changed = {
        ...withoutSignatures(object),
        keys: { ...keys, "ed25519:PHONE": spoil(keys["ed25519:PHONE"]!) },
      };
      const text = JSON.stringify(user.signed(changed, ["ed25519:PHONE", user.deviceSeed("PHONE")]));
      assertAloneUnreadable(withDevice(text, "PHONE"), "PHONE");
    }
  });

  it("hashes the exact text without its signatures and unsigned", () => {
    const text = ' {"x": 1.5,"signatures":{"a":1},"unsigned":{}, "y":[ ]} '.trim();
    const unreadable = withDevice(text).entry.devices.get("THIRD");
    const expected = taggedHash("ckv/unreadable/v1", utf8('{"x": 1.5,,, "y":[ ]}'));
    assert(unreadable?.kind === "unreadable");
    assert.deepEqual(unreadable.digest, expected);
  });

  it("does not take a served object for a digest", () => {
    const text = `{"unreadable":"${encodeUnpadded(new Uint8Array(32))}"}`;
    const unreadable = withDevice(text).entry.devices.get("THIRD");
    assert(unreadable?.kind === "unreadable" && !equalBytes(unreadable.digest, new Uint8Array(32)));
  });

  it("finds a device whose id is the text of a key", () => {
    const master = encodeUnpadded(alice().masterKey);
    const user = alice();
    user.devices.set(master, {});
    assertAloneUnreadable(buildEntry(ALICE, user.observed()), master, "key-reused");
  });

  it("finds a key in two roles: master key = device key, self-signing key = master key", () => {
    const user = alice();
    user.masterSeed = user.deviceSeed("PHONE");
    const { problems, entry, bytes } = buildEntry(ALICE, user.observed());
    assert.deepEqual(
      problems
        .filter(({ code }) => code === "key-reused")
        .map(({ subject }) => subject)
        .sort(),
      ["PHONE", "master_key"],
    );
    assert.equal(entry.masterKey?.kind, "unreadable");
    assert.deepEqual(parseEntry(bytes, ALICE), entry);
    const same = alice();
    same.selfSigningSeed = same.masterSeed;
    assert.equal(buildEntry(ALICE, same.observed()).entry.masterKey?.kind, "unreadable");
  });

  it("finds a self-signing key that the master key did not sign, and a bad signature", () => {
    const user = alice();
    const object = withoutSignatures(user.selfSigningObject());
    const unsigned = { ...user.observed(), selfSigningKey: JSON.stringify(object) };
    const built = buildEntry(ALICE, unsigned);
    assert.deepEqual(built.problems, [{ subject: "self_signing_key", code: "chain-broken" }]);
    assert(built.entry.selfSigningKey?.kind === "key" && !built.entry.selfSigningKey.signedByMaster);
    assert.deepEqual(parseEntry(built.bytes, ALICE), built.entry);

    const owner = `ed25519:${encodeUnpadded(publicKeyOf(user.selfSigningSeed))}`;
    const device = user.signed(
      withoutSignatures(user.deviceObject("PHONE")),
      ["ed25519:PHONE", user.deviceSeed("PHONE")],
      [owner, seedOf("a stranger")],
    );
    const bad = withDevice(JSON.stringify(device), "PHONE");
    assert.deepEqual(bad.problems, [{ subject: "PHONE", code: "device-signature-bad" }]);
    const phone = bad.entry.devices.get("PHONE");
    assert(phone?.kind === "device" && !phone.signedByOwner);
  });

  it("does not take another user's device", () => {
    const bob = new TestUser("@bob:example.org", "THIRD");
    assertAloneUnreadable(withDevice(JSON.stringify(bob.deviceObject("THIRD"))), "THIRD");
    const renamed = JSON.stringify(bob.deviceObject("THIRD")).replaceAll("@bob:", "@alice:");
    assertAloneUnreadable(withDevice(renamed), "THIRD");
  });

  it("refuses 120 devices, with their number and digest, as a version of its own", function () {
    this.timeout(60_000);
    const user = new TestUser(ALICE, ...Array.from({ length: 120 }, (_, i) => `D${i}`));
    const observed = user.observed();
    const { entry, bytes } = buildEntry(ALICE, observed);
    assert.equal(entry.kind, "refused");
    const sorted = [...observed.devices].sort(([a], [b]) => (a < b ? -1 : 1));
    const hashes = sorted.flatMap(([id, text]) => [sha256(utf8(id)), sha256(utf8(text))]);
    assert.deepEqual(entry.refused, { count: 120, digest: taggedHash("ckv/devices/v1", concat(...hashes)) });
    assert.deepEqual(entry.devices, new Map());
    assert.deepEqual(parseEntry(bytes, ALICE), entry);
    assert(!sameButSignatures(bytes, alice().entry()));
  });

  it("reads none of too many devices, whatever they are", () => {
    const devices = new Map(Array.from({ length: 10_000 }, (_, i) => [`D${i}`, `{"never read": ${i}`] as const));
    const never = (): never => assert.fail("a device was read");
    const { entry } = buildEntry(ALICE, { devices }, [], { checkPublicKey: never, verify: never });
    assert.equal(entry.refused?.count, 10_000);
  });

  it("refuses over 64 KiB", () => {
    const user = new TestUser(ALICE);
    for (let i = 0; i < 10; i++) user.devices.set(`D${i}`, { extra: { x: "y".repeat(7_000) } });
    const { entry } = buildEntry(ALICE, user.observed());
    assert.equal(entry.kind, "refused");
    assert.equal(entry.refused?.count, 10);
  });

  it("reads back only its canonical form", () => {
    const bytes = alice().entry();
    const text = fromUtf8(bytes);
    const malformedTexts: Record<string, string> = {
      "space added": text.replace(",", ", "),
      "member added": text.replace('{"devices"', '{"aaa":1,"devices"'),
      "member doubled": text.replace('"user_id"', '"statement":null,"user_id"'),
      "unsigned kept": text.replace('"device_id"', '"unsigned":{},"device_id"'),
      "null statement": text.replace(
        /"user_id":"@alice:example.org"\}$/,
        '"statement":null,"user_id":"@alice:example.org"}',
      ),
      "signature of the master key": text.replace('"usage":["master"]', '"signatures":{},"usage":["master"]'),
      "no user": text.replace(/,"user_id":"@alice:example.org"\}$/, "}"),
      "devices no object": `{"devices":[],"user_id":"${ALICE}"}`,
      "refused without digest": `{"count":120,"refused":"too many devices","user_id":"${ALICE}"}`,
      "trailing garbage": `${text} `,
      empty: "",
    };
    for (const [name, changed] of Object.entries(malformedTexts)) {
      assert.notEqual(changed, text, name);
      assertRefused(() => readEntry(utf8(changed)), "malformed", name);
    }
    assertRefused(() => parseEntry(bytes, "@bob:example.org"), "malformed", "other user");
    assertRefused(() => readEntry(Uint8Array.of(0xff, 0xfe)), "malformed", "not UTF-8");
  });

  it("refuses every flipped bit of the signed keys", function () {
    this.timeout(120_000);
    const bytes = new TestUser(ALICE, "PHONE").entry();
    for (const { name, value } of flippedBits(bytes, 7)) {
      try {
        const entry = readEntry(value);
        assert.notDeepEqual(entry, readEntry(bytes), name);
      } catch {
        assertRefused(() => readEntry(value), "malformed", name);
      }
    }
  });

  it("reads random texts or calls them malformed", () => {
    assertOnlyMalformed(fc.uint8Array({ maxLength: 200 }), readEntry);
    const json = fc.json().map(utf8);
    assertOnlyMalformed(json, readEntry);
    assertOnlyMalformed(fc.json(), (text) => splitKeysQuery(text, [ALICE]));
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.json()), fc.json(), (devices, masterKey) => {
        const built = buildEntry(ALICE, { masterKey, devices: new Map(Object.entries(devices)) });
        assert.deepEqual(readEntry(built.bytes), built.entry);
        assert.equal(
          canonicalJson(parseJson(fromUtf8(built.bytes), { maxBytes: 1e6, maxDepth: 99 })),
          fromUtf8(built.bytes),
        );
      }),
      { numRuns: 100 },
    );
  });
});

describe("entry: new versions", () => {
  const keys = (observed: ObservedKeys, statement?: ReturnType<TestUser["statement"]>) =>
    ({ kind: "keys", keys: observed, ...(statement === undefined ? {} : { statement }) }) as const;

  it("makes none for other signature bytes, and keeps the first ones beside a real change", () => {
    const user = alice();
    const first = user.entry();
    const observed = resigned(user);
    assert.equal(nextEntry(ALICE, first, keys(user.observed())), undefined);
    assert.notDeepEqual(buildEntry(ALICE, observed).bytes, first);
    assert(sameButSignatures(first, buildEntry(ALICE, observed).bytes));
    assert.equal(nextEntry(ALICE, first, keys(observed)), undefined);
    user.devices.set("THIRD", {});
    const third = new Map([...observed.devices, ["THIRD", JSON.stringify(user.deviceObject("THIRD"))] as const]);
    assert.deepEqual(nextEntry(ALICE, first, keys({ ...observed, devices: third })), user.entry());
  });

  it("makes one when a signature comes or goes", () => {
    const user = alice();
    const first = user.entry();
    user.devices.set("PHONE", { signedByOwner: false });
    assert.deepEqual(nextEntry(ALICE, first, keys(user.observed())), user.entry());
  });

  it("makes none for a user without keys, one for keys that went, and one for a closed account", () => {
    const nothing = keys({ devices: new Map() });
    assert.equal(nextEntry(ALICE, undefined, nothing), undefined);
    assert.equal(fromUtf8(nextEntry(ALICE, alice().entry(), nothing)!), `{"devices":{},"user_id":"${ALICE}"}`);
    const closed = nextEntry(ALICE, alice().entry(), { kind: "closed" });
    assert.deepEqual(closed, closedEntry(ALICE));
    assert.equal(nextEntry(ALICE, closed, { kind: "closed" }), undefined);
  });

  it("repeats the statement while the master key stays, and takes only a higher counter", () => {
    const user = alice();
    const since = { n: 1, root: sha256(utf8("root")) };
    const on = user.statement({ ckv: "on", counter: 2, since });
    const first = nextEntry(ALICE, user.entry(), keys(user.observed(), on));
    assert.deepEqual(first, user.entry(on));
    user.devices.set("THIRD", {});
    assert.deepEqual(nextEntry(ALICE, first, keys(user.observed())), user.entry(on));
    const lower = user.statement({ ckv: "off", counter: 1, since });
    assert.deepEqual(nextEntry(ALICE, first, keys(user.observed(), lower)), user.entry(on));
    const off = user.statement({ ckv: "off", counter: 3, since });
    assert.deepEqual(nextEntry(ALICE, first, keys(user.observed(), off)), user.entry(off));
    user.reset("new");
    assert.deepEqual(nextEntry(ALICE, first, keys(user.observed(), off)), user.entry());
    const forged = { ...on, counter: 9 };
    assert.deepEqual(nextEntry(ALICE, undefined, keys(alice().observed(), forged)), alice().entry());
  });
});

function withoutSignatures(object: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([key]) => key !== "signatures"));
}

function nextLetter(letter: string): string {
  return String.fromCharCode(letter.charCodeAt(0) + (letter === "Z" || letter === "z" ? -1 : 1));
}

/** The same keys with other valid signature bytes: as from a signer with a random nonce, here one with another prefix. */
function resigned(user: TestUser): ObservedKeys {
  const observed = user.observed();
  const devices = new Map(
    [...observed.devices].map(([deviceId, text]) => {
      const object = JSON.parse(text) as { signatures: Record<string, Record<string, string>> } & JsonObject;
      const message = utf8(canonicalJson(withoutSignatures(object)));
      const signature = otherSignature(user.deviceSeed(deviceId), message);
      const signatures = { [user.userId]: { ...object.signatures[user.userId], [`ed25519:${deviceId}`]: signature } };
      return [deviceId, JSON.stringify({ ...object, signatures })] as const;
    }),
  );
  return { ...observed, devices };
}

function otherSignature(seed: Uint8Array, message: Uint8Array): string {
  return encodeUnpadded(signWithNonce(seed, message, sha256(signEd25519(seed, message))));
}

/** RFC 8032 with a nonce of one's own. */
function signWithNonce(seed: Uint8Array, message: Uint8Array, nonceSeed: Uint8Array): Uint8Array {
  const { Fn, BASE } = ed25519.Point;
  const { scalar, pointBytes } = ed25519.utils.getExtendedPublicKey(seed);
  const nonce = Fn.create(bytesToNumberLE(nonceSeed));
  const r = BASE.multiply(nonce).toBytes();
  const k = Fn.create(bytesToNumberLE(sha512(concat(r, pointBytes, message))));
  return concat(r, numberToBytesLE(Fn.create(nonce + k * scalar), 32));
}
