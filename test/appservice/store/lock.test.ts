import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "mocha";
import { LockedError, takeLock } from "../../../appservice/store/lock.ts";

const LOCK = new URL("../../../appservice/store/lock.ts", import.meta.url).href;

describe("lock", () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "ckv-lock-"));
  });
  afterEach(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  it("is held by one, named in the refusal, and free again after release", async () => {
    const lock = await takeLock(directory);
    await assert.rejects(takeLock(directory), (error: unknown) => {
      assert(error instanceof LockedError);
      assert.equal(error.exitCode, 75);
      assert.match(error.message, new RegExp(`process ${process.pid}`));
      return true;
    });
    await lock.release();
    await (await takeLock(directory)).release();
  });

  it("is free once its holder was killed", async () => {
    const script = `import { takeLock } from ${JSON.stringify(LOCK)}; await takeLock(${JSON.stringify(directory)}); console.log("held"); setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(child.stdout, "data");
    await assert.rejects(takeLock(directory), new RegExp(`process ${child.pid}`));
    child.kill("SIGKILL");
    await once(child, "close");
    await (await takeLock(directory)).release();
  });

  it("says so when the path is too long for it", async () => {
    await assert.rejects(takeLock(join(directory, "x".repeat(120))), /too long/);
  });
});
