import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { openClient } from "./client.ts";
import type { OpenClient } from "./client.ts";
import { startSynapse } from "./synapse.ts";
import type { Synapse } from "./synapse.ts";

describe("support/client", function () {
  this.timeout(60_000);
  let synapse: Synapse;
  let alice: OpenClient;
  let bob: OpenClient;

  before(async () => {
    synapse = await startSynapse();
    [alice, bob] = await Promise.all([openClient(synapse, "Alice"), openClient(synapse, "Bob")]);
  });
  after(async () => {
    await Promise.all([alice.close(), bob.close()]);
    await synapse.close();
  });

  it("reads what others wrote in an encrypted chat", async () => {
    const chat = await alice.createEncryptedChat(bob.account.userId);
    await bob.join(chat);
    await bob.send(chat, "hello");
    await hears(alice, chat, "hello");
    const event = alice.matrix.getRoom(chat)?.getLiveTimeline().getEvents().at(-1);
    assert.equal(event?.getWireType(), "m.room.encrypted");
  });

  it("opens a further device that the identity has signed, and that reads new messages", async () => {
    const tablet = await alice.anotherDevice();
    assert.notEqual(tablet.account.deviceId, alice.account.deviceId);
    const chat = await bob.createEncryptedChat(alice.account.userId);
    await tablet.join(chat);
    await bob.send(chat, "to both");
    await hears(tablet, chat, "to both");
    await tablet.close();
  });

  it("resets an identity", async () => {
    const before = await alice.crypto.getCrossSigningKeyId();
    await alice.resetIdentity();
    assert.notEqual(await alice.crypto.getCrossSigningKeyId(), before);
    const fresh = await bob.startAgain();
    assert.equal(fresh.account.userId, bob.account.userId);
    await fresh.close();
  });
});

async function hears(client: OpenClient, chat: string, text: string): Promise<void> {
  const endMs = performance.now() + 20_000;
  while (!client.messages(chat).includes(text)) {
    assert.ok(performance.now() < endMs, `never heard "${text}"; heard: ${client.messages(chat).join()}`);
    await delay(50);
  }
}
