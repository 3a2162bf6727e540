/** The service as operators run it, in a process that can be killed: `init` first, then Synapse, then `start`. */
import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { init } from "../../appservice/init.ts";
import type { InitFiles } from "../../appservice/init.ts";
import type { WellKnown } from "../../shared/messages.ts";
import { end, tied } from "./child.ts";
import { freePort } from "./port.ts";

/** Durations of a test's log: the shortest that the protocol has a use for. */
const SETTLE_MS = 10_000;
const HEARTBEAT_MS = 1_000;
const MERGE_DELAY_MS = 5_000;
const START_LIMIT_MS = 30_000;
/** Tests ask more often than people. */
const LIMITS = {
  CKV_LIMITS_LOOKUPS_PER_MINUTE: "1000000",
  CKV_LIMITS_SESSIONS_PER_MINUTE: "1000000",
  CKV_FEED_SWEEP_INTERVAL_S: "5",
};

export interface ServiceOptions {
  /** Port of the homeserver on loopback; its name is `localhost:<port>`. */
  readonly homeserverPort: number;
  /** Where clients are to look for the log; absent: at the service itself. */
  readonly serviceUrl?: string;
  /** URL of the test's clock. */
  readonly clockUrl: string;
}

export class Service {
  /** Base URL of its API, whatever clients are told. */
  readonly url: string;
  readonly files: InitFiles;
  /** What the homeserver is to publish about the log. */
  readonly wellKnown: WellKnown;
  readonly #directory: string;
  readonly #metricsUrl: string;
  readonly #clockUrl: string;
  #child: ChildProcess | undefined;

  private constructor(directory: string, files: InitFiles, wellKnown: WellKnown, ports: Ports, clockUrl: string) {
    this.#directory = directory;
    this.files = files;
    this.wellKnown = wellKnown;
    this.url = `http://127.0.0.1:${String(ports.api)}`;
    this.#metricsUrl = `http://127.0.0.1:${String(ports.metrics)}/metrics`;
    this.#clockUrl = clockUrl;
  }

  /** Makes a new log. Nothing runs yet: the homeserver needs the registration first. */
  static async init({ homeserverPort, serviceUrl, clockUrl }: ServiceOptions): Promise<Service> {
    const directory = await mkdtemp(join(tmpdir(), "ckv-service-"));
    const ports = { appservice: await freePort(), api: await freePort(), metrics: await freePort() };
    const serverName = `localhost:${String(homeserverPort)}`;
    const url = serviceUrl ?? `http://127.0.0.1:${String(ports.api)}`;
    const { files, wellKnown } = await init(
      {
        serverName,
        homeserverUrl: `http://${serverName}`,
        serviceUrl: url,
        appserviceUrl: `http://127.0.0.1:${String(ports.appservice)}`,
        config: join(directory, "config.yaml"),
        data: "data",
        anchor: "anchor/head",
        settleMs: SETTLE_MS,
        heartbeatMs: HEARTBEAT_MS,
        mergeDelayMs: MERGE_DELAY_MS,
        ports,
      },
      Date.now(),
    );
    return new Service(directory, files, wellKnown, ports, clockUrl);
  }

  /** Process number of the running service. */
  get pid(): number {
    if (this.#child?.pid === undefined) throw new Error("the service does not run");
    return this.#child.pid;
  }

  /** Starts it, or starts it again; resolves once it says that it is ready. */
  async start(): Promise<void> {
    const output = await open(join(this.#directory, "output.log"), "a");
    const program = join(import.meta.dirname, "service-process.ts");
    this.#child = tied(
      fork(program, [this.files.config, this.#clockUrl], {
        stdio: ["ignore", output.fd, output.fd, "ipc"],
        env: { ...process.env, ...LIMITS },
      }),
    );
    await output.close();
    const limit = AbortSignal.timeout(START_LIMIT_MS);
    while (!(await answers(`${this.url}/readyz`))) {
      if (this.#child.exitCode !== null || limit.aborted) throw new Error(`no service:\n${await this.readLog()}`);
      await delay(50);
    }
  }

  /** Ends it by a signal and waits until it is gone. */
  async kill(signal: NodeJS.Signals): Promise<void> {
    if (this.#child !== undefined) await end(this.#child, signal);
    this.#child = undefined;
  }

  /** Does `work` while the process stands still, so that its files do. */
  async suspended<T>(work: () => Promise<T>): Promise<T> {
    process.kill(this.pid, "SIGSTOP");
    try {
      return await work();
    } finally {
      process.kill(this.pid, "SIGCONT");
    }
  }

  /** The present value of one of its metrics. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(this.#metricsUrl)).text();
    const line = text.split("\n").find((each) => each.startsWith(`${name} `));
    if (line === undefined) throw new Error(`no metric ${name}`);
    return Number(line.slice(name.length + 1));
  }

  /** The end of what it logged. */
  async readLog(): Promise<string> {
    return (await readFile(join(this.#directory, "output.log"), "utf8").catch(() => "")).slice(-4_000);
  }

  /** Ends it and removes everything it wrote. */
  async close(): Promise<void> {
    await this.kill("SIGTERM");
    await rm(this.#directory, { recursive: true, force: true });
  }
}

interface Ports {
  readonly api: number;
  readonly metrics: number;
}

async function answers(url: string): Promise<boolean> {
  return await fetch(url).then(
    ({ ok }) => ok,
    () => false,
  );
}
