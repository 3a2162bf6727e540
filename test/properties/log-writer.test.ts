/**
 * The writer of a log under random changes, crashes, clocks and rival writers: whatever happens, each size has one head,
 * time and histories only grow, and what was said to be merged is there.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { LogWriter } from "../../appservice/log-writer.ts";
import { openLog } from "../../appservice/open-log.ts";
import type { WritableLog } from "../../appservice/open-log.ts";
import type { Anchor } from "../../appservice/store/anchor.ts";
import { HEAD_KEY, parseHead } from "../../appservice/store/records.ts";
import { ConflictError, IntegrityError } from "../../appservice/store/store.ts";
import type { Commit, Store } from "../../appservice/store/store.ts";
import { parseVkey } from "../../shared/crypto/signed-note.ts";
import { encodeUnpadded, utf8 } from "../../shared/encoding.ts";
import { openCheckpoint } from "../../shared/log/checkpoint.ts";
import { parseEpochRecord } from "../../shared/log/epoch-record.ts";
import { OwnLog, START_MS } from "../support/own-log.ts";

/** What happens to the log, one after the other. `writer`: which of two processes that believe the log to be theirs. */
type Step =
  | { readonly do: "submit"; readonly writer: number; readonly user: number; readonly content: number }
  | { readonly do: "promise"; readonly writer: number; readonly user: number }
  | { readonly do: "close"; readonly writer: number; readonly afterMs: number; readonly crash: Crash | undefined }
  | { readonly do: "restart"; readonly writer: number };
/** Where in the sealing of an epoch the process ends. */
type Crash = "before-commit" | "after-commit" | "after-anchor";

const writer = fc.nat(1);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant("submit" as const), writer, user: fc.nat(3), content: fc.nat(3) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("promise" as const), writer, user: fc.nat(3) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("close" as const),
      writer,
      // Also a clock that stands still, and one that goes back.
      afterMs: fc.constantFrom(1, 400, 3_000, 11_000, 0, -5_000),
      crash: fc.option(fc.constantFrom<Crash>("before-commit", "after-commit", "after-anchor"), {
        nil: undefined,
        freq: 3,
      }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("restart" as const), writer }) },
);

class Crashed extends Error {}

/** One log on disk, and two processes that write to it. */
class Model {
  readonly #log: OwnLog;
  readonly #opened: WritableLog;
  readonly #writers: [LogWriter | undefined, LogWriter | undefined] = [undefined, undefined];
  #crash: Crash | undefined;
  /** Whose epoch is the newest. Written where a commit succeeds. */
  #committedBy: number | undefined;
  /** Every head that left the process, by its size. */
  readonly #heads = new Map<number, string>();
  /** Times of the newest epoch, as often as it was looked at. */
  readonly #times: number[] = [];
  /** Promises given. */
  readonly #said: { readonly userId: string; readonly version: number }[] = [];

  constructor(log: OwnLog, opened: WritableLog) {
    this.#log = log;
    this.#opened = opened;
  }

  get refused(): string | undefined {
    return this.#opened.refusal;
  }

  async #writer(number: number): Promise<LogWriter> {
    const at = number === 0 ? 0 : 1;
    return (this.#writers[at] ??= await this.#open(at));
  }

