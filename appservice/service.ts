/** Wires the service: listeners first, then the homeserver as soon as it answers. */
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { serverOfOrigin } from "../shared/log/checkpoint.ts";
import type { LogReference } from "../shared/directory/configuration.ts";
import { STALE_EXTRA_MS, STALE_HEARTBEATS } from "../shared/parameters.ts";
import { AccountRequests } from "./account-requests.ts";
import { threadsBesideMain } from "./answering-threads.ts";
import { ApiError } from "./api-error.ts";
import type { WriteSide } from "./api-routes.ts";
import { isAborted, type Clock } from "./clock.ts";
import { CLOCK_ASKED_EVERY_MS, ClockGuard } from "./clock-guard.ts";
import type { Config, Listener } from "./config.ts";
import { Cosigners } from "./cosigners.ts";
import { freeBytes, RESERVE_BYTES } from "./disk-space.ts";
import { Homeserver } from "./homeserver.ts";
import { HomeserverError } from "./homeserver-error.ts";
import { KeyFeed } from "./key-feed.ts";
import type { Logger } from "./logger.ts";
import { createMetrics, type Metrics, type Readings } from "./metrics.ts";
import { Observer } from "./observer.ts";
import { servePrivately, type PrivateParts } from "./private-listener.ts";
import { parseRegistration, type Registration } from "./registration.ts";
import { hasPosted, holdsForeignHead, publishHeads, readRoomHead, ROOM_RATE } from "./room-publisher.ts";
import type { PublishedHead, RoomRate } from "./room-publisher.ts";
import { openRooms, type Rooms } from "./rooms.ts";
import { startSequencer } from "./sequencer.ts";
import { serveApi } from "./serve-api.ts";
import { SessionTable, sharedLimit } from "./session-table.ts";
import { Sessions, type SessionParts } from "./sessions.ts";
import { ROOM_LOST } from "./start-checks.ts";
import { Watchdog } from "./watchdog.ts";

const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 30_000;
const READINESS_EVERY_MS = 1_000;
/** After a failure, closing is waited for no longer. */
const CLOSE_LIMIT_MS = 10_000;

export interface ServiceOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Aborted: the service ends its work and closes the store. */
  readonly signal: AbortSignal;
  readonly roomRate?: RoomRate;
  /** The clock is not held against the homeserver's: for tests, whose homeserver keeps real time. */
  readonly isTimeOwn?: true;
}

/** The settings do not belong together: each is right for another log. */
export class MixedSettingsError extends Error {
  override readonly name = "MixedSettingsError";
  /** sysexits.h EX_CONFIG. */
  readonly exitCode = 78;
}

export interface RunningService {
  /** Ports the listeners got, where the configuration says 0. */
  readonly ports: { readonly api: number; readonly metrics: number };
  /** Why the service is not ready; empty when it is. */
  notReady(): readonly string[];
  /** Resolves after a clean end, rejects with the failure that ended the service; its `exitCode` is that of the process. */
  readonly finished: Promise<void>;
}

/** A listener's address cannot be had. */
export class ListenError extends Error {
  override readonly name = "ListenError";
  /** sysexits.h: EX_TEMPFAIL while another process has the port, which may end; else EX_CONFIG. */
  readonly exitCode: number;

  constructor(message: string, code: string, options: { readonly cause: unknown }) {
    const inUse = code === "EADDRINUSE";
    const next = inUse ? "end what listens there, or take another port" : "take an address of this machine";
    super(`${message} (${code}). Next: ${next}`, options);
    this.exitCode = inUse ? 75 : 78;
  }
}

/**
 * Runs the service until `signal` is aborted. Resolves when all listeners are open; reads are answered from then on,
 * while heads are signed only once the homeserver answered and the room's newest head is known.
 * Throws when the store cannot be opened, or a listener not bound.
 */
export async function runService(config: Config, options: ServiceOptions): Promise<RunningService> {
  const end = new AbortController();
  const signal = AbortSignal.any([options.signal, end.signal]);
  const service = new Service(config, { ...options, signal });
  try {
    return await service.start((reason) => {
      end.abort(reason);
    });
  } catch (error) {
    end.abort(error);
    await service.close();
    throw error;
  }
}

type OpenLog = Awaited<ReturnType<typeof startSequencer>>;

class Service {
  readonly #config: Config;
  readonly #options: ServiceOptions;
  readonly #homeserver: Homeserver;
  readonly #registration: Registration;
  readonly #clockGuard: ClockGuard;
  #log: OpenLog | undefined;
  #metrics: Metrics | undefined;
  /** The rooms, once they are known to exist. Written by `#connect`. */
  #rooms: Rooms | undefined;
  /** Why the homeserver side is not up; undefined once it is. Written by `#connect`. */
  #disconnected: string | undefined = "the homeserver has not answered yet";
  /** When the newest head was posted into the room. Written by the publisher. */
  #postedMs: number | undefined;
  /** Looks whether epochs come. Made when the log is open. */
  #watchdog: Watchdog | undefined;

