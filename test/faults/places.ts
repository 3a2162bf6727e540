/** The wrong files in the right place, two logs in one, the wrong time, and a machine that has no more to give. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  closeSync,
  cpSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { makeScene, mustBeWhole, unexpectedEnd } from "./crashes.ts";
import type { Scene } from "./crashes.ts";
import { examine } from "./examine.ts";
import type { FaultLog } from "./fault-log.ts";
import { causeOf, complaintsAbout } from "./kinds.ts";
import type { CaseResult, Kind, Options } from "./kinds.ts";
import { liveOnce, longestLifeMs } from "./life.ts";
import type { Life } from "./life.ts";
import type { Ledger } from "./ledger.ts";
import { Random } from "./random.ts";
import { findStrace, injectingArguments } from "./strace.ts";
import type { Point } from "./strace.ts";
import type { Violation } from "./verifier.ts";

/** A case by its name; it has a log of its own, which has lived and stopped. */
type Trial = (
  log: FaultLog,
  scene: Scene,
  random: Random,
  other: FaultLog,
) => Promise<Omit<CaseResult, "hits" | "what">>;

function kindOf(
  name: string,
  rows: string,
  options: Options,
  trials: { readonly [name: string]: Trial },
  times: number,
): Kind {
  const names = Object.keys(trials);
  let scenes: Promise<[Scene, Scene]> | undefined;
  return {
    name,
    rows,
    cases: names.length * times,
    atOnce: 1,
    async run(index, keep) {
      scenes ??= Promise.all([
        makeScene(options.onDisk, `${options.seed} ${name}`, 0),
        makeScene(options.onDisk, `${options.seed} ${name} other`, 0),
      ]);
      const [scene, { log: other }] = await scenes;
      const what = names[index % names.length] ?? "";
      const log = scene.log.copy(options.onDisk);
      try {
        const random = new Random(options.seed, name, index);
        const result = await trials[what]!(log, scene, random, other);
        return { ...result, hits: 1, what: keep ? `${what}: ${log.directory}` : what };
      } finally {
        log.save();
        if (!keep) log.remove();
      }
    },
  };
}

/** How a life ended that must not sign (`isLater`: any more): with a cause and a next step. */
function mustRefuse(
  lived: Life,
  expected: RegExp,
  exitCode?: number,
  isLater = false,
): Omit<CaseResult, "hits" | "what"> {
  const failed = lived.ledger.of("failed").at(-1);
  const message = failed?.message ?? lived.ledger.of("refused").at(-1)?.reason;
  if (message === undefined) {
    const what = `it was not refused, and ended with ${lived.signal ?? `status ${lived.status}`} ${lived.complaints}`;
    return { outcome: "unharmed", violations: [{ kind: "other", what }] };
  }
  const violations = complaintsAbout(message, failed?.exitCode);
  if (!expected.test(message)) violations.push({ kind: "other", what: `refused for another reason: ${message}` });
  if (failed?.exitCode !== exitCode)
    violations.push({ kind: "other", what: `status ${failed?.exitCode}, not ${exitCode}: ${message}` });
  const heads = lived.ledger.of("head").length + lived.ledger.of("merged").length + lived.ledger.of("promised").length;
  if (!isLater && lived.ledger.of("merged").length + lived.ledger.of("promised").length > 0)
    violations.push({ kind: "other", what: `it gave its word ${heads} times before it refused` });
  return { outcome: "refused", cause: causeOf(message), violations };
}

/** After the right files are back, all is well. */
async function wholeAgain(
  result: Omit<CaseResult, "hits" | "what">,
  log: FaultLog,
): Promise<Omit<CaseResult, "hits" | "what">> {
  return { ...result, violations: [...result.violations, ...mustBeWhole(await examine(log))] };
}

function copyOver(from: string, to: string): void {
  rmSync(to, { recursive: true, force: true });
  cpSync(from, to, { recursive: true, filter: (path) => !path.endsWith("ckv.lock") });
}