  /** A process that starts: it reads the head, and brings the anchor up as the start checks do. */
  async #open(at: number): Promise<LogWriter> {
    const { store, anchor } = this.#opened;
    const head = parseHead(store.get(HEAD_KEY)!);
    const anchored = anchor.read()!;
    if (anchored !== head.note) {
      const { size } = openCheckpoint(anchored, parseVkey(this.#log.configuration.log_key));
      assert.equal(size, head.epoch, "the anchor is at most one epoch behind");
      anchor.replace(anchored, head.note);
    }
    return LogWriter.open({
      ...this.#opened,
      store: this.#crashing(store, at),
      anchor: this.#crashingAnchor(anchor),
      head,
      keys: this.#log.keys,
      maxChanges: 3,
      handOver: ({ note, epoch, record }) => {
        this.#tell(note);
        assert.equal(parseEpochRecord(record).epoch, epoch);
        return Promise.resolve();
      },
    });
  }

  /** A head that others may have seen: there is one for each size. */
  #tell(note: string): void {
    const { size, root } = openCheckpoint(note, parseVkey(this.#log.configuration.log_key));
    const other = this.#heads.get(size);
    assert(other === undefined || other === encodeUnpadded(root), `two heads of size ${size}`);
    this.#heads.set(size, encodeUnpadded(root));
  }

  #crashing(store: Store, at: number): Store {
    return {
      get: (key) => store.get(key),
      range: (...args) => store.range(...args),
      snapshot: () => store.snapshot(),
      close: () => Promise.resolve(),
      commit: async (commit: Commit) => {
        if (this.#crash === "before-commit") throw new Crashed();
        await store.commit(commit);
        if (commit.expect !== undefined) this.#committedBy = at;
        if (this.#crash === "after-commit") throw new Crashed();
      },
    };
  }

  #crashingAnchor(anchor: Anchor): Anchor {
    return {
      read: () => anchor.read(),
      replace: (before, after) => {
        anchor.replace(before, after);
        if (this.#crash === "after-anchor") throw new Crashed();
      },
    };
  }

  async take(step: Step): Promise<void> {
    const at = step.writer === 0 ? 0 : 1;
    if (step.do === "restart") {
      this.#writers[at] = undefined;
      return;
    }
    const writer = await this.#writer(at);
    try {
      if (step.do === "submit") this.#submit(writer, step);
      else if (step.do === "promise") await this.#promise(writer, step.user);
      else await this.#close(writer, step);
    } catch (error) {
      // A failed write ends the process. A rival is noticed when writing, or by records that do not fit what is known.
      const rival = this.#committedBy !== at;
      const noticed = error instanceof ConflictError || error instanceof IntegrityError;
      if (!(error instanceof Crashed) && !(rival && noticed)) throw error;
      this.#writers[at] = undefined;
    } finally {
      this.#crash = undefined;
    }
  }

  #submit(writer: LogWriter, { user, content }: Extract<Step, { do: "submit" }>): void {
    const userId = `@${user}:example.org`;
    const entry = utf8(`{"n":${content},"user_id":"${userId}"}`);
    const before = writer.newestEntry(userId);
    const { version } = writer.submit(userId, entry, 0);
    const same = before !== undefined && Buffer.compare(before.entry, entry) === 0;
    assert.equal(
      version,
      (before?.version ?? 0) + (same ? 0 : 1),
      "an equal entry is no new version, another is the next",
    );
    assert.equal(writer.submit(userId, entry, 0).version, version, "a change that comes twice changes nothing");
  }

  async #promise(writer: LogWriter, user: number): Promise<void> {
    const userId = `@${user}:example.org`;
    const promised = await writer.promise(userId, this.#log.clock.now());
    // A rival may still take the number; then this process ends at its next epoch, and its promise was never alone.
    if (promised !== undefined && this.#writers[1 - this.#writers.indexOf(writer)] === undefined)
      this.#said.push({ userId, version: promised.version });
  }

  async #close(writer: LogWriter, { afterMs, crash }: Extract<Step, { do: "close" }>): Promise<void> {
    const nowMs = Math.max(START_MS, this.#log.clock.now() + afterMs);
    if (nowMs > this.#log.clock.now()) this.#log.clock.advance(nowMs - this.#log.clock.now());
    this.#crash = crash;
    const closed = await writer.closeEpoch(nowMs);
    assert(closed || nowMs <= writer.lastTimestampMs, "an epoch closes when time has advanced, and only then");
    await writer.flush();
  }

  /** What is on disk now: heads as told, histories without gaps, times in order. */
  async check(): Promise<void> {
    this.#writers.fill(undefined);
    const writer = await this.#open(0);
    const head = parseHead(this.#opened.store.get(HEAD_KEY)!);
    this.#tell(head.note);
    for (const size of this.#heads.keys()) assert(size <= head.epoch + 1, "a head that was told is gone");
    this.#times.push(writer.lastTimestampMs);
    for (const [i, time] of this.#times.entries()) assert(i === 0 || time >= this.#times[i - 1]!, "time went back");
    for (const { userId, version } of this.#said) {
      assert((writer.newestEntry(userId)?.version ?? 0) >= version, `version ${version} of ${userId} was promised`);
    }
    for (let user = 0; user < 4; user++) this.#checkHistory(writer, `@${user}:example.org`);
  }

  #checkHistory(writer: LogWriter, userId: string): void {
    const newest = writer.newestEntry(userId);
    const merged = newest === undefined ? 0 : newest.version;
    const roots = new Set<string>();
    for (let version = 1; version <= merged; version++) {
      const root = writer.historyRoot(userId, version);
      if (root !== undefined) roots.add(encodeUnpadded(root));
      else assert(newest?.pending === true, `version ${version} of ${userId} is missing`);
    }
    assert.equal(writer.historyRoot(userId, merged + 1), undefined);
    const last = writer.historyRoot(userId, merged);
    if (newest?.pending === false) assert(last !== undefined && roots.size === merged);
  }
}

describe("log writer: random changes, crashes, clocks and rivals", function () {
  this.timeout(120_000);

  it("never signs two heads of one size, loses nothing it promised, and only grows", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
        const log = await OwnLog.create();
        const opened = await openLog(log);
        try {
          const model = new Model(log, opened);
          assert.equal(model.refused, undefined);
          for (const [i, each] of steps.entries()) {
            await model.take(each);
            if (i % 10 === 9) await model.check();
          }
          await model.check();
        } finally {
          await opened.store.close();
        }
        const again = await openLog(log);
        const { refusal } = again;
        await again.store.close();
        log.remove();
        assert.equal(refusal, undefined);
      }),
      { numRuns: 25 },
    );
  });
});
