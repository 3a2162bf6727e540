import assert from "node:assert/strict";
import { startSynapse } from "./synapse.ts";
import type { Synapse, SynapseUser } from "./synapse.ts";

describe("support/synapse", function () {
  this.timeout(60_000);
  let synapse: Synapse;
  let alice: SynapseUser;
  let bob: SynapseUser;
  let carol: SynapseUser;

  before(async () => {
    synapse = await startSynapse({
      extraConfig: { extra_well_known_client_content: { "org.matrix-ckv": { room: "#ckv" } } },
    });
    [alice, bob, carol] = [
      await synapse.registerUser("alice"),
      await synapse.registerUser("bob"),
      await synapse.registerUser("carol"),
    ];
    await upload(synapse, alice);
  });
  after(async () => {
    await synapse.close();
  });

  it("serves the well-known content it is given", async () => {
    const answer = (await (await fetch(`${synapse.url}/.well-known/matrix/client`)).json()) as Record<string, unknown>;
    assert.deepEqual(answer["org.matrix-ckv"], { room: "#ckv" });
  });

  it("tells a lie to the readers of its rule alone", async () => {
    const ghost = { user_id: alice.userId, device_id: "GHOST", algorithms: [], keys: {}, signatures: {} };
    await synapse.setRules([
      { victim: alice.userId, readers: [bob.userId], devices: { GHOST: ghost }, hide_devices: [alice.deviceId] },
      { victim: alice.userId, readers: ["*"], except: [alice.userId, bob.userId], hide_devices: [alice.deviceId] },
    ]);
    assert.deepEqual(await devicesSeenBy(synapse, bob, alice), ["GHOST"]);
    assert.deepEqual(await devicesSeenBy(synapse, carol, alice), []);
    assert.deepEqual(await devicesSeenBy(synapse, alice, alice), [alice.deviceId]);
  });

  it("shows another identity, and the truth again when the rules are gone", async () => {
    await synapse.setRules([
      { victim: alice.userId, readers: [bob.userId], master_key: { user_id: alice.userId, forged: true } },
    ]);
    assert.deepEqual((await query(synapse, bob, alice)).master_keys[alice.userId], {
      user_id: alice.userId,
      forged: true,
    });
    await synapse.setRules([]);
    assert.equal((await query(synapse, bob, alice)).master_keys[alice.userId], undefined);
    assert.deepEqual(await devicesSeenBy(synapse, bob, alice), [alice.deviceId]);
  });

  it("keeps its users over a restart", async () => {
    await synapse.restart();
    assert.notEqual((await synapse.logIn(alice)).deviceId, alice.deviceId);
  });
});

async function upload(synapse: Synapse, { userId, deviceId, accessToken }: SynapseUser): Promise<void> {
  const device_keys = {
    user_id: userId,
    device_id: deviceId,
    algorithms: ["m.olm.v1.curve25519-aes-sha2"],
    keys: { [`ed25519:${deviceId}`]: "A".repeat(43), [`curve25519:${deviceId}`]: "A".repeat(43) },
    signatures: { [userId]: { [`ed25519:${deviceId}`]: "A".repeat(86) } },
  };
  await post(synapse, accessToken, "keys/upload", { device_keys });
}

interface KeysQueryAnswer {
  readonly device_keys: Record<string, Record<string, unknown>>;
  readonly master_keys: Record<string, unknown>;
}

async function query(synapse: Synapse, reader: SynapseUser, victim: SynapseUser): Promise<KeysQueryAnswer> {
  const answer = await post(synapse, reader.accessToken, "keys/query", { device_keys: { [victim.userId]: [] } });
  return answer as KeysQueryAnswer;
}

async function devicesSeenBy(synapse: Synapse, reader: SynapseUser, victim: SynapseUser): Promise<string[]> {
  return Object.keys((await query(synapse, reader, victim)).device_keys[victim.userId] ?? {});
}

async function post(synapse: Synapse, token: string, path: string, body: unknown): Promise<unknown> {
  const headers = { authorization: `Bearer ${token}` };
  const url = `${synapse.url}/_matrix/client/v3/${path}`;
  const answer = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
  assert.equal(answer.status, 200);
  return await answer.json();
}
