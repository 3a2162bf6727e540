/** Signs checkpoints by the host's Ed25519, which takes a fiftieth of the time of the core's. Same bytes. */
import { createPrivateKey, sign } from "node:crypto";
import { formatSignatureLine } from "../shared/crypto/signed-note.ts";
import type { NoteKey } from "../shared/crypto/signed-note.ts";
import { formatCheckpoint } from "../shared/log/checkpoint.ts";
import type { Checkpoint } from "../shared/log/checkpoint.ts";

/** Returns the signed note of a checkpoint whose origin is the name of the key. */
export type CheckpointSigner = (checkpoint: Checkpoint) => string;

/** What stands before the 32 bytes of a seed in PKCS #8 (RFC 8410). */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");

/** A signer for the log's key: `logKey` is the public half of `seed` (32 bytes). */
export function checkpointSigner({ name, keyId }: NoteKey, seed: Uint8Array): CheckpointSigner {
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: "der", type: "pkcs8" });
  return (checkpoint) => {
    const text = formatCheckpoint(checkpoint);
    const signature = new Uint8Array(sign(null, Buffer.from(text, "utf8"), key));
    return `${text}\n${formatSignatureLine({ name, keyId, signature })}\n`;
  };
}
