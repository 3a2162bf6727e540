/** A small part of the fault campaign, always the same; `npm run faults` is the whole. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "mocha";
import { runCampaign } from "./campaign.ts";
import { describeDamage, filesOf, inflict } from "./damage.ts";
import { examine } from "./examine.ts";
import { FaultLog, live } from "./fault-log.ts";
import { Random } from "./random.ts";
import { findStrace } from "./strace.ts";

describe("faults", () => {
  let directory: string;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), "ckv-faults-"));
  });
  after(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  /** Runs a campaign, and shows its result if a word was broken. */
  const campaign = async (only: readonly string[], crashPoints: number, bitFlips: number): Promise<void> => {
    const lines: string[] = [];
    const print = (text: string): void => {
      lines.push(text);
    };
    const counts = { seed: "npm test", crashPoints, bitFlips, only };
    const places = { onDisk: directory, inMemory: directory };
    const sound = await runCampaign({ ...counts, ...places, print, say: () => undefined });
    assert(sound, lines.join("\n"));
  };

  it("killed while it writes, a log keeps its word", async function () {
    this.timeout(300_000);
    const kinds = findStrace() === undefined ? ["kill at any time"] : ["kill at a system call", "kill at any time"];
    await campaign(kinds, 6, 0);
  });
  it("damaged files are found, or do no harm", async function () {
    this.timeout(300_000);
    await campaign(["bit flip", "bit flip in a large log", "lost file"], 0, 100);
  });

  describe("what judges a log", () => {
    let log: FaultLog;
    before(async () => {
      log = await FaultLog.create(directory, "judge");
      await live(log, { users: 3, lives: 2, epochsPerLife: 3 }, new Random("judge"));
    });

    it("finds nothing in a log that kept its word", async () => {
      const { violations, refusal, failedReads, problems } = await examine(log.copy(directory));
      assert.deepEqual([violations, refusal, failedReads, problems], [[], undefined, [], []]);
    });
    it("finds a lost change, a moved one, another entry, a lost mark, a second head", async () => {
      const copy = log.copy(directory);
      const [merged] = copy.ledger.of("merged");
      assert(merged);
      const other = await FaultLog.create(directory, "judge");
      await live(other, { users: 3, lives: 1, epochsPerLife: 4 }, new Random("other"));
      copy.ledger.addAll([
        { ...merged, version: 99 },
        { ...merged, epoch: merged.epoch + 1 },
        { ...merged, n: 77 },
        { said: "marked", userId: "@lost:example.org" },
        { said: "cursor", name: "feed", value: 1_000_000 },
        ...other.ledger.of("head"),
      ]);
      const { violations } = await examine(copy);
      const found = new Set(violations.map(({ kind, what }) => `${kind}: ${what.replaceAll(/[0-9]+/g, "N")}`));
      for (const expected of [
        /^lost: @userN.* has N versions of N$/,
        /^wrong answer: .* moved to another epoch$/,
        /^wrong answer: .* has another entry$/,
        /^lost: the mark of @lost/,
        /^lost: the cursor feed went back$/,
        /^second signature: two heads of size N$/,
      ])
        assert(
          [...found].some((text) => expected.test(text)),
          `${String(expected)} in ${[...found].join("; ")}`,
        );
    });
    it("finds a head that was signed and is gone", async () => {
      const copy = log.copy(directory);
      const ahead = log.copy(directory);
      await examine(ahead);
      await examine(ahead);
      const past = ahead.ledger.of("head").map(({ note }) => ahead.verifier.open(note).size);
      copy.ledger.addAll(ahead.ledger.of("head").slice(-1));
      assert(Math.max(...past) > log.ledger.of("head").length);
      const { violations } = await examine(copy);
      assert(violations.some(({ kind }) => kind === "lost" || kind === "second signature"));
    });
    it("inflicts what it says", () => {
      const copy = log.copy(directory);
      const files = filesOf(copy.directory);
      const [file] = files.filter(({ size }) => size > 8);
      assert(file);
      inflict(copy.directory, { type: "truncate", file: file.file, length: 8 });
      assert.equal(filesOf(copy.directory).find((each) => each.file === file.file)?.size, 8);
      inflict(copy.directory, { type: "delete", file: file.file });
      assert.equal(filesOf(copy.directory).length, files.length - 1);
      assert.match(describeDamage({ type: "flip", file: "a", offset: 1, bit: 2 }), /bit 2 of byte 1 of a/);
    });
  });
});
