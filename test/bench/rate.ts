/** How often something ended, and how long each took. */
import type { Figure } from "./table.ts";

/** Times of half of all, and of 99 in 100, in ms. */
export interface Quantiles {
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export interface Rate extends Quantiles {
  readonly perSecond: number;
}

/** Sorts `times`. */
export function quantilesOf(times: number[]): Quantiles {
  times.sort((a, b) => a - b);
  const at = (part: number): number => times[Math.floor(times.length * part)] ?? 0;
  return { p50Ms: at(0.5), p99Ms: at(0.99) };
}

/** Rows for the times of what `name` counts. */
export function latencies(
  name: string,
  { p50Ms, p99Ms }: Quantiles,
  p99: { readonly must?: number; readonly reach?: number } = {},
): readonly Figure[] {
  return [
    { name: `${name}, p50`, unit: "ms", measured: p50Ms },
    { name: `${name}, p99`, unit: "ms", measured: p99Ms, ...p99, atMost: true },
  ];
}
