/** `matrix-ckv init`: keys, configuration, epoch 0, database, anchor, registration and config.yaml. Never overwrites. */
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, relative, resolve } from "node:path";
import { publicKeyOf } from "../shared/crypto/ed25519.ts";
import { ED25519_KEY, formatVkey } from "../shared/crypto/signed-note.ts";
import { vrfPublicKey } from "../shared/crypto/vrf.ts";
import { encodeUnpadded } from "../shared/encoding.ts";
import { formatConfiguration, parseConfiguration, type LogReference } from "../shared/directory/configuration.ts";
import { originOf } from "../shared/log/checkpoint.ts";
import type { WellKnown } from "../shared/messages.ts";
import {
  HEARTBEAT_DEFAULT_MS,
  HOUR_MS,
  MERGE_DELAY_DEFAULT_MS,
  MERGE_DELAY_MAX_MS,
  SETTLE_DEFAULT_MS,
  SETTLE_MAX_MS,
  SETTLE_MIN_MS,
} from "../shared/parameters.ts";
import { createLog } from "./create-log.ts";
import { writeKeys } from "./keys-file.ts";
import type { LogKeys } from "./log-settings.ts";
import { BOT_LOCALPART, formatRegistration } from "./registration.ts";
import { EPOCHS_ALIAS, MEMBERS_ALIAS } from "./rooms.ts";
import { wellKnownOf } from "./well-known.ts";

/** A bound of an option, both ends allowed. */
export interface Bounds {
  readonly fallback: number;
  readonly minimum: number;
  readonly maximum: number;
}
export const SETTLE_BOUNDS: Bounds = { fallback: SETTLE_DEFAULT_MS, minimum: SETTLE_MIN_MS, maximum: SETTLE_MAX_MS };
export const HEARTBEAT_BOUNDS: Bounds = { fallback: HEARTBEAT_DEFAULT_MS, minimum: 500, maximum: HOUR_MS };
export const MERGE_DELAY_BOUNDS: Bounds = {
  fallback: MERGE_DELAY_DEFAULT_MS,
  minimum: 1_000,
  maximum: MERGE_DELAY_MAX_MS,
};

export interface InitOptions {
  readonly serverName: string;
  readonly homeserverUrl: string;
  readonly serviceUrl: string;
  /** Where the homeserver reaches the appservice listener. */
  readonly appserviceUrl: string;
  /** File to write; the other files go beside it unless named. */
  readonly config: string;
  readonly data: string;
  readonly anchor: string;
  readonly settleMs: number;
  readonly heartbeatMs: number;
  readonly mergeDelayMs: number;
  readonly ports: { readonly appservice: number; readonly api: number; readonly metrics: number };
}

/** The files of a new log. Absolute paths. */
export interface InitFiles {
  readonly config: string;
  readonly registration: string;
  readonly keys: string;
  readonly data: string;
  readonly anchor: string;
}

/** A new log: its files, and what clients find it by. */
export interface NewLog {
  readonly files: InitFiles;
  readonly wellKnown: WellKnown;
}

/** Something is already there, or an option is out of bounds. The message says what to do. */
export class InitError extends Error {
  override readonly name = "InitError";
  readonly exitCode = 78;
}

/** Makes a new log. Writes config.yaml last, so that an interrupted run is seen as such. Throws InitError. */
export async function init(options: InitOptions, nowMs: number): Promise<NewLog> {
  const files = filesOf(options);
  const paths: readonly string[] = Object.values<string>({ ...files });
  const present = paths.filter((path) => existsSync(path));
  if (present.length > 0) throw new InitError(`nothing was changed: ${present.join(", ")} is there already`);
  checkBounds("--settle-ms", options.settleMs, SETTLE_BOUNDS);
  checkBounds("--heartbeat-ms", options.heartbeatMs, HEARTBEAT_BOUNDS);
  checkBounds("--merge-delay-ms", options.mergeDelayMs, MERGE_DELAY_BOUNDS);
  const keys = makeKeys();
  const origin = originOf(options.serverName, 1);
  const configurationText = configurationOf(options, keys, origin);
  for (const path of paths) mkdirSync(dirname(path), { recursive: true });
  writeKeys(files.keys, keys);
  const { data: dataDirectory, anchor: anchorFile, keys: keysFile } = files;
  await createLog({ dataDirectory, anchorFile, keysFile, configurationText, nowMs });
  writeNew(files.registration, registrationOf(options), 0o600);
  writeNew(files.config, configYaml(options, files), 0o644);
  return { files, wellKnown: wellKnownOf(origin, options.serviceUrl, keys) };
}

export function makeKeys(): LogKeys {
  return { logSeed: randomBytes(32), vrfSeed: randomBytes(32), promiseSeed: randomBytes(32) };
}

