/** A thread that proves indices: each a quarter of a millisecond, which neither signing nor answering should wait for. */
import { parentPort, workerData } from "node:worker_threads";
import { indexProver } from "./native-vrf.ts";

const prove = indexProver(workerData as Uint8Array);

parentPort?.on("message", (userIds: readonly string[]) => {
  parentPort?.postMessage(userIds.map(prove));
});
