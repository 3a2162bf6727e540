/** A thread that proves indices: each a fifth of a millisecond, which neither signing nor answering should wait for. */
import { parentPort, workerData } from "node:worker_threads";
import { giveWay } from "./give-way.ts";
import { indexBatchProver } from "./native-vrf.ts";
import { PROVEN_BYTES } from "./prover-pool.ts";

giveWay();
const prove = indexBatchProver(workerData as Uint8Array);

parentPort?.on("message", (userIds: readonly string[]) => {
  const proofs = new Uint8Array(PROVEN_BYTES * userIds.length);
  prove(userIds).forEach(({ index, proof }, i) => {
    proofs.set(index, PROVEN_BYTES * i);
    proofs.set(proof, PROVEN_BYTES * i + index.length);
  });
  parentPort?.postMessage(proofs, [proofs.buffer]);
});
