/**
 * The recurring check of contacts: who is watched, when each is checked, and what each's status is now. When the crypto
 * store changes, a status becomes unchecked in the same tick; the check follows.
 */
import { HOUR_MS } from "../shared/parameters.ts";
import { Schedule } from "./clock.ts";
import type { Clock } from "./clock.ts";
import type { Finding, Verdict } from "./verdict.ts";
import { unchecked } from "./verdict.ts";

/** What one check of one user brought. */
export interface Outcome {
  readonly verdict: Verdict;
  readonly findings: readonly Finding[];
  readonly head?: { readonly size: number; readonly timestampMs: number };
  readonly enrolled: boolean;
  readonly masterKey?: string | undefined;
  /** When to check again at the latest; undefined: at the usual time. */
  readonly againMs?: number | undefined;
}

/** What the host shows about a user. */
export interface ContactStatus {
  readonly verdict: Verdict;
  readonly head?: { readonly size: number; readonly timestampMs: number };
  readonly checkedAtMs?: number;
  readonly pinned: boolean;
  readonly enrolled: boolean;
  /** First characters of the master key, to tell identities apart in a list; nothing to compare by. */
  readonly masterKeyShort?: string;
}

export interface MonitorOptions {
  readonly clock: Clock;
  readonly check: (userId: string) => Promise<Outcome>;
  /** The verdict of an open warning about a user, which stands over any other. */
  readonly openWarning: (userId: string) => Verdict | undefined;
  readonly isPinned: (userId: string) => boolean;
  readonly onStatus: (userId: string, status: ContactStatus) => void;
  readonly onError: (error: unknown) => void;
}

/** Every watched user is checked at least this often. */
const CHECK_EVERY_MS = HOUR_MS;
/** Checks that run at the same time: what they ask a log is asked together. */
const MAX_CHECKS_AT_ONCE = 100;
/** Users watched at most; the rest is checked when somebody looks. */
const MAX_WATCHED = 2_000;
const SHORT_KEY_CHARACTERS = 8;

const UNKNOWN: ContactStatus = { verdict: unchecked("offline"), pinned: false, enrolled: false };

/** Watched users and their statuses. Written by `changed` (the store changed) and by finished checks. */
export class Monitor {
  readonly #options: MonitorOptions;
  readonly #schedule: Schedule;
  readonly #statuses = new Map<string, ContactStatus>();
  /** Users whose check is running, and whether another one must follow. */
  readonly #running = new Map<string, { again: boolean; done: Promise<void> }>();
  readonly #waiting = new Set<string>();
  #stopped = true;

  constructor(options: MonitorOptions) {
    this.#options = options;
    this.#schedule = new Schedule(options.clock, options.onError);
  }

  start(): void {
    this.#stopped = false;
    for (const userId of this.#statuses.keys()) this.#enqueue(userId);
  }

  stop(): void {
    this.#stopped = true;
    this.#schedule.stop();
  }

  watched(): string[] {
    return [...this.#statuses.keys()];
  }

  /** The status as it is known now; watching starts with the first question. */
  statusOf(userId: string): ContactStatus {
    const known = this.#statuses.get(userId);
    if (known === undefined) this.watch(userId);
    return known ?? this.#statuses.get(userId) ?? UNKNOWN;
  }

  watch(userId: string): void {
    if (this.#statuses.has(userId) || this.#statuses.size >= MAX_WATCHED) return;
    this.#statuses.set(userId, { ...UNKNOWN, pinned: this.#options.isPinned(userId) });
    this.#enqueue(userId);
  }

  /** The crypto store changed, or may have: no verdict outlives that. */
  changed(userId: string): void {
    const status = this.#statuses.get(userId);
    if (status === undefined) return;
    const stands = status.verdict.kind === "warning" || status.verdict.kind === "unchecked";
    if (!stands) this.#set(userId, { ...status, verdict: unchecked("key-pending") });
    this.#enqueue(userId);
  }

  /** Checks again, without doubting what is known. */
  check(userId: string): void {
    if (this.#statuses.has(userId)) this.#enqueue(userId);
  }

  /** Looks at open warnings and pins again, without asking a log. */
  reconsider(): void {
    for (const [userId, status] of this.#statuses) {
      const open = this.#options.openWarning(userId);
      const shown = status.verdict.kind === "warning" && open === undefined;
      if (open !== undefined) this.#set(userId, { ...status, verdict: open });
      if (shown || status.pinned !== this.#options.isPinned(userId)) this.#enqueue(userId);
    }
  }

  /** Checks now, after a running check if there is one, and returns the new status. */
  async refresh(userId: string): Promise<ContactStatus> {
    this.watch(userId);
    await this.#running.get(userId)?.done;
    this.#enqueue(userId);
    while (this.#waiting.has(userId) || this.#running.has(userId)) {
      await (this.#running.get(userId)?.done ?? this.#anyDone());
    }
    return this.statusOf(userId);
  }

  async #anyDone(): Promise<void> {
    await Promise.race([...this.#running.values()].map(({ done }) => done));
  }

  #enqueue(userId: string): void {
    if (this.#stopped) return;
    const running = this.#running.get(userId);
    if (running !== undefined) running.again = true;
    else this.#waiting.add(userId);
    this.#fill();
  }

  /** Starts waiting checks while there is room. */
  #fill(): void {
    for (const userId of [...this.#waiting]) {
      if (this.#running.size >= MAX_CHECKS_AT_ONCE || this.#stopped) return;
      this.#waiting.delete(userId);
      const entry = { again: false, done: Promise.resolve() };
      this.#running.set(userId, entry);
      entry.done = this.#check(userId).then(() => {
        this.#running.delete(userId);
        if (entry.again) this.#waiting.add(userId);
        this.#fill();
      });
    }
  }

  /** One check. What goes wrong in it is ours to report and never the host's to catch. */
  async #check(userId: string): Promise<void> {
    const { check, clock, onError, isPinned } = this.#options;
    this.#schedule.cancel(userId);
    let againMs = clock.now() + CHECK_EVERY_MS;
    try {
      const outcome = await check(userId);
      againMs = Math.min(againMs, outcome.againMs ?? againMs);
      if (this.#running.get(userId)?.again !== true) this.#settle(userId, outcome, isPinned(userId));
    } catch (error) {
      onError(error);
    }
    if (this.#stopped) return;
    this.#schedule.at(userId, againMs, () => {
      this.#enqueue(userId);
    });
  }

  #settle(userId: string, outcome: Outcome, pinned: boolean): void {
    const { head, masterKey, enrolled } = outcome;
    const verdict = this.#options.openWarning(userId) ?? outcome.verdict;
    this.#set(userId, {
      verdict,
      checkedAtMs: this.#options.clock.now(),
      pinned,
      enrolled,
      ...(head === undefined ? {} : { head }),
      ...(masterKey === undefined ? {} : { masterKeyShort: masterKey.slice(0, SHORT_KEY_CHARACTERS) }),
    });
  }

  #set(userId: string, status: ContactStatus): void {
    const before = this.#statuses.get(userId);
    this.#statuses.set(userId, status);
    if (
      JSON.stringify({ ...before, checkedAtMs: 0, head: 0 }) === JSON.stringify({ ...status, checkedAtMs: 0, head: 0 })
    ) {
      return;
    }
    this.#options.onStatus(userId, status);
  }
}
