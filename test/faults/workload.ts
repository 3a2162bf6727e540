/**
 * The service's log in a process of its own, made to be hit by a fault: starts as the service does, changes, promises,
 * marks and answers for a while, and says everything on standard output before anybody could act on it.
 */
import { readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { databaseOf } from "../../appservice/create-log.ts";
import { startSequencer } from "../../appservice/sequencer.ts";
import type { RunningLog } from "../../appservice/sequencer.ts";
import { encodeUnpadded, equalBytes } from "../../shared/encoding.ts";
import { entryOf } from "./ledger.ts";
import type { Fact } from "./ledger.ts";
import { userName } from "./fault-log.ts";
import { Random } from "./random.ts";
import { ScaledClock } from "./scaled-clock.ts";

/** What a life of the log is like. */
export interface Workload {
  readonly dataDirectory: string;
  readonly anchorFile: string;
  readonly keysFile: string;
  readonly seed: string;
  readonly startMs: number;
  /** How much faster than the wall its time runs, so that settling intervals end within a run. */
  readonly timesFaster: number;
  /** Number of the first entry. */
  readonly firstEntry: number;
  readonly users: number;
  /** Changes to be merged before the log ends by itself. */
  readonly changes: number;
  /** The newest head of the room; absent: it is empty. */
  readonly room?: string;
  /** Whether heads pass a witness, who gets each of them before it is published. */
  readonly witness: boolean;
  /** Whether users come who are not in the log yet, whose proofs take threads of their own. */
  readonly newUsers: boolean;
  /** Whether it goes on when nothing is signed any more. */
  readonly patient: boolean;
  /** Size of the reserve beside the database; absent: none is kept. */
  readonly reserveBytes?: number;
}

const workload = JSON.parse(process.argv[2] ?? "") as Workload;
const random = new Random(workload.seed);
const clock = new ScaledClock(workload.startMs, workload.timesFaster);
let entries = workload.firstEntry;
let left = workload.changes;

/** Says it before anything else happens, however busy the listener is. */
function say(fact: Fact): void {
  for (let rest = Buffer.from(`${JSON.stringify(fact)}\n`); rest.length > 0;) {
    try {
      rest = rest.subarray(writeSync(1, rest));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}

function nextUser(): string {
  return userName(
    workload.newUsers && random.oneIn(4) ? workload.users + random.below(1_000) : random.below(workload.users),
  );
}

/** One user after another changes, and every third change is promised, too. */
async function change({ sequencer, directory }: RunningLog): Promise<void> {
  while (left-- > 0) {
    const userId = nextUser();
    const n = entries++;
    const entry = entryOf(userId, n);
    const merged = sequencer.submit({ userId, entry, observedMs: clock.now() });
    merged.catch(() => undefined);
    const promise = random.oneIn(3) ? await sequencer.promise(userId) : undefined;
    if (promise !== undefined && equalBytes(promise.entry, entry)) {
      const { version, note, opening } = promise;
      say({ said: "promised", userId, version, n, note, opening: encodeUnpadded(opening) });
    }
    say({ said: "merged", userId, ...(await merged), n });
    if (random.oneIn(8)) say({ said: "lookup", userId, answer: await directory.lookup(userId) });
  }
}

/** What the Matrix side does meanwhile. */
async function mark({ marks }: RunningLog): Promise<void> {
  for (let value = entries; left > 0; value++) {
    const userId = userName(random.below(50));
    await marks.addMarks([userId]);
    say({ said: "marked", userId });
    await marks.setCursor("feed", String(value));
    say({ said: "cursor", name: "feed", value });
    await marks.addTracked(userId);
    say({ said: "tracked", userId });
    const [first] = await marks.takeMarks(1);
    if (first !== undefined) {
      say({ said: "clearing", userId: first.userId });
      await marks.clearMark(first.userId, first.generation);
    }
    await new Promise((resolve) => setTimeout(resolve, 4));
  }
}

/** Heads go into the room, one in four. */
async function post({ sequencer, marks }: RunningLog, signal: AbortSignal): Promise<void> {
  for await (const { checkpoint: note } of sequencer.commits(signal)) {
    say({ said: "head", note });
    if (!random.oneIn(4)) continue;
    await marks.setCursor("room.posted", note);
    say({ said: "room", note });
  }
}

/** Ends as the command line does. */
function fail(error: unknown): never {
  const { name, message, exitCode, cause } = error as Error & { readonly exitCode?: unknown };
  const text = message + (cause instanceof Error ? `: ${cause.message}` : "");
  const status = typeof exitCode === "number" ? exitCode : 1;
  say({ said: "failed", name, message: text, exitCode: status });
  process.exit(status);
}

/** Whoever opens and closes LevelDB's lock in the process gives it away. A fault that hits these very calls is no fault of the log. */
function giveLockAway(file: string): void {
  try {
    readFileSync(file);
  } catch (error) {
    if (!/^(EIO|EMFILE|ENOSPC|EROFS)/.test((error as Error).message)) throw error;
  }
}

async function run(): Promise<void> {
  const end = new AbortController();
  process.once("SIGTERM", () => {
    end.abort();
  });
  const { dataDirectory, anchorFile, keysFile, witness } = workload;
  const log = await startSequencer({
    dataDirectory,
    anchorFile,
    keysFile,
    clock,
    signal: end.signal,
    epochDelayMs: 2 * workload.timesFaster,
    reserveBytes: workload.reserveBytes ?? 0,
    answeringThreads: 1,
    ...(witness
      ? {
          cosign: (note: string): Promise<string> => {
            say({ said: "head", note });
            return Promise.resolve(note);
          },
        }
      : {}),
  });
  const { sequencer } = log;
  say({ said: "started", epoch: sequencer.status().epoch });
  giveLockAway(join(databaseOf(dataDirectory), "LOCK"));
  sequencer.setExternalHead(workload.room ?? "room-empty");
  const refused = setInterval(() => {
    const { signing, reason = "" } = sequencer.status();
    if (signing || workload.patient || /^waiting/.test(reason)) return;
    say({ said: "refused", reason });
    process.exit(0);
  }, 20);
  const work = Promise.all([change(log), change(log), mark(log)]);
  work.catch(() => undefined);
  const posted = post(log, end.signal);
  posted.catch(() => undefined);
  const ended = new Promise((resolve) => {
    end.signal.addEventListener("abort", resolve);
  });
  await Promise.race([work, sequencer.finished, ended]).catch((error: unknown) => {
    throw log.judge(error);
  });
  clearInterval(refused);
  left = 0;
  end.abort();
  await sequencer.close();
  say({ said: "done" });
}

await run().catch(fail);
process.exit(0);
