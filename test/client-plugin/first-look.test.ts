/** What a client can't know that has no past with a log and no policy of its own: it says so, and no more. */
import assert from "node:assert/strict";
import { cosign } from "../../shared/crypto/cosignature.ts";
import { publicKeyOf } from "../../shared/crypto/ed25519.ts";
import { COSIGNATURE_KEY, appendSignature, formatVkey } from "../../shared/crypto/signed-note.ts";
import { seedOf } from "../support/test-user.ts";
import { ALICE, World } from "./world.ts";

const HOUR_MS = 3_600_000;
const FIRST_LOOK = { kind: "unchecked", reason: "first-look" };
const witness = { name: "w.example", seed: seedOf("witness") };
const vkey = formatVkey({ name: witness.name, type: COSIGNATURE_KEY, publicKey: publicKeyOf(witness.seed) });
const POLICY = `witness w ${vkey}\nquorum w\n`;

/** Heads carry the cosignature of this test's witness. */
function cosigned(world: World): void {
  world.service.lies.set("/v1/lookup", (body) => {
    const answer = world.log.lookup(String(body["user_id"]));
    const { checkpoint } = answer.head;
    const line = cosign(checkpoint, { ...witness, timestampS: Math.floor(world.clock.now() / 1_000) });
    return { ...answer, head: { ...answer.head, checkpoint: appendSignature(checkpoint, line) } };
  });
}

describe("a log set back, to before a device was removed", () => {
  /** The client has followed Alice for a day; of her two devices one is gone, until the log is set back. */
  async function setBack(forgets: boolean): Promise<World> {
    const world = new World();
    world.alice.devices.set("ATABLET", {});
    world.log.setEntry(ALICE, world.alice.entry());
    world.epoch();
    world.client.update(world.alice);
    await world.start();
    const before = world.log.fork();
    world.alice.devices.delete("ATABLET");
    world.log.setEntry(ALICE, world.alice.entry());
    world.epoch();
    world.client.update(world.alice);
    await world.pass(25 * HOUR_MS);
    assert.deepEqual(world.verdict(), { kind: "consistent", ground: "own-history" });
    if (forgets) world.loseState();
    world.alice.devices.set("ATABLET", {});
    world.client.update(world.alice);
    for (let at = 1; at < 9; at += 1) before.closeEpoch(world.clock.now() - 9 + at);
    world.service.log = before;
    await world.start();
    await Promise.all([world.ckv.refresh(ALICE), world.pass(60_000)]);
    return world;
  }

  it("10: is a first look to a client that lost all state, and no ground to be sure", async () => {
    const world = await setBack(true);
    assert.deepEqual(world.verdict(), FIRST_LOOK);
    await world.pass(2 * HOUR_MS);
    assert.deepEqual(world.verdict(), FIRST_LOOK);
    assert.deepEqual(world.codes(), []);
    world.stop();
  });

  it("10: is found by one that has lost nothing", async () => {
    const world = await setBack(false);
    assert.notDeepEqual(world.verdict(), FIRST_LOOK);
    assert.notEqual((world.verdict() as { kind: string }).kind, "consistent");
    await world.pass(15 * 60_000);
    assert.deepEqual(world.codes(), ["changed-unchecked notice", "head-withheld notice"]);
    world.stop();
  });
});

describe("a configuration that asks for no witness", () => {
  it("26: meets no policy, for a client that has none", async () => {
    for (const quorum of [undefined, "quorum none\n"]) {
      const world = new World(quorum === undefined ? {} : { policy: { quorum, slackMs: 5_000 } });
      assert.deepEqual(world.log.configuration.witnesses, []);
      await world.start();
      assert.deepEqual(world.verdict(), FIRST_LOOK);
      assert.deepEqual(world.codes(), []);
      world.stop();
    }
  });

  it("26: does not undo the client's own policy", async () => {
    const world = new World({ policy: { quorum: POLICY, slackMs: 5_000 } });
    await world.start();
    assert.deepEqual(world.verdict(), { kind: "unchecked", reason: "quorum-missing" });
    assert.deepEqual(world.codes(), []);
    cosigned(world);
    await world.ckv.refresh(ALICE);
    assert.deepEqual(world.verdict(), { kind: "consistent", ground: "quorum" });
    world.stop();
  });

  it("26: gains nothing from a witness that it names itself", async () => {
    const world = new World();
    world.log.reconfigure({ witnesses: [vkey] });
    world.epoch();
    cosigned(world);
    await world.start();
    assert.deepEqual(world.verdict(), FIRST_LOOK);
    world.stop();
  });
});
