/**
 * The logs of all servers this account has contacts on: found once, their keys pinned, looked for again from time to time.
 * protocol "Discovery".
 */
import { parseVkey } from "../shared/crypto/signed-note.ts";
import { serverOfOrigin } from "../shared/log/checkpoint.ts";
import type { Policy } from "../shared/log/policy.ts";
import type { HeadPart, WellKnown } from "../shared/messages.ts";
import { openPredecessor } from "../shared/proofs/succession.ts";
import { HOUR_MS, LOG_MISSING_AFTER_MS } from "../shared/parameters.ts";
import { VerdictError } from "../shared/verdict-codes.ts";
import { VerificationError } from "../shared/errors.ts";
import { LogClient, ServiceFailure, discoverLog } from "./log-client.ts";
import type { Discovery, Transport } from "./log-client.ts";
import { LogView } from "./log-view.ts";
import type { LogMemory, LogViews } from "./log-view.ts";
import type { ClientLike } from "./matrix.ts";
import type { Storage } from "./storage.ts";

export interface LogsOptions {
  readonly client: ClientLike;
  readonly transport: Transport;
  readonly storage: Storage;
  readonly random: (length: number) => Uint8Array;
  readonly policy: Policy | undefined;
  /** Logs the host knows beforehand, by server name. */
  readonly pins: Readonly<Record<string, { readonly service_url: string; readonly log_key: string }>>;
  /** Log key that another own device pinned. */
  readonly pinnedElsewhere: (serverName: string) => string | undefined;
  readonly onHead: (serverName: string, head: HeadPart, logKey: string) => void;
}

/** A server is asked again whether it has a log after this. */
const REDISCOVER_MS = HOUR_MS;
/** After this where something speaks for a log that has moved. */
const REDISCOVER_IN_DOUBT_MS = 10_000;

interface Known {
  readonly view: Promise<LogView | undefined>;
  /** Discovery is made again from then on. */
  dueMs: number;
  readonly askedMs: number;
}

export class Logs implements LogViews {
  readonly #options: LogsOptions;
  /** One per server; replaced when the server is asked again, removed when that failed. */
  readonly #known = new Map<string, Known>();

  constructor(options: LogsOptions) {
    this.#options = options;
  }

  /** Views opened so far. */
  async open(): Promise<Map<string, LogView>> {
    const views = new Map<string, LogView>();
    for (const [serverName, known] of this.#known) {
      const view = await known.view.catch(() => undefined);
      if (view !== undefined) views.set(serverName, view);
    }
    return views;
  }

  async of(serverName: string): Promise<LogView | undefined> {
    const known = this.#known.get(serverName);
    const nowMs = this.#options.transport.clock.now();
    if (known !== undefined && nowMs < known.dueMs) return await known.view;
    const view = this.#find(serverName, known?.view);
    this.#known.set(serverName, { view, askedMs: nowMs, dueMs: nowMs + REDISCOVER_MS });
    try {
      return await view;
    } catch (error) {
      this.#known.delete(serverName);
      throw error;
    }
  }