/** Yesterday's files, or those of another log, in place of today's. */
export function swappedFiles(options: Options): Kind {
  /** Lives a day more, and leaves what was there before in `yesterday`. */
  const aDayLater = async (log: FaultLog, scene: Scene): Promise<string> => {
    const yesterday = join(log.directory, "yesterday");
    cpSync(log.dataDirectory, join(yesterday, "data"), { recursive: true });
    cpSync(join(log.anchorFile, ".."), join(yesterday, "anchor"), { recursive: true });
    await liveOnce(log, scene.shape);
    log.ledger.add({ said: "room", note: readFileSync(log.anchorFile, "utf8") });
    return yesterday;
  };
  /** Runs on the wrong files, then on the right ones. */
  const tryOut = async (
    log: FaultLog,
    scene: Scene,
    swap: (yesterday: string) => void,
    expected: RegExp,
    exitCode?: number,
  ): Promise<Omit<CaseResult, "hits" | "what">> => {
    const yesterday = await aDayLater(log, scene);
    const today = join(log.directory, "today");
    cpSync(log.dataDirectory, join(today, "data"), { recursive: true });
    cpSync(join(log.anchorFile, ".."), join(today, "anchor"), { recursive: true });
    swap(yesterday);
    const twin = log.twin();
    const result = mustRefuse(await liveOnce(twin, scene.shape), expected, exitCode);
    log.ledger.addAll(twin.ledger.of("head"));
    copyOver(join(today, "data"), log.dataDirectory);
    copyOver(join(today, "anchor"), join(log.anchorFile, ".."));
    return await wholeAgain(result, log);
  };
  const trials: { readonly [name: string]: Trial } = {
    "yesterday's database": (log, scene) =>
      tryOut(
        log,
        scene,
        (yesterday) => {
          copyOver(join(yesterday, "data"), log.dataDirectory);
        },
        /rolled back/,
      ),
    "yesterday's anchor": (log, scene) =>
      tryOut(
        log,
        scene,
        (yesterday) => {
          copyOver(join(yesterday, "anchor"), join(log.anchorFile, ".."));
        },
        /ahead/,
      ),
    "yesterday's database and anchor": (log, scene) =>
      tryOut(
        log,
        scene,
        (yesterday) => {
          copyOver(join(yesterday, "data"), log.dataDirectory);
          copyOver(join(yesterday, "anchor"), join(log.anchorFile, ".."));
        },
        /room/,
      ),
    "another log's anchor": (log, scene, _random, other) =>
      tryOut(
        log,
        scene,
        () => {
          writeFileSync(log.anchorFile, readFileSync(other.anchorFile));
        },
        /anchor/,
        78,
      ),
    "another log's database": (log, scene, _random, other) =>
      tryOut(
        log,
        scene,
        () => {
          copyOver(other.dataDirectory, log.dataDirectory);
        },
        /key/,
        78,
      ),
    "another log's database and anchor": (log, scene, _random, other) =>
      tryOut(
        log,
        scene,
        () => {
          copyOver(other.dataDirectory, log.dataDirectory);
          writeFileSync(log.anchorFile, readFileSync(other.anchorFile));
        },
        /key/,
        78,
      ),
    "another log's keys": async (log, scene, _random, other) => {
      const own = readFileSync(log.keysFile);
      writeFileSync(log.keysFile, readFileSync(other.keysFile));
      const result = mustRefuse(await liveOnce(log, scene.shape), /key/, 78);
      writeFileSync(log.keysFile, own);
      return await wholeAgain(result, log);
    },
    "no data directory": async (log, scene) => {
      const kept = `${log.dataDirectory}-kept`;
      copyOver(log.dataDirectory, kept);
      rmSync(log.dataDirectory, { recursive: true });
      const result = mustRefuse(await liveOnce(log, scene.shape), /no log|no database/, 78);
      copyOver(kept, log.dataDirectory);
      return await wholeAgain(result, log);
    },
  };
  return kindOf("swapped files", "F10 F16 F17 F19", options, trials, 5);
}