/** Where the files of a log go: beside its config.yaml. */
export function filesOf({ config, data, anchor }: Pick<InitOptions, "config" | "data" | "anchor">): InitFiles {
  const beside = (name: string): string => resolve(dirname(config), name);
  return {
    config: resolve(config),
    registration: beside("registration.yaml"),
    keys: beside("keys.json"),
    data: beside(data),
    anchor: beside(anchor),
  };
}

function checkBounds(option: string, value: number, { minimum, maximum }: Bounds): void {
  if (Number.isSafeInteger(value) && value >= minimum && value <= maximum) return;
  throw new InitError(`${option} must be a whole number from ${minimum} to ${maximum}`);
}

/** Throws when the file is there. */
export function writeNew(path: string, text: string, mode: number): void {
  writeFileSync(path, text, { flag: "wx", mode, flush: true });
}

/** Verifier key of a log by its origin and seed. */
export function vkeyOf(origin: string, seed: Uint8Array): string {
  return formatVkey({ name: origin, type: ED25519_KEY, publicKey: publicKeyOf(seed) });
}

/** Canonical text of the configuration of a new log. */
export function configurationOf(
  options: Pick<InitOptions, "serverName" | "serviceUrl" | "settleMs" | "heartbeatMs" | "mergeDelayMs">,
  { logSeed, vrfSeed, promiseSeed }: LogKeys,
  origin: string,
  predecessor?: LogReference,
): string {
  const { serverName, serviceUrl, settleMs, heartbeatMs, mergeDelayMs } = options;
  const text = formatConfiguration({
    format_version: 1,
    origin,
    log_key: vkeyOf(origin, logSeed),
    vrf_key: encodeUnpadded(vrfPublicKey(vrfSeed)),
    vrf_suite: "ECVRF-EDWARDS25519-SHA512-TAI",
    settle_ms: settleMs,
    merge_delay_ms: mergeDelayMs,
    heartbeat_ms: heartbeatMs,
    promise_key: vkeyOf(`${origin}/promise`, promiseSeed),
    service_url: serviceUrl,
    rooms: { epochs: `#${EPOCHS_ALIAS}:${serverName}`, members: `#${MEMBERS_ALIAS}:${serverName}` },
    witnesses: [],
    auditors: [],
    ...(predecessor === undefined ? {} : { predecessor }),
  });
  parseConfiguration(text);
  return text;
}

function registrationOf({ appserviceUrl, serverName }: InitOptions): string {
  const token = (): string => randomBytes(32).toString("hex");
  const registration = {
    id: "ckv",
    url: appserviceUrl,
    asToken: token(),
    hsToken: token(),
    senderLocalpart: BOT_LOCALPART,
  };
  return formatRegistration(registration, serverName);
}

/** The text of config.yaml, with its comments. */
export function configYaml(
  options: Pick<InitOptions, "homeserverUrl" | "serverName" | "serviceUrl" | "ports">,
  files: InitFiles,
): string {
  const path = (file: string): string => JSON.stringify(relative(dirname(files.config), file));
  const { homeserverUrl, serverName, serviceUrl, ports } = options;
  return `# Configuration of matrix-ckv. Paths are relative to this file. Every value may also be set by the environment:
# CKV_ and its path in capitals, as CKV_LISTENERS_API_PORT. "matrix-ckv doctor" checks all of it.

homeserver:
  # Where this service reaches the client API of the homeserver.
  url: ${JSON.stringify(homeserverUrl)}
  server_name: ${JSON.stringify(serverName)}

# The file that app_service_config_files in homeserver.yaml names. Holds secrets.
registration: ${path(files.registration)}

# The database; the anchor, best on another disk, which tells a restored database from the newest; the secret keys.
data: ${path(files.data)}
anchor: ${path(files.anchor)}
keys: ${path(files.keys)}

listeners:
  # For the homeserver alone.
  appservice: { host: "127.0.0.1", port: ${ports.appservice} }
  # For clients: put your reverse proxy with TLS in front of it.
  api: { host: "127.0.0.1", port: ${ports.api} }
  # For Prometheus; without authentication, so keep it private.
  metrics: { host: "127.0.0.1", port: ${ports.metrics} }

# Where clients reach listeners.api; https, without trailing slash.
service_url: ${JSON.stringify(serviceUrl)}

log:
  # error, warn, info or debug
  level: info

feed:
  # How often the keys of everybody enrolled are compared with the log. The feed makes this a net that catches nothing.
  sweep_interval_s: 900

# Servers that cosign each head before it is published (C2SP tlog-witness): a list of { vkey, url }.
witnesses: []

access:
  # Who may read change lists: "public", or a list of user ids. They show when somebody's keys changed, to those who know the index.
  change_lists: public
  # Other homeservers whose users may look up ours: { example.com: "https://matrix.example.com" }
  servers: {}
  # Whether "matrix-ckv erase" may delete the content of old versions. Proofs stay valid without it.
  erase: false

limits:
  # Questions per user and minute; session requests per address and minute.
  lookups_per_minute: 3000
  sessions_per_minute: 30
`;
}
