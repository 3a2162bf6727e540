/** `matrix-ckv doctor`: tries everything the service needs, and says what to change, in which file. */
import { constants, existsSync, readFileSync, statSync } from "node:fs";
import { access } from "node:fs/promises";
import { dirname } from "node:path";
import { parse } from "yaml";
import { originOf } from "../shared/log/checkpoint.ts";
import { MATRIX_NAMES } from "../shared/messages.ts";
import type { WellKnown } from "../shared/messages.ts";
import type { Config } from "./config.ts";
import { freeBytes, MIN_FREE_FOR_ANCHOR_BYTES } from "./disk-space.ts";
import { Homeserver } from "./homeserver.ts";
import { HomeserverError } from "./homeserver-error.ts";
import { linesOf, mapOf, neededOptions } from "./homeserver-options.ts";
import type { Yaml } from "./homeserver-options.ts";
import { KeysFileError, readKeys } from "./keys-file.ts";
import { nativeCrypto } from "./no-native-crypto.ts";
import { parseRegistration, type Registration } from "./registration.ts";
import { EPOCHS_ALIAS, MEMBERS_ALIAS } from "./rooms.ts";
import { wellKnownLines, wellKnownOf } from "./well-known.ts";

/** The log only grows. */
const MIN_FREE_BYTES = 2 ** 30;
const MAX_CLOCK_OFF_MS = 60_000;

export interface Finding {
  readonly result: "ok" | "problem" | "unknown";
  readonly subject: string;
  /** What was seen, or what to change and where. One line, or several. */
  readonly detail: string;
}

export interface DoctorOptions {
  readonly config: Config;
  /** Path of config.yaml, for the advice. */
  readonly configFile: string;
  /** Path of homeserver.yaml, when it can be read here. */
  readonly homeserverYaml?: string;
  readonly nowMs: () => number;
}

const ok = (subject: string, detail: string): Finding => ({ result: "ok", subject, detail });
const problem = (subject: string, detail: string): Finding => ({ result: "problem", subject, detail });
const unknown = (subject: string, detail: string): Finding => ({ result: "unknown", subject, detail });

/** All findings, in the order in which they are best mended. Never throws for what it finds. */
export async function* examine(options: DoctorOptions): AsyncIterable<Finding> {
  const { config } = options;
  yield* examineFiles(config);
  yield await examineDisk("disk", config.data, MIN_FREE_BYTES);
  yield await examineDisk("disk of the anchor", dirname(config.anchor), MIN_FREE_FOR_ANCHOR_BYTES);
  yield ok("encryption library", `native module ${nativeCrypto}; this service does not need it`);
  const registration = readRegistration(config.registration);
  if (registration instanceof Error) {
    yield problem("registration", `${config.registration}: ${registration.message}`);
    return;
  }
  yield ok("registration", config.registration);
  yield* examineHomeserver(options, registration);
  yield* examineOptions(options, registration);
}

function* examineFiles({ data, anchor, keys }: Config): Iterable<Finding> {
  for (const [subject, path] of Object.entries({ database: data, anchor, keys })) {
    yield existsSync(path)
      ? ok(subject, path)
      : problem(subject, `${path} is missing: "matrix-ckv init" makes it, a backup restores it`);
  }
  if (!existsSync(keys)) return;
  const mode = statSync(keys).mode & 0o777;
  if ((mode & 0o077) !== 0) yield problem("keys", `others can read ${keys}: chmod 600 ${keys}`);
}

async function examineDisk(subject: string, directory: string, minFreeBytes: number): Promise<Finding> {
  try {
    await access(directory, constants.W_OK);
    const free = freeBytes(directory);
    const mebibytes = `${Math.floor(free / 2 ** 20)} MiB free at ${directory}`;
    return free < minFreeBytes ? problem(subject, `${mebibytes}; make room`) : ok(subject, mebibytes);
  } catch (error) {
    return problem(subject, `${directory} cannot be written (${(error as NodeJS.ErrnoException).code ?? "?"})`);
  }
}

function readRegistration(file: string): Registration | Error {
  try {
    return parseRegistration(readFileSync(file, "utf8"));
  } catch (error) {
    return error instanceof Error ? error : new Error("cannot be read");
  }
}

