/**
 * Where the plugin keeps what must survive a restart on this device: one text per name. Local and trusted; what is
 * shared between devices is in contacts.ts.
 */
export interface Storage {
  get(name: string): Promise<string | undefined>;
  set(name: string, value: string): Promise<void>;
  delete(name: string): Promise<void>;
  names(prefix: string): Promise<string[]>;
}

/** Forgets everything when the process ends; for tests. */
export class MemoryStorage implements Storage {
  readonly #values = new Map<string, string>();

  async get(name: string): Promise<string | undefined> {
    return await Promise.resolve(this.#values.get(name));
  }
  async set(name: string, value: string): Promise<void> {
    this.#values.set(name, value);
    await Promise.resolve();
  }
  async delete(name: string): Promise<void> {
    this.#values.delete(name);
    await Promise.resolve();
  }
  async names(prefix: string): Promise<string[]> {
    return await Promise.resolve([...this.#values.keys()].filter((name) => name.startsWith(prefix)));
  }
}

const OBJECT_STORE = "values";

/**
 * One IndexedDB database, opened on first use. What it does not take (there is none; it is blocked, full, or was closed)
 * stays in memory, and is forgotten with it: then `onFailure` is called, and nothing is thrown. What it does not give back is
 * not overwritten.
 */
export class IndexedDbStorage implements Storage {
  readonly #name: string;
  readonly #onFailure: () => void;
  #database: Promise<IDBDatabase> | undefined;
  /** What the database did not take; undefined: that a name was deleted. Written by `#write`. */
  readonly #kept = new Map<string, string | undefined>();
  /** A read failed: what is written from now on was made without what stands there. */
  #isBlind = false;

  constructor(databaseName: string, onFailure: () => void) {
    this.#name = databaseName;
    this.#onFailure = onFailure;
  }

  async get(name: string): Promise<string | undefined> {
    if (this.#kept.has(name)) return this.#kept.get(name);
    const [value] = await this.#request("readonly", (store) => store.get(name) as IDBRequest<unknown>);
    return typeof value === "string" ? value : undefined;
  }
  async set(name: string, value: string): Promise<void> {
    await this.#write(name, value);
  }
  async delete(name: string): Promise<void> {
    await this.#write(name);
  }
  async names(prefix: string): Promise<string[]> {
    const [stored = []] = await this.#request("readonly", (store) => store.getAllKeys());
    const names = new Set([...stored, ...this.#kept.keys()].map(String));
    return [...names].filter(
      (name) => name.startsWith(prefix) && (!this.#kept.has(name) || this.#kept.get(name) !== undefined),
    );
  }

  async #write(name: string, value?: string): Promise<void> {
    const done =
      !this.#isBlind &&
      (await this.#request("readwrite", (store) => {
        const request = value === undefined ? store.delete(name) : store.put(value, name);
        return request as IDBRequest<unknown>;
      }));
    if (done && done.length > 0) this.#kept.delete(name);
    else this.#kept.set(name, value);
  }

  /**
   * The result alone, or nothing where the database does not answer. A connection may be lost at any time: the next request
   * opens another, and a read tries that at once.
   */
  async #request<T>(
    mode: IDBTransactionMode,
    run: (store: IDBObjectStore) => IDBRequest<T>,
    isFirst = mode === "readonly",
  ): Promise<[] | [T]> {
    try {
      const transaction = (await (this.#database ??= openDatabase(this.#name))).transaction(OBJECT_STORE, mode);
      const request = run(transaction.objectStore(OBJECT_STORE));
      await new Promise((resolve, reject) => {
        transaction.oncomplete = resolve;
        transaction.onabort = reject;
      });
      return [request.result];
    } catch {
      this.#database = undefined;
      if (isFirst) return await this.#request(mode, run, false);
      this.#isBlind ||= mode === "readonly";
      this.#onFailure();
      return [];
    }
  }
}

async function openDatabase(name: string): Promise<IDBDatabase> {
  return await new Promise<IDBDatabase>((resolve, reject) => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(OBJECT_STORE);
    };
    request.onsuccess = () => {
      resolve(request.result);
    };
    request.onerror = reject;
  });
}
