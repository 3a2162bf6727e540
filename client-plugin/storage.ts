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

/** Forgets everything when the process ends; for tests and hosts without IndexedDB. */
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

/** One IndexedDB database, opened on first use. */
export class IndexedDbStorage implements Storage {
  readonly #name: string;
  #database: Promise<IDBDatabase> | undefined;

  constructor(databaseName: string) {
    this.#name = databaseName;
  }

  async get(name: string): Promise<string | undefined> {
    const value = await this.#request("readonly", (store) => store.get(name) as IDBRequest<unknown>);
    return typeof value === "string" ? value : undefined;
  }
  async set(name: string, value: string): Promise<void> {
    await this.#request("readwrite", (store) => store.put(value, name));
  }
  async delete(name: string): Promise<void> {
    await this.#request("readwrite", (store) => store.delete(name));
  }
  async names(prefix: string): Promise<string[]> {
    const range = IDBKeyRange.bound(prefix, `${prefix}\uffff`);
    const keys = await this.#request("readonly", (store) => store.getAllKeys(range));
    return keys.filter((key) => typeof key === "string");
  }

  async #request<T>(mode: IDBTransactionMode, run: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
    this.#database ??= openDatabase(this.#name);
    const transaction = (await this.#database).transaction(OBJECT_STORE, mode);
    return await new Promise<T>((resolve, reject) => {
      const request = run(transaction.objectStore(OBJECT_STORE));
      transaction.oncomplete = () => {
        resolve(request.result);
      };
      transaction.onerror = transaction.onabort = () => {
        reject(transaction.error ?? new Error("the IndexedDB transaction was aborted"));
      };
    });
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
    request.onerror = () => {
      reject(request.error ?? new Error("IndexedDB could not be opened"));
    };
  });
}

/** IndexedDB where there is one, memory elsewhere. */
export function defaultStorage(userId: string, deviceId: string): Storage {
  return typeof indexedDB === "undefined"
    ? new MemoryStorage()
    : new IndexedDbStorage(`matrix-ckv:${userId}:${deviceId}`);
}
