/**
 * A witness: cosigns checkpoints of the logs it knows, each only when proven to extend the last one it cosigned.
 * C2SP tlog-witness, "add-checkpoint". It checks consistency only; `auditor.ts` replays what an epoch did.
 */
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { cosign } from "../shared/crypto/cosignature.ts";
import { parseNote, type NoteKey } from "../shared/crypto/signed-note.ts";
import { sha256, type Hash } from "../shared/crypto/hash.ts";
import { decodeBase64, encodeBase64, encodeHex, equalBytes, fromUtf8, utf8 } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import { openCheckpoint, type Checkpoint } from "../shared/log/checkpoint.ts";
import { verifyConsistency } from "../shared/merkle/consistency.ts";
import { emptyRoot, LOG_DOMAINS } from "../shared/merkle/tree.ts";
import { replaceFile } from "./replace-file.ts";

const MAX_REQUEST_BYTES = 65_536;
const MAX_PROOF_HASHES = 63;

export interface WitnessOptions {
  /** Name of the witness's key, and its seed of 32 bytes. */
  readonly name: string;
  readonly seed: Uint8Array;
  /** The keys of the logs it cosigns. */
  readonly logs: readonly NoteKey[];
  /** Directory with one small file per log: the newest checkpoint cosigned. */
  readonly stateDirectory: string;
  readonly nowMs: () => number;
}

/** A request for a cosignature, taken apart but not verified. */
export interface AddCheckpoint {
  readonly oldSize: number;
  readonly proof: readonly Hash[];
  readonly note: string;
}

/** Status, and body: signature lines on 200, the witness's size on 409, a sentence otherwise. */
export interface WitnessAnswer {
  readonly status: 200 | 400 | 403 | 404 | 409 | 422;
  readonly body: string;
}

/** Throws VerificationError `malformed`. */
export function parseAddCheckpoint(text: string): AddCheckpoint {
  const division = text.indexOf("\n\n");
  const [first = "", ...hashes] = text.slice(0, division).split("\n");
  const oldSize = /^old (0|[1-9][0-9]{0,15})$/.exec(first)?.[1];
  if (division < 0 || oldSize === undefined || !Number.isSafeInteger(Number(oldSize))) {
    throw new VerificationError("malformed", "the request does not begin with the old size");
  }
  if (hashes.length > MAX_PROOF_HASHES) throw new VerificationError("malformed", "the proof is too long");
  const proof = hashes.map((hash) => decodeBase64(hash));
  if (proof.some(({ length }) => length !== 32)) throw new VerificationError("malformed", "a hash has not 32 bytes");
  return { oldSize: Number(oldSize), proof, note: text.slice(division + 2) };
}

/** The text of a request, for those who ask witnesses. */
export function formatAddCheckpoint({ oldSize, proof, note }: AddCheckpoint): string {
  return [`old ${oldSize}`, ...proof.map((hash) => encodeBase64(hash)), "", note].join("\n");
}

export class Witness {
  readonly #options: WitnessOptions;
  /** The last request per log; the next one for it queues behind, so that check and store are one step. */
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(options: WitnessOptions) {
    mkdirSync(options.stateDirectory, { recursive: true });
    this.#options = options;
  }

  /** Answers one request text. Throws only when the state cannot be read or stored: then no cosignature was made. */
  async addCheckpoint(text: string): Promise<WitnessAnswer> {
    try {
      const request = parseAddCheckpoint(text);
      const key = this.#options.logs.find(({ name }) => parseNote(request.note).text.startsWith(`${name}\n`));
      if (key === undefined) return { status: 404, body: "this log is not known here\n" };
      return await this.#inTurn(key.name, async () => await this.#cosign(request, key));
    } catch (error) {
      if (error instanceof VerificationError) return refusalOf(error);
      throw error;
    }
  }

  async #cosign({ oldSize, proof, note }: AddCheckpoint, key: NoteKey): Promise<WitnessAnswer> {
    const next = openCheckpoint(note, key);
    const last = await this.#load(key.name);
    if (oldSize > next.size) return { status: 400, body: "the old size is above the checkpoint's\n" };
    if (oldSize !== last.size) return { status: 409, body: `${last.size}\n` };
    if (next.size === last.size && !equalBytes(next.root, last.root)) return { status: 409, body: `${last.size}\n` };
    verifyExtension(last, next, proof);
    await this.#store(next);
    const { name, seed, nowMs } = this.#options;
    return { status: 200, body: `${cosign(note, { name, seed, timestampS: Math.floor(nowMs() / 1000) })}\n` };
  }

  async #load(origin: string): Promise<Checkpoint> {
    const text = await readFile(this.#fileOf(origin), "utf8").catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    });
    if (text === undefined) return { origin, size: 0, root: emptyRoot };
    const { size, root } = JSON.parse(text) as { readonly size: number; readonly root: string };
    return { origin, size, root: decodeBase64(root) };
  }

  async #store({ origin, size, root }: Checkpoint): Promise<void> {
    await replaceFile(this.#fileOf(origin), JSON.stringify({ origin, size, root: encodeBase64(root) }));
  }

  #fileOf(origin: string): string {
    return join(this.#options.stateDirectory, `${encodeHex(sha256(utf8(origin)))}.json`);
  }

  async #inTurn<Result>(origin: string, work: () => Promise<Result>): Promise<Result> {
    const mine = (this.#turns.get(origin) ?? Promise.resolve()).then(work);
    this.#turns.set(
      origin,
      mine.catch(() => undefined),
    );
    return await mine;
  }
}

/** Every log extends the empty one, without proof. */
function verifyExtension(last: Checkpoint, next: Checkpoint, path: readonly Hash[]): void {
  if (last.size === 0 && path.length === 0) return;
  verifyConsistency(LOG_DOMAINS, { size1: last.size, root1: last.root, size2: next.size, root2: next.root, path });
}

function refusalOf({ code, message }: VerificationError): WitnessAnswer {
  const status = code === "bad-signature" ? 403 : code === "bad-consistency" ? 422 : 400;
  return { status, body: `${message}\n` };
}

/** Serves `POST /add-checkpoint` until `signal` is aborted. Returns the port. */
export async function serveWitness(
  witness: Witness,
  { host, port }: { readonly host: string; readonly port: number },
  signal: AbortSignal,
): Promise<number> {
  const server = createServer({ requestTimeout: 30_000 }, (request, response) => {
    handle(witness, request, response).catch(() => {
      response.writeHead(500).end();
    });
  });
  server.listen({ host, port, signal });
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

async function handle(witness: Witness, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method !== "POST" || request.url !== "/add-checkpoint") {
    response.writeHead(404).end();
    return;
  }
  const text = await readRequest(request);
  const { status, body } =
    text === undefined
      ? { status: 400, body: "the request is too long or no text\n" }
      : await witness.addCheckpoint(text);
  response.writeHead(status, { "content-type": status === 409 ? "text/x.tlog.size" : "text/plain; charset=utf-8" });
  response.end(body);
}

async function readRequest(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > MAX_REQUEST_BYTES) return undefined;
    chunks.push(chunk);
  }
  try {
    return fromUtf8(Buffer.concat(chunks));
  } catch (error) {
    if (error instanceof VerificationError) return undefined;
    throw error;
  }
}
