import type { Clock } from "../../client-plugin/clock.ts";

interface Sleeper {
  readonly dueMs: number;
  readonly wake: () => void;
}

/** Work that WebCrypto has in hand: its threads take the time they take. */
const inHand = new Set<Promise<unknown>>();
const { subtle } = globalThis.crypto;
for (const name of ["decrypt", "encrypt", "exportKey", "importKey", "sign"] as const) {
  const method = subtle[name].bind(subtle) as (...parameters: unknown[]) => Promise<unknown>;
  const counted = async (...parameters: unknown[]): Promise<unknown> => {
    const work = method(...parameters);
    inHand.add(work);
    try {
      return await work;
    } finally {
      inHand.delete(work);
    }
  };
  Object.defineProperty(subtle, name, { value: counted, configurable: true });
}

/** Lets everything that is ready run: promises, and work handed to WebCrypto. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 25; turn += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    if (inHand.size === 0) continue;
    await Promise.allSettled(inHand);
    turn = 0;
  }
}

/** Time that moves only when a test says so; nobody waits for real. */
export class ManualClock implements Clock {
  #nowMs: number;
  readonly #sleepers = new Set<Sleeper>();

  constructor(nowMs: number) {
    this.#nowMs = nowMs;
  }

  now(): number {
    return this.#nowMs;
  }

  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    await new Promise<void>((resolve) => {
      const sleeper: Sleeper = {
        dueMs: this.#nowMs + ms,
        wake: () => {
          this.#sleepers.delete(sleeper);
          resolve();
        },
      };
      this.#sleepers.add(sleeper);
      signal.addEventListener("abort", sleeper.wake);
    });
  }

  /** How many wait for a time to come. */
  get sleepers(): number {
    return this.#sleepers.size;
  }

  /** Time goes by while the device sleeps: whoever waits wakes with the next `advance`. */
  jump(ms: number): void {
    this.#nowMs += ms;
  }

  /** Moves on, stopping at each sleeper on the way; `each` runs after every stop. */
  async advance(ms: number, each: () => void = () => undefined): Promise<void> {
    const endMs = this.#nowMs + ms;
    await settle();
    for (;;) {
      const next = [...this.#sleepers].filter(({ dueMs }) => dueMs <= endMs).sort((a, b) => a.dueMs - b.dueMs)[0];
      if (next === undefined) break;
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      each();
      next.wake();
      await settle();
    }
    this.#nowMs = endMs;
    each();
    await settle();
  }
}
