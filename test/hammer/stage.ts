/** The service as operators run it, beside a fast homeserver, in a directory of its own: for campaigns from outside. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { init } from "../../appservice/init.ts";
import { parseRegistration } from "../../appservice/registration.ts";
import { tied } from "../support/child.ts";
import { freePort } from "../support/port.ts";
import { FastHomeserver } from "./fast-homeserver.ts";

const SETTLE_MS = 60_000;
const HEARTBEAT_MS = 10_000;
const MERGE_DELAY_MS = 60_000;
const READY_LIMIT_MS = 120_000;
const MAIN = join(import.meta.dirname, "../../appservice/main.ts");

export interface StageOptions {
  /** Accounts that take part, and accounts that exist without taking part. */
  readonly users: number;
  readonly outsiders: number;
  /** Variables for the service, beside those of this process. */
  readonly env?: NodeJS.ProcessEnv;
}

export class Stage {
  readonly directory: string;
  readonly serviceUrl: string;
  readonly appserviceUrl: string;
  readonly metricsUrl: string;
  readonly logKey: string;
  readonly config: string;
  readonly homeserver: FastHomeserver;
  readonly service: ChildProcess;
  readonly #end: AbortController;
  readonly #gone: Promise<unknown>;

  private constructor(parts: Omit<Stage, "command" | "logOf" | "stop" | "metric" | "remove">, end: AbortController) {
    this.directory = parts.directory;
    this.serviceUrl = parts.serviceUrl;
    this.appserviceUrl = parts.appserviceUrl;
    this.metricsUrl = parts.metricsUrl;
    this.logKey = parts.logKey;
    this.config = parts.config;
    this.homeserver = parts.homeserver;
    this.service = parts.service;
    this.#end = end;
    this.#gone = once(parts.service, "exit");
  }

  /** Makes a log, starts homeserver and service, and waits until that is ready. */
  static async open({ users, outsiders, env = {} }: StageOptions): Promise<Stage> {
    const directory = mkdtempSync(join(tmpdir(), "ckv-stage-"));
    const ports = { appservice: await freePort(), api: await freePort(), metrics: await freePort() };
    const homeserverPort = await freePort();
    const serverName = `localhost:${String(homeserverPort)}`;
    const urlOf = (port: number): string => `http://127.0.0.1:${String(port)}`;
    const config = join(directory, "config.yaml");
    const { files, wellKnown } = await init(
      {
        serverName,
        homeserverUrl: `http://${serverName}`,
        serviceUrl: urlOf(ports.api),
        appserviceUrl: urlOf(ports.appservice),
        config,
        data: "data",
        anchor: "anchor/head",
        settleMs: SETTLE_MS,
        heartbeatMs: HEARTBEAT_MS,
        mergeDelayMs: MERGE_DELAY_MS,
        ports,
      },
      Date.now(),
    );
    const end = new AbortController();
    const registration = parseRegistration(readFileSync(files.registration, "utf8"));
    const accounts = { port: homeserverPort, users, outsiders };
    const homeserver = await FastHomeserver.start(accounts, registration, end.signal);
    const service = spawnCommand(directory, ["run", "--config", config], env);
    const parts = { directory, config, homeserver, service, logKey: wellKnown.log_key };
    const urls = { serviceUrl: urlOf(ports.api), appserviceUrl: urlOf(ports.appservice) };
    const stage = new Stage({ ...parts, ...urls, metricsUrl: urlOf(ports.metrics) }, end);
    void homeserver.push();
    await until("the service is ready", READY_LIMIT_MS, () => {
      if (service.exitCode !== null) throw new Error(`the service ended:\n${stage.logOf("run")}`);
      return answers(`${stage.serviceUrl}/readyz`);
    });
    return stage;
  }

  /** A command of the service as its user starts it; what it says goes into a file. */
  command(...args: readonly string[]): ChildProcess {
    return spawnCommand(this.directory, args, {});
  }

  /** Everything a command has said. */
  logOf(name: string): string {
    return readFileSync(join(this.directory, `${name}.log`), "utf8");
  }

  /** The present value of one of the service's metrics. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.metricsUrl}/metrics`)).text();
    return Number(new RegExp(`^${name} (.*)$`, "m").exec(text)?.[1]);
  }

  /** Ends the service as its supervisor would. Returns its exit code. */
  async stop(): Promise<number | null> {
    this.service.kill("SIGTERM");
    await this.#gone;
    this.#end.abort();
    return this.service.exitCode;
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function spawnCommand(directory: string, args: readonly string[], env: NodeJS.ProcessEnv): ChildProcess {
  const output = openSync(join(directory, `${args[0] ?? ""}.log`), "a");
  return tied(
    spawn(process.execPath, ["--disable-warning=DEP0060", MAIN, ...args], {
      stdio: ["ignore", output, output],
      env: { ...process.env, ...env },
    }),
  );
}

/** Waits until `probe` says yes. Throws after `limitMs`, naming `what` was waited for. */
export async function until(what: string, limitMs: number, probe: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = Date.now() + limitMs;
  while (!(await probe())) {
    if (Date.now() > endMs) throw new Error(`waited ${String(limitMs / 1_000)} s in vain: ${what}`);
    await delay(200);
  }
}

async function answers(url: string): Promise<boolean> {
  return await fetch(url).then(
    ({ ok }) => ok,
    () => false,
  );
}
