import { Reader, Writer } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import { type Hash, HASH_BYTES } from "../crypto/hash.ts";
import { verifyInclusion } from "../merkle/inclusion.ts";
import { leafHash, LOG_DOMAINS } from "../merkle/tree.ts";

/** One leaf of the log: what an epoch did. `epoch` is its position, `labels` the number of leaves in its map. */
export interface EpochRecord {
  readonly epoch: number;
  readonly timestampMs: number;
  readonly labels: number;
  readonly mapRoot: Hash;
  readonly changesHash: Hash;
  readonly configurationHash: Hash;
}

/** Length of an encoded record. */
export const EPOCH_RECORD_BYTES = 121;
const RECORD_FORMAT = 1;

/** The 121 bytes of a record: format 1, three integers, three hashes (protocol, "Log"). */
export function encodeEpochRecord(record: EpochRecord): Uint8Array {
  const { epoch, timestampMs, labels, mapRoot, changesHash, configurationHash } = record;
  const bytes = new Writer().u8(RECORD_FORMAT).u64(epoch).u64(timestampMs).u64(labels);
  const encoded = bytes.bytes(mapRoot).bytes(changesHash).bytes(configurationHash).finish();
  if (encoded.length !== EPOCH_RECORD_BYTES) throw new RangeError("a hash of a record has not 32 bytes");
  return encoded;
}

/** A record from its bytes. Throws `malformed` on any other length or format. */
export function parseEpochRecord(bytes: Uint8Array): EpochRecord {
  const reader = new Reader(bytes);
  const format = reader.u8();
  if (format !== RECORD_FORMAT) throw new VerificationError("malformed", `epoch record of format ${format}`);
  const record = {
    epoch: reader.u64(),
    timestampMs: reader.u64(),
    labels: reader.u64(),
    mapRoot: reader.bytes(HASH_BYTES),
    changesHash: reader.bytes(HASH_BYTES),
    configurationHash: reader.bytes(HASH_BYTES),
  };
  reader.end();
  return record;
}

/** The bytes of a record are leaf `index` in the tree of a head, or `bad-inclusion`. */
export function verifyRecord(
  bytes: Uint8Array,
  index: number,
  { size, root }: { readonly size: number; readonly root: Hash },
  path: readonly Hash[],
): void {
  verifyInclusion(LOG_DOMAINS, { leafHash: epochLeafHash(bytes), index, size, root, path });
}

/** The leaf of the log for the bytes of a record. */
export function epochLeafHash(bytes: Uint8Array): Hash {
  return leafHash(LOG_DOMAINS, bytes);
}
