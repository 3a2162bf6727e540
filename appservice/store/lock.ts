import { connect, createServer } from "node:net";
import type { Server } from "node:net";
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { NoDataError, StorageError } from "./store.ts";

/** Another process holds the data directory. */
export class LockedError extends Error {
  /** sysexits.h EX_TEMPFAIL: the other may end. */
  readonly exitCode = 75;

  constructor(directory: string, holder: string) {
    super(`${directory} is in use by process ${holder}. Next: stop that process, or leave this log to it`);
    this.name = "LockedError";
  }
}

export interface Lock {
  release(): Promise<void>;
}

/** Longest path of a Unix socket on Linux, without the final zero byte. */
const MAX_SOCKET_PATH = 107;
/** A holder that does not say its number within this is alive but busy. */
const ANSWER_WITHIN_MS = 1_000;

/**
 * Takes the data directory for this process: a Unix socket that listens in it, which the kernel closes with the process,
 * however that ends. LevelDB's own lock is lost when anybody in the process opens and closes its file.
 * Throws `LockedError`, naming the process that holds it; `NoDataError`; `StorageError`.
 */
export async function takeLock(directory: string): Promise<Lock> {
  const path = resolve(join(directory, "ckv.lock"));
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH) throw new Error(`${directory} is too long a path for a lock`);
  const server = await listen(path).catch(async (error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    if (!existsSync(directory)) throw new NoDataError(directory, false);
    if (code !== "EADDRINUSE") throw new StorageError(path, { cause: error });
    const holder = await askHolder(path);
    if (holder !== undefined) throw new LockedError(directory, holder);
    await rm(path, { force: true });
    return listen(path);
  });
  return { release: () => close(server) };
}

function listen(path: string): Promise<Server> {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.end(String(process.pid));
  });
  server.unref();
  return new Promise((resolveListen, reject) => {
    server.once("error", reject);
    server.listen(path, () => {
      resolveListen(server);
    });
  });
}

/** The process number of whoever listens, undefined if nobody does. */
function askHolder(path: string): Promise<string | undefined> {
  return new Promise((answer) => {
    const socket = connect(path);
    let number = "";
    socket.setTimeout(ANSWER_WITHIN_MS, () => {
      answer("(busy)");
      socket.destroy();
    });
    socket.on("data", (data: Buffer) => {
      number += data.toString("latin1");
    });
    socket.on("end", () => {
      answer(number);
    });
    socket.on("error", ({ code }: NodeJS.ErrnoException) => {
      // Any other failure, of this process's own handles for one, says nothing about the holder.
      answer(code === "ECONNREFUSED" || code === "ENOENT" ? undefined : "(unknown)");
    });
  });
}

function close(server: Server): Promise<void> {
  return new Promise((done) => {
    server.close(() => {
      done();
    });
  });
}
