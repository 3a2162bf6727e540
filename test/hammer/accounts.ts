/** Accounts of the hammer: real keys and signatures, made by the machine's own Ed25519 so that the load is the service's. */
import { createHash, createPrivateKey, createPublicKey, sign } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { canonicalJson, encodeUnpadded, utf8 } from "../../shared/encoding.ts";
import type { JsonObject } from "../../shared/encoding.ts";

/** Devices an account has at a time, unless it is made a crowd; a change adds one and takes the oldest away. */
const DEVICES = 2;
/** What stands before the 32 bytes of a seed in PKCS #8 (RFC 8410). */
const PKCS8_ED25519 = Buffer.from("302e020100300506032b657004220420", "hex");

interface SigningKey {
  readonly private: KeyObject;
  /** Unpadded base64. */
  readonly public: string;
}

function keyNamed(name: string): SigningKey {
  const seed = createHash("sha256").update(name).digest();
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_ED25519, seed]), format: "der", type: "pkcs8" });
  const { x } = createPublicKey(key).export({ format: "jwk" });
  return { private: key, public: encodeUnpadded(new Uint8Array(Buffer.from(x ?? "", "base64url"))) };
}

export class Account {
  readonly userId: string;
  readonly #master: SigningKey;
  readonly #selfSigning: SigningKey;
  readonly #masterText: string;
  readonly #selfSigningText: string;
  /** Texts of the devices as the homeserver shows them, oldest first. Written by `change`. */
  readonly #devices = new Map<string, string>();
  #made = 0;
  /** How many there may be. Written by `crowd`. */
  #room = DEVICES;

  constructor(userId: string) {
    this.userId = userId;
    this.#master = keyNamed(`${userId} master`);
    this.#selfSigning = keyNamed(`${userId} self-signing`);
    this.#masterText = JSON.stringify(this.#crossSigning(this.#master, "master"));
    const selfSigning = this.#crossSigning(this.#selfSigning, "self_signing");
    this.#selfSigningText = JSON.stringify(this.#signed(selfSigning, [this.#master.public, this.#master]));
    for (let i = 0; i < DEVICES; i++) this.change();
  }

  /** One more device in place of the oldest. Returns its id. */
  change(): string {
    const deviceId = `D${String(this.#made++)}`;
    const key = keyNamed(`${this.userId} ${deviceId}`);
    const curve25519 = createHash("sha256").update(`${this.userId} ${deviceId} curve`).digest();
    const device = {
      algorithms: ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
      device_id: deviceId,
      keys: {
        [`curve25519:${deviceId}`]: encodeUnpadded(new Uint8Array(curve25519)),
        [`ed25519:${deviceId}`]: key.public,
      },
      user_id: this.userId,
    };
    const signed = this.#signed(device, [deviceId, key], [this.#selfSigning.public, this.#selfSigning]);
    this.#devices.set(deviceId, JSON.stringify(signed));
    const [oldest] = this.#devices.keys();
    if (this.#devices.size > this.#room && oldest !== undefined) this.#devices.delete(oldest);
    return deviceId;
  }

  /** From now on there are so many devices. */
  crowd(devices: number): void {
    this.#room = devices;
    while (this.#devices.size < devices) this.change();
  }

  /** The account's members of an answer to `/keys/query`, as JSON texts. */
  get shown(): { readonly master: string; readonly selfSigning: string; readonly devices: string } {
    const devices = [...this.#devices].map(([id, text]) => `${JSON.stringify(id)}:${text}`).join(",");
    return { master: this.#masterText, selfSigning: this.#selfSigningText, devices: `{${devices}}` };
  }

  #crossSigning({ public: key }: SigningKey, usage: string): JsonObject {
    return { keys: { [`ed25519:${key}`]: key }, usage: [usage], user_id: this.userId };
  }

  #signed(object: JsonObject, ...signers: readonly (readonly [id: string, key: SigningKey])[]): JsonObject {
    const message = utf8(canonicalJson(object));
    const signatures = signers.map(
      ([id, key]) => [`ed25519:${id}`, encodeUnpadded(new Uint8Array(sign(null, message, key.private)))] as const,
    );
    return { ...object, signatures: { [this.userId]: Object.fromEntries(signatures) } };
  }
}
