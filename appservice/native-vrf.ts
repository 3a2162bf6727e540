/** The VRF of the core on libsodium, ten times as fast; where its binary does not load, on noble. Same bytes. */
import { createRequire } from "node:module";
import { expandVrfSeed, proveVrf, proveVrfWith } from "../shared/crypto/vrf.ts";
import type { Group, VrfProof } from "../shared/crypto/vrf.ts";
import { utf8 } from "../shared/encoding.ts";

/** Proves the index of a user id. */
export type IndexProver = (userId: string) => VrfProof;

/** The part of libsodium that is used. Each writes its first argument and throws where libsodium returns an error. */
interface Sodium {
  crypto_core_ed25519_add(sum: Uint8Array, p: Uint8Array, q: Uint8Array): void;
  crypto_core_ed25519_is_valid_point(p: Uint8Array): boolean;
  crypto_scalarmult_ed25519_noclamp(product: Uint8Array, scalar: Uint8Array, p: Uint8Array): void;
  crypto_scalarmult_ed25519_base_noclamp(product: Uint8Array, scalar: Uint8Array): void;
}

function loadSodium(): Sodium | undefined {
  try {
    return createRequire(import.meta.url)("sodium-native") as Sodium;
  } catch {
    return undefined;
  }
}

/** A prover for a VRF seed (32 bytes), on the fastest arithmetic there is. */
export function indexProver(seed: Uint8Array): IndexProver {
  const sodium = loadSodium();
  if (sodium === undefined) return (userId) => proveVrf(seed, utf8(userId));
  const [group, key] = [sodiumGroup(sodium), expandVrfSeed(seed)];
  return (userId) => proveVrfWith(group, key, utf8(userId));
}

/** Points as their 32 bytes. */
function sodiumGroup(sodium: Sodium): Group<Uint8Array> {
  const add = (p: Uint8Array, q: Uint8Array): Uint8Array => {
    const sum = Buffer.allocUnsafe(32);
    sodium.crypto_core_ed25519_add(sum, p, q);
    return sum;
  };
  const double = (p: Uint8Array): Uint8Array => add(p, p);
  return {
    decode: (bytes) => (isCanonical(bytes) && isPoint(double, bytes) ? bytes : undefined),
    encode: (point) => point,
    clearCofactor(point) {
      const cleared = double(double(double(point)));
      return isIdentity(cleared) ? undefined : cleared;
    },
    multiply(point, scalar) {
      const product = Buffer.allocUnsafe(32);
      sodium.crypto_scalarmult_ed25519_noclamp(product, scalarBytes(scalar), point);
      return product;
    },
    multiplyBase(scalar) {
      const product = Buffer.allocUnsafe(32);
      sodium.crypto_scalarmult_ed25519_base_noclamp(product, scalarBytes(scalar));
      return product;
    },
  };
}

/** Addition is the only call that decodes a point outside the group of prime order; it throws on what is no point. */
function isPoint(double: (p: Uint8Array) => Uint8Array, bytes: Uint8Array): boolean {
  try {
    double(bytes);
    return true;
  } catch {
    return false;
  }
}

/** Whether y is below 2^255 - 19 and, where x is zero (y is 1 or -1), the sign is not set; libsodium takes either. */
function isCanonical(bytes: Uint8Array): boolean {
  const y = Buffer.from(bytes).reverse();
  const sign = ((y[0] ?? 0) & 0x80) !== 0;
  y[0] = (y[0] ?? 0) & 0x7f;
  const hex = y.toString("hex");
  return hex < FIELD_PRIME && !(sign && (hex === ONE || hex === MINUS_ONE));
}

const FIELD_PRIME = "7f" + "ff".repeat(30) + "ed";
const MINUS_ONE = "7f" + "ff".repeat(30) + "ec";
const ONE = "00".repeat(31) + "01";

function isIdentity(point: Uint8Array): boolean {
  return point[0] === 1 && point.subarray(1).every((byte) => byte === 0);
}

function scalarBytes(scalar: bigint): Buffer {
  return Buffer.from(scalar.toString(16).padStart(64, "0"), "hex").reverse();
}
