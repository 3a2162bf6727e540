/** Threads that work ahead leave the processor to those that sign and answer. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { describe, it } from "mocha";
import { databaseOf } from "../../appservice/create-log.ts";
import { ProverPool } from "../../appservice/prover-pool.ts";
import { ReadAhead } from "../../appservice/read-ahead.ts";
import { OwnLog } from "../support/own-log.ts";

const { PRIORITY_BELOW_NORMAL } = constants.priority;
const MODULE = new URL("../../appservice/give-way.ts", import.meta.url).href;
const USERS = Array.from({ length: 20 }, (_, i) => `@user${i}:example.org`);

/** The nice value of each thread of this process: the 19th word of its line, after a name that may hold blanks. proc(5) */
function priorities(): readonly number[] {
  return readdirSync("/proc/self/task").map((thread) => {
    const [after = ""] = readFileSync(`/proc/self/task/${thread}/stat`, "utf8").split(") ").slice(-1);
    return Number(after.split(" ")[16]);
  });
}
const givingWay = (): number => priorities().filter((each) => each === PRIORITY_BELOW_NORMAL).length;

describe("giving way", () => {
  it("is what the thread that reads ahead does, and those that prove indices, and no other", async () => {
    const log = await OwnLog.create();
    const epochsBelowTop = new Float64Array(new SharedArrayBuffer(8));
    const [before, reader, provers] = [
      givingWay(),
      new ReadAhead({ database: databaseOf(log.dataDirectory), epochsBelowTop }),
      new ProverPool(log.keys.vrfSeed),
    ];
    assert.ok((await reader.read(USERS)) !== undefined);
    assert.equal(givingWay(), before + 1);
    await Promise.all(USERS.map((userId) => provers.prove(userId)));
    assert.equal(givingWay(), before + 3);
    await reader.close();
    await provers.close();
    assert.equal(givingWay(), before);
    log.remove();
  });

  it("never raises a thread that is lower already", () => {
    const program = `import { getPriority } from "node:os"; import { giveWay } from "${MODULE}"; giveWay(); console.log(getPriority())`;
    const run = (nice: number): string =>
      execFileSync("nice", ["-n", `${nice}`, process.execPath, "--input-type=module", "-e", program], {
        encoding: "utf8",
      });
    assert.equal(run(0).trim(), `${PRIORITY_BELOW_NORMAL}`);
    assert.equal(run(15).trim(), "15");
  });
});
