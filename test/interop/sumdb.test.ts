import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { concat, encodeBase64 } from "../../shared/encoding.ts";
import { publicKeyOf } from "../../shared/crypto/ed25519.ts";
import { ED25519_KEY, formatVkey } from "../../shared/crypto/signed-note.ts";
import { originOf, signCheckpoint } from "../../shared/log/checkpoint.ts";
import { encodeEpochRecord, epochLeafHash } from "../../shared/log/epoch-record.ts";
import { hashTile, TILE_WIDTH, tilePath } from "../../shared/log/tiles.ts";
import { proveConsistency } from "../../shared/merkle/consistency.ts";
import { proveInclusion } from "../../shared/merkle/inclusion.ts";
import { hashReaderOf, LOG_DOMAINS, rootOf } from "../../shared/merkle/tree.ts";

const MODULE = fileURLToPath(new URL("sumdb/", import.meta.url));
const BUILD_LIMIT_MS = 120_000;

/** Why the Go side can't run here, or undefined if it can. Builds it, so that the runs are quick. */
function reasonToSkip(): string | undefined {
  if (spawnSync("go", ["version"]).status !== 0) return "Go is not on this machine";
  const built = spawnSync("go", ["build", "-o", "/dev/null", "."], { cwd: MODULE, timeout: BUILD_LIMIT_MS });
  return built.status === 0
    ? undefined
    : `the Go module can't be built: ${built.stderr.toString().split("\n").at(-2) ?? ""}`;
}

/** A log of `size` records as the Go program reads it. */
function exportLog(size: number): { readonly checkpoint: string; readonly [part: string]: unknown } {
  const [seed, origin] = [new Uint8Array(32).fill(4), originOf("example.org", 1)];
  const zero = new Uint8Array(32);
  const records = Array.from({ length: size }, (_, epoch) =>
    encodeEpochRecord({
      epoch,
      timestampMs: 1 + epoch,
      labels: 0,
      mapRoot: zero,
      changesHash: zero,
      configurationHash: zero,
    }),
  );
  const leaves = records.map(epochLeafHash);
  const read = hashReaderOf(LOG_DOMAINS, leaves);
  const tiles: Record<string, string> = {};
  for (let level = 0; size >= TILE_WIDTH ** level; level++) {
    for (let index = 0; index * TILE_WIDTH < Math.floor(size / TILE_WIDTH ** level); index++) {
      const tile = hashTile(level, index, size);
      const hashes = Array.from({ length: tile.width }, (_, i) => read(8 * level, index * TILE_WIDTH + i));
      tiles[tilePath(tile)] = encodeBase64(concat(...hashes));
    }
  }
  const [oldSize, index] = [Math.ceil(size / 3), Math.floor(size / 2)];
  return {
    vkey: formatVkey({ name: origin, type: ED25519_KEY, publicKey: publicKeyOf(seed) }),
    checkpoint: signCheckpoint({ origin, size, root: rootOf(LOG_DOMAINS, leaves) }, { seed }),
    tiles,
    records: records.map(encodeBase64),
    oldSize,
    oldRoot: encodeBase64(rootOf(LOG_DOMAINS, leaves.slice(0, oldSize))),
    consistency: proveConsistency(LOG_DOMAINS, read, oldSize, size).map(encodeBase64),
    index,
    inclusion: proveInclusion(LOG_DOMAINS, read, index, size).map(encodeBase64),
  };
}

function runGo(log: unknown): { readonly status: number | null; readonly output: string } {
  const { status, stdout, stderr } = spawnSync("go", ["run", "."], { cwd: MODULE, input: JSON.stringify(log) });
  return { status, output: stdout.toString() + stderr.toString() };
}

describe("interop: golang.org/x/mod/sumdb", function () {
  this.timeout(BUILD_LIMIT_MS + 60_000);

  before(function () {
    const reason = reasonToSkip();
    if (reason === undefined) return;
    console.log(`    skipped: ${reason}`);
    this.skip();
  });

  for (const size of [1, 2, 255, 256, 257, 700]) {
    it(`opens our checkpoint of size ${size} and finds every record in our tiles`, () => {
      const { status, output } = runGo(exportLog(size));
      assert.equal(status, 0, output);
      assert.match(output, new RegExp(`^checkpoint of ${size}, ${size} records, `));
    });
  }

  it("refuses a checkpoint whose signature is another's, so that the check means something", () => {
    const [log, other] = [exportLog(3), exportLog(4)];
    const signature = other.checkpoint.split("\n").at(-2) ?? "";
    const forged = log.checkpoint.replace(/\u2014 .*(?=\n$)/, signature);
    const { status, output } = runGo({ ...log, checkpoint: forged });
    assert.equal(status, 1);
    assert.match(output, /invalid signature/);
  });
});