  /** The log of a server may be elsewhere by now. */
  #doubt(serverName: string): void {
    const known = this.#known.get(serverName);
    if (known !== undefined) known.dueMs = Math.min(known.dueMs, known.askedMs + REDISCOVER_IN_DOUBT_MS);
  }

  async #find(serverName: string, before: Promise<LogView | undefined> | undefined): Promise<LogView | undefined> {
    const stored = await this.#options.storage.get(`log:${serverName}`);
    const memory = stored === undefined ? undefined : (JSON.parse(stored) as LogMemory);
    const current = await before;
    const wellKnown = await this.#discover(serverName, memory, current);
    if (wellKnown === undefined) return undefined;
    const isSame =
      memory?.wellKnown.service_url === wellKnown.service_url && memory.wellKnown.log_key === wellKnown.log_key;
    return current !== undefined && isSame ? current : this.#view(serverName, wellKnown, memory);
  }

  /**
   * Whether the log that is found shows that the pinned one closed for it: for who can't ask that one any more. The end is
   * held against the head that is known: one before it, which nothing ties to it, is none. Throws `head-fork`.
   */
  async #succeeds({ service_url: url, log_key: logKey }: WellKnown, pinned: string, known?: LogView): Promise<boolean> {
    try {
      const part = await this.#clientOf(url).predecessor();
      if (!openPredecessor(part, parseVkey(pinned), logKey).isFinal) return false;
      await known?.takeHead(part.head.checkpoint);
      return true;
    } catch (error) {
      if (error instanceof ServiceFailure || error instanceof VerificationError) return false;
      throw error;
    }
  }

  #clientOf(url: string): LogClient {
    const { client, transport } = this.#options;
    return new LogClient(url, transport, async () => await client.getOpenIdToken());
  }

  /** A log that moved properly starts anew; what was accepted about users holds across. */
  #view(serverName: string, wellKnown: WellKnown, memory: LogMemory | undefined): LogView {
    const { transport, storage, random, policy, onHead } = this.#options;
    const service = this.#clientOf(wellKnown.service_url);
    const isSame = memory?.wellKnown.log_key === wellKnown.log_key;
    const fresh = { wellKnown, configurations: {}, pending: [], moved: memory !== undefined };
    const kept: LogMemory = memory !== undefined && isSame ? { ...memory, wellKnown } : fresh;
    const { clock } = transport;
    const onDoubt = (server: string): void => {
      this.#doubt(server);
    };
    return new LogView({ serverName, client: service, memory: kept, storage, clock, random, policy, onHead, onDoubt });
  }

  /** Where the log is now, held against what is pinned. A discovery that can't be made leaves what was known. */
  async #discover(serverName: string, memory: LogMemory | undefined, current: LogView | undefined): Promise<Discovery> {
    const { pins, client, transport, storage, pinnedElsewhere } = this.#options;
    const pin = pins[serverName];
    if (pin !== undefined) return { ...pin, room: `#ckv:${serverName}` };
    let found: Discovery;
    try {
      found = await discoverLog(transport, client, serverName);
    } catch (error) {
      if (error instanceof ServiceFailure && memory !== undefined) return memory.wellKnown;
      throw error;
    }
    const pinned = memory?.wellKnown.log_key ?? pinnedElsewhere(serverName);
    if (found === undefined)
      return pinned === undefined ? undefined : await this.#missing(serverName, "log-gone", memory);
    checkKey(serverName, found, pinned);
    const known = current ?? (memory && this.#view(serverName, memory.wellKnown, memory));
    if (pinned !== undefined && pinned !== found.log_key) {
      const leads = known === undefined ? "silent" : await known.leadsTo(found.log_key);
      const follows = leads === "silent" ? await this.#succeeds(found, pinned, known) : leads;
      if (follows !== true) return await this.#missing(serverName, "log-replaced", memory);
    }
    await storage.delete(missingName(serverName));
    return found;
  }

  /**
   * The server no longer names the log that is known, nor one that this log names as its successor. That may be a slip of
   * its operator: the known log is asked on, and only when the server has said so for long is it a warning.
   */
  async #missing(
    serverName: string,
    code: "log-gone" | "log-replaced",
    memory: LogMemory | undefined,
  ): Promise<WellKnown> {
    const { storage, transport } = this.#options;
    const nowMs = transport.clock.now();
    const sinceMs = Number((await storage.get(missingName(serverName))) ?? nowMs);
    await storage.set(missingName(serverName), String(sinceMs));
    if (nowMs - sinceMs >= LOG_MISSING_AFTER_MS) {
      throw new VerdictError(code, "the known log is not named");
    }
    if (memory === undefined) throw new ServiceFailure("offline", "the known log is not named");
    return memory.wellKnown;
  }
}

function missingName(serverName: string): string {
  return `missing:${serverName}`;
}

/** The log speaks for this server, and is no other of the same name. Throws VerdictError. */
function checkKey(serverName: string, found: WellKnown, pinned: string | undefined): void {
  const key = parseVkey(found.log_key);
  if (serverOfOrigin(key.name) !== serverName) {
    throw new VerdictError("log-not-authoritative", "the log is not that of the user's server");
  }
  if (pinned === undefined || pinned === found.log_key) return;
  if (parseVkey(pinned).name === key.name) throw new VerdictError("log-key-differs", "another key for the same log");
}
