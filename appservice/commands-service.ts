/** The commands of the operator. */
import { existsSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import { parseConfiguration } from "../shared/directory/configuration.ts";
import { systemClock } from "./clock.ts";
import { endSignal, print } from "./commands-independent.ts";
import { ALL_FILES, NEEDED_TO_START } from "./check-files.ts";
import { loadChecked, loadConfig, type Config } from "./config.ts";
import { linesOf, neededOptions } from "./homeserver-options.ts";
import { HEARTBEAT_BOUNDS, init, InitError, makeKeys, MERGE_DELAY_BOUNDS, SETTLE_BOUNDS, vkeyOf } from "./init.ts";
import { readKeys, writeKeys } from "./keys-file.ts";
import { openLogger } from "./logger.ts";
import { fsck } from "./fsck.ts";
import { BOT_LOCALPART, parseRegistration } from "./registration.ts";
import { initSuccessor, nextOrigin } from "./successor.ts";
import { wellKnownLines } from "./well-known.ts";

/** A command cannot do what it was asked. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly exitCode: number;

  constructor(message: string, exitCode: number) {
    super(message);
    this.exitCode = exitCode;
  }
}

export interface WithConfig {
  readonly config: string;
}

interface InitArguments extends WithConfig {
  readonly serverName?: string;
  readonly homeserverUrl?: string;
  readonly serviceUrl?: string;
  readonly appserviceUrl?: string;
  readonly data: string;
  readonly anchor: string;
  readonly settleMs?: number;
  readonly heartbeatMs?: number;
  readonly mergeDelayMs?: number;
  readonly appservicePort: number;
  readonly apiPort: number;
  readonly metricsPort: number;
  readonly successorOf?: string;
  readonly successorKeys?: string;
  readonly withoutFinalEpoch?: true;
  readonly yes?: true;
}

export async function runInit(given: InitArguments): Promise<void> {
  if (given.successorOf !== undefined) {
    await runInitSuccessor(given, given.successorOf);
    return;
  }
  const ask = given.yes === true ? takeFallback : askOnTerminal;
  const serverName =
    given.serverName ?? (await ask("Name of the homeserver, as in user ids", undefined, "--server-name"));
  const homeserverUrl =
    given.homeserverUrl ??
    (await ask("URL at which this service reaches the homeserver", "http://127.0.0.1:8008", "--homeserver-url"));
  const serviceUrl =
    given.serviceUrl ??
    (await ask("URL at which clients reach this service", `https://ckv.${serverName}`, "--service-url"));
  const { files, wellKnown } = await init(
    {
      ...given,
      serverName,
      homeserverUrl,
      serviceUrl,
      appserviceUrl: given.appserviceUrl ?? `http://127.0.0.1:${given.appservicePort}`,
      settleMs: given.settleMs ?? SETTLE_BOUNDS.fallback,
      heartbeatMs: given.heartbeatMs ?? HEARTBEAT_BOUNDS.fallback,
      mergeDelayMs: given.mergeDelayMs ?? MERGE_DELAY_BOUNDS.fallback,
      ports: { appservice: given.appservicePort, api: given.apiPort, metrics: given.metricsPort },
    },
    systemClock.now(),
  );
  const needed = neededOptions({ serverName, registrationFile: files.registration, botLocalpart: BOT_LOCALPART });
  print(`Made a log for ${serverName}:
${describeFiles({
  [files.config]: "settings",
  [files.registration]: "for the homeserver, whose user must be able to read it",
  [files.keys]: "secret keys: keep a copy offline",
  [files.data]: "database",
  [files.anchor]: "anchor: best on another disk",
})}
Add to homeserver.yaml, with public_baseurl set, and restart Synapse:
${linesOf(needed, { optional: false })}
${wellKnownLines(wellKnown)}
and, only to enrol every new account by itself:
${linesOf(needed, { optional: true })}
Next: "matrix-ckv doctor -c ${files.config}", then "matrix-ckv run -c ${files.config}".`);
}

async function runInitSuccessor(given: InitArguments, successorOf: string): Promise<void> {
  const { config, data, anchor, successorKeys, withoutFinalEpoch } = given;
  if ((successorKeys === undefined) === (withoutFinalEpoch === undefined)) {
    throw new InitError(
      "--successor-of needs --successor-keys, the keys that the final epoch names (matrix-ckv close-log makes them); or --without-final-epoch for a log that can't sign any more",
    );
  }
  const { files, wellKnown } = await initSuccessor({
    old: loadConfig(successorOf, process.env),
    config,
    data,
    anchor,
    ...(successorKeys === undefined ? {} : { keysFile: successorKeys }),
    nowMs: systemClock.now(),
    progress: (what, done) => {
      process.stderr.write(`${what}: ${done}\n`);
    },
  });
  print(`Made the successor, ${wellKnown.log_key}:
${describeFiles({
  [files.config]: "settings: compare them with those of the old log",
  [files.keys]: "secret keys: keep a copy offline",
  [files.data]: "database, with all histories of the old log",
  [files.anchor]: "anchor: best on another disk",
})}
So that clients find it, replace in homeserver.yaml, and restart Synapse:
${wellKnownLines(wellKnown)}
Next: "matrix-ckv fsck -c ${files.config}", then "matrix-ckv run -c ${files.config}". Keep the old log's files: they are its evidence.`);
}

/** A line for each file, and what it is. */
function describeFiles(files: { readonly [path: string]: string }): string {
  const width = Math.max(...Object.keys(files).map((path) => path.length));
  return Object.entries(files)
    .map(([path, what]) => `  ${path.padEnd(width)}  ${what}`)
    .join("\n");
}

interface CloseLogArguments extends WithConfig {
  readonly successorKeys: string;
  readonly yes?: true;
}

export async function runCloseLog({ config: file, successorKeys, yes }: CloseLogArguments): Promise<void> {
  const { host, port } = loadConfig(file, process.env).listeners.api;
  const response = await fetch(`http://${host}:${port}/v1/configuration`).catch(() => undefined);
  if (response?.ok !== true) {
    throw new CommandError(`nothing answers at ${host}:${port}: is "matrix-ckv run" running?`, 75);
  }
  const { origin } = parseConfiguration(await response.text());
  if (yes !== true) {
    const answer = await askOnTerminal(`This ends ${origin} for good. Type its name to go on`, "", "--yes");
    if (answer !== origin) throw new CommandError("nothing was changed", 1);
  }
  if (!existsSync(successorKeys)) writeKeys(successorKeys, makeKeys());
  const successor = nextOrigin(origin);
  const log_key = vkeyOf(successor, readKeys(successorKeys).logSeed);
  const { epoch } = (await operate(file, "close-log", { origin: successor, log_key })) as { readonly epoch: number };
  print(`closed: epoch ${epoch} is the last of ${origin} and names ${log_key}.
The secret keys of the successor are in ${successorKeys}: keep a copy offline.
Next: stop the service, then "matrix-ckv init --successor-of ${file} --successor-keys ${successorKeys} -c <new directory>/config.yaml".`);
}

type Ask = (question: string, fallback: string | undefined, flag: string) => Promise<string>;

const takeFallback: Ask = async (_question, fallback, flag) => {
  if (fallback === undefined) throw new InitError(`${flag} is needed`);
  return await Promise.resolve(fallback);
};

const askOnTerminal: Ask = async (question, fallback, flag) => {
  if (!process.stdin.isTTY) return await takeFallback(question, fallback, flag);
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  try {
    const answer = await terminal.question(`${question}${fallback === undefined ? "" : ` [${fallback}]`}: `);
    return answer.trim() === "" ? await takeFallback(question, fallback, flag) : answer.trim();
  } finally {
    terminal.close();
  }
};

export async function runService({ config: file, check }: WithConfig & { readonly check?: true }): Promise<void> {
  const config = loadChecked(file, process.env, check === true ? ALL_FILES : NEEDED_TO_START);
  if (check === true) {
    print(`${file}: no problem found`);
    return;
  }
  const logger = openLogger(config.log.level);
  const { runService: start } = await import("./service.ts");
  const signal = endSignal();
  const service = await start(config, { clock: systemClock, logger, signal }).catch((error: unknown) => {
    // Told to end before it had begun.
    if (signal.aborted && error instanceof Error && error.name === "AbortError") return undefined;
    throw error;
  });
  if (service === undefined) return;
  logger.info({ ...service.ports }, "listening");
  await service.finished;
}

export async function runDoctor(options: WithConfig & { readonly homeserverYaml?: string }): Promise<void> {
  const { config: configFile, homeserverYaml } = options;
  const { examine } = await import("./doctor.ts");
  const config = loadConfig(configFile, process.env);
  let problems = 0;
  const yaml = homeserverYaml === undefined ? {} : { homeserverYaml };
  for await (const finding of examine({ config, configFile, nowMs: systemClock.now, ...yaml })) {
    if (finding.result === "problem") problems += 1;
    print(
      `${{ ok: "ok     ", problem: "PROBLEM", unknown: "?      " }[finding.result]} ${finding.subject}: ${finding.detail}`,
    );
  }
  print(problems === 0 ? "No problem found." : `${problems} to mend.`);
  process.exitCode = problems === 0 ? 0 : 78;
}

export async function runStatus({ config: file }: WithConfig): Promise<void> {
  const { host, port } = loadConfig(file, process.env).listeners.api;
  const response = await fetch(`http://${host}:${port}/readyz`, { signal: AbortSignal.timeout(5_000) }).catch(
    () => undefined,
  );
  if (response === undefined)
    throw new CommandError(`nothing answers at ${host}:${port}: is "matrix-ckv run" running?`, 75);
  const { ready, reasons } = (await response.json()) as {
    readonly ready: boolean;
    readonly reasons: readonly string[];
  };
  const checkpoint = await fetch(`http://${host}:${port}/log/checkpoint`).then(async (answer) => await answer.text());
  const [origin, size, root] = checkpoint.split("\n");
  print(
    `log    ${origin ?? "?"}\nepochs ${size ?? "?"}\nroot   ${root ?? "?"}\nready  ${ready ? "yes" : reasons.join("; ")}`,
  );
  process.exitCode = ready ? 0 : 75;
}

export async function runClose(userId: string, { config: file }: WithConfig): Promise<void> {
  const { version, epoch } = (await operate(file, "close", { user_id: userId })) as { version: number; epoch: number };
  print(`closed: version ${version} of ${userId} in epoch ${epoch}`);
}

interface EraseArguments extends WithConfig {
  readonly from: number;
  readonly to: number;
}

export async function runErase(userId: string, { config: file, from, to }: EraseArguments): Promise<void> {
  if (from < 1 || to < from) throw new CommandError("--from and --to are versions, the first not above the second", 1);
  const versions = Array.from({ length: to - from + 1 }, (_, offset) => from + offset);
  await operate(file, "erase", { user_id: userId, versions });
  print(`erased: the content of versions ${from} to ${to} of ${userId}`);
}

/** Asks the running service, which alone may write. */
async function operate(file: string, command: "close" | "close-log" | "erase", body: object): Promise<unknown> {
  const response = await askOperator(loadConfig(file, process.env), command, body);
  return await response.json();
}

/** An answer of the running service's private listener. Throws `CommandError` if it refuses, or nothing answers. */
export async function askOperator(
  { listeners, registration }: Config,
  command: "close" | "close-log" | "erase" | "backup",
  body: object,
): Promise<Response> {
  const { host, port } = listeners.metrics;
  const { asToken } = parseRegistration(readFileSync(registration, "utf8"));
  const response = await fetch(`http://${host}:${port}/operator/${command}`, {
    method: "POST",
    headers: { authorization: `Bearer ${asToken}` },
    body: JSON.stringify(body),
  }).catch(() => undefined);
  if (response === undefined)
    throw new CommandError(`nothing answers at ${host}:${port}: is "matrix-ckv run" running?`, 75);
  if (response.ok) return response;
  const { error } = (await response.json()) as { readonly error?: string };
  throw new CommandError(error ?? "refused", 1);
}

export async function runFsck({ config: file, full }: WithConfig & { readonly full?: true }): Promise<void> {
  const { data, anchor, keys } = loadConfig(file, process.env);
  const vrfSeed = existsSync(keys) ? readKeys(keys).vrfSeed : undefined;
  const onIndices = (users: number, of: number): void => {
    if (users < of) print(`The indices of ${users} of ${of} users were proven again; --full proves all of them.`);
  };
  const log = {
    dataDirectory: data,
    anchorFile: anchor,
    onIndices,
    ...(vrfSeed === undefined ? {} : { vrfSeed }),
    ...(full === true ? { sample: Infinity } : {}),
  };
  const sound = await fsck(log, (report) => {
    if (report.kind === "progress") process.stderr.write(`${report.what}: ${report.done}\n`);
    else print(`PROBLEM ${report.message}`);
  });
  print(sound ? "The log is sound." : "The log is damaged: do not run it; restore it from a backup.");
  process.exitCode = sound ? 0 : 70;
}
