/**
 * What the own devices tell each other, Olm-encrypted: the key of the shared state, and how far each has read it. A new
 * device asks; until one answers, nobody has confirmed that the server shows it everything. protocol "State of an
 * account".
 */
import { decodeUnpadded, encodeUnpadded } from "../shared/encoding.ts";
import { MATRIX_NAMES } from "../shared/messages.ts";
import type { AccountState } from "./contacts.ts";
import type { ClientLike, ReceivedToDevice } from "./matrix.ts";
import { sendToDevices, signedDevices } from "./matrix.ts";
import { senderDeviceOf } from "./senders.ts";

/** Position of this device among the own signed devices, from 0. */
export async function rankOfThisDevice(client: ClientLike): Promise<number> {
  const own = client.getDeviceId() ?? "";
  return (await signedDevices(client, client.getSafeUserId())).filter((deviceId) => deviceId < own).length;
}

/** Asks all own signed devices for the key and the counters. */
export async function askOwnDevices(client: ClientLike): Promise<void> {
  const userId = client.getSafeUserId();
  const devices = (await signedDevices(client, userId)).map((deviceId) => ({ userId, deviceId }));
  await sendToDevices(client, MATRIX_NAMES.state, devices, { action: "ask" });
}

/** Handles a message of type `org.matrix-ckv.state`. Only an own verified device is answered or believed. */
export async function receiveFromOwnDevice(
  client: ClientLike,
  state: AccountState,
  received: ReceivedToDevice,
): Promise<void> {
  const userId = client.getSafeUserId();
  const { message, encryptionInfo } = received;
  if (message.sender !== userId || encryptionInfo?.senderVerified !== true) return;
  const sender = await senderDeviceOf(client, received);
  if (sender?.signedByOwner !== true || sender.deviceId === client.getDeviceId()) return;
  if (message.content["action"] === "ask") {
    await tell(client, state, sender.deviceId);
  } else if (message.content["action"] === "tell") {
    await beTold(state, message.content);
  }
}

async function tell(client: ClientLike, state: AccountState, deviceId: string): Promise<void> {
  const userId = client.getSafeUserId();
  const key = state.syncKey === undefined ? {} : { sync_key: encodeUnpadded(state.syncKey) };
  await sendToDevices(client, MATRIX_NAMES.state, [{ userId, deviceId }], {
    action: "tell",
    writes: JSON.stringify(state.writes),
    ...key,
  });
}

async function beTold(state: AccountState, content: Record<string, unknown>): Promise<void> {
  const { sync_key: key, writes } = content;
  if (typeof key === "string" && state.syncKey === undefined) await state.unlock(decodeUnpadded(key));
  if (typeof writes === "string" && writes.length < 65_536) {
    state.confirm(JSON.parse(writes) as Record<string, Record<string, number>>);
  }
}

/**
 * The key of the shared state from secret storage, made and stored there when there is none. The host may ask for the
 * recovery key: only after a user's own action. Without secret storage a key is made that only own devices hand on.
 */
export async function unlockFromSecretStorage(
  client: ClientLike,
  state: AccountState,
  random: (length: number) => Uint8Array,
): Promise<void> {
  const storage = client.secretStorage;
  if (!(await storage.hasKey())) {
    if (state.syncKey === undefined) await state.unlock(random(32));
    return;
  }
  const stored = await storage.get(MATRIX_NAMES.syncKey);
  if (stored !== undefined) {
    await state.unlock(decodeUnpadded(stored));
    return;
  }
  const key = state.syncKey ?? random(32);
  await storage.store(MATRIX_NAMES.syncKey, encodeUnpadded(key));
  await state.unlock(key);
}