  constructor(config: Config, options: ServiceOptions) {
    this.#config = config;
    this.#options = options;
    this.#registration = parseRegistration(readFileSync(config.registration, "utf8"));
    const { url, serverName } = config.homeserver;
    this.#homeserver = new Homeserver(url, serverName, this.#registration, options.signal);
    this.#clockGuard = new ClockGuard({ now: options.clock.now, steady: () => performance.now() });
  }

  async start(fail: (reason: unknown) => void): Promise<RunningService> {
    const { clock, logger, signal } = this.#options;
    const log = await this.#openLog();
    this.#log = log;
    this.#checkServer(log);
    const { sequencer, marks } = log;
    const homeserver = this.#homeserver;
    this.#watchdog = new Watchdog(log.heartbeatMs, () => performance.now());
    const observer = new Observer({
      ...{ marks, sequencer, homeserver, clock, logger },
      merged: (ms) => this.#metrics?.merged(ms / 1_000),
    });
    const wake = (): void => {
      observer.wake();
    };
    const feed = new KeyFeed({ store: marks, homeserver, clock, logger, wake });
    const ports = await this.#listen(log, observer, feed);
    const work = [observer.run(signal), this.#matrixSide(log, feed, observer), this.#tellReadiness(log)];
    const finished = this.#finish(work, log, fail);
    // Whoever holds the RunningService reads the failure from `finished`; without this, Node would end first.
    finished.catch(() => undefined);
    return { ports, notReady: () => this.#notReady(log), finished };
  }

  async close(): Promise<void> {
    await this.#log?.sequencer.close();
  }

  /** A log speaks for one server only, which its clients hold its origin against. */
  #checkServer({ logKey: { name: origin } }: OpenLog): void {
    const { serverName } = this.#config.homeserver;
    if (serverOfOrigin(origin) === serverName) return;
    throw new MixedSettingsError(
      `the database is the log ${origin}, but homeserver.server_name is ${serverName}. Next: set "data", "anchor" and "keys" to the files of the log of ${serverName}, or the server's name to ${serverOfOrigin(origin)}`,
    );
  }

  async #openLog(): Promise<OpenLog> {
    const { clock, logger, signal } = this.#options;
    const { data, anchor, keys, serviceUrl, witnesses } = this.#config;
    const cosigners = new Cosigners(witnesses, clock, logger);
    return await startSequencer({
      dataDirectory: data,
      anchorFile: anchor,
      keysFile: keys,
      reserveBytes: RESERVE_BYTES,
      clock,
      signal,
      answeringThreads: threadsBesideMain(),
      settings: { service_url: serviceUrl, witnesses: witnesses.map(({ vkey }) => vkey) },
      clockProblem: (nowMs) => this.#clockGuard.problem(nowMs),
      ...(witnesses.length === 0 ? {} : { cosign: cosigners.cosign.bind(cosigners) }),
    });
  }

