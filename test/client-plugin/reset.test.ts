/** A digital identity is reset, and the old key gives its word for the new one, or does not. */
import assert from "node:assert/strict";
import { encodePublicCode } from "../../shared/codes/public-code.ts";
import { signContinues, verifyStatement } from "../../shared/directory/statement.ts";
import { encodeUnpadded } from "../../shared/encoding.ts";
import type { Statement } from "../../shared/messages.ts";
import { ALICE, BOB, World } from "./world.ts";

const SINCE = { n: 1, root: new Uint8Array(32) };

/** Alice's statement by her present key, with the word of an older one. */
function statementOf(world: World, oldSeed?: Uint8Array): Statement {
  const { alice } = world;
  const continues =
    oldSeed === undefined ? {} : { continues: signContinues(oldSeed, { userId: ALICE, newKey: alice.masterKey }) };
  return alice.statement({ ckv: "on", counter: 1, since: SINCE, ...continues });
}

/** Bob, who has verified Alice, whose statement says on. */
async function verified(): Promise<World> {
  const world = new World();
  world.log.setEntry(ALICE, world.alice.entry(statementOf(world)));
  world.epoch();
  await world.start();
  await world.ckv.markVerified(ALICE, encodePublicCode(ALICE, world.alice.masterKey));
  return world;
}

/** Alice resets her identity; the log holds the new keys within a second. Returns the seed of the old master key. */
async function reset(world: World, name: string): Promise<Uint8Array> {
  const oldSeed = world.alice.masterSeed;
  world.alice.reset(name);
  world.client.update(world.alice);
  world.log.setEntry(ALICE, world.alice.entry());
  world.epoch();
  await world.pass(1_000);
  return oldSeed;
}

async function giveWord(world: World, oldSeed: Uint8Array): Promise<void> {
  world.log.setEntry(ALICE, world.alice.entry(statementOf(world, oldSeed)));
  world.epoch();
  await world.pass(30_000);
}

describe("a contact's reset", () => {
  it("is grey until the old key gives its word in the next version, and then no warning", async () => {
    const world = await verified();
    const oldSeed = await reset(world, "new phone");
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "key-pending" });
    await world.pass(3_000);
    await giveWord(world, oldSeed);
    assert.deepEqual(world.codes(), ["reset-signed notice"]);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "first-look" });
    world.stop();
  });

  it("is a warning when merge delay and slack have passed without that word", async () => {
    const world = await verified();
    await reset(world, "new phone");
    await world.pass(7_000);
    assert.deepEqual(world.codes(), []);
    await world.pass(4_000);
    assert.deepEqual(world.codes(), ["reset-unsigned warning"]);
    world.stop();
  });

  it("takes a word that comes late, beside the warning that stands", async () => {
    const world = await verified();
    const oldSeed = await reset(world, "new phone");
    await world.pass(30_000);
    await giveWord(world, oldSeed);
    await world.ckv.refresh(ALICE);
    assert.deepEqual(world.codes(), ["reset-unsigned warning", "reset-signed notice"]);
    for (const { id } of world.ckv.warnings()) await world.ckv.dismiss(id);
    await world.ckv.refresh(ALICE);
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "first-look" });
    world.stop();
  });

  it("may follow another one, each with the word of the key before it", async () => {
    const world = await verified();
    await giveWord(world, await reset(world, "second"));
    await giveWord(world, await reset(world, "third"));
    assert.deepEqual(world.codes(), ["reset-signed notice", "reset-signed notice"]);
    world.stop();
  });

  it("counts no word of a key that nobody compared", async () => {
    const world = await verified();
    await reset(world, "mallory");
    await world.pass(30_000);
    await giveWord(world, await reset(world, "mallory again"));
    const codes = ["reset-unsigned warning", "reset-signed notice", "pin-mismatch warning"];
    assert.deepEqual(world.codes().sort(), codes.sort());
    for (const { id } of world.ckv.warnings()) await world.ckv.dismiss(id);
    await world.ckv.refresh(ALICE);
    assert.equal(world.ckv.statusOf(ALICE).verdict.kind, "warning");
    world.stop();
  });

  it("is told also when another key took its place before the word was due", async () => {
    const world = await verified();
    const { masterSeed, selfSigningSeed } = world.alice;
    await reset(world, "mallory");
    Object.assign(world.alice, { masterSeed, selfSigningSeed });
    world.client.update(world.alice);
    world.log.setEntry(ALICE, world.alice.entry());
    world.epoch();
    await world.pass(1_000);
    assert.deepEqual(world.codes(), ["reset-unsigned warning"]);
    world.stop();
  });

  it("counts no word that does not verify", async () => {
    const world = await verified();
    const oldSeed = await reset(world, "mallory");
    const { continues } = statementOf(world, oldSeed);
    const signature = encodeUnpadded(new Uint8Array(64).fill(1));
    const forged = { ...statementOf(world), continues: { master_key: continues?.master_key ?? "", signature } };
    world.log.setEntry(ALICE, world.alice.entry(forged));
    world.epoch();
    await world.pass(30_000);
    assert.deepEqual(world.codes(), ["reset-unsigned warning"]);
    world.stop();
  });
});

