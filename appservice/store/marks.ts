/**
 * What the Matrix side must not forget: whose keys may have changed, how far it has read, who is enrolled. Durable once a
 * promise resolves. Written by the main thread, under keys of its own.
 */
import { eachInRange } from "./level-store.ts";
import { afterKind, kindKey, numberKey, numbersOfKey, textKey, textOfKey } from "./records.ts";
import type { KeyValue, Store } from "./store.ts";

const MARK = "d";
const TRACKED = "o";
const CURSOR = "r";

/** A user whose keys are to be looked at. */
export interface Mark {
  readonly userId: string;
  /** Rises with every new mark of this user. */
  readonly generation: number;
}

export class Marks {
  readonly #store: Store;
  /** The next generation; above every stored one. */
  #generation: number;
  /** Marks to be removed by the write of `#clearing`, which is not begun yet. Written by `clearMark`. */
  readonly #clears: Mark[] = [];
  #clearing: Promise<void> | undefined;
  /** The last write; the next queues behind it, so that reading and deleting a mark is one step. */
  #tail: Promise<unknown> = Promise.resolve();

  private constructor(store: Store, generation: number) {
    this.#store = store;
    this.#generation = generation;
  }

  static async open(store: Store): Promise<Marks> {
    let newest = 0;
    for await (const record of eachInRange(store, kindKey(MARK), afterKind(MARK))) {
      newest = Math.max(newest, markOf(record).generation);
    }
    return new Marks(store, newest + 1);
  }

  /** Marks users, again if they are marked already. */
  async addMarks(userIds: readonly string[]): Promise<void> {
    const generation = this.#generation++;
    const puts = userIds.map((userId) => ({ key: textKey(MARK, userId), value: numberKey("\0", generation) }));
    await this.#inTurn(() => this.#store.commit({ puts }));
  }

  /** The first `limit` marks in the order of user ids, of those after `after`. They stay until cleared. */
  async takeMarks(limit: number, after?: string): Promise<readonly Mark[]> {
    const from = after === undefined ? kindKey(MARK) : textKey(MARK, `${after}\0`);
    return (await this.#store.range(from, afterKind(MARK), limit)).map(markOf);
  }

  async isMarked(userId: string): Promise<boolean> {
    await this.#tail.catch(() => undefined);
    return this.#store.get(textKey(MARK, userId)) !== undefined;
  }

  /** Removes the mark unless a newer one was made since. Marks that go at the same time go in one write. */
  async clearMark(userId: string, generation: number): Promise<void> {
    this.#clears.push({ userId, generation });
    this.#clearing ??= this.#inTurn(async () => {
      this.#clearing = undefined;
      const deletes = this.#clears.splice(0).flatMap((mark) => {
        const key = textKey(MARK, mark.userId);
        const value = this.#store.get(key);
        return value !== undefined && markOf({ key, value }).generation === mark.generation ? [key] : [];
      });
      if (deletes.length > 0) await this.#store.commit({ deletes });
    });
    await this.#clearing;
  }

  /** Enrols a user, for life. */
  async addTracked(userId: string): Promise<void> {
    const key = textKey(TRACKED, userId);
    if (this.#store.get(key) === undefined) await this.#store.commit({ puts: [{ key, value: new Uint8Array() }] });
  }

  isTracked(userId: string): Promise<boolean> {
    return Promise.resolve(this.#store.get(textKey(TRACKED, userId)) !== undefined);
  }

  /** All enrolled users, in the order of their ids. */
  async *tracked(): AsyncGenerator<string> {
    for await (const { key } of eachInRange(this.#store, kindKey(TRACKED), afterKind(TRACKED))) yield textOfKey(key);
  }

  getCursor(name: string): Promise<string | undefined> {
    const value = this.#store.get(textKey(CURSOR, name));
    return Promise.resolve(value === undefined ? undefined : Buffer.from(value).toString("utf8"));
  }

  async setCursor(name: string, value: string): Promise<void> {
    await this.#store.commit({ puts: [{ key: textKey(CURSOR, name), value: Buffer.from(value, "utf8") }] });
  }

  #inTurn(write: () => Promise<void>): Promise<void> {
    const turn = this.#tail.then(write, write);
    this.#tail = turn.catch(() => undefined);
    return turn;
  }
}

function markOf({ key, value }: KeyValue): Mark {
  const [generation = 0] = numbersOfKey(value);
  return { userId: textOfKey(key), generation };
}
