/**
 * A real Synapse on loopback for one test file. The first start ever makes an empty database, kept in .cache as the
 * template of all others, so that a start is an import of Python modules and little else.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { copyFile, mkdtemp, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { end, tied } from "./child.ts";
import { freePort } from "./port.ts";

const repository = join(import.meta.dirname, "..", "..");
const cache = join(repository, ".cache");
const DATABASE = "homeserver.db";
const START_LIMIT_MS = 60_000;

export interface SynapseOptions {
  /** Of loopback; a free one by default. The server name is `localhost:<port>`. */
  readonly port?: number;
  /** An appservice registration file. */
  readonly registrationPath?: string;
  /** Further members of homeserver.yaml. */
  readonly extraConfig?: Readonly<Record<string, unknown>>;
}

export interface SynapseUser {
  readonly userId: string;
  readonly accessToken: string;
  readonly deviceId: string;
  readonly password: string;
}

/** One rule of lying_keys.py: what `readers` are shown of `victim` in place of the truth. */
export interface LyingRule {
  readonly victim: string;
  /** User ids; "*" is everybody. */
  readonly readers: readonly string[];
  readonly except?: readonly string[];
  readonly devices?: Readonly<Record<string, unknown>>;
  readonly hide_devices?: readonly string[];
  readonly master_key?: unknown;
  readonly self_signing_key?: unknown;
}

/** How Synapse is run here: written by the set-up script. */
interface Command {
  readonly command: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
}

export class Synapse {
  readonly port: number;
  readonly url: string;
  readonly serverName: string;
  /** Its configuration, database and logs. */
  readonly directory: string;
  #child: ChildProcess | undefined;

  constructor(port: number, directory: string) {
    this.port = port;
    this.url = `http://localhost:${String(port)}`;
    this.serverName = `localhost:${String(port)}`;
    this.directory = directory;
  }

  /** Registers `@<localpart>:<serverName>` with a new device. */
  async registerUser(localpart: string): Promise<SynapseUser> {
    const password = randomBytes(12).toString("hex");
    const auth = { type: "m.login.dummy" };
    const answer = await this.#post("register", { username: localpart, password, auth });
    return { userId: answer.user_id, accessToken: answer.access_token, deviceId: answer.device_id, password };
  }

  /** Logs a user in on a further device. */
  async logIn(user: SynapseUser): Promise<SynapseUser> {
    const identifier = { type: "m.id.user", user: user.userId };
    const answer = await this.#post("login", { type: "m.login.password", identifier, password: user.password });
    return { ...user, accessToken: answer.access_token, deviceId: answer.device_id };
  }

  /** From now on the homeserver tells these lies, and no others. */
  async setRules(rules: readonly LyingRule[]): Promise<void> {
    const path = join(this.directory, "rules.json");
    await writeFile(`${path}.new`, JSON.stringify({ rules }));
    await rename(`${path}.new`, path);
  }

