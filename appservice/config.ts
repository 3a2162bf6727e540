/** The configuration file: YAML and environment variables in, settings out, or every error at once with file and line. */
import { readFileSync } from "node:fs";
import { dirname, resolve, sep } from "node:path";
import { COSIGNATURE_KEY, parseVkey, type NoteKey } from "../shared/crypto/signed-note.ts";
import { encodeHex } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import { isMap, isScalar, LineCounter, parseDocument, type Document, type Pair, type YAMLMap } from "yaml";
import { strangeKeyAt } from "./yaml-keys.ts";

export interface Listener {
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
}

/** A server that cosigns heads before they are published (C2SP tlog-witness). */
export interface WitnessSetting {
  readonly vkey: string;
  readonly url: string;
}

export interface Config {
  readonly homeserver: { readonly url: string; readonly serverName: string };
  /** Path of the registration file, which holds the tokens. */
  readonly registration: string;
  /** Directory of the database. */
  readonly data: string;
  /** File of the anchor, outside `data`. */
  readonly anchor: string;
  /** File of the secret keys, mode 0600. */
  readonly keys: string;
  readonly listeners: { readonly appservice: Listener; readonly api: Listener; readonly metrics: Listener };
  /** Where clients reach `listeners.api`; without trailing slash. */
  readonly serviceUrl: string;
  readonly log: { readonly level: LogLevel };
  readonly feed: { readonly sweepIntervalMs: number };
  readonly witnesses: readonly WitnessSetting[];
  readonly access: {
    readonly changeLists: "public" | readonly string[];
    /** Other homeservers whose users may look up ours: server name to the base URL of its OpenID endpoint. */
    readonly servers: { readonly [serverName: string]: string };
    /** Whether `matrix-ckv erase` may delete contents. */
    readonly erase: boolean;
  };
  readonly limits: { readonly lookupsPerMinute: number; readonly sessionsPerMinute: number };
}

