/** An auditor or a witness killed by SIGKILL after it has stored a head and before it cosigns it. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { formatAddCheckpoint } from "../../appservice/witness.ts";
import { openCosignatures } from "../../shared/crypto/cosignature.ts";
import { publicKeyOf } from "../../shared/crypto/ed25519.ts";
import { appendSignature, COSIGNATURE_KEY, noteKeyOf } from "../../shared/crypto/signed-note.ts";
import { encodeHex } from "../../shared/encoding.ts";
import { encodeEpochChanges } from "../../shared/log/change-list.ts";
import { openCheckpoint } from "../../shared/log/checkpoint.ts";
import { FakeService } from "../client-plugin/fake-service.ts";
import { end, tied } from "../support/child.ts";
import { TestLog } from "../support/test-log.ts";
import { TestUser } from "../support/test-user.ts";

const CHILD = fileURLToPath(new URL("../support/crashing-cosigner.ts", import.meta.url));
const publicKey = publicKeyOf(new Uint8Array(32).fill(9));
const cosignerKey = noteKeyOf({ name: "cosigner.example", type: COSIGNATURE_KEY, publicKey });

/** Two branches of one log with the same sizes, and what the cosigner under test has cosigned of them. */
class Branches {
  readonly directory: string = mkdtempSync(join(tmpdir(), "ckv-killed-"));
  readonly log: TestLog = new TestLog();
  readonly fork: TestLog;
  readonly #roots = new Map<number, Set<string>>();

  constructor() {
    this.#close(this.log, "A");
    this.fork = this.log.fork();
    this.#close(this.log, "B");
    this.#close(this.fork, "C");
  }

  #close(log: TestLog, deviceId: string): void {
    log.setEntry("@alice:example.org", new TestUser("@alice:example.org", deviceId).entry());
    log.closeEpoch(2_000_000 + 1_000 * log.size);
  }

  /** Both branches grow by an epoch. */
  grow(): void {
    this.#close(this.log, "D");
    this.#close(this.fork, "E");
  }

  /** Takes down a note that left the cosigner; its cosignature must be one. */
  heard(note: string): void {
    assert.equal(openCosignatures(note, [cosignerKey]).length, 1);
    const { size, root } = openCheckpoint(note, this.log.logKey);
    this.#roots.set(size, (this.#roots.get(size) ?? new Set()).add(encodeHex(root)));
  }

  /** Whether the head of the first branch was cosigned, and no other root of any size. */
  checkOneRootEach(): void {
    const { size, root } = openCheckpoint(this.log.head().checkpoint, this.log.logKey);
    assert.ok(this.#roots.get(size)?.has(encodeHex(root)) === true, "the head was never cosigned");
    for (const [each, roots] of this.#roots) assert.equal(roots.size, 1, `two roots of size ${String(each)}`);
  }
}

let branches: Branches;
beforeEach(() => {
  branches = new Branches();
});
afterEach(() => {
  rmSync(branches.directory, { recursive: true });
});

describe("an auditor that is killed", () => {
  let server: Server;
  let shown: TestLog;

  beforeEach(async () => {
    shown = branches.log;
    server = createServer((request, response) => {
      const service = new FakeService(shown);
      for (const [epoch, { changes }] of shown.epochs.entries())
        service.lies.set(`/v1/changes/${String(epoch)}`, () => encodeEpochChanges(changes));
      void service.fetch(`https://example.org/ckv${request.url ?? ""}`).then(async (answer) => {
        response.writeHead(answer.status).end(Buffer.from(await answer.arrayBuffer()));
      });
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
  });
  afterEach(() => {
    server.close();
    server.closeAllConnections();
  });

  /** Runs the auditor on a branch; what it gives out is taken down. */
  async function audit(log: TestLog, fate: "dies" | "lives" | "told", state = "state.json"): Promise<string> {
    shown = log;
    const url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
    const args = [CHILD, "auditor", url, log.vkey, join(branches.directory, state), String(log.size)];
    const child = tied(spawn(process.execPath, [...args, fate === "dies" ? "dies" : "lives"]));
    let [note, said] = ["", ""];
    child.stdout.on("data", (text: Buffer) => {
      note += text.toString();
      if (fate === "told") child.kill("SIGKILL");
    });
    child.stderr.on("data", (text: Buffer) => (said += text.toString()));
    const [code, signal] = (await once(child, "close")) as [number | null, string | null];
    if (fate === "dies") assert.deepEqual([signal, note], ["SIGKILL", ""], said);
    if (note !== "") branches.heard(note);
    return note === "" ? `${String(code)} ${said}` : note;
  }

  it("90: between storing and cosigning: it cosigns that head later, and never another of its size", async () => {
    const { log, fork, directory } = branches;
    await audit(log, "dies");
    cpSync(join(directory, "state.json"), join(directory, "other.json"));
    assert.match(await audit(fork, "lives"), /^1 [^]*audit-log-root/);
    branches.heard(await audit(log, "lives", "other.json"));
    branches.checkOneRootEach();
  });

  it("90: the moment its cosignature has left: never another root of that size", async () => {
    const { log, fork } = branches;
    await audit(log, "told");
    assert.match(await audit(fork, "lives"), /^1 [^]*audit-log-root/);
    branches.checkOneRootEach();
  });
});

describe("a witness that is killed", () => {
  /** Runs the witness while `ask` asks it; returns how it ended. */
  async function run(fate: "dies" | "lives", ask: (url: string) => Promise<void>): Promise<NodeJS.Signals | null> {
    const { log, directory } = branches;
    const args = [CHILD, "witness", "", log.vkey, join(directory, "witness"), String(log.size), fate];
    const child = tied(spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] }));
    const [port] = (await once(child.stdout, "data")) as [Buffer];
    await ask(`http://127.0.0.1:${port.toString().trim()}/add-checkpoint`);
    if (fate === "lives") await end(child, "SIGKILL");
    else if (child.signalCode === null) await once(child, "exit");
    return child.signalCode;
  }

  async function add(url: string, log: TestLog, oldSize: number, of = log): Promise<number> {
    const note = log.head().checkpoint;
    const proof = oldSize === 0 ? [] : of.logConsistency(oldSize, of.size);
    const answer = await fetch(url, { method: "POST", body: formatAddCheckpoint({ oldSize, proof, note }) });
    const line = await answer.text();
    if (answer.status === 200) branches.heard(appendSignature(note, line.trimEnd()));
    return answer.status;
  }

  it("90: between storing and cosigning: it cosigns that head later, and never another of its size", async () => {
    const { log, fork } = branches;
    const { size } = log;
    const signal = await run("dies", async (url) => {
      await assert.rejects(add(url, log, 0));
    });
    assert.equal(signal, "SIGKILL");
    await run("lives", async (url) => {
      assert.equal(await add(url, fork, 0), 409);
      assert.equal(await add(url, fork, size), 409);
      assert.equal(await add(url, log, size), 200);
    });
    branches.checkOneRootEach();
    branches.grow();
    await run("lives", async (url) => {
      assert.equal(await add(url, fork, size), 422);
      assert.equal(await add(url, fork, size, log), 422);
      assert.equal(await add(url, log, size), 200);
    });
    branches.checkOneRootEach();
  });

  it("90: the moment its cosignature has left: never another root of that size", async () => {
    const { log, fork } = branches;
    await run("lives", async (url) => {
      assert.equal(await add(url, log, 0), 200);
    });
    await run("lives", async (url) => {
      assert.equal(await add(url, fork, 0), 409);
      assert.equal(await add(url, fork, fork.size), 409);
    });
    branches.checkOneRootEach();
  });
});