  async #listen(log: OpenLog, observer: Observer, feed: KeyFeed): Promise<RunningService["ports"]> {
    const { clock, logger, signal } = this.#options;
    const { homeserver: local, access, limits, listeners, serviceUrl } = this.#config;
    const servers = new Map([[local.serverName, local.url], ...Object.entries(access.servers)]);
    const { threads } = log;
    const limit = sharedLimit(limits.lookupsPerMinute);
    const gate = new SessionTable(limit);
    const { sessionsPerMinute } = limits;
    const add: SessionParts["add"] = async (session) => {
      gate.add(session);
      await threads.addSession(session);
    };
    const sessions = new Sessions({ servers, clock, sessionsPerMinute, add });
    const metrics = createMetrics(this.#readings(log, feed), () => threads.readMetrics());
    this.#metrics = metrics;
    const api = { read: log.directory, write: this.#writeSide(log, observer, sessions) };
    const take = this.#homeserver.listen(listeners.appservice, async (transaction) => {
      await feed.take(transaction, this.#rooms?.members);
    });
    await bound("appservice", listeners.appservice, take);
    const parts = { api, gate, logger, serviceUrl, answered: metrics.answered };
    const served = serveApi(parts, { threads, limit }, listeners.api, signal);
    return {
      api: (await bound("api", listeners.api, served)).port,
      metrics: await bound(
        "metrics",
        listeners.metrics,
        servePrivately(this.#privateParts(log, metrics.scrape), listeners.metrics, signal),
      ),
    };
  }

  #readings(log: OpenLog, feed: KeyFeed): Readings {
    const { clock } = this.#options;
    const ageOf = (atMs: number | undefined): number | undefined =>
      atMs === undefined ? undefined : clock.now() - atMs;
    return {
      epoch: () => log.sequencer.status().epoch,
      headAgeMs: () => clock.now() - log.sequencer.status().timestampMs,
      heartbeatMs: () => log.heartbeatMs,
      stillMs: () => this.#watchdog?.stillMs ?? 0,
      pending: () => log.sequencer.status().pending,
      sweepMissed: () => feed.sweepMissed,
      feedAgeMs: () => ageOf(feed.caughtUpAtMs),
      roomHeadAgeMs: () => ageOf(this.#postedMs),
      diskFree: () => freeBytes(this.#config.data),
      notReady: () => this.#notReady(log).length,
    };
  }

  #privateParts(log: OpenLog, scrape: PrivateParts["scrape"]): PrivateParts {
    const { sequencer } = log;
    const { erase } = this.#config.access;
    const operator = {
      closeAccount: async (userId: string) => {
        this.#checkReady(log);
        return await sequencer.closeAccount(userId);
      },
      closeLog: async (successor: LogReference) => {
        this.#checkReady(log);
        return await sequencer.closeLog(successor);
      },
      eraseVersions: async (userId: string, versions: readonly number[]) => {
        if (!erase) throw new RangeError("erasing is off: access.erase in config.yaml");
        await sequencer.eraseVersions(userId, versions);
      },
      backUp: () => log.backUp(),
    };
    return { scrape, operator, token: this.#registration.asToken };
  }

  /** Throws a RangeError for the operator unless epochs can be closed. */
  #checkReady(log: OpenLog): void {
    const reasons = this.#notReady(log);
    if (reasons.length > 0) throw new RangeError(`no epoch can be closed now: ${reasons.join("; ")}`);
  }

  #writeSide(log: OpenLog, observer: Observer, sessions: Sessions): WriteSide {
    const homeserver = this.#homeserver;
    const { changeLists } = this.#config.access;
    const requests = new AccountRequests({
      log: log.sequencer,
      observer,
      isTracked: async (userId) => await log.marks.isTracked(userId),
      isLocalUser: (userId) => homeserver.isLocalUser(userId),
      invite: async (roomId, userId) => {
        await homeserver.invite(roomId, userId);
      },
      membersRoom: () => this.#rooms?.members,
      mayPromise: () => this.#notReady(log).length === 0,
    });
    return {
      session: async ({ openid_token: token }, address) => await sessions.open(token, address),
      refresh: async (userId) => await requests.refresh(userId),
      enrol: async (userId) => await requests.enrol(userId),
      state: async (userId, statement) => await requests.state(userId, statement),
      acknowledge: async (userId, request) => {
        const { reason } = log.sequencer.status();
        if (reason !== undefined) throw new ApiError("not-ready", "nothing is written now", RETRY_LAST_MS / 1_000);
        await requests.acknowledge(userId, request);
      },
      checkReader: (userId) => {
        const may = changeLists === "public" || (userId !== undefined && changeLists.includes(userId));
        if (may) return Promise.resolve();
        return Promise.reject(new ApiError("forbidden", "change lists are for named auditors here"));
      },
      notReady: () => Promise.resolve(this.#notReady(log)),
    };
  }

  #notReady({ sequencer, heartbeatMs }: OpenLog): readonly string[] {
    const { timestampMs, reason } = sequencer.status();
    const ageMs = this.#options.clock.now() - timestampMs;
    const stale = ageMs > STALE_HEARTBEATS * heartbeatMs + STALE_EXTRA_MS;
    const still = this.#watchdog?.problem;
    return [
      ...(this.#disconnected === undefined ? [] : [this.#disconnected]),
      ...(reason === undefined ? [] : [reason]),
      ...(still === undefined ? [] : [still]),
      ...(stale ? [`the newest head is ${Math.round(ageMs / 1000)} s old`] : []),
    ];
  }

  /** Logs why heads are not signed or published, each time that changes. Throws StuckError when no epoch comes for long. */
  async #tellReadiness(log: OpenLog): Promise<void> {
    const { clock, logger, signal } = this.#options;
    let told: string | undefined;
    while (!isAborted(signal)) {
      this.#watchdog?.look(log.sequencer.status());
      const reasons = this.#notReady(log);
      const state = reasons.join("; ");
      if (state !== told && reasons.length > 0) logger.warn({ reasons }, "not ready");
      if (state !== told && reasons.length === 0) logger.info({ epoch: log.sequencer.status().epoch }, "ready");
      told = state;
      await clock.sleep(READINESS_EVERY_MS, signal);
    }
  }