/** Two processes on one log, or two machines with copies of it. */
export function twoOfThem(options: Options): Kind {
  const trials: { readonly [name: string]: Trial } = {
    "two processes": async (log, scene) => {
      let second: Life | undefined;
      const twin = log.twin();
      const first = await liveOnce(
        log,
        { ...scene.shape, changes: 1_000_000 },
        {
          meddle: async (child, said) => {
            while (child.exitCode === null && said().of("started").length === 0) await delay(5);
            second = await liveOnce(twin, scene.shape);
            child.kill("SIGTERM");
          },
        },
      );
      if (second === undefined) throw new Error("the second process did not run");
      const result = mustRefuse(second, /in use by process [0-9]+/, 75);
      const ended: Violation[] =
        first.status === 0 ? [] : [{ kind: "other", what: `the first ended with status ${first.status}` }];
      return await wholeAgain({ ...result, violations: [...result.violations, ...ended] }, log);
    },
    "two hosts, one after the other": async (log, scene) => {
      const second = log.copy(options.onDisk);
      try {
        await liveOnce(log, scene.shape);
        log.ledger.add({ said: "room", note: readFileSync(log.anchorFile, "utf8") });
        second.ledger.addAll(log.ledger.facts);
        return await wholeAgain(mustRefuse(await liveOnce(second, scene.shape), /room/), log);
      } finally {
        second.remove();
      }
    },
    "two hosts at once, one anchor": async (log, scene) => {
      const copy = log.copy(options.onDisk);
      const second = copy.at({
        dataDirectory: copy.dataDirectory,
        anchorFile: log.anchorFile,
        keysFile: copy.keysFile,
      });
      try {
        const lives = await Promise.all([
          liveOnce(log, scene.shape),
          liveOnce(second, { ...scene.shape, seed: `${scene.shape.seed} second` }),
        ]);
        const stopped = lives.filter(({ ledger }) => ledger.of("failed").length + ledger.of("refused").length > 0);
        const violations = stopped.flatMap(({ ledger }) => {
          const failed = ledger.of("failed").at(-1);
          const message = failed?.message ?? ledger.of("refused").at(-1)?.reason ?? "";
          return complaintsAbout(message, failed?.exitCode);
        });
        if (stopped.length === 0) violations.push({ kind: "other", what: "both went on" });
        violations.push(...twoHeads(log, lives.map(({ ledger }) => ledger.of("head").map(({ note }) => note)).flat()));
        return { outcome: "refused", violations };
      } finally {
        copy.remove();
      }
    },
  };
  return kindOf("two of them", "F13 F14 F15", options, trials, 6);
}

/** Heads of one size with different roots. */
function twoHeads({ verifier }: FaultLog, notes: readonly string[]): Violation[] {
  const roots = new Map<number, Uint8Array>();
  return notes.flatMap((note): Violation[] => {
    const { size, root } = verifier.open(note);
    const other = roots.get(size);
    roots.set(size, root);
    const differ = other !== undefined && !Buffer.from(other).equals(root);
    return differ ? [{ kind: "second signature", what: `two heads of size ${size}` }] : [];
  });
}

