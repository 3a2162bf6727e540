/** The part of libsodium that is used. Each function writes its first argument and throws where libsodium returns an error. */
import { createRequire } from "node:module";

export interface Sodium {
  crypto_core_ed25519_add(sum: Uint8Array, p: Uint8Array, q: Uint8Array): void;
  crypto_core_ed25519_scalar_negate(negated: Uint8Array, scalar: Uint8Array): void;
  crypto_core_ed25519_scalar_reduce(reduced: Uint8Array, bytes: Uint8Array): void;
  /** X25519 (RFC 7748): clears bits 0, 1, 2 and 255 of the scalar and sets bit 254. */
  crypto_scalarmult(product: Uint8Array, scalar: Uint8Array, u: Uint8Array): void;
  crypto_scalarmult_ed25519_base_noclamp(product: Uint8Array, scalar: Uint8Array): void;
}

/** Undefined where its binary does not load. */
export function loadSodium(): Sodium | undefined {
  try {
    return createRequire(import.meta.url)("sodium-native") as Sodium;
  } catch {
    return undefined;
  }
}
