/** Who sent an Olm-encrypted to-device message: a device in the crypto store, and never what the message says of itself. */
import { MINUTE_MS } from "../shared/parameters.ts";
import type { Clock } from "./clock.ts";
import type { ClientLike, ReceivedToDevice } from "./matrix.ts";
import { fetchKeys, readStore } from "./matrix.ts";
import { sharedRooms } from "./warnings.ts";

/** A device as the crypto store knows it. */
export interface SenderDevice {
  readonly deviceId: string;
  readonly signedByOwner: boolean;
}

/** The store is made to ask for the keys of one user at most this often. */
const FETCH_EVERY_MS = MINUTE_MS;

/** The sending device; undefined for a message in clear, or one whose Olm key is not that of a device of the sender. */
export async function senderDeviceOf(
  client: ClientLike,
  { encryptionInfo: info, message: { sender } }: ReceivedToDevice,
): Promise<SenderDevice | undefined> {
  if (info?.sender !== sender) return undefined;
  for (const [deviceId, device] of (await readStore(client, sender)).devices) {
    if (device.curve25519 === info.senderCurve25519KeyBase64) return { deviceId, signedByOwner: device.signedByOwner };
  }
  return undefined;
}

/**
 * Finds the devices that send. One that the store has not heard of yet is looked for once more after the store has asked
 * for its owner's keys: a message may be faster than the news of the device. Nobody but those in an encrypted room with
 * this account can bring that about, each once a minute.
 */
export class Senders {
  readonly #client: ClientLike;
  readonly #clock: Clock;
  /** The last time the keys of a user were asked for, by user id; all who come meanwhile wait for the same answer. */
  readonly #fetched = new Map<string, { readonly atMs: number; readonly done: Promise<void> }>();

  constructor(client: ClientLike, clock: Clock) {
    this.#client = client;
    this.#clock = clock;
  }

  async deviceOf(received: ReceivedToDevice): Promise<SenderDevice | undefined> {
    const known = await senderDeviceOf(this.#client, received);
    const { encryptionInfo: info, message } = received;
    if (known !== undefined || info?.sender !== message.sender) return known;
    if (sharedRooms(this.#client, message.sender).length === 0) return undefined;
    await this.#fetch(message.sender);
    return await senderDeviceOf(this.#client, received);
  }

  async #fetch(userId: string): Promise<void> {
    const nowMs = this.#clock.now();
    const last = this.#fetched.get(userId);
    const isRecent = last !== undefined && nowMs - last.atMs < FETCH_EVERY_MS;
    const fetched = isRecent ? last : { atMs: nowMs, done: fetchKeys(this.#client, userId) };
    this.#fetched.set(userId, fetched);
    await fetched.done;
  }
}