/** A clock that goes wrong between two lives. */
export function wrongClock(options: Options): Kind {
  const trials: { readonly [name: string]: Trial } = {
    "an hour back": async (log, scene) => {
      await liveOnce(log, scene.shape);
      const rightMs = log.nowMs;
      log.nowMs -= 3_600_000 + longestLifeMs(scene.shape);
      const result = mustRefuse(await liveOnce(log, scene.shape), /clock/);
      log.nowMs = rightMs;
      return await wholeAgain(result, log);
    },
    "ten years ahead, and right again": async (log, scene) => {
      await liveOnce(log, scene.shape);
      const rightMs = log.nowMs;
      log.nowMs += 10 * 365 * 86_400_000;
      await liveOnce(log, scene.shape);
      const laterMs = log.nowMs;
      log.nowMs = rightMs;
      const result = mustRefuse(await liveOnce(log, scene.shape), /clock/);
      log.nowMs = laterMs;
      return await wholeAgain(result, log);
    },
  };
  return kindOf("wrong clock", "F21 F22", options, trials, 4);
}

/** Told to stop, or short of memory, handles, or file size. */
export function shortOfEverything(options: Options): Kind {
  const judge = async (log: FaultLog, lived: Life): Promise<Omit<CaseResult, "hits" | "what">> => {
    const failed = lived.ledger.of("failed").at(-1);
    const violations = failed === undefined ? [] : complaintsAbout(failed.message, failed.exitCode);
    // Short of memory Node may abort. What hangs is killed, and that is no way to end.
    if (lived.signal === "SIGKILL") violations.push(...unexpectedEnd(lived));
    const outcome = failed === undefined ? "unharmed" : "refused";
    const cause = failed === undefined ? {} : { cause: causeOf(failed.message) };
    return await wholeAgain({ outcome, violations, ...cause }, log);
  };
  const trials: { readonly [name: string]: Trial } = {
    SIGTERM: async (log, scene, random) => {
      const lived = await liveOnce(
        log,
        { ...scene.shape, changes: 1_000 },
        {
          meddle: async (child, said) => {
            while (child.exitCode === null && said().of("merged").length === 0) await delay(5);
            await delay(random.below(200));
            child.kill("SIGTERM");
          },
        },
      );
      const result = await judge(log, lived);
      const clean = lived.status === 0 && lived.ledger.of("done").length > 0;
      const what = `SIGTERM ended it with ${lived.signal ?? `status ${lived.status}`}`;
      return clean ? result : { ...result, violations: [...result.violations, { kind: "other", what }] };
    },
    "little memory": async (log, scene, random) => {
      const nodeArguments = [`--max-old-space-size=${8 + random.below(24)}`];
      return await judge(log, await liveOnce(log, { ...scene.shape, changes: 40 }, { nodeArguments }));
    },
    "few file handles": async (log, scene, random) => {
      const wrapper = ["prlimit", `--nofile=${20 + random.below(40)}`];
      return await judge(log, await liveOnce(log, scene.shape, { wrapper }));
    },
    "files may not grow": async (log, scene, random) => {
      const wrapper = ["env", "--ignore-signal=XFSZ", "prlimit", `--fsize=${500 + random.below(30_000)}`];
      return await judge(log, await liveOnce(log, scene.shape, { wrapper }));
    },
  };
  return kindOf("short of everything", "F26 F27 F74", options, trials, 10);
}

/** A disk that fails in two lives, then works; undefined without strace. */
export function failsTwice(options: Options): Kind | undefined {
  const strace = findStrace();
  if (strace === undefined) return undefined;
  const failAt =
    (target: Point["target"], call: Point["call"]): Trial =>
    async (log, scene, random) => {
      const shape = { ...scene.shape, changes: 1_000, users: 1 };
      const point = { target, call, nth: 2 + random.below(6) };
      const wrapper = [strace, ...injectingArguments(log, point, "error=EIO")];
      const lives = [
        mustRefuse(await liveOnce(log, shape, { wrapper }), /Input.output error|EIO/, 75, true),
        mustRefuse(await liveOnce(log, shape, { wrapper }), /second time within a day.*fsck/, 70, true),
        mustRefuse(await liveOnce(log, scene.shape), /twice within a day.*fsck/, 70),
      ];
      const { problems } = await examine(log, { fsckOnly: true });
      const violations = [...lives.flatMap((life) => life.violations), ...problems.map(whatFsckSays)];
      const { status } = await liveOnce(log, scene.shape);
      if (status !== 0) violations.push({ kind: "other", what: `fsck did not let it go on: status ${status}` });
      return await wholeAgain({ outcome: "refused", violations }, log);
    };
  const trials: { readonly [name: string]: Trial } = {
    "the journal": failAt("journal", "fdatasync"),
    "the anchor": failAt("anchor", "fsync"),
  };
  return kindOf("disk fails twice", "F02b", options, trials, 4);
}

