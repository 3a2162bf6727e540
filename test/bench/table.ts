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

/** What was measured at one number of users; undefined: what does not depend on it. */
export interface Column {
  readonly users: number | undefined;
  readonly figures: readonly Figure[];
}

/**
 * Prints all figures, a row for each name and a column for each number of users; what does not depend on it stands in the
 * last of these. The last column is that one / Must, turned so that more than 1 is better.
 */
export function printTable(calibration: number, columns: readonly Column[]): void {
  console.log(`this machine hashes ${format(calibration)} tree nodes a second`);
  const sizes = columns.flatMap(({ users }) => users ?? []);
  const head = sizes.length === 0 ? ["measured"] : sizes.map((users) => `${users.toLocaleString("en")} users`);
  const rows = [["", "unit", "Must", "Reach", ...head, "ratio to Must"], ...rowsOf(columns, sizes)];
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  for (const row of rows) {
    console.log(row.map((cell, i) => (i < 2 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join("  "));
  }
}

function rowsOf(columns: readonly Column[], sizes: readonly number[]): string[][] {
  const last = Math.max(0, sizes.length - 1);
  /** By name: the figure as it is in the last column that has it, and what each column has. */
  const rows = new Map<string, { figure: Figure; readonly cells: string[] }>();
  for (const { users, figures } of columns) {
    for (const figure of figures) {
      const row = rows.get(figure.name) ?? { figure, cells: Array.from({ length: last + 1 }, () => "") };
      row.figure = figure;
      row.cells[users === undefined ? last : sizes.indexOf(users)] = format(figure.measured);
      rows.set(figure.name, row);
    }
  }
  return [...rows.values()].map(({ figure, cells }) => rowOf(figure, cells));
}

function rowOf({ name, unit, measured, must, reach, atMost = false }: Figure, cells: readonly string[]): string[] {
  const ratio = must === undefined ? undefined : atMost ? must / measured : measured / must;
  return [name, unit, format(must), format(reach), ...cells, ratio === undefined ? "" : ratio.toFixed(2)];
}

function format(value: number | undefined): string {
  if (value === undefined) return "";
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toPrecision(3);
}
