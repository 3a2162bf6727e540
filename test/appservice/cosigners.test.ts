import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Cosigners } from "../../appservice/cosigners.ts";
import { cosign, openCosignatures } from "../../shared/crypto/cosignature.ts";
import { publicKeyOf } from "../../shared/crypto/ed25519.ts";
import { COSIGNATURE_KEY, formatVkey, noteKeyOf } from "../../shared/crypto/signed-note.ts";
import { TestLog } from "../support/test-log.ts";

const NAME = "witness.example";
const seed = new Uint8Array(32).fill(7);
const quiet = { error: () => undefined, warn: () => undefined, info: () => undefined, debug: () => undefined };

describe("cosigners", () => {
  const log = new TestLog({ serverName: "example.org", number: 1 });
  const [note, size] = [log.head(log.size).checkpoint, log.size];
  const key = noteKeyOf({ name: NAME, type: COSIGNATURE_KEY, publicKey: publicKeyOf(seed) });
  const line = (by: Uint8Array, name = NAME): string => cosign(note, { name, seed: by, timestampS: 1 });
  const other = new Uint8Array(32).fill(8);
  let server: Server;
  let answers: { readonly status: number; readonly body: string }[];
  let asked: string[];

  before(async () => {
    server = createServer((request, response) => {
      let text = "";
      request.on("data", (chunk: Buffer) => (text += chunk.toString("utf8")));
      request.on("end", () => {
        asked.push(text);
        const { status, body } = answers.shift() ?? { status: 200, body: `${line(seed)}\n` };
        response.writeHead(status, status === 302 ? { location: "/elsewhere" } : {}).end(body);
      });
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
  });
  after(() => {
    server.close();
    server.closeAllConnections();
  });
  beforeEach(() => {
    [answers, asked] = [[], []];
  });

  const open = (): Cosigners => {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const vkey = formatVkey({ name: NAME, type: COSIGNATURE_KEY, publicKey: publicKeyOf(seed) });
    const clock = {
      now: () => 0,
      sleep: async () => {
        await Promise.resolve();
      },
    };
    return new Cosigners([{ vkey, url }], clock, quiet);
  };
  const ask = async (signal = new AbortController().signal): Promise<string> =>
    await open().cosign(note, size, async () => await Promise.resolve([]), signal);

  for (const [name, answer] of Object.entries({
    "an error": { status: 500, body: "<html>" },
    "a redirect": { status: 302, body: "" },
    "no note line": { status: 200, body: "hello\n" },
    nothing: { status: 200, body: "" },
    "another witness's line": { status: 200, body: `${line(other, "other.example")}\n` },
    "a line of its name by another key": { status: 200, body: `${line(other)}\n` },
    "a size that is none": { status: 409, body: "many\n" },
    "an endless answer": { status: 200, body: "x".repeat(2_000_000) },
  })) {
    it(`takes ${name} for no cosignature, and asks again`, async () => {
      answers = [answer, answer];
      const cosigned = await ask();
      assert.equal(openCosignatures(cosigned, [key]).length, 1);
      assert.equal(asked.length, 3);
      assert.ok(cosigned.startsWith(note));
    });
  }

  it("goes on asking until the log is closed", async () => {
    answers = Array.from({ length: 20 }, () => ({ status: 503, body: "" }));
    const end = new AbortController();
    const closed = new Error("closed");
    const asking = ask(end.signal);
    while (asked.length < 5) await new Promise(setImmediate);
    end.abort(closed);
    await assert.rejects(asking, closed);
  });

  it("stops for good when a witness has cosigned more than there is", async () => {
    answers = [{ status: 409, body: `${size + 1}\n` }];
    await assert.rejects(ask(), { name: "AheadError", exitCode: 70 });
  });
});
