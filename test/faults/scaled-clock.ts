import type { Clock } from "../../appservice/clock.ts";

/** Time that begins when the test says, and runs faster than the wall's. */
export class ScaledClock implements Clock {
  readonly #startMs: number;
  readonly #timesFaster: number;
  readonly #beganMs: number = performance.now();

  constructor(startMs: number, timesFaster: number) {
    this.#startMs = startMs;
    this.#timesFaster = timesFaster;
  }

  now(): number {
    return Math.floor(this.#startMs + (performance.now() - this.#beganMs) * this.#timesFaster);
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", wake);
        resolve();
      };
      const timer = setTimeout(wake, Math.max(1, ms / this.#timesFaster));
      signal.addEventListener("abort", wake);
    });
  }
}
