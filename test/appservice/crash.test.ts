/** Killed at any moment, a log neither forgets what it said nor says two things. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { describe, it } from "mocha";
import { fsck } from "../../appservice/fsck.ts";
import { parseVkey } from "../../shared/crypto/signed-note.ts";
import { equalBytes } from "../../shared/encoding.ts";
import { openCheckpoint } from "../../shared/log/checkpoint.ts";
import { openLevelStore } from "../../appservice/store/level-store.ts";
import { databaseOf } from "../../appservice/create-log.ts";
import { rootAt } from "../../appservice/open-log.ts";
import { decodeUnpadded } from "../../shared/encoding.ts";
import { OwnLog } from "../support/own-log.ts";

const CHILD = fileURLToPath(new URL("../support/crashing-log.ts", import.meta.url));
/** Kills in this run; `CKV_CRASHES` for longer ones. */
const ROUNDS = Number(process.env["CKV_CRASHES"] ?? 4);

interface Said {
  readonly merged: { userId: string; version: number; epoch: number }[];
  readonly promised: { userId: string; version: number; opening: string }[];
  readonly heads: string[];
}

/** Runs the child until something was merged, and a random while longer. */
async function crash(log: OwnLog, round: number, said: Said): Promise<void> {
  const args = [CHILD, log.dataDirectory, log.anchorFile, log.keysFile, `r${round}`];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  let rest = "";
  const before = said.merged.length;
  child.stdout.on("data", (data: Buffer) => {
    const lines = (rest + data.toString()).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) hear(JSON.parse(line) as [string, unknown], said);
  });
  while (said.merged.length === before) await once(child.stdout, "data");
  await new Promise((resolve) => setTimeout(resolve, 20 + Math.random() * 500));
  child.kill("SIGKILL");
  await once(child, "close");
}

function hear([word, value]: [string, unknown], said: Said): void {
  if (word === "merged") said.merged.push(value as Said["merged"][number]);
  else if (word === "promised") said.promised.push(value as Said["promised"][number]);
  else said.heads.push(value as string);
}

describe("a killed log", () => {
  it(`keeps every merge, promise and head it told of (${ROUNDS} kills)`, async function () {
    this.timeout(ROUNDS * 20_000);
    // The child lives by the real time.
    const log = await OwnLog.create({}, Date.now() - 60_000);
    const said: Said = { merged: [], promised: [], heads: [] };
    for (let round = 0; round < ROUNDS; round++) {
      await crash(log, round, said);
      const problems: unknown[] = [];
      const sound = await fsck(log, (report) => report.kind === "problem" && problems.push(report.message));
      assert(sound, JSON.stringify(problems));
    }
    await checkHeads(log, said.heads);
    log.clock.advance(3_600_000);
    const { sequencer, directory } = await log.start();
    // Promised changes are merged by the next epoch.
    const { epoch } = sequencer.status();
    await log.clock.runUntil(
      (async (): Promise<void> => {
        for await (const head of sequencer.commits(new AbortController().signal)) if (head.epoch > epoch) return;
      })(),
    );
    assert(said.merged.length > 0 && said.promised.length > 0);
    for (const { userId, version, epoch: mergedIn } of said.merged) {
      const answer = await directory.historyVersions(userId, version, version);
      assert.equal(answer?.versions[0]?.epoch, mergedIn);
    }
    for (const { userId, version, opening } of said.promised) {
      const answer = await directory.historyVersions(userId, version, version);
      assert.equal(decodeUnpadded(answer!.versions[0]!.opening!).toString(), opening);
    }
    await sequencer.close();
    log.remove();
  });
});

/** Every head that was published is a beginning of the log as it is now. */
async function checkHeads(log: OwnLog, heads: readonly string[]): Promise<void> {
  const store = await openLevelStore(databaseOf(log.dataDirectory));
  for (const note of heads) {
    const { size, root } = openCheckpoint(note, parseVkey(log.configuration.log_key));
    assert(equalBytes(rootAt(store, size), root), `another head of size ${size} was published`);
  }
  await store.close();
}
