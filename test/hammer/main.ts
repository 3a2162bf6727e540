/**
 * `npm run hammer`: the service as operators run it, under writers, readers, an auditor and an attacker at once. The
 * homeserver beside it is a fast stand-in (fast-homeserver.ts); everything else is real. Options: `--minutes 10`
 * (default 1), `--updates 100` per second, `--readers 100`, `--think-ms 4000`, `--json <file>`. Exit code 0 if everything
 * held, 1 if not.
 */
import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { parseCheckpoint } from "../../shared/log/checkpoint.ts";
import { parseNote } from "../../shared/crypto/signed-note.ts";
import { MAX_VERSIONS_PER_DAY } from "../../shared/parameters.ts";
import { end, tied } from "../support/child.ts";
import { freePort } from "../support/port.ts";
import type { FastHomeserver } from "./fast-homeserver.ts";
import type { AttackerStart, AttackTally, Change, ClientsStart, FromClients, ToClients } from "./messages.ts";
import { Report } from "./report.ts";
import { Stage, until } from "./stage.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1" },
    updates: { type: "string", default: "100" },
    readers: { type: "string", default: "100" },
    "think-ms": { type: "string", default: "4000" },
    json: { type: "string", default: ".cache/hammer.json" },
  },
});
const [minutes, updatesPerSecond, readers] = [Number(values.minutes), Number(values.updates), Number(values.readers)];
const thinkMs = Number(values["think-ms"]);

/** Enough that nobody reaches the day's limit of versions, with a margin. */
const users = Math.max(1_000, readers, Math.ceil((minutes * 60 * updatesPerSecond) / (0.7 * MAX_VERSIONS_PER_DAY)));
const WRITE_EVERY_MS = 20;
const PROGRESS_EVERY_MS = 5_000;
const READY_LIMIT_MS = 300_000;
/** After the last change, everything must have been shown by then. */
const REST_LIMIT_MS = 60_000;
const AUDIT_POLL_MS = 2_000;
/** How far the auditor may lie behind when the load ends, in epochs. */
const AUDIT_LAG_LIMIT = 30;

const say = (text: string): void => {
  process.stderr.write(`${text}\n`);
};
const report = new Report({
  minutes,
  updatesPerSecond,
  readers,
  thinkMs,
  users,
  cores: availableParallelism(),
});

function helper(file: string, start: object): ChildProcess {
  return tied(fork(join(import.meta.dirname, file), [JSON.stringify(start)]));
}

/** Changes keys at the wanted rate for the wanted time, by everybody in turn. */
async function write(homeserver: FastHomeserver, clients: ChildProcess): Promise<void> {
  const userIds = [...homeserver.accounts.keys()];
  const startedMs = performance.now();
  let seconds = 0;
  while (seconds < minutes * 60) {
    await delay(WRITE_EVERY_MS);
    seconds = Math.min(minutes * 60, (performance.now() - startedMs) / 1_000);
    const changes: Change[] = [];
    for (; report.changes < seconds * updatesPerSecond; report.changes++) {
      const userId = userIds[report.changes % userIds.length] ?? "";
      changes.push({ userId, deviceId: homeserver.change(userId), atMs: Date.now() });
    }
    report.seconds = seconds;
    if (changes.length > 0) clients.send({ kind: "changed", changes } satisfies ToClients);
  }
}

