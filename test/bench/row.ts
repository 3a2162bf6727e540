/** One line of the table. `must` and `reach`: where the figure has a target. A unit that ends in "/s" is better when high. */
export interface Row {
  readonly figure: string;
  readonly value: number;
  readonly unit: string;
  readonly must?: number;
  readonly reach?: number;
}

/** What every measurement gets; `progress` takes a line about a step that may take more than two seconds. */
export interface BenchOptions {
  readonly progress: (line: string) => void;
}

/** The middle of some figures. */
export function median(figures: readonly number[]): number {
  const sorted = figures.toSorted((a, b) => a - b);
  const middle = sorted[Math.floor(sorted.length / 2)];
  if (middle === undefined) throw new RangeError("no figures");
  return middle;
}
