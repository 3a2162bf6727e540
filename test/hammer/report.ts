/** What a hammer run has seen: counted while it runs, judged at its end, for people and as JSON. */
import type { AttackTally, Tally } from "./messages.ts";

/** What must hold. Merge delays in milliseconds. */
export const MERGE_P99_LIMIT_MS = 15_000;
/** Part of the wanted changes that must have been made, or the load was not the one that was asked for. */
const MIN_LOAD = 0.97;
const SHOWN_PROBLEMS = 20;

export interface Load {
  readonly minutes: number;
  readonly updatesPerSecond: number;
  readonly readers: number;
  readonly thinkMs: number;
  readonly users: number;
  readonly cores: number;
}

export interface Verdict {
  readonly name: string;
  readonly measured: string;
  readonly wanted: string;
  readonly holds: boolean;
}

export class Report {
  readonly #load: Load;
  readonly #verified = new Map<string, number>();
  readonly #attacks = new Map<string, number>();
  readonly #lookupMs: number[] = [];
  readonly #mergeMs: number[] = [];
  readonly failures: string[] = [];
  readonly errors: string[] = [];
  #busy = 0;
  changes = 0;
  outstanding = 0;
  size = 0;
  /** Seconds during which keys were changed. */
  seconds = 0;
  /** Facts seen at the end: name and value. */
  readonly facts: Map<string, number | string> = new Map<string, number | string>();

  constructor(load: Load) {
    this.#load = load;
  }

  add(tally: Tally | AttackTally): void {
    this.errors.push(...tally.errors);
    if (tally.kind === "attacks") {
      addAll(this.#attacks, tally.refused);
      return;
    }
    addAll(this.#verified, tally.verified);
    this.#lookupMs.push(...tally.lookupMs);
    this.#mergeMs.push(...tally.mergeMs);
    this.failures.push(...tally.failures);
    this.#busy += tally.busy;
    this.outstanding = tally.outstanding;
    this.size = tally.size;
  }

  /** One line of progress. */
  get line(): string {
    const [merge, lookup] = [timesOf(this.#mergeMs), timesOf(this.#lookupMs)];
    return (
      `${String(Math.round(this.seconds))} s  ${String(this.changes)} changes (${String(this.outstanding)} waiting), ` +
      `merged in p50 ${format(merge.p50)} p99 ${format(merge.p99)} ms  ${String(sum(this.#verified))} answers verified, ` +
      `lookup p99 ${format(lookup.p99)} ms  ${String(sum(this.#attacks))} attacks refused  ` +
      `${String(this.failures.length)} failed proofs, ${String(this.errors.length)} errors`
    );
  }

  get verdicts(): readonly Verdict[] {
    const wanted = this.#load.updatesPerSecond * this.seconds;
    const merge = timesOf(this.#mergeMs);
    const verdict = (name: string, measured: number, limit: string, holds: boolean): Verdict => ({
      name,
      measured: format(measured),
      wanted: limit,
      holds,
    });
    return [
      verdict("failed verifications", this.failures.length, "0", this.failures.length === 0),
      verdict("unexpected errors", this.errors.length, "0", this.errors.length === 0),
      verdict("changes made", this.changes, `${format(MIN_LOAD * wanted)} at least`, this.changes >= MIN_LOAD * wanted),
      verdict("changes never shown", this.outstanding, "0", this.outstanding === 0),
      verdict(
        "merge delay p99, ms",
        merge.p99,
        `${format(MERGE_P99_LIMIT_MS)} at most`,
        merge.p99 <= MERGE_P99_LIMIT_MS,
      ),
      verdict("attacks refused", sum(this.#attacks), "1 at least", this.#attacks.size > 0),
    ];
  }

  get holds(): boolean {
    return this.verdicts.every(({ holds }) => holds);
  }

  /** Everything, as a JSON value. */
  get json(): object {
    return {
      holds: this.holds,
      load: this.#load,
      seconds: this.seconds,
      changes: this.changes,
      epochs: this.size,
      merge_ms: timesOf(this.#mergeMs),
      lookup_ms: timesOf(this.#lookupMs),
      verified: Object.fromEntries(this.#verified),
      attacks_refused: Object.fromEntries(this.#attacks),
      busy_answers: this.#busy,
      failures: this.failures,
      errors: this.errors,
      outstanding: this.outstanding,
      facts: Object.fromEntries(this.facts),
      verdicts: this.verdicts,
    };
  }

  /** The same for people. */
  get text(): string {
    const { minutes, updatesPerSecond, readers, thinkMs, users, cores } = this.#load;
    const rows = (title: string, counts: ReadonlyMap<string, number | string>): string[] => [
      title,
      ...[...counts].map(([name, count]) => `  ${name.padEnd(42)}${typeof count === "number" ? format(count) : count}`),
    ];
    const times = (name: string, { p50, p95, p99, max }: Times): string =>
      `  ${name.padEnd(42)}p50 ${format(p50)}  p95 ${format(p95)}  p99 ${format(p99)}  max ${format(max)} ms`;
    return [
      `hammer: ${String(minutes)} min, ${String(updatesPerSecond)} key changes a second by ${format(users)} users, ` +
        `${String(readers)} readers who think ${String(thinkMs)} ms, an auditor and an attacker, on ${String(cores)} cores`,
      "times",
      times("from a key change until it is shown", timesOf(this.#mergeMs)),
      times("a reader's look: question and every check", timesOf(this.#lookupMs)),
      ...rows("verified", this.#verified),
      ...rows("attacks refused", this.#attacks),
      ...rows("and", new Map([["answers that said not now", this.#busy], ["epochs", this.size], ...this.facts])),
      ...problems("FAILED PROOF", this.failures),
      ...problems("ERROR", this.errors),
      "",
      ...this.verdicts.map(
        ({ name, measured, wanted, holds }) =>
          `${holds ? "ok  " : "FAIL"}  ${name.padEnd(24)}${measured.padStart(9)}   (${wanted})`,
      ),
      "",
    ].join("\n");
  }
}

interface Times {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

/** Percentiles; all 0 of nothing. */
function timesOf(samples: readonly number[]): Times {
  const sorted = Float64Array.from(samples).sort();
  const at = (part: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) };
}

function addAll(counts: Map<string, number>, more: { readonly [name: string]: number }): void {
  for (const [name, count] of Object.entries(more)) counts.set(name, (counts.get(name) ?? 0) + count);
}

function sum(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((total, count) => total + count, 0);
}

function problems(kind: string, texts: readonly string[]): string[] {
  const counted = new Map<string, number>();
  for (const text of texts) counted.set(text, (counted.get(text) ?? 0) + 1);
  return [...counted].slice(0, SHOWN_PROBLEMS).map(([text, count]) => `${kind} (${String(count)} times) ${text}`);
}

function format(value: number): string {
  return Math.round(value).toLocaleString("en");
}
