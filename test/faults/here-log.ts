/** A log started in this thread by the same steps as the service takes, for those who start thousands. */
import { databaseOf } from "../../appservice/create-log.ts";
import { Directory } from "../../appservice/directory.ts";
import { readKeys } from "../../appservice/keys-file.ts";
import { LogWriter } from "../../appservice/log-writer.ts";
import { indexProver } from "../../appservice/native-vrf.ts";
import { openLog } from "../../appservice/open-log.ts";
import type { WritableLog } from "../../appservice/open-log.ts";
import { AnsweringThreads } from "../../appservice/answering-threads.ts";
import { Publication } from "../../appservice/publication.ts";
import { checkTablesAtStart } from "../../appservice/store/level-files.ts";
import { takeLock } from "../../appservice/store/lock.ts";
import type { Lock } from "../../appservice/store/lock.ts";
import { Marks } from "../../appservice/store/marks.ts";
import { UNREFERENCED } from "../../appservice/store/records.ts";
import { MAX_CHANGES_PER_EPOCH } from "../../shared/parameters.ts";
import type { LogFiles } from "../support/log-copy.ts";

export class HereLog {
  readonly writer: LogWriter;
  readonly directory: Directory;
  readonly marks: Marks;
  /** Why nothing may be signed; undefined if it may. */
  readonly refusal: string | undefined;
  readonly #log: WritableLog;
  readonly #publication: Publication;
  readonly #lock: Lock;
  #note: string;

  private constructor(
    parts: { writer: LogWriter; directory: Directory; marks: Marks; log: WritableLog; lock: Lock },
    publication: Publication,
    refusal: string | undefined,
  ) {
    this.writer = parts.writer;
    this.directory = parts.directory;
    this.marks = parts.marks;
    this.refusal = refusal;
    this.#log = parts.log;
    this.#lock = parts.lock;
    this.#publication = publication;
    this.#note = parts.log.head.note;
  }

  /**
   * Starts a log; `room`: the newest head of the room, undefined if it is empty; `tableBytes`: how much of the tables is
   * checked first. Throws what the service would end with.
   */
  static async start(files: LogFiles, room: string | undefined, tableBytes: number = Infinity): Promise<HereLog> {
    const lock = await takeLock(files.dataDirectory);
    try {
      const keys = readKeys(files.keysFile);
      checkTablesAtStart(databaseOf(files.dataDirectory), tableBytes, UNREFERENCED);
      const log = await openLog({ ...files, keys });
      try {
        return await HereLog.#on(log, lock, keys, room);
      } catch (error) {
        await log.store.close();
        throw error;
      }
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  static async #on(
    log: WritableLog,
    lock: Lock,
    keys: ReturnType<typeof readKeys>,
    room: string | undefined,
  ): Promise<HereLog> {
    const handOver: { publication?: Publication } = {};
    const writer = await LogWriter.open({
      ...log,
      keys,
      maxChanges: MAX_CHANGES_PER_EPOCH,
      handOver: (epoch) => {
        const { promise, resolve } = Promise.withResolvers<undefined>();
        handOver.publication?.take(epoch, () => {
          resolve(undefined);
        });
        return promise;
      },
    });
    const { head, settings, refusal } = log;
    const marks = await Marks.open(log.store);
    const opened = {
      ...head,
      configurationText: settings.configurationText,
      top: writer.packedTop(),
      refusal,
      pendingUsers: writer.pendingUsers,
    };
    const threads = new AnsweringThreads(0, { database: "", vrfSeed: keys.vrfSeed });
    const publication = new Publication({ store: log.store, threads, onMerged: () => undefined }, opened);
    const directory = new Directory(indexProver(keys.vrfSeed), publication.shown);
    handOver.publication = publication;
    const wasPosted = (await marks.getCursor("room.posted")) !== undefined;
    const judged = refusal ?? log.judge(room ?? "room-empty", wasPosted);
    return new HereLog({ writer, directory, marks, log, lock }, publication, judged);
  }

  /** The newest head. */
  get note(): string {
    return this.#note;
  }

  get lastTimestampMs(): number {
    return this.writer.lastTimestampMs;
  }

  /** Closes an epoch, and returns its head. */
  async closeEpoch(nowMs: number): Promise<string> {
    if (!(await this.writer.closeEpoch(nowMs))) throw new Error("the time has not advanced");
    await this.writer.flush();
    this.#note = this.#publication.published?.checkpoint ?? "";
    return this.#note;
  }

  async close(): Promise<void> {
    await this.#publication.close();
    await this.#log.store.close();
    await this.#lock.release();
  }
}