async function* examineHomeserver(
  { config, configFile, nowMs }: DoctorOptions,
  registration: Registration,
): AsyncIterable<Finding> {
  const { url, serverName } = config.homeserver;
  const homeserver = new Homeserver(url, serverName, registration, new AbortController().signal);
  const reach = await attempt(homeserver.versions());
  if (reach instanceof HomeserverError) {
    yield problem("homeserver", `${reach.message}. Is ${url} right? ${configFile}: homeserver.url`);
    return;
  }
  yield ok("homeserver", `${url} speaks ${reach.at(-1) ?? "no version"}`);
  yield await examineClock(url, nowMs);
  yield await examineWellKnown(config);
  yield await examineOpenId(url);
  const whoami = await attempt(homeserver.whoami());
  if (whoami instanceof HomeserverError) {
    yield problem("as_token", adviceForToken(whoami, config.registration));
    return;
  }
  yield whoami === homeserver.botUserId
    ? ok("as_token", `we are ${whoami}`)
    : problem("as_token", `we are ${whoami}, not ${homeserver.botUserId}. ${configFile}: homeserver.server_name`);
  yield examinePing(await attempt(homeserver.ping().then(() => true)), config, registration);
  yield* examineRooms(homeserver);
}

async function attempt<Result>(work: Promise<Result>): Promise<Result | HomeserverError> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof HomeserverError) return error;
    throw error;
  }
}

async function examineClock(url: string, nowMs: () => number): Promise<Finding> {
  const date = await fetch(`${url}/_matrix/client/versions`, { signal: AbortSignal.timeout(10_000) }).then(
    (response) => response.headers.get("date"),
    () => null,
  );
  if (date === null) return unknown("clock", "the homeserver does not tell the time");
  const offMs = Math.abs(nowMs() - Date.parse(date));
  return offMs > MAX_CLOCK_OFF_MS
    ? problem("clock", `this machine and the homeserver differ by ${Math.round(offMs / 1000)} s: set both by NTP`)
    : ok("clock", "agrees with the homeserver");
}

/** Sessions need it. A listener without the resource does not know the path; one with it refuses the token. */
async function examineOpenId(url: string): Promise<Finding> {
  const status = await fetch(`${url}/_matrix/federation/v1/openid/userinfo?access_token=doctor`, {
    signal: AbortSignal.timeout(10_000),
  }).then(
    (response) => response.status,
    () => undefined,
  );
  if (status === 401) return ok("openid", "the homeserver answers for OpenID tokens");
  if (status !== 404) return unknown("openid", `the homeserver answers ${status ?? "nothing"} about OpenID tokens`);
  return problem(
    "openid",
    `${url} does not answer for OpenID tokens, without which nobody gets a session. In homeserver.yaml add "openid" to the resources of that listener, and restart Synapse:
listeners:
  - resources: [{ names: [client, openid] }]`,
  );
}

/** Clients find the log by it; whoever serves it, the homeserver's own answer is the one that can be asked from here. */
async function examineWellKnown(config: Config): Promise<Finding> {
  const { homeserver, serviceUrl } = config;
  const { url } = homeserver;
  const wanted = wellKnownWanted(config);
  if (wanted instanceof KeysFileError) return unknown("well-known", wanted.message);
  const served = await fetch(`${url}/.well-known/matrix/client`, { signal: AbortSignal.timeout(10_000) }).then(
    (response) => (response.ok ? response.json() : undefined),
    () => undefined,
  );
  const found = mapOf(mapOf(served)[MATRIX_NAMES.wellKnown]);
  if (Object.entries(wanted).every(([name, value]) => found[name] === value)) {
    return ok("well-known", `clients find ${serviceUrl}`);
  }
  return problem(
    "well-known",
    `${url}/.well-known/matrix/client does not name this log. Add to homeserver.yaml (with public_baseurl) and restart Synapse, or add the same to the file you serve:
${wellKnownLines(wanted)}`,
  );
}

function wellKnownWanted({ homeserver, serviceUrl, keys, anchor }: Config): WellKnown | KeysFileError {
  try {
    return wellKnownOf(originIn(anchor) ?? originOf(homeserver.serverName, 1), serviceUrl, readKeys(keys));
  } catch (error) {
    if (error instanceof KeysFileError) return error;
    throw error;
  }
}

