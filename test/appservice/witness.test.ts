import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatAddCheckpoint, parseAddCheckpoint, serveWitness, Witness } from "../../appservice/witness.ts";
import { Cosigners } from "../../appservice/cosigners.ts";
import { systemClock } from "../../appservice/clock.ts";
import { openCosignatures } from "../../shared/crypto/cosignature.ts";
import { publicKeyOf } from "../../shared/crypto/ed25519.ts";
import {
  appendSignature,
  COSIGNATURE_KEY,
  ED25519_KEY,
  formatVkey,
  parseVkey,
} from "../../shared/crypto/signed-note.ts";
import { utf8 } from "../../shared/encoding.ts";
import { signCheckpoint } from "../../shared/log/checkpoint.ts";
import { proveConsistency } from "../../shared/merkle/consistency.ts";
import { leafHash, LOG_DOMAINS, rootOf } from "../../shared/merkle/tree.ts";

const ORIGIN = "example.org/ckv/1";
const logSeed = new Uint8Array(32).fill(1);
const witnessSeed = new Uint8Array(32).fill(2);
const logVkey = formatVkey({ name: ORIGIN, type: ED25519_KEY, publicKey: publicKeyOf(logSeed) });
const witnessVkey = formatVkey({ name: "w.example", type: COSIGNATURE_KEY, publicKey: publicKeyOf(witnessSeed) });

const leavesOf = (size: number, word = "epoch"): Uint8Array[] =>
  Array.from({ length: size }, (_, index) => leafHash(LOG_DOMAINS, utf8(`${word} ${index}`)));
const noteOf = (size: number, word?: string, seed: Uint8Array = logSeed, origin: string = ORIGIN): string =>
  signCheckpoint({ origin, size, root: rootOf(LOG_DOMAINS, leavesOf(size, word)) }, { seed });
const proofOf = (from: number, to: number, word?: string): Uint8Array[] =>
  from === 0 || from === to ? [] : proveConsistency(LOG_DOMAINS, leavesOf(to, word), from, to);
const requestOf = (oldSize: number, size: number, word?: string): string =>
  formatAddCheckpoint({ oldSize, proof: proofOf(oldSize, size, word), note: noteOf(size, word) });