  /** Starts it, or starts it again after `stop`. */
  async start(): Promise<void> {
    this.#child = await run(this.directory);
    const limit = AbortSignal.timeout(START_LIMIT_MS);
    while (!(await this.#answers())) {
      if (this.#child.exitCode !== null || limit.aborted) throw new Error(await this.#failure());
      await delay(50);
    }
  }

  /** Stops it; its database stays until `close`. */
  async stop(): Promise<void> {
    if (this.#child !== undefined) await end(this.#child, "SIGTERM", 2_000);
    this.#child = undefined;
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Ends it and removes everything it wrote. */
  async close(): Promise<void> {
    if (this.#child !== undefined) await end(this.#child, "SIGKILL");
    await rm(this.directory, { recursive: true, force: true });
  }

  /** Everything Synapse logged so far. */
  async readLog(): Promise<string> {
    return await readFile(join(this.directory, "synapse.log"), "utf8").catch(() => "");
  }

  async #answers(): Promise<boolean> {
    return await fetch(`${this.url}/_matrix/client/versions`).then(
      ({ ok }) => ok,
      () => false,
    );
  }

  async #failure(): Promise<string> {
    const output = await readFile(join(this.directory, "output.log"), "utf8").catch(() => "");
    return `Synapse did not start:\n${output.slice(-2_000)}\n${(await this.readLog()).slice(-2_000)}`;
  }

  async #post(path: string, body: unknown): Promise<{ user_id: string; access_token: string; device_id: string }> {
    const answer = await fetch(`${this.url}/_matrix/client/v3/${path}`, { method: "POST", body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path}: ${String(answer.status)} ${await answer.text()}`);
    return (await answer.json()) as { user_id: string; access_token: string; device_id: string };
  }
}

/** Starts a Synapse with an empty database. The caller closes it. */
export async function startSynapse(options: SynapseOptions = {}): Promise<Synapse> {
  const synapse = await configure(options);
  await copyFile(await templateDatabase(), join(synapse.directory, DATABASE));
  await synapse.start();
  return synapse;
}

/** The path of an empty database of the Synapse that is installed; made on first use. */
async function templateDatabase(): Promise<string> {
  const template = join(cache, "synapse-template.db");
  if (!existsSync(template)) await makeTemplate(template);
  return template;
}

async function makeTemplate(path: string): Promise<void> {
  const synapse = await configure({});
  await synapse.start();
  await synapse.stop();
  const copy = `${path}.${String(process.pid)}`;
  await copyFile(join(synapse.directory, DATABASE), copy);
  await rename(copy, path);
  await synapse.close();
}

async function configure(options: SynapseOptions): Promise<Synapse> {
  const directory = await mkdtemp(join(tmpdir(), "ckv-synapse-"));
  const synapse = new Synapse(options.port ?? (await freePort()), directory);
  const seed = randomBytes(32).toString("base64").slice(0, 43);
  await writeFile(join(directory, "signing.key"), `ed25519 a_test ${seed}\n`);
  await writeFile(join(directory, "log.yaml"), JSON.stringify(logConfig(directory)));
  await writeFile(join(directory, "homeserver.yaml"), JSON.stringify(homeserverConfig(synapse, options)));
  await synapse.setRules([]);
  return synapse;
}

async function run(directory: string): Promise<ChildProcess> {
  const { command, env } = await readCommand();
  const python = [env["PYTHONPATH"], import.meta.dirname].filter((path) => path !== undefined).join(":");
  const output = await open(join(directory, "output.log"), "a");
  const child = spawn(command[0], [...command.slice(1), "-c", join(directory, "homeserver.yaml")], {
    stdio: ["pipe", output.fd, output.fd],
    env: { ...process.env, ...env, PYTHONPATH: python },
  });
  await output.close();
  return tied(child);
}

async function readCommand(): Promise<Command> {
  const [program, ...args] = process.env["CKV_SYNAPSE_CMD"]?.trim().split(/\s+/) ?? [];
  if (program !== undefined) return { command: [program, ...args], env: {} };
  const text = await readFile(join(cache, "synapse.json"), "utf8").catch(() => {
    throw new Error("no Synapse here yet: `npm run set-up` gets one");
  });
  return JSON.parse(text) as Command;
}

/** homeserver.yaml, as JSON, which is YAML too. */
function homeserverConfig({ port, url, serverName, directory }: Synapse, options: SynapseOptions): unknown {
  return {
    server_name: serverName,
    public_baseurl: `${url}/`,
    report_stats: false,
    signing_key_path: join(directory, "signing.key"),
    trusted_key_servers: [],
    suppress_key_server_warning: true,
    listeners: [
      {
        port,
        type: "http",
        tls: false,
        bind_addresses: ["127.0.0.1"],
        resources: [{ names: ["client", "openid"] }],
      },
    ],
    database: { name: "sqlite3", args: { database: join(directory, DATABASE) } },
    media_store_path: join(directory, "media"),
    log_config: join(directory, "log.yaml"),
    macaroon_secret_key: "test-macaroon",
    form_secret: "test-form",
    registration_shared_secret: "test-registration",
    enable_registration: true,
    enable_registration_without_verification: true,
    bcrypt_rounds: 4,
    presence: { enabled: false },
    app_service_config_files: options.registrationPath === undefined ? [] : [options.registrationPath],
    experimental_features: { msc3202_transaction_extensions: true },
    modules: [{ module: "lying_keys.LyingKeys", config: { rules: join(directory, "rules.json") } }],
    ...noRateLimits(),
    ...options.extraConfig,
  };
}

function noRateLimits(): Record<string, unknown> {
  const none = { per_second: 10_000, burst_count: 10_000 };
  return {
    rc_message: none,
    rc_registration: none,
    rc_login: { address: none, account: none, failed_attempts: none },
    rc_joins: { local: none, remote: none },
    rc_joins_per_room: none,
    rc_invites: { per_room: none, per_user: none, per_issuer: none },
    rc_room_creation: none,
    rc_key_requests: none,
  };
}

function logConfig(directory: string): unknown {
  return {
    version: 1,
    disable_existing_loggers: false,
    formatters: { plain: { format: "%(asctime)s %(levelname)s %(name)s %(message)s" } },
    handlers: { file: { class: "logging.FileHandler", filename: join(directory, "synapse.log"), formatter: "plain" } },
    root: { level: "INFO", handlers: ["file"] },
  };
}
