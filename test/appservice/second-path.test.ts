/** What is computed a second time before it is signed: every bit that flips in between is noticed. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "mocha";
import { EpochBuilder } from "../../appservice/epoch-builder.ts";
import type { BuiltEpoch } from "../../appservice/epoch-builder.ts";
import { indexProver } from "../../appservice/native-vrf.ts";
import { openLog } from "../../appservice/open-log.ts";
import type { WritableLog } from "../../appservice/open-log.ts";
import { PendingChanges } from "../../appservice/pending.ts";
import { secondRoot } from "../../appservice/second-path.ts";
import { EMPTY_TIP } from "../../appservice/store/histories.ts";
import { IntegrityError } from "../../appservice/store/store.ts";
import { configurationHash } from "../../shared/directory/configuration.ts";
import { utf8 } from "../../shared/encoding.ts";
import { OwnLog } from "../support/own-log.ts";

describe("second path", () => {
  let log: OwnLog;
  let opened: WritableLog;
  let built: BuiltEpoch;
  let text: string;

  before(async () => {
    log = await OwnLog.create();
    opened = await openLog(log);
    text = opened.settings.configurationText;
    const pending = new PendingChanges();
    const prove = indexProver(log.keys.vrfSeed);
    for (const userId of ["@a:example.org", "@b:example.org"]) {
      const { index, proof: vrfProof } = prove(userId);
      const merged = { userId, index, vrfProof, tip: EMPTY_TIP, day: 0, dayCount: 0, entry: undefined };
      for (const entry of ["{}", '{"a":1}'])
        pending.add(merged, { entry: utf8(entry), observedMs: 1, number: undefined });
    }
    log.clock.advance(1_000);
    const builder = await EpochBuilder.open(opened.store, opened.head.epoch, log.configuration.settle_ms);
    built = builder.build(pending.take(10, log.clock.now()), log.clock.now(), configurationHash(text));
  });
  after(async () => {
    await opened.store.close();
    log.remove();
  });

  const second = (changes: Partial<BuiltEpoch> = {}, configurationText = text): Uint8Array =>
    secondRoot(opened.store, opened.head, { ...built, ...changes }, configurationText);

  it("comes to the root of the first", () => {
    assert.deepEqual(second(), built.root);
  });

  // Of a stored version: commitment, opening and entry; times and the day's count are in no hash.
  for (const [what, kind, from, to] of [
    ["the commitment and opening of a version", "z", 22, 86],
    ["the entry of a version", "z", -2, undefined],
    ["the change list", "c", 4, -8],
    ["the record", "e", 0, 121],
    ["a hash of the log", "n", 0, undefined],
  ] as const) {
    it(`notices every flipped bit of ${what} as it goes to disk`, () => {
      const place = built.puts.findIndex(({ key }) => key[0] === kind.charCodeAt(0));
      const { key, value } = built.puts[place]!;
      const bits = value.subarray(from, to).length * 8;
      assert(bits >= 16);
      for (let bit = 0; bit < bits; bit++) {
        const flipped = Uint8Array.from(value);
        flipped.subarray(from, to)[bit >> 3]! ^= 1 << (bit & 7);
        assert.throws(
          () => second({ puts: built.puts.with(place, { key, value: flipped }) }),
          (error) => error instanceof Error && (error instanceof IntegrityError || error.name === "VerificationError"),
          `${what}, bit ${bit}`,
        );
      }
    });
  }

  it("notices every flipped bit of the root that readers of the map get", () => {
    const { tiles, slots } = built.changedTop;
    // The first tile, whose uppermost slot comes first, may stand behind tiles below it.
    let at = 0;
    for (let i = 0; tiles[i] !== 0; i += 2) at += tiles[i + 1]!;
    assert.equal(slots[2 * at], 1);
    for (let bit = 0; bit < 256; bit++) {
      const hashes = Int32Array.from(built.changedTop.hashes);
      hashes[8 * at + (bit >> 5)]! ^= 1 << (bit & 31);
      assert.throws(() => second({ changedTop: { ...built.changedTop, hashes } }), IntegrityError);
    }
  });

  it("notices another configuration, a record that is missing, and a user more or less", () => {
    assert.throws(() => second({}, `${text} `), IntegrityError);
    for (const kind of ["e", "c", "n", "U"]) {
      const puts = built.puts.filter(({ key }) => key[0] !== kind.charCodeAt(0));
      assert.throws(() => second({ puts }), IntegrityError, kind);
    }
  });
});