/** Seconds of processor time and peak of memory in MB that a process has used. */
function usageOf({ pid }: ChildProcess): { readonly cpuS: number; readonly peakMb: number } {
  const stat =
    readFileSync(`/proc/${String(pid)}/stat`, "utf8")
      .split(") ")[1]
      ?.split(" ") ?? [];
  const peakKb = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${String(pid)}/status`, "utf8"))?.[1]);
  return { cpuS: (Number(stat[11]) + Number(stat[12])) / 100, peakMb: peakKb / 1_024 };
}

async function run(stage: Stage): Promise<void> {
  const { homeserver, service, serviceUrl, logKey } = stage;
  const { serverName } = homeserver;
  const auditPort = await freePort();
  const forClients: ClientsStart = {
    serverName,
    serviceUrl,
    logKey,
    homeserverUrl: homeserver.url,
    users,
    readers,
    thinkMs,
  };
  const clients = helper("clients.ts", forClients);
  const heard = { ready: false, finished: false };
  clients.on("message", (message: FromClients) => {
    if (message.kind === "tally") report.add(message);
    else if (message.kind === "preparing")
      say(`${String(message.present)} of ${String(users)} accounts are in the log`);
    else heard[message.kind] = true;
  });
  await until("all accounts are in the log", READY_LIMIT_MS, () => {
    if (clients.exitCode !== null) throw new Error("the clients ended");
    return heard.ready;
  });

  const auditor = stage.command(
    "audit",
    ...["--service-url", serviceUrl, "--log-key", logKey, "--name", "auditor.example"],
    ...["--key", join(stage.directory, "auditor.key"), "--state", join(stage.directory, "auditor.json")],
    ...["--poll-ms", String(AUDIT_POLL_MS), "--listen", `127.0.0.1:${String(auditPort)}`],
  );
  const forAttacker: AttackerStart = {
    serverName,
    serviceUrl,
    appserviceUrl: stage.appserviceUrl,
    homeserverUrl: homeserver.url,
    users,
  };
  const attacker = helper("attacker.ts", forAttacker);
  attacker.on("message", (message: AttackTally) => {
    report.add(message);
  });
  const progress = setInterval(() => {
    say(report.line);
  }, PROGRESS_EVERY_MS);
  const before = usageOf(service);
  await write(homeserver, clients);
  const [after, forClientsUsage] = [usageOf(service), usageOf(clients)];
  report.facts.set("processor time of the service, % of one core", (100 * (after.cpuS - before.cpuS)) / report.seconds);
  report.facts.set("processor time of the clients, % of one core", (100 * forClientsUsage.cpuS) / report.seconds);
  report.facts.set("most memory of the service, MB", after.peakMb);

  say("the load has ended; waiting for what is not shown yet");
  clients.send({ kind: "finish" } satisfies ToClients);
  await until("everything is shown", REST_LIMIT_MS, () => heard.finished || clients.exitCode !== null).catch(
    () => undefined,
  );
  clearInterval(progress);
  for (const [name, child] of Object.entries({ service, clients, auditor, attacker })) {
    if (child.exitCode !== null && !(name === "clients" && heard.finished))
      report.errors.push(`the ${name} ended early`);
  }
  await checkAuditor(stage, auditPort);
  report.facts.set("changes only a sweep found", await stage.metric("ckv_sweep_missed_total"));
  if (attacker.connected) attacker.send("end");
  await once(attacker, "exit");
  await end(auditor, "SIGTERM");
  await end(clients, "SIGTERM");
  const code = await stage.stop();
  if (code !== 0) report.errors.push(`the service ended with exit code ${String(code)}`);
  checkLog(stage);
  await checkDatabase(stage);
}

/** The auditor has replayed the log up to nearly its end, and signed it. */
async function checkAuditor(stage: Stage, auditPort: number): Promise<void> {
  const sizeAt = async (url: string): Promise<number> =>
    parseCheckpoint(parseNote(await (await fetch(url)).text()).text).size;
  await delay(AUDIT_POLL_MS);
  try {
    const [size, audited] = [
      await sizeAt(`${stage.serviceUrl}/log/checkpoint`),
      await sizeAt(`http://127.0.0.1:${String(auditPort)}/checkpoint`),
    ];
    report.facts.set("epochs audited and cosigned", audited);
    if (size - audited > AUDIT_LAG_LIMIT)
      report.errors.push(`the auditor lies ${String(size - audited)} epochs behind`);
  } catch (error) {
    report.errors.push(`the auditor has cosigned nothing: ${String(error)}\n${stage.logOf("audit").slice(-1_000)}`);
  }
}

/** Nothing the service logged is an error. */
function checkLog(stage: Stage): void {
  for (const line of stage
    .logOf("run")
    .split("\n")
    .filter((line) => line !== "")) {
    const { level, msg } = JSON.parse(line) as { readonly level: number; readonly msg: string };
    if (level >= 50) report.errors.push(`the service logged: ${msg}`);
  }
}

async function checkDatabase(stage: Stage): Promise<void> {
  const fsck = stage.command("fsck", "--config", stage.config);
  const [code] = (await once(fsck, "exit")) as [number | null];
  report.facts.set("fsck of the database afterwards", code === 0 ? "sound" : "damaged");
  if (code !== 0) report.errors.push(`fsck: ${stage.logOf("fsck").slice(-1_000)}`);
}

say(`making ${String(users)} accounts`);
const stage = await Stage.open({ users, outsiders: 0 });
try {
  await run(stage);
} catch (error) {
  report.errors.push(error instanceof Error ? error.message : String(error));
}
process.stdout.write(report.text);
mkdirSync(dirname(values.json), { recursive: true });
writeFileSync(values.json, `${JSON.stringify(report.json, null, 2)}\n`);
if (report.holds) stage.remove();
else say(`what the processes said is kept in ${stage.directory}`);
process.exit(report.holds ? 0 : 1);
