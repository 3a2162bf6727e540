#!/usr/bin/env -S node --disable-warning=DEP0060 --no-memory-reducer
/**
 * The command line: reads options, wires, prints. Exit codes: 75 try again, 78 change the configuration, 70 integrity.
 * Without V8's memory reducer, which packs the whole heap when little was allocated for some seconds: with a large log it
 * stops the thread that answers for a tenth of a second.
 */
import { Command, InvalidArgumentError } from "commander";
import { runAudit, runVerifyEvidence, runWitness } from "./commands-independent.ts";
import { runBackup, runRestore } from "./commands-backup.ts";
import {
  runClose,
  runCloseLog,
  runDoctor,
  runErase,
  runFsck,
  runInit,
  runService,
  runStatus,
} from "./commands-service.ts";
import { StuckError } from "./watchdog.ts";

/** After a failure, what still runs is waited for no longer. */
const EXIT_LIMIT_MS = 5_000;
const CONFIG = ["-c, --config <file>", "configuration", "config.yaml"] as const;

function integer(text: string): number {
  if (!/^[0-9]{1,15}$/.test(text)) throw new InvalidArgumentError("a whole number is needed");
  return Number(text);
}

function listener(text: string): { readonly host: string; readonly port: number } {
  const [, host = "", port = ""] = /^(.+):([0-9]{1,5})$/.exec(text) ?? [];
  if (host === "") throw new InvalidArgumentError("host:port is needed");
  return { host, port: Number(port) };
}

function start(text: string): number | "settling" {
  return text === "settling" ? text : integer(text);
}

const collect = (text: string, texts: readonly string[]): readonly string[] => [...texts, text];

function program(): Command {
  const command = new Command("matrix-ckv");
  command.description("Key transparency log of a Matrix homeserver.").showHelpAfterError();
  addServiceCommands(command);
  addIndependentCommands(command);
  return command;
}

function addServiceCommands(command: Command): void {
  command
    .command("init")
    .description("make keys, database, registration and config.yaml; never overwrites")
    .option("-c, --config <file>", "configuration to write; the rest goes beside it", "config.yaml")
    .option("--server-name <name>", "name of the homeserver, as in user ids")
    .option("--homeserver-url <url>", "where this service reaches the homeserver")
    .option("--service-url <url>", "where clients reach this service, https")
    .option("--appservice-url <url>", "where the homeserver reaches this service")
    .option("--data <directory>", "database", "data")
    .option("--anchor <file>", "newest signed head, which tells an old database: best on another disk", "anchor/head")
    .option("--settle-ms <ms>", "length of a settling interval; fixed for the life of the log", integer)
    .option("--heartbeat-ms <ms>", "an epoch without changes this often; can only shrink later", integer)
    .option("--merge-delay-ms <ms>", "a promised change is merged within this; can only shrink later", integer)
    .option("--appservice-port <port>", "port of listeners.appservice", integer, 9009)
    .option("--api-port <port>", "port of listeners.api", integer, 9010)
    .option("--metrics-port <port>", "port of listeners.metrics", integer, 9011)
    .option("--successor-of <file>", "take over the log of this configuration, which has ended and must not run")
    .option("--successor-keys <file>", "the keys that its final epoch names; made by close-log")
    .option("--without-final-epoch", "its keys or its newest epochs are lost: clients will be warned")
    .option("-y, --yes", "ask nothing")
    .action(runInit);
  command
    .command("run")
    .description("run the service")
    .option(...CONFIG)
    .option("--check", "only say everything that is wrong with the configuration and the files it names")
    .action(runService);
  command
    .command("doctor")
    .description("try everything the service needs, and say what to change")
    .option(...CONFIG)
    .option("--homeserver-yaml <file>", "configuration of Synapse, if it can be read here")
    .action(runDoctor);
  command
    .command("fsck")
    .description("verify the whole database; the service must not run")
    .option(
      "--full",
      "prove the indices of all users again, not of 1,000 spread over them: about 5 minutes per million",
    )
    .option(...CONFIG)
    .action(runFsck);
  command
    .command("backup")
    .description("the whole log in one new file, from the running service, or from a log that is stopped")
    .requiredOption("--to <file>", "where to write it")
    .option("--move", "end this log, stopped, here: only this backup of it signs again, where it is restored")
    .option(...CONFIG)
    .action(runBackup);
  command
    .command("restore")
    .description("verify a backup and make a database of it; never overwrites")
    .requiredOption("--from <file>", "the backup")
    .option("--data <directory>", "database to make, if not that of the configuration")
    .option(...CONFIG)
    .action(runRestore);
  command
    .command("status")
    .description("what a running service says of itself")
    .option(...CONFIG)
    .action(runStatus);
  command
    .command("erase <user-id>")
    .description("delete the content of versions that the account has acknowledged and that are older than 30 days")
    .requiredOption("--from <version>", "first version", integer)
    .requiredOption("--to <version>", "last version", integer)
    .option(...CONFIG)
    .action(runErase);
  command
    .command("close-log")
    .description("end the log for good by an epoch that names its successor; the service must run")
    .requiredOption("--successor-keys <file>", "the successor's keys; made when missing")
    .option("-y, --yes", "ask nothing")
    .option(...CONFIG)
    .action(runCloseLog);
  command
    .command("close <user-id>")
    .description("end the log of an account for good, by a last version without keys")
    .option(...CONFIG)
    .action(runClose);
}