function whatFsckSays(problem: string): Violation {
  return { kind: "other", what: `fsck: ${problem}` };
}

/** A small file system that is really full; undefined where none can be mounted. */
export function fullDisk(options: Options): Kind | undefined {
  const probe = mkdtempSync(join(options.onDisk, "mount-"));
  if (!mountTmpfs(probe, 1)) return undefined;
  unmount(probe);
  const onSmallDisk = async (
    log: FaultLog,
    mebibytes: number,
    run: (small: FaultLog) => Promise<Violation[]>,
  ): Promise<Omit<CaseResult, "hits" | "what">> => {
    const place = mkdtempSync(join(options.onDisk, "small-"));
    if (!mountTmpfs(place, mebibytes)) throw new Error("no small file system could be mounted");
    try {
      const small = log.copy(place);
      const violations = await run(small);
      const whole = small.copy(options.onDisk);
      violations.push(...mustBeWhole(await examine(whole)));
      whole.remove();
      return { outcome: "refused", violations };
    } finally {
      unmount(place);
    }
  };
  const trials: { readonly [name: string]: Trial } = {
    "16 MiB": async (log, scene) =>
      await onSmallDisk(log, 16, async (small) =>
        mustRefuse(await liveOnce(small, scene.shape), /disk/).violations.slice(),
      ),
    "full while it runs": async (log, scene, random) =>
      await onSmallDisk(log, 80, async (small) => {
        const violations = await liveUntilFull(small, scene, allFull(small, random));
        const full = await liveOnce(small, scene.shape);
        const again = full.ledger.of("failed").at(-1)?.message ?? full.ledger.of("refused").at(-1)?.reason ?? "";
        violations.push(...complaintsAbout(again, full.ledger.of("failed").at(-1)?.exitCode));
        rmSync(fillerOf(small));
        return violations;
      }),
    "full, with a reserve": async (log, scene, random) =>
      await onSmallDisk(log, 112, async (small) => {
        const shape = { ...scene.shape, reserveBytes: RESERVE_BYTES };
        const violations = await liveUntilFull(small, { ...scene, shape }, allFull(small, random));
        // Whatever was left is taken by others: opening writes, so without the reserve it fails.
        fillUp(`${fillerOf(small)}-rest`);
        const without = small.twin();
        violations.push(...mustRefuse(await liveOnce(without, scene.shape), /No space left|ENOSPC/, 75).violations);
        const full = await liveOnce(small, shape);
        violations.push(...mustRefuse(full, /MiB of disk are free\. Next: free some/).violations);
        if (full.ledger.of("started").length === 0) violations.push({ kind: "other", what: "it did not open" });
        for (const filler of [fillerOf(small), `${fillerOf(small)}-rest`]) rmSync(filler);
        const { status } = await liveOnce(small, shape);
        const reserve = statSync(join(small.dataDirectory, "reserve"), { throwIfNoEntry: false })?.size;
        if (status !== 0 || reserve !== RESERVE_BYTES)
          violations.push({ kind: "other", what: `with room again: status ${status}, a reserve of ${reserve}` });
        return violations;
      }),
    "the anchor's own": async (log, scene, random) => {
      const small = log.copy(options.onDisk);
      const beside = dirname(small.anchorFile);
      const head = readFileSync(small.anchorFile);
      if (!mountTmpfs(beside, 4)) throw new Error("no small file system could be mounted");
      try {
        const filler = join(beside, "filler");
        writeFileSync(small.anchorFile, head);
        const violations = await liveUntilFull(small, scene, {
          filler,
          // What is being written when the room goes still fits.
          left: 200_000 + random.below(400_000),
          countOf: (said) => said.of("merged").length,
        });
        const full = await liveOnce(small, scene.shape);
        violations.push(...mustRefuse(full, /MiB of disk are free\. Next: free some/).violations);
        rmSync(filler);
        const { status } = await liveOnce(small, scene.shape);
        if (status !== 0) violations.push({ kind: "other", what: `with room again: status ${status}` });
        violations.push(...mustBeWhole(await examine(small)));
        return { outcome: "refused", violations };
      } finally {
        unmount(beside);
        small.remove();
      }
    },
  };
  return kindOf("full disk", "F03 F04", options, trials, 8);
}

