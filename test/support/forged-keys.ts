/** Keys as a lying homeserver makes them up: well-formed, correctly self-signed, and nobody's. */
import { randomBytes } from "node:crypto";
import { publicKeyOf, signEd25519 } from "../../shared/crypto/ed25519.ts";
import { canonicalJson, encodeUnpadded, utf8 } from "../../shared/encoding.ts";
import type { JsonValue } from "../../shared/encoding.ts";

/** A key object as `/keys/query` serves it: a device, a master key or a self-signing key. */
export interface KeyObject {
  readonly [member: string]: JsonValue;
}

/** Members that no signature covers. */
const UNSIGNED: ReadonlySet<string> = new Set(["signatures", "unsigned"]);

type Signatures = Readonly<Record<string, Readonly<Record<string, string>>>>;

/** What a homeserver can show about one user, by device id and by role. */
export interface ShownKeys {
  readonly devices: Readonly<Record<string, KeyObject>>;
  readonly masterKey?: KeyObject;
  readonly selfSigningKey?: KeyObject;
}

/** The object with one more signature by `seed`, over everything but `signatures` and `unsigned`. */
function signed(object: KeyObject, userId: string, keyName: string, seed: Uint8Array): KeyObject {
  const message = Object.fromEntries(Object.entries(object).filter(([name]) => !UNSIGNED.has(name)));
  const others = (object["signatures"] ?? {}) as Signatures;
  const signature = encodeUnpadded(signEd25519(seed, utf8(canonicalJson(message))));
  return { ...message, signatures: { ...others, [userId]: { ...others[userId], [`ed25519:${keyName}`]: signature } } };
}

/** A device nobody owns: its keys are random, its signature over itself is good, no identity has signed it. */
export function forgedDevice(userId: string, deviceId: string): KeyObject {
  const seed = randomBytes(32);
  const device: KeyObject = {
    algorithms: ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
    device_id: deviceId,
    keys: {
      [`curve25519:${deviceId}`]: encodeUnpadded(randomBytes(32)),
      [`ed25519:${deviceId}`]: encodeUnpadded(publicKeyOf(seed)),
    },
    user_id: userId,
  };
  return signed(device, userId, deviceId, seed);
}

/** A digital identity nobody owns: a master key, a self-signing key signed by it, and the way to sign devices with it. */
export interface ForgedIdentity {
  readonly masterKey: KeyObject;
  readonly selfSigningKey: KeyObject;
  signDevice(device: KeyObject): KeyObject;
}

export function forgedIdentity(userId: string): ForgedIdentity {
  const [masterSeed, selfSigningSeed] = [randomBytes(32), randomBytes(32)];
  const selfSigningKey = crossSigningKey(userId, "self_signing", selfSigningSeed);
  return {
    masterKey: crossSigningKey(userId, "master", masterSeed),
    selfSigningKey: signed(selfSigningKey, userId, publicKeyText(masterSeed), masterSeed),
    signDevice: (device) => signed(device, userId, publicKeyText(selfSigningSeed), selfSigningSeed),
  };
}

function crossSigningKey(userId: string, usage: string, seed: Uint8Array): KeyObject {
  const key = publicKeyText(seed);
  return { keys: { [`ed25519:${key}`]: key }, usage: [usage], user_id: userId };
}

function publicKeyText(seed: Uint8Array): string {
  return encodeUnpadded(publicKeyOf(seed));
}
