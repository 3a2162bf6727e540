/** A thread that proves indices: each a quarter of a millisecond, which neither signing nor answering should wait for. */
import { parentPort, workerData } from "node:worker_threads";
import { indexProver } from "./native-vrf.ts";
import { PROVEN_BYTES } from "./prover-pool.ts";

const prove = indexProver(workerData as Uint8Array);

parentPort?.on("message", (userIds: readonly string[]) => {
  const proofs = new Uint8Array(PROVEN_BYTES * userIds.length);
  userIds.forEach((userId, i) => {
    const { index, proof } = prove(userId);
    proofs.set(index, PROVEN_BYTES * i);
    proofs.set(proof, PROVEN_BYTES * i + index.length);
  });
  parentPort?.postMessage(proofs, [proofs.buffer]);
});