/** Enough for the small logs of a campaign to be opened. */
const RESERVE_BYTES = 16 * 2 ** 20;
/** So many that the journal takes more space than opening the database gives back before it is read. */
const MERGED_BEFORE = 60;
/** How long a log on a full disk is watched. */
const FULL_FOR_MS = 1_500;

function fillerOf(small: FaultLog): string {
  return join(small.directory, "..", "filler");
}

/** Where and how full, and what must not go on then. */
interface Fullness {
  readonly filler: string;
  readonly left: number;
  readonly countOf: (said: Ledger) => number;
}

/** Of the disk that everything lies on: there is not even room for a mark. */
function allFull(small: FaultLog, random: Random): Fullness {
  return { filler: fillerOf(small), left: random.below(40_000), countOf: (said) => said.facts.length };
}

/** Lives until others have taken all but `left` bytes of a disk, and a while longer: it must neither sign nor end. */
async function liveUntilFull(
  small: FaultLog,
  { shape }: Scene,
  { filler, left, countOf }: Fullness,
): Promise<Violation[]> {
  let [before, after] = [0, 0];
  const lived = await liveOnce(
    small,
    { ...shape, changes: 1_000_000, patient: true },
    {
      meddle: async (child, said) => {
        while (child.exitCode === null && said().of("merged").length < MERGED_BEFORE) await delay(5);
        fill(filler, left);
        await delay(FULL_FOR_MS);
        before = countOf(said());
        await delay(FULL_FOR_MS);
        after = countOf(said());
        if (child.exitCode !== null) after = NaN;
        child.kill("SIGTERM");
      },
    },
  );
  // Told to end, it writes what waits, for which there may be no space.
  const failed = lived.ledger.of("failed").at(-1);
  const violations = failed === undefined ? [] : complaintsAbout(failed.message, failed.exitCode);
  if (after !== before) violations.push({ kind: "other", what: "it ended, or gave its word, while the disk was full" });
  return violations;
}

/** Leaves about `left` bytes of the file system, while others write to it. */
function fill(filler: string, left: number): void {
  writeFileSync(filler, "");
  for (let more = left; ; more += 65_536) {
    const { bavail, bsize } = statfsSync(filler);
    if (spawnSync("fallocate", ["-l", String(bavail * bsize - more), filler]).status === 0) return;
  }
}

/** Takes all that is left. */
function fillUp(filler: string): void {
  const file = openSync(filler, "w");
  try {
    for (const bytes of [4_096, 1]) {
      const block = Buffer.alloc(bytes);
      assert.throws(
        () => {
          for (;;) writeSync(file, block);
        },
        { code: "ENOSPC" },
      );
    }
  } finally {
    closeSync(file);
  }
}

function mountTmpfs(place: string, mebibytes: number): boolean {
  return spawnSync("mount", ["-t", "tmpfs", "-o", `size=${mebibytes}m`, "tmpfs", place]).status === 0;
}

function unmount(place: string): void {
  spawnSync("umount", [place]);
}