/** The origin of the log whose newest head is in the anchor: the first line of the note. */
function originIn(anchor: string): string | undefined {
  return existsSync(anchor) ? readFileSync(anchor, "utf8").split("\n")[0] : undefined;
}

function adviceForToken(error: HomeserverError, registration: string): string {
  return `${error.message}. Synapse does not know this registration: in homeserver.yaml write
  app_service_config_files:
    - ${registration}
and restart Synapse (it reads registrations only when it starts)`;
}

function examinePing(result: HomeserverError | true, { listeners }: Config, { url }: Registration): Finding {
  if (!(result instanceof HomeserverError))
    return ok("hs_token", `the homeserver reaches us at ${url}, with the right token`);
  const listener = `${listeners.appservice.host}:${listeners.appservice.port}`;
  return problem(
    "hs_token",
    `${result.message}. Is "matrix-ckv run" running? Then ${url} (url in the registration) must lead to ${listener} (listeners.appservice)`,
  );
}

async function* examineRooms(homeserver: Homeserver): AsyncIterable<Finding> {
  for (const localpart of [EPOCHS_ALIAS, MEMBERS_ALIAS]) {
    const alias = `#${localpart}:${homeserver.serverName}`;
    const roomId = await attempt(homeserver.resolveAlias(alias));
    if (roomId instanceof HomeserverError) yield problem(alias, roomId.message);
    else if (roomId === undefined) yield unknown(alias, 'not there yet: the first "matrix-ckv run" makes it');
    else yield await examineRoom(homeserver, alias, roomId);
  }
}

async function examineRoom(homeserver: Homeserver, alias: string, roomId: string): Promise<Finding> {
  const create = await attempt(homeserver.stateEvent(roomId, "m.room.create", ""));
  if (create instanceof HomeserverError) return problem(alias, `${create.message}: the bot must be in the room`);
  if (create?.["type"] !== MATRIX_NAMES.roomType) return problem(alias, `${roomId} is no room of this log`);
  const levels = await attempt(homeserver.stateEvent(roomId, "m.room.power_levels", ""));
  const speaks = !(levels instanceof HomeserverError) && mayOnlyBotSpeak(levels, homeserver.botUserId);
  return speaks
    ? ok(alias, `${roomId}; only the bot speaks`)
    : problem(alias, `${roomId}: others may speak; set events_default and state_default to 100 and remove other users`);
}

function mayOnlyBotSpeak(levels: { readonly [name: string]: unknown } | undefined, botUserId: string): boolean {
  const { events_default: events, state_default: state, users } = levels ?? {};
  const others = Object.entries((users ?? {}) as { [userId: string]: unknown }).filter(
    ([userId]) => userId !== botUserId,
  );
  return Number(events) >= 100 && Number(state) >= 100 && others.every(([, level]) => Number(level) < Number(events));
}

/** What only homeserver.yaml shows. */
function* examineOptions({ config, homeserverYaml }: DoctorOptions, registration: Registration): Iterable<Finding> {
  const needed = neededOptions({
    serverName: config.homeserver.serverName,
    registrationFile: config.registration,
    botLocalpart: registration.senderLocalpart,
  });
  if (homeserverYaml === undefined) {
    yield unknown(
      "homeserver.yaml",
      `not examined: no API of Synapse tells these options, so run this with --homeserver-yaml <file> where the file can be read. It must have:
${linesOf(needed, { optional: false })}
and, only to enrol every new account by itself:
${linesOf(needed, { optional: true })}`,
    );
    return;
  }
  const yaml = readYaml(homeserverYaml);
  if (yaml instanceof Error) {
    yield problem("homeserver.yaml", `${homeserverYaml}: ${yaml.message}`);
    return;
  }
  for (const { subject, isSet, lines, optional } of needed) {
    if (isSet(yaml)) yield ok(subject, `set in ${homeserverYaml}`);
    else if (optional)
      yield unknown(subject, `to enrol every new account by itself, add to ${homeserverYaml}:\n${lines}`);
    else yield problem(subject, `add to ${homeserverYaml} and restart Synapse:\n${lines}`);
  }
}

function readYaml(file: string): Yaml | Error {
  try {
    return mapOf(parse(readFileSync(file, "utf8")));
  } catch (error) {
    return error instanceof Error ? error : new Error("cannot be read");
  }
}