describe("witness", () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "ckv-witness-"));
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  const open = (stateDirectory: string = directory): Witness =>
    new Witness({
      name: "w.example",
      seed: witnessSeed,
      logs: [parseVkey(logVkey)],
      stateDirectory,
      nowMs: () => 1_700_000_000_999,
    });

  it("cosigns each extension, from the first head on", async () => {
    const witness = open();
    let last = 0;
    for (const size of [1, 2, 5, 8, 8, 9, 33]) {
      const { status, body } = await witness.addCheckpoint(requestOf(last, size));
      assert.equal(status, 200, `${last} to ${size}`);
      const cosigned = appendSignature(noteOf(size), body.trimEnd());
      assert.equal(openCosignatures(cosigned, [parseVkey(witnessVkey)])[0]?.timestampS, 1_700_000_000);
      last = size;
    }
  });

  it("goes on after a restart where it was", async () => {
    await open().addCheckpoint(requestOf(0, 7));
    assert.deepEqual(await open().addCheckpoint(requestOf(0, 3)), { status: 409, body: "7\n" });
    assert.equal((await open().addCheckpoint(requestOf(7, 9))).status, 200);
  });

  it("tells its own size to who starts elsewhere", async () => {
    const witness = open();
    await witness.addCheckpoint(requestOf(0, 5));
    for (const [from, to] of [
      [0, 9],
      [4, 9],
      [6, 9],
      [3, 3],
    ] as const) {
      assert.deepEqual(await witness.addCheckpoint(requestOf(from, to)), { status: 409, body: "5\n" });
    }
  });

  it("never cosigns a fork", async () => {
    const witness = open();
    await witness.addCheckpoint(requestOf(0, 5));
    assert.equal((await witness.addCheckpoint(requestOf(5, 5, "other"))).status, 409);
    assert.equal((await witness.addCheckpoint(requestOf(5, 9, "other"))).status, 422);
    assert.equal((await witness.addCheckpoint(requestOf(5, 9))).status, 200);
  });

  it("cosigns one of two forks that come at once", async () => {
    const witness = open();
    const answers = await Promise.all(
      [requestOf(0, 4), requestOf(0, 4, "other")].map((text) => witness.addCheckpoint(text)),
    );
    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 409]);
  });

  it("gives no cosignature when its state cannot be stored", async () => {
    const witness = open();
    await witness.addCheckpoint(requestOf(0, 4));
    const [file = ""] = readdirSync(directory);
    rmSync(join(directory, file));
    writeFileSync(join(directory, `${file}.new`), "");
    rmSync(directory, { recursive: true });
    await assert.rejects(witness.addCheckpoint(requestOf(0, 4)));
    directory = mkdtempSync(join(tmpdir(), "ckv-witness-"));
  });

  for (const [name, text, status] of [
    [
      "another log",
      formatAddCheckpoint({ oldSize: 0, proof: [], note: noteOf(3, undefined, logSeed, "other.org/ckv/1") }),
      404,
    ],
    [
      "another key under the log's name",
      formatAddCheckpoint({ oldSize: 0, proof: [], note: noteOf(3, undefined, witnessSeed) }),
      403,
    ],
    ["an old size above the new", requestOf(0, 3).replace("old 0", "old 4"), 400],
    ["a proof to the first head", formatAddCheckpoint({ oldSize: 0, proof: proofOf(2, 3), note: noteOf(3) }), 422],
    ["no old size", `\n${noteOf(3)}`, 400],
    ["a negative old size", requestOf(0, 3).replace("old 0", "old -1"), 400],
    ["an old size with a leading zero", requestOf(0, 3).replace("old 0", "old 00"), 400],
    ["a hash of another length", requestOf(0, 3).replace("old 0\n", "old 0\nAAAA\n"), 400],
    ["too many hashes", requestOf(0, 3).replace("old 0\n", `old 0\n${`${"A".repeat(43)}=\n`.repeat(64)}`), 400],
    ["no checkpoint", "old 0\n\nhello\n", 400],
    ["nothing", "", 400],
  ] as const) {
    it(`refuses ${name}`, async () => {
      assert.equal((await open().addCheckpoint(text)).status, status);
      assert.deepEqual(readdirSync(directory), []);
    });
  }

  it("reads requests as it writes them", () => {
    const request = { oldSize: 3, proof: proofOf(3, 7), note: noteOf(7) };
    assert.deepEqual(parseAddCheckpoint(formatAddCheckpoint(request)), request);
  });

  it("is asked by the service, which finds the witness's size by itself", async () => {
    const end = new AbortController();
    const witness = open();
    await witness.addCheckpoint(requestOf(0, 3));
    const port = await serveWitness(witness, { host: "127.0.0.1", port: 0 }, end.signal);
    const quiet = { error: () => undefined, warn: () => undefined, info: () => undefined, debug: () => undefined };
    const cosigners = new Cosigners([{ vkey: witnessVkey, url: `http://127.0.0.1:${port}` }], systemClock, quiet);
    for (const size of [4, 6]) {
      const proofs = async (from: number): Promise<Uint8Array[]> => await Promise.resolve(proofOf(from, size));
      const note = await cosigners.cosign(noteOf(size), size, proofs, end.signal);
      assert.equal(openCosignatures(note, [parseVkey(witnessVkey)]).length, 1);
    }
    const backwards = cosigners.cosign(noteOf(2), 2, async () => await Promise.resolve([]), end.signal);
    await assert.rejects(backwards, { exitCode: 70 });
    end.abort();
  });
});
