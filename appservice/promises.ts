/** Pending changes on disk: a promise is given only for a change that outlives the process. */
import { Writer } from "../shared/encoding.ts";
import type { Reader } from "../shared/encoding.ts";
import type { PendingVersion } from "./pending.ts";
import { numberKey, parseStored, promiseKey, readU64 } from "./store/records.ts";
import type { KeyValue } from "./store/store.ts";

/** The record that keeps a pending version over a crash. */
export function encodePending(userId: string, pending: PendingVersion): KeyValue {
  const { version, entry, opening, commitment, observedMs, promise } = pending;
  const writer = new Writer().bytes(opening).bytes(commitment).u64(observedMs);
  return {
    key: promiseKey(userId, version),
    value: writer
      .lp16(promise ?? "")
      .bytes(entry)
      .finish(),
  };
}

/** Inverse of `encodePending`. */
export function parsePending({ key, value }: KeyValue): { readonly userId: string; readonly pending: PendingVersion } {
  const bytes = Buffer.from(key);
  const userId = bytes.toString("utf8", 1, bytes.length - numberKey("\0", 0).length);
  const parse = (reader: Reader): PendingVersion => {
    const [opening, commitment, observedMs] = [reader.bytes(32), reader.bytes(32), reader.u64()];
    const promise = Buffer.from(reader.bytes(reader.u16())).toString("utf8");
    const entry = reader.bytes(reader.remaining);
    const version = readU64(bytes, bytes.length - 8);
    return {
      version,
      entry,
      opening,
      commitment,
      observedMs,
      promise: promise === "" ? undefined : promise,
      durable: true,
      changes: [],
    };
  };
  return { userId, pending: parseStored(value, "a pending change", parse) };
}
