/** One measured figure beside its aims. */
export interface Figure {
  readonly name: string;
  readonly unit: string;
  readonly measured: number;
  /** What a release must reach, and what it should. */
  readonly must?: number;
  readonly reach?: number;
  /** Whether less is better. */
  readonly atMost?: boolean;
}

/** Prints all figures; the last column is measured / Must, turned so that more than 1 is better. */
export function printTable(users: number, calibration: number, figures: readonly Figure[]): void {
  console.log(`${users.toLocaleString("en")} users; this machine hashes ${format(calibration)} tree nodes a second`);
  const rows = [["", "unit", "Must", "Reach", "measured", "ratio to Must"], ...figures.map(rowOf)];
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  for (const row of rows) {
    console.log(row.map((cell, i) => (i < 2 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join("  "));
  }
}

function rowOf({ name, unit, measured, must, reach, atMost = false }: Figure): string[] {
  const ratio = must === undefined ? undefined : atMost ? must / measured : measured / must;
  return [name, unit, format(must), format(reach), format(measured), ratio === undefined ? "" : ratio.toFixed(2)];
}

function format(value: number | undefined): string {
  if (value === undefined) return "";
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toPrecision(3);
}