  /** Everything that needs the homeserver, from the moment it answers. */
  async #matrixSide(log: OpenLog, feed: KeyFeed, observer: Observer): Promise<void> {
    const { clock, logger, signal, roomRate } = this.#options;
    const rooms = await this.#connect(log);
    if (rooms === undefined) return;
    const heads = soundHeads(log.sequencer, signal);
    const room = {
      ...{ room: this.#homeserver, roomId: rooms.epochs, store: log.marks, clock, logger },
      posted: (atMs: number) => {
        this.#postedMs = atMs;
      },
    };
    const sweeps = feed.caughtUp(signal).then(async () => {
      await feed.sweepForever(rooms.members, observer.findChanged, this.#config.feed.sweepIntervalMs, signal);
    });
    await Promise.all([
      publishHeads(heads, { ...room, rate: roomRate ?? ROOM_RATE }),
      feed.follow(rooms.members, signal),
      sweeps,
      this.#watchClock(),
      this.#ping(),
    ]);
  }

  /** Registers, opens the rooms and reads the newest head there; tries until it works. Undefined: the service ends. */
  async #connect(log: OpenLog): Promise<Rooms | undefined> {
    const { clock, signal } = this.#options;
    for (let waitMs = RETRY_FIRST_MS; !signal.aborted; waitMs = Math.min(2 * waitMs, RETRY_LAST_MS)) {
      try {
        const rooms = await this.#open(log);
        if (rooms !== undefined) return rooms;
      } catch (error) {
        if (!(error instanceof HomeserverError)) throw error;
        this.#disconnected = error.message;
      }
      await clock.sleep(waitMs, signal);
    }
    return undefined;
  }

  async #open(log: OpenLog): Promise<Rooms | undefined> {
    await this.#homeserver.register();
    this.#rooms = await openRooms(this.#homeserver, log.marks);
    const { logKey } = log;
    const head = await readRoomHead(this.#homeserver, this.#rooms.epochs, logKey);
    if (head === undefined && (await hasPosted(log.marks))) {
      this.#disconnected = ROOM_LOST;
      return undefined;
    }
    if (head === undefined && (await holdsForeignHead(this.#homeserver, this.#rooms.epochs, logKey))) {
      throw new MixedSettingsError(
        `the epochs room ${this.#rooms.epochs} holds heads of ${logKey.name} that another key signed: this database and its keys are a test's, or another log's. Next: use the database and keys with which the room was filled, or begin a successor of that log (matrix-ckv init --successor-of)`,
      );
    }
    await this.#holdClock();
    log.sequencer.setExternalHead(head?.note ?? "room-empty");
    this.#disconnected = undefined;
    this.#options.logger.info({ roomHead: head?.checkpoint.size ?? 0 }, "connected to the homeserver");
    return this.#rooms;
  }

  async #holdClock(): Promise<void> {
    if (this.#options.isTimeOwn !== true) this.#clockGuard.hold(await this.#homeserver.timeMs());
  }

  async #watchClock(): Promise<void> {
    const { clock, signal } = this.#options;
    for (;;) {
      await clock.sleep(CLOCK_ASKED_EVERY_MS, signal);
      if (isAborted(signal)) return;
      await this.#holdClock().catch((error: unknown) => {
        // What the homeserver does not tell now it tells later; a jump is seen without it.
        if (!(error instanceof HomeserverError)) throw error;
      });
    }
  }

  /** Without an answer to the ping the feed still works, by `/sync` alone. */
  async #ping(): Promise<void> {
    try {
      await this.#homeserver.ping();
    } catch (error) {
      if (!(error instanceof HomeserverError)) throw error;
      this.#options.logger.warn({ error: error.message }, "the homeserver does not reach listeners.appservice");
    }
  }

  /** Waits for the end of `work`, or a failure of it or of the sequencer, which ends only once it is closed. */
  async #finish(
    work: readonly Promise<void>[],
    { sequencer, judge }: OpenLog,
    fail: (reason: unknown) => void,
  ): Promise<void> {
    try {
      await Promise.race([Promise.all(work), sequencer.finished]);
    } catch (error) {
      const failure = judge(error);
      fail(failure);
      const closed = Promise.allSettled(work).then(async () => {
        await this.close();
      });
      // What hangs does not end either.
      await Promise.race([closed, delay(CLOSE_LIMIT_MS, undefined, { ref: false })]);
      throw failure;
    }
    await this.close();
  }
}

/** What listening gives, or a ListenError that says which listener it was. */
async function bound<Result>(name: string, { host, port }: Listener, listening: Promise<Result>): Promise<Result> {
  try {
    return await listening;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined || code === "ABORT_ERR") throw error;
    throw new ListenError(`listeners.${name}: ${host}:${port} cannot be listened on`, code, { cause: error });
  }
}

/** Heads of a log that fits its anchor and the room: one that was rolled back or forked is not shown to anybody anew. */
async function* soundHeads(sequencer: OpenLog["sequencer"], signal: AbortSignal): AsyncGenerator<PublishedHead> {
  for await (const head of sequencer.commits(signal)) if (sequencer.fits) yield head;
}
