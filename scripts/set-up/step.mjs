// What every set-up step is made of: where the cache is, how a child runs, how progress is told.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createWriteStream, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const cache = join(root, ".cache");

/** A failure with a message for the person at the terminal; everything else is a bug and shows its stack. */
export class SetUpError extends Error {}

export function say(line) {
  console.log(`› ${line}`);
}

/** Puts `directory` first in PATH for every child from here on. */
export function prependPath(directory) {
  process.env.PATH = directory + delimiter + process.env.PATH;
}

/**
 * Runs a command whose output matters only when it fails: the output goes to .cache/logs/<name>.log, the terminal gets a
 * line every ten seconds. Rejects with the last lines of the log.
 */
export async function runQuietly(name, command, args, options = {}) {
  const logFile = join(cache, "logs", `${name}.log`);
  mkdirSync(dirname(logFile), { recursive: true });
  const log = createWriteStream(logFile);
  const started = Date.now();
  const ticker = setInterval(() => say(`  ${name}: ${seconds(started)} s`), 10_000);
  try {
    await finished(spawn(command, args, { cwd: root, ...options, stdio: ["ignore", "pipe", "pipe"] }), log);
  } catch (error) {
    const tail = existsSync(logFile) ? readFileSync(logFile, "utf8").trimEnd().split("\n").slice(-8).join("\n  ") : "";
    throw new SetUpError(`${[command, ...args].join(" ")}: ${error.message}\n  ${tail}`);
  } finally {
    clearInterval(ticker);
  }
}

function finished(child, log) {
  child.stdout.pipe(log, { end: false });
  child.stderr.pipe(log, { end: false });
  return new Promise((resolve, reject) => {
    child.once("error", (error) => log.end(() => reject(error)));
    child.once("close", (code, signal) => {
      log.end(() => (code === 0 ? resolve() : reject(new Error(`ended with ${signal ?? `status ${code}`}`))));
    });
  });
}

/** Runs a command with this terminal; rejects when it does not end with status 0. */
export function runTool(command, args) {
  const child = spawn(command, args, { cwd: root, stdio: "inherit" });
  const forward = (signal) => child.kill(signal);
  process.on("SIGTERM", forward).on("SIGINT", () => undefined);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => {
      process.off("SIGTERM", forward);
      if (code === 0) resolve();
      else reject(new SetUpError(`${command} ended with ${signal ?? `status ${code}`}`));
    });
  });
}

/** Whether a command can be started at all and says it is well. */
export function answers(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: "ignore" });
    child.once("error", () => resolve(false));
    child.once("close", (code) => resolve(code === 0));
  });
}

export function seconds(started) {
  return ((Date.now() - started) / 1000).toFixed(1);
}

/** Hash of some files' contents: when it equals the stamp of the last run, a step has nothing to do. */
export function stampOf(...files) {
  const hash = createHash("sha256").update(`${process.platform} ${process.arch}`);
  for (const file of files) hash.update(readFileSync(file));
  return hash.digest("hex");
}

export function readStamp(name) {
  const file = join(cache, `${name}.stamp`);
  return existsSync(file) ? readFileSync(file, "utf8") : undefined;
}

export function writeStamp(name, stamp) {
  mkdirSync(cache, { recursive: true });
  writeFileSync(join(cache, `${name}.stamp`), stamp);
}

/** Runs `aptGet install` where that can work: as root on a Debian-like system. */
export async function installDebianPackages(name, packages) {
  if (process.getuid?.() !== 0) throw new SetUpError("needs root");
  if (!existsSync("/usr/bin/apt-get")) throw new SetUpError("needs apt-get");
  const options = { env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } };
  await runQuietly(`${name}-update`, "apt-get", ["update", "-q"], options);
  await runQuietly(name, "apt-get", ["install", "-q", "-y", "--no-install-recommends", ...packages], options);
}

/** Tries each way in turn and returns the first that works; otherwise names everything that was tried. */
export async function firstThatWorks(what, ways) {
  const failures = [];
  for (const { name, attempt } of ways) {
    try {
      const found = await attempt();
      if (found !== undefined) return found;
      failures.push(`- ${name}: not there`);
    } catch (error) {
      if (!(error instanceof SetUpError)) throw error;
      failures.push(`- ${name}: ${error.message}`);
    }
  }
  throw new SetUpError(`${what} is needed and nothing gave it. Tried:\n${failures.join("\n")}`);
}
