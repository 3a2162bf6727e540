/**
 * A log that lies in ways to which no honest sequencer can be brought, so it is a log of its own. Everything it shows is
 * proven and signed without a flaw, and each reader sees a log that only grows.
 */
import { encodeEntryBundle, TILE_HEIGHT, TILE_WIDTH } from "../../shared/log/tiles.ts";
import type { Tile } from "../../shared/log/tiles.ts";
import { epochLeafHash } from "../../shared/log/epoch-record.ts";
import { nextEntry, splitKeysQuery } from "../../shared/directory/entry.ts";
import type { ObservedKeys } from "../../shared/directory/entry.ts";
import { concat } from "../../shared/encoding.ts";
import { hashReaderOf, LOG_DOMAINS } from "../../shared/merkle/tree.ts";
import { encodePath } from "../../shared/messages.ts";
import type { Statement, StatementAnswer, WellKnown } from "../../shared/messages.ts";
import type { ReadSide } from "../../appservice/api-routes.ts";
import type { Clock } from "./clock.ts";
import type { KeyObject } from "./forged-keys.ts";
import { serveSecond } from "./second-service.ts";
import { TestLog } from "./test-log.ts";
import type { Version } from "./test-log.ts";

const SETTLE_MS = 10_000;
const HEARTBEAT_MS = 1_000;
const MERGE_DELAY_MS = 5_000;

/** Which epochs a reader is shown: those with an even number, or those with an odd one. */
export type Parity = 0 | 1;

export class LyingLog {
  readonly #log: TestLog;
  readonly #clock: Clock;
  readonly #end = new AbortController();
  readonly #urls: string[] = [];
  /** What the homeserver showed of each user. Written by `observe`. */
  readonly #keys = new Map<string, ObservedKeys>();
  #standsStill = false;
  /** Parity of the settling epochs. */
  #settling: Parity = 0;
  /** The user who has two pasts, and the pasts, by parity of the epoch. */
  #victim: { readonly userId: string; readonly pasts: readonly [readonly Version[], readonly Version[]] } | undefined;

  private constructor(serverName: string, clock: Clock) {
    const durations = { settleMs: SETTLE_MS, heartbeatMs: HEARTBEAT_MS, mergeDelayMs: MERGE_DELAY_MS };
    this.#log = new TestLog({ serverName, number: 2, startMs: clock.now(), ...durations });
    this.#clock = clock;
  }

