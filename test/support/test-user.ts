/** An account with real keys, as a homeserver would show it. Keys come from names, so that every run makes the same. */
import { publicKeyOf, signEd25519 } from "../../shared/crypto/ed25519.ts";
import { sha256 } from "../../shared/crypto/hash.ts";
import { buildEntry } from "../../shared/directory/entry.ts";
import type { ObservedKeys } from "../../shared/directory/entry.ts";
import { signStatement } from "../../shared/directory/statement.ts";
import type { StatementTerms } from "../../shared/directory/statement.ts";
import { canonicalJson, encodeUnpadded, utf8 } from "../../shared/encoding.ts";
import type { JsonObject } from "../../shared/encoding.ts";
import type { Statement } from "../../shared/messages.ts";

/** 32 bytes that depend on nothing but the name. */
export function seedOf(name: string): Uint8Array {
  return sha256(utf8(name));
}

/** Options of a device; `extra` members are signed with the rest. */
export interface TestDevice {
  readonly signedByOwner?: boolean;
  readonly extra?: JsonObject;
  readonly keyName?: string;
}

type Signer = readonly [keyId: string, seed: Uint8Array];

export class TestUser {
  readonly userId: string;
  masterSeed: Uint8Array;
  selfSigningSeed: Uint8Array;
  /** Changed by tests at will. */
  readonly devices: Map<string, TestDevice> = new Map();

  constructor(userId: string, ...deviceIds: readonly string[]) {
    this.userId = userId;
    this.masterSeed = seedOf(`${userId} master`);
    this.selfSigningSeed = seedOf(`${userId} self-signing`);
    for (const deviceId of deviceIds) this.devices.set(deviceId, {});
  }

  get masterKey(): Uint8Array {
    return publicKeyOf(this.masterSeed);
  }

  /** New master and self-signing keys, made from `name`. */
  reset(name: string): void {
    this.masterSeed = seedOf(`${this.userId} master ${name}`);
    this.selfSigningSeed = seedOf(`${this.userId} self-signing ${name}`);
  }

  deviceSeed(deviceId: string): Uint8Array {
    return seedOf(`${this.userId} ${deviceId} ${this.devices.get(deviceId)?.keyName ?? ""}`);
  }

  /** An object with signatures over its canonical JSON, all in the name of this user. */
  signed(object: JsonObject, ...signers: readonly Signer[]): JsonObject {
    const message = utf8(canonicalJson(object));
    const signatures = signers.map(([id, seed]) => [id, encodeUnpadded(signEd25519(seed, message))] as const);
    return { ...object, signatures: { [this.userId]: Object.fromEntries(signatures) } };
  }

  masterObject(): JsonObject {
    return this.#crossSigning(this.masterSeed, "master");
  }

  selfSigningObject(): JsonObject {
    const master = encodeUnpadded(this.masterKey);
    const object = this.#crossSigning(this.selfSigningSeed, "self_signing");
    return this.signed(object, [`ed25519:${master}`, this.masterSeed]);
  }

  #crossSigning(seed: Uint8Array, usage: string): JsonObject {
    const key = encodeUnpadded(publicKeyOf(seed));
    return { keys: { [`ed25519:${key}`]: key }, usage: [usage], user_id: this.userId };
  }

  deviceObject(deviceId: string): JsonObject {
    const { extra = {}, signedByOwner = true } = this.devices.get(deviceId) ?? {};
    const seed = this.deviceSeed(deviceId);
    const keys = {
      [`curve25519:${deviceId}`]: encodeUnpadded(sha256(seed)),
      [`ed25519:${deviceId}`]: encodeUnpadded(publicKeyOf(seed)),
    };
    const algorithms = ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"];
    const object = { algorithms, device_id: deviceId, keys, user_id: this.userId, ...extra };
    const owner: Signer = [`ed25519:${encodeUnpadded(publicKeyOf(this.selfSigningSeed))}`, this.selfSigningSeed];
    return this.signed(object, [`ed25519:${deviceId}`, seed], ...(signedByOwner ? [owner] : []));
  }

  /** The exact texts that a server shows. */
  observed(): ObservedKeys {
    return {
      masterKey: JSON.stringify(this.masterObject()),
      selfSigningKey: JSON.stringify(this.selfSigningObject()),
      devices: new Map([...this.devices.keys()].map((id) => [id, JSON.stringify(this.deviceObject(id))] as const)),
    };
  }

  /** The account's part of an answer of `/keys/query`. */
  keysQuery(): string {
    const devices = Object.fromEntries([...this.devices.keys()].map((id) => [id, this.deviceObject(id)] as const));
    return JSON.stringify({
      device_keys: { [this.userId]: devices },
      failures: {},
      master_keys: { [this.userId]: this.masterObject() },
      self_signing_keys: { [this.userId]: this.selfSigningObject() },
    });
  }

  statement(terms: Omit<StatementTerms, "userId">): Statement {
    return signStatement(this.masterSeed, { ...terms, userId: this.userId });
  }

  entry(...statements: readonly Statement[]): Uint8Array {
    return buildEntry(this.userId, this.observed(), statements).bytes;
  }
}
