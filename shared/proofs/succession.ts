/**
 * From one log to the next: the final epoch of the old names the new, and epoch 0 of the new holds the old map under new
 * indices. shared/README.md, "Configuration and the life of a log".
 */
import type { Hash } from "../crypto/hash.ts";
import { HASH_BYTES } from "../crypto/hash.ts";
import type { NoteKey } from "../crypto/signed-note.ts";
import { configurationHash, parseConfiguration } from "../directory/configuration.ts";
import { equalBytes, parseJson, Reader, Writer } from "../encoding.ts";
import { VerificationError } from "../errors.ts";
import type { MapLeaf } from "../map/map-proof.ts";
import { headPartShape, parseShape } from "../messages.ts";
import type { HeadPart, Shape } from "../messages.ts";
import { MAX_JSON_DEPTH, MAX_NOTE_BYTES } from "../parameters.ts";
import { openProvenRecord } from "./evidence.ts";
import type { OpenedRecord } from "./evidence.ts";

/** The head with which the log before ended, and the text of the configuration that its record carries. */
export interface Predecessor {
  readonly head: HeadPart;
  readonly configuration: string;
}

/** Shape of the body of `GET /v1/predecessor`. */
export const PREDECESSOR_SHAPE: Shape = {
  type: "object",
  properties: { head: headPartShape, configuration: { type: "string", minLength: 1, maxLength: 16_384 } },
  required: ["head", "configuration"],
  additionalProperties: false,
};

const MAX_BYTES = 2 * MAX_NOTE_BYTES;

/** Throws `malformed`. */
export function parsePredecessor(text: string): Predecessor {
  const value = parseJson(text, { maxBytes: MAX_BYTES, maxDepth: MAX_JSON_DEPTH });
  return parseShape(PREDECESSOR_SHAPE, value, "predecessor") as Predecessor;
}

/** The end of a log, signed by its own key. `isFinal`: it names this successor; else the log just stopped. */
export type OpenedPredecessor = OpenedRecord & { readonly isFinal: boolean };

/**
 * Opens what a new log says of the one before. `logKey`: the old log's, which the caller knew before; `successorKey`: the
 * verifier key of the new one. Throws VerificationError.
 */
export function openPredecessor(part: Predecessor, logKey: NoteKey, successorKey: string): OpenedPredecessor {
  const opened = openProvenRecord(part.head, logKey);
  const { checkpoint, record } = opened;
  if (record.epoch !== checkpoint.size - 1) throw malformed("the record of the old log is not its last");
  if (!equalBytes(configurationHash(part.configuration), record.configurationHash)) {
    throw malformed("the old log ended with another configuration");
  }
  const { successor } = parseConfiguration(part.configuration);
  return { ...opened, isFinal: successor?.log_key === successorKey };
}

/** One user in both logs: the old index, and the leaf in the new map, whose history is that of the old one. */
export interface Succession {
  readonly oldIndex: Hash;
  readonly leaf: MapLeaf;
}

/** Users in one page of the bijection, 104 bytes each, in the order of their old indices. */
export const SUCCESSION_PAGE_USERS = 4_096;

/** `old index || new index || u64 n || history root` for each, in the order given. */
export function encodeSuccessionPage(users: readonly Succession[]): Uint8Array {
  const writer = new Writer();
  for (const { oldIndex, leaf } of users) {
    writer.bytes(oldIndex).bytes(leaf.index).u64(leaf.n).bytes(leaf.historyRoot);
  }
  return writer.finish();
}

/** Throws `malformed`. */
export function parseSuccessionPage(bytes: Uint8Array): readonly Succession[] {
  const reader = new Reader(bytes);
  const users: Succession[] = [];
  while (reader.remaining > 0) {
    if (users.length === SUCCESSION_PAGE_USERS) throw malformed("a page of a succession is too long");
    const oldIndex = reader.bytes(HASH_BYTES);
    const leaf = { index: reader.bytes(HASH_BYTES), n: reader.u64(), historyRoot: reader.bytes(HASH_BYTES) };
    if (leaf.n < 1) throw malformed("a leaf of the map has no version");
    users.push({ oldIndex, leaf });
  }
  return users;
}

function malformed(message: string): VerificationError {
  return new VerificationError("malformed", message);
}
