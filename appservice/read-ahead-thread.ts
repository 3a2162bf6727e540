/** A thread that reads for the one of the sequencer what that needs next. */
import { parentPort, workerData } from "node:worker_threads";
import { giveWay } from "./give-way.ts";
import { readAhead } from "./read-ahead.ts";
import type { FromReader, ReaderStart, RecordsRead, ToReader } from "./read-ahead.ts";
import { openLevelStore } from "./store/level-store.ts";

giveWay();
const { database, epochsBelowTop } = workerData as ReaderStart;
const store = await openLevelStore(database);

parentPort?.on("message", (message: ToReader) => {
  if (message === undefined) void close();
  else void answer(message.id, message.userIds);
});

async function answer(id: number, userIds: readonly string[]): Promise<void> {
  // What can't be read here is read again, and what is wrong with it told, by who takes the changes.
  const records: RecordsRead | undefined = await readAhead(store, epochsBelowTop, userIds).catch(() => undefined);
  const buffers = records === undefined ? [] : [records.bytes.buffer as ArrayBuffer];
  parentPort?.postMessage({ id, records } satisfies FromReader, buffers);
}

async function close(): Promise<void> {
  await store.close();
  parentPort?.close();
}
