/**
 * Which keys of a user encryption has used, or might have, since the last complete check: what stood in the crypto store
 * and in the answers given to it. Each must be found in some version of the user's history (protocol 3.1, step 8).
 * Keys are compared as decoded bytes, never as JSON.
 */
import { decodeUnpadded, encodeUnpadded } from "../shared/encoding.ts";
import type { Device, Entry, UnreadableObject } from "../shared/directory/entry.ts";
import type { Stated } from "../shared/directory/statement.ts";
import type { StoreKeys } from "./matrix.ts";

/** A key, or a device's pair of keys, that was seen and not yet found in the history. Stored as JSON. */
export interface SeenKey {
  /** Names the kind, the device and the keys: two that are equal are one. */
  readonly id: string;
  readonly deviceId?: string;
  readonly firstSeenMs: number;
  /** When the log was first asked, and answered without it. While the log does not answer, no time runs against it. */
  missingSinceMs?: number;
  /** In the crypto store at the last look. */
  inStore: boolean;
  /** When an own device sent an encrypted event to the user after the key was seen. */
  sentMs?: number;
  /** The class under which its absence was told. */
  told?: "notice" | "warning";
  /** The log promised a version that contains it. */
  promised?: boolean;
}

/** One form for each key: canonical unpadded base64 of its bytes; a text that is no key is kept as it is. */
function canonicalKey(text: string): string {
  try {
    return encodeUnpadded(decodeUnpadded(text.replace(/=+$/, "")));
  } catch {
    return `not base64: ${text.slice(0, 200)}`;
  }
}

function deviceKey(deviceId: string, ed25519: string, curve25519: string): string {
  return `device ${deviceId} ${ed25519} ${curve25519}`;
}

/** Ids of all that the store holds for a user. */
export function keysOfStore(store: StoreKeys): Map<string, { deviceId?: string }> {
  const keys = new Map<string, { deviceId?: string }>();
  if (store.masterKey !== undefined) keys.set(`master ${canonicalKey(store.masterKey)}`, {});
  if (store.selfSigningKey !== undefined) keys.set(`self-signing ${canonicalKey(store.selfSigningKey)}`, {});
  for (const [deviceId, { ed25519, curve25519 }] of store.devices) {
    keys.set(deviceKey(deviceId, canonicalKey(ed25519), canonicalKey(curve25519)), { deviceId });
  }
  return keys;
}

/** Devices in the store that their owner has not signed, by device id and Ed25519 key. */
export function unsignedOfStore({ devices }: StoreKeys): string[] {
  return [...devices]
    .filter(([, { signedByOwner }]) => !signedByOwner)
    .map(([deviceId, { ed25519 }]) => `${deviceId} ${canonicalKey(ed25519)}`);
}

/** Ids of all that an entry holds. Objects it calls unreadable have no keys. */
export function keysOfEntry(entry: Entry): Set<string> {
  const keys = new Set<string>();
  if (entry.masterKey?.kind === "key") keys.add(`master ${encodeUnpadded(entry.masterKey.key)}`);
  if (entry.selfSigningKey?.kind === "key") keys.add(`self-signing ${encodeUnpadded(entry.selfSigningKey.key)}`);
  for (const [deviceId, device] of entry.devices) {
    if (device.kind !== "device") continue;
    keys.add(keyOfDevice(deviceId, device));
  }
  return keys;
}

/** The master key of an entry as unpadded base64. */
export function masterOf(entry: Entry | undefined): string | undefined {
  return entry?.masterKey?.kind === "key" ? encodeUnpadded(entry.masterKey.key) : undefined;
}

/** What an entry holds of its owner's word. */
export function statedIn({ userId, masterKey, statement }: Entry): Stated {
  return { userId, masterKey: masterKey?.kind === "key" ? masterKey.key : undefined, statement };
}

/** Id of the keys of a device in an entry. */
export function keyOfDevice(deviceId: string, { ed25519, curve25519 }: Device): string {
  return deviceKey(deviceId, encodeUnpadded(ed25519), encodeUnpadded(curve25519));
}

/** Whether what stands under one device id before and now are two devices with other keys. */
export function isOtherDevice(before: Device | UnreadableObject | undefined, now: Device | UnreadableObject): boolean {
  if (before?.kind !== "device" || now.kind !== "device") return false;
  return keyOfDevice("", before) !== keyOfDevice("", now);
}

/** Most users and devices per user that are read from one answer. */
const MAX_ANSWER_USERS = 10_000;
const MAX_ANSWER_DEVICES = 1_000;

/**
 * What a `/keys/query` answer holds, per user, in the form of a store view. Lenient: this is what the SDK was given,
 * and what it made of odd parts is seen in the store.
 */
export function keysOfAnswer(text: string): Map<string, StoreKeys> {
  const answer = objectOf(JSON.parse(text));
  const users = new Map<string, StoreKeys>();
  const named = ["device_keys", "master_keys", "self_signing_keys"].flatMap((name) =>
    Object.keys(objectOf(answer[name])),
  );
  for (const userId of [...new Set(named)].slice(0, MAX_ANSWER_USERS)) users.set(userId, keysOfUser(answer, userId));
  return users;
}

function keysOfUser(answer: Record<string, unknown>, userId: string): StoreKeys {
  const devices = new Map<string, { ed25519: string; curve25519: string; signedByOwner: boolean }>();
  const served = Object.entries(objectOf(objectOf(answer["device_keys"])[userId])).slice(0, MAX_ANSWER_DEVICES);
  for (const [deviceId, device] of served) {
    const keys = objectOf(objectOf(device)["keys"]);
    const [ed25519, curve25519] = [keys[`ed25519:${deviceId}`], keys[`curve25519:${deviceId}`]];
    if (typeof ed25519 !== "string" || typeof curve25519 !== "string") continue;
    devices.set(deviceId, { ed25519, curve25519, signedByOwner: false });
  }
  return {
    tracked: true,
    masterKey: onlyKey(objectOf(answer["master_keys"])[userId]),
    selfSigningKey: onlyKey(objectOf(answer["self_signing_keys"])[userId]),
    devices,
  };
}

function onlyKey(value: unknown): string | undefined {
  const [key, ...others] = Object.values(objectOf(objectOf(value)["keys"]));
  return typeof key === "string" && others.length === 0 ? key : undefined;
}

function objectOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

/** Most keys of one user that are remembered as not yet found; a server that shows more only hides its own trail. */
const MAX_SEEN = 1_000;

/** Adds keys to those seen. `inStore`: they are the store's present content, and the others are no longer in it. */
export function noteSeen(
  seen: SeenKey[],
  keys: Map<string, { deviceId?: string }>,
  nowMs: number,
  inStore: boolean,
): void {
  if (inStore) for (const key of seen) key.inStore = keys.has(key.id);
  for (const [id, about] of keys) {
    if (seen.length >= MAX_SEEN || seen.some((key) => key.id === id)) continue;
    seen.push({ id, ...about, firstSeenMs: nowMs, inStore });
  }
}
