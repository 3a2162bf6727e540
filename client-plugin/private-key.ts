/**
 * A private cross-signing key at work. What is secret meets WebCrypto only, never arithmetic of ours: Ed25519 in Chromium
 * from 137, Firefox from 129, Safari from 17, Node from 22.
 */
import { concat, decodeHex, decodeUnpadded } from "../shared/encoding.ts";

export interface PrivateKey {
  /** Raw, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** The 64 bytes of a signature. */
  sign(message: Uint8Array): Promise<Uint8Array>;
}

/** What stands before a seed in a private key of PKCS #8 (RFC 8410, "Private Key Format"). */
const PKCS8_PREFIX = decodeHex("302e020100300506032b657004220420");

/** The key of a 32-byte seed in unpadded base64, as the SDK keeps it. */
export async function openPrivateKey(seed: string): Promise<PrivateKey> {
  const pkcs8 = owned(concat(PKCS8_PREFIX, decodeUnpadded(seed)));
  const key = await crypto.subtle.importKey("pkcs8", pkcs8, "Ed25519", true, ["sign"]);
  const { x = "" } = await crypto.subtle.exportKey("jwk", key);
  return {
    publicKey: decodeUnpadded(x.replaceAll("-", "+").replaceAll("_", "/")),
    sign: async (message) => new Uint8Array(await crypto.subtle.sign("Ed25519", key, owned(message))),
  };
}

/** WebCrypto wants bytes in a buffer of their own. */
export function owned(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes);
}
