/** Proves many indices at once, in threads that start with the first of them. */
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import type { VrfProof } from "../shared/crypto/vrf.ts";

const THREAD = new URL(`./vrf-thread${extname(import.meta.url)}`, import.meta.url);
const THREADS = 2;
/** User ids sent to a thread at once. */
const BATCH = 16;

interface Request {
  readonly userId: string;
  readonly resolve: (proof: VrfProof) => void;
  readonly reject: (error: Error) => void;
}

export class ProverPool {
  readonly #seed: Uint8Array;
  readonly #queue: Request[] = [];
  readonly #idle: Worker[] = [];
  readonly #all: Worker[] = [];
  #failure: Error | undefined;

  /** `seed`: of the VRF key, 32 bytes. */
  constructor(seed: Uint8Array) {
    this.#seed = seed;
  }

  /** Rejects if a thread failed; the log can't go on without. */
  prove(userId: string): Promise<VrfProof> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const { promise, resolve, reject } = Promise.withResolvers<VrfProof>();
    this.#queue.push({ userId, resolve, reject });
    if (this.#all.length < THREADS) this.#idle.push(this.#start());
    queueMicrotask(this.#dispatch.bind(this));
    return promise;
  }

  async close(): Promise<void> {
    await Promise.all(this.#all.map((worker) => worker.terminate()));
  }

  #start(): Worker {
    const worker = new Worker(THREAD, { workerData: this.#seed });
    worker.on("error", (error: Error) => {
      this.#failure = error;
      for (const { reject } of this.#queue.splice(0)) reject(error);
    });
    this.#all.push(worker);
    return worker;
  }

  #dispatch(): void {
    while (this.#queue.length > 0) {
      const worker = this.#idle.pop();
      if (worker === undefined) return;
      this.#send(worker, this.#queue.splice(0, BATCH));
    }
  }

  #send(worker: Worker, requests: readonly Request[]): void {
    worker.once("message", (proofs: readonly VrfProof[]) => {
      requests.forEach(({ resolve, reject }, i) => {
        const proof = proofs[i];
        if (proof === undefined) reject(new Error("a proof is missing"));
        else resolve(proof);
      });
      this.#idle.push(worker);
      this.#dispatch();
    });
    worker.postMessage(requests.map(({ userId }) => userId));
  }
}
