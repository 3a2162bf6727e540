/**
 * The logs of all servers this account has contacts on: found once, their keys pinned, looked for again from time to time.
 * protocol "Discovery".
 */
import { parseVkey } from "../shared/crypto/signed-note.ts";
import { serverOfOrigin } from "../shared/log/checkpoint.ts";
import type { Policy } from "../shared/log/policy.ts";
import type { HeadPart, WellKnown } from "../shared/messages.ts";
import { HOUR_MS } from "../shared/parameters.ts";
import { VerdictError } from "../shared/verdict-codes.ts";
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
  readonly policy: Policy | undefined;
  /** Logs the host knows beforehand, by server name. */
  readonly pins: Readonly<Record<string, { readonly service_url: string; readonly log_key: string }>>;
  /** Log key that another own device pinned. */
  readonly pinnedElsewhere: (serverName: string) => string | undefined;
  readonly onHead: (serverName: string, head: HeadPart, logKey: string) => void;
}

/** A server is asked again whether it has a log after this. */
const REDISCOVER_MS = HOUR_MS;

interface Known {
  readonly view: Promise<LogView | undefined>;
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
    if (known !== undefined && nowMs - known.askedMs < REDISCOVER_MS) return await known.view;
    const view = this.#find(serverName, known?.view);
    this.#known.set(serverName, { view, askedMs: nowMs });
    try {
      return await view;
    } catch (error) {
      this.#known.delete(serverName);
      throw error;
    }
  }

  async #find(serverName: string, before: Promise<LogView | undefined> | undefined): Promise<LogView | undefined> {
    const stored = await this.#options.storage.get(`log:${serverName}`);
    const memory = stored === undefined ? undefined : (JSON.parse(stored) as LogMemory);
    const wellKnown = await this.#discover(serverName, memory);
    if (wellKnown === undefined) return undefined;
    const current = await before;
    const isSame =
      memory?.wellKnown.service_url === wellKnown.service_url && memory.wellKnown.log_key === wellKnown.log_key;
    return current !== undefined && isSame ? current : this.#view(serverName, wellKnown, memory);
  }

  /** A log that moved properly starts anew; what was accepted about users holds across. */
  #view(serverName: string, wellKnown: WellKnown, memory: LogMemory | undefined): LogView {
    const { client, transport, storage, policy, onHead } = this.#options;
    const service = new LogClient(wellKnown.service_url, transport, async () => await client.getOpenIdToken());
    const isSame = memory?.wellKnown.log_key === wellKnown.log_key;
    const fresh = { wellKnown, configurations: {}, pending: [], moved: memory !== undefined };
    const kept: LogMemory = memory !== undefined && isSame ? { ...memory, wellKnown } : fresh;
    const { clock } = transport;
    return new LogView({ serverName, client: service, memory: kept, storage, clock, policy, onHead });
  }

  /** Where the log is now, held against what is pinned. A discovery that can't be made leaves what was known. */
  async #discover(serverName: string, memory: LogMemory | undefined): Promise<Discovery> {
    const { pins, client, transport, pinnedElsewhere } = this.#options;
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
    if (found === undefined) {
      if (pinned === undefined) return undefined;
      throw new VerdictError("log-gone", `${serverName} had a log and has none now`);
    }
    checkKey(serverName, found, pinned, memory);
    return found;
  }
}

/** The log key is the pinned one, and the log speaks for this server. */
function checkKey(
  serverName: string,
  found: WellKnown,
  pinned: string | undefined,
  memory: LogMemory | undefined,
): void {
  const key = parseVkey(found.log_key);
  if (serverOfOrigin(key.name) !== serverName) {
    throw new VerdictError("log-not-authoritative", `the log of ${key.name} does not speak for ${serverName}`);
  }
  if (pinned === undefined || pinned === found.log_key) return;
  if (parseVkey(pinned).name === key.name) throw new VerdictError("log-key-differs", "another key for the same log");
  const last = memory?.configured?.hash;
  const text = last === undefined ? undefined : memory?.configurations[last];
  const successor = (text === undefined ? {} : (JSON.parse(text) as { successor?: { log_key?: string } })).successor;
  if (successor?.log_key !== found.log_key)
    throw new VerdictError("log-replaced", "a new log without a final epoch of the old");
}