function addIndependentCommands(command: Command): void {
  command
    .command("audit")
    .description("replay every epoch of a log and cosign its heads; for somebody other than the operator")
    .requiredOption("--service-url <url>", "the log; may be given again, for mirrors of it", collect, [])
    .requiredOption("--log-key <vkey>", "its verifier key, from a source you trust")
    .requiredOption("--name <name>", "name of the auditor's key")
    .requiredOption("--key <file>", "the auditor's key; made when missing")
    .requiredOption("--state <file>", "what was audited so far")
    .option(
      "--from <epoch>",
      'begin at a checked dump of the map: a settling epoch, or "settling" for the newest',
      start,
    )
    .option("--accept-replaced", "audit a log that took over another although that has no final epoch")
    .option("--alert <program>", "run it with a code and a file when the log has lied, or was refused for a day")
    .option("--matrix-user <user-id>", "where change lists are for named auditors: the auditor's account")
    .option("--matrix-url <url>", "its homeserver")
    .option("--matrix-token <file>", "its access token")
    .option("--poll-ms <ms>", "look for a new head this often", integer, 10_000)
    .option("--listen <host:port>", "serve the cosigned head as /checkpoint", listener)
    .option("--once", "audit up to the head of now, print it, and end")
    .action(runAudit);
  command
    .command("witness")
    .description("cosign heads of logs that extend what was cosigned before (C2SP tlog-witness)")
    .requiredOption("--name <name>", "name of the witness's key")
    .requiredOption("--key <file>", "the witness's key; made when missing")
    .requiredOption("--state <directory>", "the newest head of each log")
    .requiredOption("--log <vkey>", "verifier key of a log; may be given again", collect, [])
    .requiredOption("--listen <host:port>", "where to serve", listener)
    .action(runWitness);
  command.command("verify-evidence <file>").description("check a piece of evidence, offline").action(runVerifyEvidence);
}

try {
  await program().parseAsync();
} catch (error) {
  const { exitCode, message, cause } = error as {
    readonly exitCode?: unknown;
    readonly message?: unknown;
    readonly cause?: unknown;
  };
  const why = cause instanceof Error ? `: ${cause.message}` : "";
  process.stderr.write(`matrix-ckv: ${typeof message === "string" ? message + why : "failed"}\n`);
  process.exitCode = typeof exitCode === "number" ? exitCode : 1;
  // What hangs would otherwise keep the process: its supervisor waits for the exit. Node's own waits for hung threads, too.
  setTimeout(() => {
    if (error instanceof StuckError) process.kill(process.pid, "SIGKILL");
    process.exit();
  }, EXIT_LIMIT_MS).unref();
}