describe("the own reset", () => {
  /** Bob's account is on; whatever he states or shows, the log takes up. */
  async function turnedOn(): Promise<World> {
    const world = new World();
    await world.start();
    world.service.onRefresh = () => {
      world.log.setEntry(BOB, world.bob.entry(...world.service.statements));
    };
    await Promise.all([world.ckv.turnOn(), world.pass(5_000)]);
    return world;
  }

  /** What the host's own reset does. */
  async function byHost(world: World): Promise<void> {
    world.bob.reset("own doing");
    await world.client.secretStorage.store("m.cross_signing.master", encodeUnpadded(world.bob.masterSeed));
    world.client.emit("crossSigning.keysChanged", {});
  }

  for (const hasPrivateKeys of [true, false]) {
    it(`is signed with the old key ${hasPrivateKeys ? "that the SDK holds" : "from secret storage"}`, async () => {
      const world = await turnedOn();
      const oldKey = world.bob.masterKey;
      await world.client.secretStorage.store("m.cross_signing.master", encodeUnpadded(world.bob.masterSeed));
      world.client.hasPrivateKeys = hasPrivateKeys;
      const before = world.client.prompts;
      const done = world.ckv.resetIdentity(() => byHost(world));
      await world.pass(10_000);
      assert.equal(await done, true);
      const last = world.service.statements.at(-1);
      assert.ok(last);
      verifyStatement(last, BOB, world.bob.masterKey);
      assert.equal(last.continues?.master_key, encodeUnpadded(oldKey));
      assert.deepEqual([last.ckv, last.counter], ["on", 1]);
      assert.ok(hasPrivateKeys || world.client.prompts > before);
      if (hasPrivateKeys) assert.deepEqual(world.codes(), []);
      world.stop();
    });
  }

  it("goes on unsigned where nobody has the old key", async () => {
    const world = await turnedOn();
    world.client.hasPrivateKeys = false;
    const done = world.ckv.resetIdentity(() => byHost(world));
    await world.pass(10_000);
    assert.equal(await done, false);
    assert.equal(world.service.statements.length, 1);
    world.stop();
  });

  it("signs no key but the one whose private half is here", async () => {
    const world = await turnedOn();
    const done = world.ckv.resetIdentity(async () => {
      world.bob.reset("mallory");
      world.client.hasPrivateKeys = false;
      await Promise.resolve();
    });
    await Promise.all([assert.rejects(done, /private key is not at hand/), world.pass(10_000)]);
    assert.equal(world.service.statements.length, 1);
    world.stop();
  });

  it("does not begin where the log can't be asked, and passes on what the host throws", async () => {
    const world = await turnedOn();
    world.service.down = true;
    let begun = false;
    const refused = world.ckv.resetIdentity(async () => {
      begun = true;
      await Promise.resolve();
    });
    await Promise.all([assert.rejects(refused), world.pass(1_000)]);
    assert.equal(begun, false);
    world.service.down = false;
    const cancelled = world.ckv.resetIdentity(() => Promise.reject(new Error("cancelled")));
    await Promise.all([assert.rejects(cancelled, /cancelled/), world.pass(1_000)]);
    world.stop();
  });
});