  static async open(serverName: string, serviceUrl: string, clock: Clock): Promise<LyingLog> {
    const log = new LyingLog(serverName, clock);
    log.#log.reconfigure({ service_url: serviceUrl });
    for (const parity of [0, 1] as const) {
      const write = { state: async (userId: string, statement: Statement) => await log.#state(userId, statement) };
      log.#urls.push(await serveSecond(log.#readSide(parity), write, log.#end.signal));
    }
    void log.#beat();
    return log;
  }

  /** What the homeserver publishes about this log. */
  wellKnown(serviceUrl: string): WellKnown {
    return { service_url: serviceUrl, room: `#ckv:${this.#log.serverName}`, log_key: this.#log.vkey };
  }

  /** Where the readers of one parity are answered. */
  urlFor(parity: Parity): string {
    const url = this.#urls[parity];
    if (url === undefined) throw new Error("the log is not open");
    return url;
  }

  /** Takes in what an answer of `/keys/query` shows of a user. */
  observe(userId: string, keysQuery: string): void {
    const keys = splitKeysQuery(keysQuery, [userId]).get(userId);
    if (keys === undefined) throw new Error("the answer does not name the user");
    this.#keys.set(userId, keys);
    const entry = nextEntry(userId, this.#newest(userId), { kind: "keys", keys });
    if (entry !== undefined) this.#log.setEntry(userId, entry);
    this.#close();
  }

  /** Makes no more epochs. */
  standStill(): void {
    this.#standsStill = true;
  }

  /** Gives the user one more version, without the statement that the account has made. */
  dropStatement(userId: string): void {
    const keys = this.#keys.get(userId);
    const entry = keys === undefined ? undefined : nextEntry(userId, undefined, { kind: "keys", keys });
    if (entry === undefined) throw new Error("the user is not in the log");
    this.#log.setEntry(userId, entry);
    this.#closeNext();
  }

  /**
   * From now on the user has one more version, with this device, in every epoch of one parity, and never had it in the
   * others; settling epochs have the parity `settlingIn`.
   */
  alternate(
    userId: string,
    deviceId: string,
    device: KeyObject,
    { shownIn: parity, settlingIn }: { readonly shownIn: Parity; readonly settlingIn: Parity },
  ): void {
    this.#settling = settlingIn;
    const [honest, keys] = [this.#past(userId), this.#keys.get(userId)];
    if (keys === undefined) throw new Error("the user is not in the log");
    const devices = new Map([...keys.devices, [deviceId, JSON.stringify(device)]]);
    const entry = nextEntry(userId, this.#newest(userId), { kind: "keys", keys: { ...keys, devices } });
    if (this.#log.size % 2 !== parity) this.#closeNext();
    if (entry !== undefined) this.#log.setEntry(userId, entry);
    this.#closeNext();
    const other = this.#past(userId);
    this.#victim = { userId, pasts: parity === 1 ? [honest, other] : [other, honest] };
    this.#closeNext();
  }

  close(): void {
    this.#end.abort();
  }

  async #state(userId: string, statement: Statement): Promise<StatementAnswer> {
    const keys = this.#keys.get(userId);
    if (keys === undefined) throw new Error("the user is not in the log");
    const entry = nextEntry(userId, this.#newest(userId), { kind: "keys", keys, statement });
    if (entry !== undefined) this.#log.setEntry(userId, entry);
    this.#close();
    return await Promise.resolve({});
  }

  #newest(userId: string): Uint8Array | undefined {
    return this.#past(userId).at(-1)?.entry;
  }

  #past(userId: string): readonly Version[] {
    return this.#log.versionsAt(userId, this.#log.size - 1);
  }

  async #beat(): Promise<void> {
    while (!this.#end.signal.aborted) {
      await this.#clock.sleep(HEARTBEAT_MS, this.#end.signal);
      this.#close();
    }
  }

  #close(): void {
    if (this.#standsStill) return;
    const lastMs = this.#log.newest.record.timestampMs;
    const nowMs = Math.max(this.#clock.now(), lastMs + 1);
    const begins = Math.floor(nowMs / SETTLE_MS) > Math.floor(lastMs / SETTLE_MS);
    if (begins && this.#log.size % 2 !== this.#settling) this.#closeNext();
    this.#closeAt(Math.max(nowMs, lastMs + 2));
  }

  /** One more epoch in the interval of the newest. */
  #closeNext(): void {
    this.#closeAt(this.#log.newest.record.timestampMs + 1);
  }

  #closeAt(timestampMs: number): void {
    if (this.#victim !== undefined) {
      this.#log.swapPast(this.#victim.userId, this.#victim.pasts[this.#log.size % 2 === 0 ? 0 : 1]);
    }
    this.#log.closeEpoch(timestampMs);
  }

  /** Everything at the newest epoch; once somebody has two pasts, at the newest epoch of one parity. */
  #readSide(parity: Parity): ReadSide {
    const log = this.#log;
    const apart = (): boolean => this.#victim !== undefined && (log.size - 1) % 2 !== parity;
    const size = (): number => (apart() ? log.size - 1 : log.size);
    const later = async <T>(value: T): Promise<T> => await Promise.resolve(value);
    return {
      lookup: async (userId) => await later(JSON.stringify(log.lookup(userId, size()))),
      lookups: async (userIds) => await later(log.lookups(userIds, size())),
      settled: async (userId, epoch) => await later(log.settled(userId, log.settlingEpoch(epoch + 1), size())),
      historyConsistency: async (userId, from, to) =>
        await later({ proof: encodePath(log.historyConsistency(userId, from, to, size())) }),
      historyVersions: async (userId, from, to) => await later(log.versions(userId, from, to, size())),
      checkpoint: async () => await later(log.head(size()).checkpoint),
      tile: async (tile) => await later(this.#tile(tile)),
      changes: async () => {
        await later(undefined);
      },
      dump: async () => {
        await later(undefined);
      },
      predecessor: async () => {
        await later(undefined);
      },
      succession: async () => {
        await later(undefined);
      },
      settlingRecords: async (epoch, at) => await later(log.settlingRecords(epoch, at)),
      configuration: async () => await later(log.configurationText),
    };
  }

  #tile({ level, index, width }: Tile): Uint8Array {
    const records = this.#log.epochs.map(({ bytes }) => bytes);
    const first = index * TILE_WIDTH;
    if (level === "entries") return encodeEntryBundle(records.slice(first, first + width));
    const read = hashReaderOf(LOG_DOMAINS, records.map(epochLeafHash));
    return concat(...Array.from({ length: width }, (_, at) => read(level * TILE_HEIGHT, first + at)));
  }
}
