/** A second service with a copy of a log's database and keys, as somebody has who runs the first, or stole a backup. */
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { startSequencer } from "../../appservice/sequencer.ts";
import type { RunningLog } from "../../appservice/sequencer.ts";
import { nextEntry } from "../../shared/directory/entry.ts";
import type { ObservedKeys } from "../../shared/directory/entry.ts";
import { encodeUnpadded, fromUtf8 } from "../../shared/encoding.ts";
import type { RefreshAnswer } from "../../shared/messages.ts";
import type { Clock } from "./clock.ts";
import type { KeyObject } from "./forged-keys.ts";
import { serveSecond } from "./second-service.ts";

/** Where a log keeps itself. */
export interface LogFiles {
  readonly dataDirectory: string;
  readonly anchorFile: string;
  readonly keysFile: string;
}

export class LogCopy {
  readonly #files: LogFiles;
  readonly #directory: string;
  readonly #clock: Clock;
  readonly #end = new AbortController();
  #running: { readonly log: RunningLog; readonly url: string } | undefined;

  private constructor(directory: string, files: LogFiles, clock: Clock) {
    this.#directory = directory;
    this.#files = files;
    this.#clock = clock;
  }

  /** Copies the files as they are at one moment: the caller sees to it that nobody writes meanwhile. */
  static async of(files: LogFiles, clock: Clock): Promise<LogCopy> {
    const directory = await mkdtemp(join(tmpdir(), "ckv-copy-"));
    const dataDirectory = join(directory, "data");
    const anchorFile = join(directory, "head");
    // The lock is a socket, and its holder's alone.
    const filter = (path: string): boolean => !["ckv.lock", "LOCK"].includes(basename(path));
    await cp(files.dataDirectory, dataDirectory, { recursive: true, filter });
    await cp(files.anchorFile, anchorFile);
    return new LogCopy(directory, { dataDirectory, anchorFile, keysFile: files.keysFile }, clock);
  }

  /** Answers from now on as the log stood at the moment of the copy. */
  async standStill(): Promise<void> {
    await this.#run(true);
  }

  /** Goes on signing heads, without knowing of anything that happens. */
  async goOn(): Promise<void> {
    await this.#run(false);
  }

  /** Base URL of the service. */
  get url(): string {
    return this.#log.url;
  }

  /** Size of its newest head. */
  get size(): number {
    return this.#log.log.sequencer.status().epoch + 1;
  }

  /** Takes in a device of a user that only this copy knows of. Does not wait for an epoch with it. */
  async record(userId: string, deviceId: string, device: KeyObject): Promise<void> {
    const { sequencer } = this.#log.log;
    const newest = await sequencer.newestEntry(userId);
    if (newest === undefined) throw new Error(`${userId} is not in the log`);
    const entry = nextEntry(userId, newest.entry, { kind: "keys", keys: withDevice(newest.entry, deviceId, device) });
    if (entry === undefined) throw new Error("the device is in the log already");
    // Rejected when the copy is closed before the epoch.
    sequencer.submit({ userId, entry, observedMs: this.#clock.now() }).catch(() => undefined);
  }

  async close(): Promise<void> {
    this.#end.abort();
    await this.#running?.log.sequencer.close();
    await rm(this.#directory, { recursive: true, force: true });
  }

  get #log(): { readonly log: RunningLog; readonly url: string } {
    if (this.#running === undefined) throw new Error("the copy of the log does not run yet");
    return this.#running;
  }

  async #run(strictStart: boolean): Promise<void> {
    const signal = this.#end.signal;
    const log = await startSequencer({ ...this.#files, clock: this.#clock, signal, strictStart });
    const url = await serveSecond(log.directory, { refresh: async (userId) => await promised(log, userId) }, signal);
    this.#running = { log, url };
  }
}

async function promised({ sequencer }: RunningLog, userId: string): Promise<RefreshAnswer> {
  const promise = await sequencer.promise(userId);
  if (promise === undefined) return {};
  const { note, opening, entry } = promise;
  return { promise: { note, opening: encodeUnpadded(opening), entry: fromUtf8(entry) } };
}

/** What a homeserver would have to show for the entry with one more device. */
function withDevice(entry: Uint8Array, deviceId: string, device: KeyObject): ObservedKeys {
  const { master_key, self_signing_key, devices } = JSON.parse(fromUtf8(entry)) as {
    readonly master_key?: unknown;
    readonly self_signing_key?: unknown;
    readonly devices: Readonly<Record<string, unknown>>;
  };
  const texts = Object.entries({ ...devices, [deviceId]: device }).map(
    ([id, object]) => [id, JSON.stringify(object)] as const,
  );
  return {
    ...(master_key === undefined ? {} : { masterKey: JSON.stringify(master_key) }),
    ...(self_signing_key === undefined ? {} : { selfSigningKey: JSON.stringify(self_signing_key) }),
    devices: new Map(texts),
  };
}
