/** What an epoch changed, index by index; its hash stands in the record. shared/README.md, "Auditors, witnesses, gossip". */
import type { Hash } from "../crypto/hash.ts";
import { HASH_BYTES } from "../crypto/hash.ts";
import { checkSafeInteger, compareBytes, Reader, taggedHash, Writer } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import type { Frontier } from "../merkle/tree.ts";
import { frontierLength } from "../merkle/tree.ts";
import { MAX_CHANGES_PER_EPOCH, MAX_VERSIONS_PER_EPOCH } from "../parameters.ts";

/** The history of one index grew from `old` by one version per commitment. */
export interface Change {
  readonly index: Hash;
  readonly old: Frontier;
  readonly commitments: readonly Hash[];
}

/** `index || u64 old_n || frontier hashes || u8 k || k commitments` for each change, in the order given. */
export function encodeChangeList(changes: readonly Change[]): Uint8Array {
  const writer = new Writer();
  for (const { index, old, commitments } of changes) {
    writer.bytes(index).u64(old.size);
    for (const hash of old.hashes) writer.bytes(hash);
    writer.u8(commitments.length);
    for (const commitment of commitments) writer.bytes(commitment);
  }
  return writer.finish();
}

/** The rows of a change list, every byte consumed, or `malformed`. `changeListProblem` says whether they may stand so. */
export function parseChangeList(bytes: Uint8Array): readonly Change[] {
  const reader = new Reader(bytes);
  const changes: Change[] = [];
  while (reader.remaining > 0) {
    if (changes.length === MAX_CHANGES_PER_EPOCH) throw new VerificationError("malformed", "a change list is too long");
    const index = reader.bytes(HASH_BYTES);
    const size = reader.u64();
    const old = { size, hashes: readHashes(reader, frontierLength(size)) };
    const commitments = readHashes(reader, reader.u8());
    checkSafeInteger(size + commitments.length, "a version");
    changes.push({ index, old, commitments });
  }
  return changes;
}

function readHashes(reader: Reader, count: number): Hash[] {
  return Array.from({ length: count }, () => reader.bytes(HASH_BYTES));
}

/** The first rule a list breaks, row by row; undefined when it breaks none. */
export function changeListProblem(
  changes: readonly Change[],
): "audit-order" | "audit-duplicate" | "audit-empty-entry" | "audit-limit" | undefined {
  for (const [position, { index, commitments }] of changes.entries()) {
    const order = compareBytes(changes[position - 1]?.index ?? new Uint8Array(), index);
    if (order === 0) return "audit-duplicate";
    if (order > 0) return "audit-order";
    if (commitments.length === 0) return "audit-empty-entry";
    if (commitments.length > MAX_VERSIONS_PER_EPOCH) return "audit-limit";
  }
  return undefined;
}

/** What stands in the record for a change list: SHA-256("ckv/changes/v1" || 0x00 || list). */
export function changesHash(list: Uint8Array): Hash {
  return taggedHash("ckv/changes/v1", list);
}

/** All an auditor needs of an epoch beside its record: the list, and the batch proof of the map before it. */
export interface EpochChanges {
  readonly list: Uint8Array;
  readonly proof: Uint8Array;
}

/** `u32 length || list || proof`: the body of `GET /v1/changes/<epoch>`. */
export function encodeEpochChanges({ list, proof }: EpochChanges): Uint8Array {
  return new Writer().u32(list.length).bytes(list).bytes(proof).finish();
}

/** Inverse of `encodeEpochChanges`; list and proof are not looked into. Throws `malformed`. */
export function parseEpochChanges(bytes: Uint8Array): EpochChanges {
  const reader = new Reader(bytes);
  const list = reader.bytes(reader.u32());
  return { list, proof: reader.bytes(reader.remaining) };
}