/** As many as a configuration of a log can name. */
const MAX_WITNESSES = 16;
const LOG_LEVELS = ["error", "warn", "info", "debug"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface ConfigProblem {
  readonly file: string;
  /** 1 for the first line; absent when the problem is not in the file (environment). */
  readonly line?: number;
  readonly message: string;
}

/** Everything that is wrong with a configuration. `message` holds one `file:line: problem` per line. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly exitCode = 78;
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    super(problems.map(formatProblem).join("\n"));
    this.problems = problems;
  }
}

function formatProblem({ file, line, message }: ConfigProblem): string {
  return line === undefined ? `${file}: ${message}` : `${file}:${String(line)}: ${message}`;
}

/** How one scalar is checked: the value, or a sentence saying what was expected. */
type Check = (value: unknown) => { readonly value: unknown } | { readonly expected: string };
interface Setting {
  readonly check: Check;
  readonly fallback?: unknown;
}
interface Section {
  readonly [key: string]: Setting | Section;
}

const SETTINGS: Section = {
  homeserver: { url: { check: httpUrl }, server_name: { check: text(/^[^\s/@#]+$/, "a server name") } },
  registration: { check: path() },
  data: { check: path() },
  anchor: { check: path() },
  keys: { check: path() },
  listeners: {
    appservice: { host: { check: path(), fallback: "127.0.0.1" }, port: { check: integer(0, 65_535) } },
    api: { host: { check: path(), fallback: "127.0.0.1" }, port: { check: integer(0, 65_535) } },
    metrics: { host: { check: path(), fallback: "127.0.0.1" }, port: { check: integer(0, 65_535) } },
  },
  service_url: { check: serviceUrl },
  log: { level: { check: oneOf(LOG_LEVELS), fallback: "info" } },
  feed: { sweep_interval_s: { check: integer(1, 86_400), fallback: 900 } },
  witnesses: { check: witnesses, fallback: [] },
  access: {
    change_lists: { check: changeLists, fallback: "public" },
    servers: { check: servers, fallback: {} },
    erase: { check: boolean, fallback: false },
  },
  limits: {
    lookups_per_minute: { check: integer(1, 100_000_000), fallback: 3_000 },
    sessions_per_minute: { check: integer(1, 100_000_000), fallback: 30 },
  },
};

/**
 * Settings from the text of a YAML file. A scalar may be set by the environment too: `CKV_` and the path in capitals,
 * joined by `_` (`CKV_LISTENERS_API_PORT`), which wins over the file.
 * Throws ConfigError with every problem found; secrets are not part of this file, so values may be named.
 */
export function parseConfig(source: string, file: string, env: NodeJS.ProcessEnv): Config {
  return finish(readSettings(source, file, env));
}

/** The configuration in `file`; the paths in it are relative to its directory. Throws ConfigError. */
export function loadConfig(file: string, env: NodeJS.ProcessEnv): Config {
  return finish(resolvePaths(readSettings(readSource(file), file, env), file));
}

/** What is wrong with a file that the configuration names; undefined if it can be used. */
export type FileCheck = (path: string) => string | undefined;

/** As `loadConfig`, and the files it names are looked at too; their problems stand at the line that names them. */
export function loadChecked(
  file: string,
  env: NodeJS.ProcessEnv,
  checks: { readonly [name in PathName]?: FileCheck },
): Config {
  const read = resolvePaths(readSettings(readSource(file), file, env), file);
  for (const name of PATHS) {
    const path = read.settings[name];
    const problem = typeof path === "string" ? checks[name]?.(path) : undefined;
    if (problem !== undefined) read.reader.report(`${name}: ${problem}`, read.reader.offsetOf(name));
  }
  return finish(read);
}

const PATHS = ["registration", "data", "anchor", "keys"] as const;
type PathName = (typeof PATHS)[number];

interface ReadSettings {
  readonly settings: { readonly [key: string]: unknown };
  readonly reader: SettingsReader;
}

function readSettings(source: string, file: string, env: NodeJS.ProcessEnv): ReadSettings {
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines, uniqueKeys: true });
  const reader = new SettingsReader(file, lines, env);
  for (const error of document.errors) reader.report(error.message.split("\n")[0] ?? "no YAML", error.pos[0]);
  const strange = strangeKeyAt(document);
  if (strange !== undefined) {
    reader.report("a key must be a plain text", strange);
    return { settings: {}, reader };
  }
  const settings = reader.section(SETTINGS, rootMap(document), []);
  reader.checkEnvironment();
  return { settings, reader };
}

function resolvePaths({ settings, reader }: ReadSettings, file: string): ReadSettings {
  const paths = PATHS.map((name) => {
    const path = settings[name];
    return [name, typeof path === "string" ? resolve(dirname(file), path) : undefined] as const;
  });
  const resolved = { ...settings, ...Object.fromEntries(paths) };
  const { data, anchor } = resolved as { readonly data?: string; readonly anchor?: string };
  if (data !== undefined && anchor?.startsWith(`${data}${sep}`) === true) {
    const why = "or whoever puts yesterday's directory back puts yesterday's anchor back with it";
    reader.report(`anchor must be a file outside of data, ${why}`, reader.offsetOf("anchor"));
  }
  return { settings: resolved, reader };
}

function finish({ settings, reader }: ReadSettings): Config {
  if (reader.problems.length > 0) throw new ConfigError(reader.problems);
  const config = toConfig(settings);
  const { appservice, api, metrics } = config.listeners;
  const fixed = [appservice, api, metrics].filter(({ port }) => port !== 0).map(({ host, port }) => `${host}:${port}`);
  if (new Set(fixed).size < fixed.length) {
    reader.report("two listeners have one port: each must be given its own", reader.offsetOf("listeners"));
    throw new ConfigError(reader.problems);
  }
  return config;
}

function readSource(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    const message = `cannot be read (${(error as NodeJS.ErrnoException).code ?? "?"}); matrix-ckv init makes one`;
    throw new ConfigError([{ file, message }]);
  }
}

function rootMap(document: Document): YAMLMap | undefined {
  return isMap(document.contents) ? document.contents : undefined;
}

class SettingsReader {
  readonly problems: ConfigProblem[] = [];
  readonly #file: string;
  readonly #lines: LineCounter;
  readonly #env: NodeJS.ProcessEnv;
  readonly #used = new Set<string>();
  /** Where each top-level key stands. Written by `section`. */
  readonly #offsets = new Map<string, number | undefined>();

  constructor(file: string, lines: LineCounter, env: NodeJS.ProcessEnv) {
    this.#file = file;
    this.#lines = lines;
    this.#env = env;
  }

  report(message: string, offset?: number): void {
    const line = offset === undefined ? undefined : this.#lines.linePos(offset).line;
    this.problems.push({ file: this.#file, message, ...(line === undefined ? {} : { line }) });
  }

  /** Where a top-level key stands; undefined if it does not. */
  offsetOf(key: string): number | undefined {
    return this.#offsets.get(key);
  }

  section(section: Section, map: YAMLMap | undefined, path: readonly string[]): { [key: string]: unknown } {
    const pairs = new Map((map?.items ?? []).map((pair) => [keyOf(pair), pair]));
    if (path.length === 0) for (const [key, pair] of pairs) this.#offsets.set(key, offsetOf(pair.key));
    for (const [key, pair] of pairs) if (!Object.hasOwn(section, key)) this.#reportUnknown(section, key, pair, path);
    return Object.fromEntries(
      Object.entries(section).map(([key, setting]) => [key, this.#read(setting, pairs.get(key), [...path, key])]),
    );
  }

  #reportUnknown(section: Section, key: string, pair: Pair, path: readonly string[]): void {
    const nearest = nearestOf(key, Object.keys(section));
    const hint = nearest === undefined ? "" : `; did you mean ${[...path, nearest].join(".")}?`;
    this.report(`unknown key ${[...path, key].join(".")}${hint}`, offsetOf(pair.key));
  }

  #read(setting: Setting | Section, pair: Pair | undefined, path: readonly string[]): unknown {
    if (isSetting(setting)) return this.#scalar(setting, pair, path);
    if (pair !== undefined && !isMap(pair.value)) {
      this.report(`${path.join(".")} must be a section with keys of its own`, offsetOf(pair.key));
      return {};
    }
    return this.section(setting, pair?.value as YAMLMap | undefined, path);
  }

  #scalar(setting: Setting, pair: Pair | undefined, path: readonly string[]): unknown {
    const variable = `CKV_${path.join("_").toUpperCase()}`;
    this.#used.add(variable);
    const override = this.#env[variable];
    if (override !== undefined) return this.#checked(setting, fromText(override), variable, undefined);
    if (pair === undefined) {
      if (setting.fallback !== undefined) return setting.fallback;
      this.report(`${path.join(".")} is missing (or set ${variable})`);
      return undefined;
    }
    return this.#checked(setting, plain(pair.value), path.join("."), offsetOf(pair.key));
  }

  #checked(setting: Setting, value: unknown, name: string, offset: number | undefined): unknown {
    const result = setting.check(value);
    if ("value" in result) return result.value;
    this.report(`${name} must be ${result.expected}`, offset);
    return undefined;
  }

  /** A mistyped variable would otherwise be ignored in silence. */
  checkEnvironment(): void {
    for (const name of Object.keys(this.#env).filter((name) => name.startsWith("CKV_") && !this.#used.has(name))) {
      const nearest = nearestOf(name, [...this.#used]);
      if (nearest !== undefined) this.report(`unknown environment variable ${name}; did you mean ${nearest}?`);
    }
  }
}

function isSetting(setting: Setting | Section): setting is Setting {
  return typeof setting["check"] === "function";
}

function keyOf(pair: Pair): string {
  return String(isScalar(pair.key) ? pair.key.value : pair.key);
}

function offsetOf(node: unknown): number | undefined {
  return isScalar(node) ? node.range?.[0] : undefined;
}

function plain(node: unknown): unknown {
  if (isScalar(node)) return node.value;
  return (node as { toJSON?: () => unknown } | null)?.toJSON?.() ?? null;
}

function fromText(text: string): unknown {
  return /^(0|[1-9][0-9]{0,14})$/.test(text) ? Number(text) : text;
}

/** The known name at an edit distance of at most 3, if one is that near. */
function nearestOf(name: string, known: readonly string[]): string | undefined {
  const ranked = known.map((candidate) => ({ candidate, distance: editDistance(name, candidate) }));
  return ranked.sort((a, b) => a.distance - b.distance).find(({ distance }) => distance <= 3)?.candidate;
}

/** Levenshtein distance: insertions, deletions and replacements of one character. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (const [index, letter] of Array.from(a).entries()) {
    const next = [index + 1];
    for (const [column, other] of Array.from(b).entries()) {
      const replaced = (row[column] ?? 0) + (letter === other ? 0 : 1);
      next.push(Math.min(replaced, (row[column + 1] ?? 0) + 1, (next[column] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

function text(pattern: RegExp, expected: string): Check {
  return (value) => (typeof value === "string" && pattern.test(value) ? { value } : { expected });
}

function path(): Check {
  return text(/\S/, "a text that is not empty");
}

function integer(minimum: number, maximum: number): Check {
  const expected = `a whole number from ${String(minimum)} to ${String(maximum)}`;
  return (value) =>
    Number.isSafeInteger(value) && Number(value) >= minimum && Number(value) <= maximum ? { value } : { expected };
}

function oneOf(values: readonly string[]): Check {
  return (value) => (values.some((known) => known === value) ? { value } : { expected: `one of ${values.join(", ")}` });
}

function boolean(value: unknown): ReturnType<Check> {
  if (typeof value === "boolean") return { value };
  return value === "true" || value === "false" ? { value: value === "true" } : { expected: "true or false" };
}

function httpUrl(value: unknown): ReturnType<Check> {
  const expected = "an http or https URL without trailing slash, query or password";
  if (typeof value !== "string" || !URL.canParse(value) || value.endsWith("/")) return { expected };
  const url = new URL(value);
  const plainUrl = /^https?:$/.test(url.protocol) && url.username === "" && url.search === "" && url.hash === "";
  return plainUrl ? { value } : { expected };
}

/** Clients take no other: they would speak to whoever stands in between. */
function serviceUrl(value: unknown): ReturnType<Check> {
  const checked = httpUrl(value);
  if (!("value" in checked)) return checked;
  const { protocol, hostname } = new URL(value as string);
  const isLoopback = hostname === "localhost" || hostname === "[::1]" || hostname.startsWith("127.");
  return protocol === "https:" || isLoopback ? checked : { expected: "an https URL; http only for localhost" };
}

/** Every witness must cosign before a head is published, so one that never can stops the log. */
function witnesses(value: unknown): ReturnType<Check> {
  if (!Array.isArray(value) || value.length > MAX_WITNESSES) {
    return { expected: `a list of at most ${String(MAX_WITNESSES)} {vkey, url}` };
  }
  const seen = new Set<string>();
  for (const [position, item] of (value as unknown[]).entries()) {
    const problem = witnessProblem(item, seen);
    if (problem !== undefined) return { expected: `a list of {vkey, url}; number ${String(position + 1)} ${problem}` };
  }
  return { value };
}

function witnessProblem(item: unknown, seen: Set<string>): string | undefined {
  const { vkey, url } = (item ?? {}) as { readonly vkey?: unknown; readonly url?: unknown };
  if (!("value" in httpUrl(url))) return "has no http or https URL";
  const key = typeof vkey === "string" ? keyOfWitness(vkey) : undefined;
  if (key?.type !== COSIGNATURE_KEY) return "has no vkey of a cosigner, so that no head could ever be published";
  const name = encodeHex(key.publicKey);
  if (seen.has(name)) return "has the key of one before, which can't cosign twice";
  seen.add(name);
  return undefined;
}

function keyOfWitness(vkey: string): NoteKey | undefined {
  try {
    return parseVkey(vkey);
  } catch (error) {
    if (error instanceof VerificationError) return undefined;
    throw error;
  }
}

function changeLists(value: unknown): ReturnType<Check> {
  const users = Array.isArray(value) && value.every((user) => typeof user === "string" && user.startsWith("@"));
  return value === "public" || users ? { value } : { expected: '"public" or a list of user ids' };
}

function servers(value: unknown): ReturnType<Check> {
  const expected = "a section of server names, each with the base URL of that server";
  if (typeof value !== "object" || value === null || Array.isArray(value)) return { expected };
  return Object.values(value).every((url) => "value" in httpUrl(url)) ? { value } : { expected };
}

/* eslint-disable @typescript-eslint/no-explicit-any, @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-assignment --
   SETTINGS has checked every member read here; the table is the type. */
function toConfig(settings: any): Config {
  return {
    homeserver: { url: settings.homeserver.url, serverName: settings.homeserver.server_name },
    registration: settings.registration,
    data: settings.data,
    anchor: settings.anchor,
    keys: settings.keys,
    listeners: settings.listeners,
    serviceUrl: settings.service_url,
    log: settings.log,
    feed: { sweepIntervalMs: settings.feed.sweep_interval_s * 1000 },
    witnesses: settings.witnesses,
    access: {
      changeLists: settings.access.change_lists,
      servers: settings.access.servers,
      erase: settings.access.erase,
    },
    limits: {
      lookupsPerMinute: settings.limits.lookups_per_minute,
      sessionsPerMinute: settings.limits.sessions_per_minute,
    },
  };
}
/* eslint-enable */
