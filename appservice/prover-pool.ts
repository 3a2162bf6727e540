/** Proves many indices at once, in threads that start with the first of them. */
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { HASH_BYTES } from "../shared/crypto/hash.ts";
import { VRF_PROOF_BYTES } from "../shared/crypto/vrf.ts";
import type { VrfProof } from "../shared/crypto/vrf.ts";

const THREAD = new URL(`./vrf-thread${extname(import.meta.url)}`, import.meta.url);
const THREADS = 2;
/** User ids sent to a thread at once, at most: to wake it, and to be woken by it, costs as much as several proofs. */
const MAX_BATCH = 256;

/** What a thread answers for each user id: its index and the proof of that. */
export const PROVEN_BYTES: number = HASH_BYTES + VRF_PROOF_BYTES;

interface Request {
  readonly userId: string;
  readonly resolve: (proof: VrfProof) => void;
  readonly reject: (error: Error) => void;
}

export class ProverPool {
  readonly #seed: Uint8Array;
  readonly #queue: Request[] = [];
  /** Those in the queue, and those that a thread has. */
  readonly #waiting = new Set<Request>();
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
    const request = { userId, resolve, reject };
    this.#queue.push(request);
    this.#waiting.add(request);
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
      for (const { reject } of this.#waiting) reject(error);
      this.#waiting.clear();
      this.#queue.length = 0;
    });
    this.#all.push(worker);
    return worker;
  }

  #dispatch(): void {
    while (this.#queue.length > 0) {
      const worker = this.#idle.pop();
      if (worker === undefined) return;
      const share = Math.ceil(this.#queue.length / THREADS);
      this.#send(worker, this.#queue.splice(0, Math.min(share, MAX_BATCH)));
    }
  }

  #send(worker: Worker, requests: readonly Request[]): void {
    worker.once("message", (proofs: Uint8Array) => {
      requests.forEach((request, i) => {
        const [start, end] = [PROVEN_BYTES * i, PROVEN_BYTES * (i + 1)];
        this.#waiting.delete(request);
        request.resolve({
          index: proofs.slice(start, start + HASH_BYTES),
          proof: proofs.slice(start + HASH_BYTES, end),
        });
      });
      this.#idle.push(worker);
      this.#dispatch();
    });
    worker.postMessage(requests.map(({ userId }) => userId));
  }
}
