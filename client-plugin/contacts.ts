/**
 * What an account's devices share: whom a person verified, which warnings were raised and dismissed, what the account
 * acknowledged about itself, newest heads. protocol "State of an account".
 *
 * A set of records, each with writer device and that writer's counter; merging is a union. In account data the set lies
 * in 16 buckets, encrypted and authenticated under a 32-byte key the server never sees, so the server can only withhold
 * a bucket or show an old one; the second is noticed, because each bucket names its last writer and that writer's
 * counter.
 */
import { decodeUnpadded, encodeUnpadded, fromUtf8, parseJson, utf8 } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import { hkdfSha256, sha256 } from "../shared/crypto/hash.ts";
import { MATRIX_NAMES } from "../shared/messages.ts";
import { DAY_MS } from "../shared/parameters.ts";
import type { VerdictClass, VerdictCode } from "../shared/verdict-codes.ts";
import { isVerdictCode } from "../shared/verdict-codes.ts";
import type { Clock } from "./clock.ts";
import { owned } from "./private-key.ts";
import type { Storage } from "./storage.ts";

/** How a person came to vouch for a contact's master key. */
export type PinMethod = "code" | "public-code";

/** What a record says. Keys and roots are unpadded base64. */
export type RecordBody =
  | { readonly kind: "pin"; readonly userId: string; readonly masterKey: string; readonly method: PinMethod }
  | { readonly kind: "unpin"; readonly userId: string }
  | {
      readonly kind: "warning";
      readonly id: string;
      readonly userId: string;
      readonly code: VerdictCode;
      readonly class: VerdictClass;
      readonly sinceMs: number;
      readonly devices?: readonly string[];
      readonly evidence?: string;
    }
  | { readonly kind: "posted"; readonly id: string; readonly class: VerdictClass }
  | { readonly kind: "dismissed"; readonly id: string }
  | { readonly kind: "acknowledged"; readonly version: number; readonly root: string }
  | { readonly kind: "settled"; readonly log: string; readonly epoch: number; readonly version: number }
  | { readonly kind: "head"; readonly server: string; readonly checkpoint: string; readonly logKey: string }
  | { readonly kind: "attempt"; readonly userId: string };

export type StateRecord = RecordBody & { readonly writer: string; readonly counter: number; readonly atMs: number };

/** Account data of the own user. `read` asks the server itself, not a cache. */
export interface AccountData {
  read(type: string): Promise<Record<string, unknown> | undefined>;
  write(type: string, content: Record<string, unknown>): Promise<void>;
}

export interface StateOptions {
  readonly userId: string;
  readonly deviceId: string;
  readonly storage: Storage;
  readonly accountData: AccountData;
  readonly clock: Clock;
  readonly random: (length: number) => Uint8Array;
  /** Called after records of others arrived. */
  readonly onChange: () => void;
  /** Called with a code when the shared state is older than one seen, or was lost here. */
  readonly onDoubt: (code: "state-rolled-back" | "state-lost") => void;
}

/** A pin as it counts now. */
export interface Pin {
  readonly masterKey: string;
  readonly method: PinMethod;
  readonly atMs: number;
}

const BUCKETS = 16;
const MAX_RECORDS = 10_000;
const MAX_BUCKET_BYTES = 1_048_576;
/** A bucket that is older than known is read again after this, before the server is doubted. */
const READ_AGAIN_MS = 10_000;
const NONCE_BYTES = 12;
const SYNC_KEY_BYTES = 32;

/** Largest counter of each writer of a bucket, by account data type. */
type Writes = Record<string, Record<string, number>>;

/** The set of records on this device. Written by `add` and `receive` alone. */
export class AccountState {
  readonly #options: StateOptions;
  #records = new Map<string, StateRecord>();
  #writes: Writes = {};
  #counter = 0;
  #syncKey: Uint8Array | undefined;
  /** Where the counter of a new device began; undefined once another own device has confirmed the state. */
  #begun: number | undefined;
  /** Buckets that were read as older than known, and will be read again. */
  readonly #behind = new Set<string>();
  /** Reads and writes of account data, one after the other: a read that overtook a write would look like a roll-back. */
  #tail: Promise<void> = Promise.resolve();

  constructor(options: StateOptions) {
    this.#options = options;
  }

  /** Reads what this device stored. */
  async load(): Promise<void> {
    const stored = await this.#options.storage.get("state");
    // A device that lost its storage takes no number again that stands in the records of others.
    if (stored === undefined) this.#begun = this.#counter = this.#options.clock.now();
    else {
      const state = JSON.parse(stored) as { begun?: number; counter: number; writes: Writes; records: StateRecord[] };
      this.#begun = state.begun;
      this.#counter = state.counter;
      this.#writes = state.writes;
      this.#merge(state.records);
    }
    const key = await this.#options.storage.get("sync-key");
    if (key !== undefined) this.#syncKey = decodeUnpadded(key);
  }

  get syncKey(): Uint8Array | undefined {
    return this.#syncKey;
  }
  /** Counters seen per bucket and writer; own devices compare them. */
  get writes(): Writes {
    return this.#writes;
  }
  /** False on a new device until another own device, or nobody else's record, vouches that nothing newer exists. */
  get confirmed(): boolean {
    const { deviceId } = this.#options;
    return this.#begun === undefined || [...this.#records.values()].every(({ writer }) => writer === deviceId);
  }

  /** All records of one kind, oldest first. */
  all<Kind extends RecordBody["kind"]>(kind: Kind): Extract<StateRecord, { kind: Kind }>[] {
    const found = [...this.#records.values()].filter((record) => record.kind === kind);
    return (found as Extract<StateRecord, { kind: Kind }>[]).sort((a, b) => a.atMs - b.atMs || a.counter - b.counter);
  }

  pinOf(userId: string): Pin | undefined {
    const last = [...this.all("pin"), ...this.all("unpin")]
      .filter((record) => record.userId === userId)
      .sort((a, b) => a.atMs - b.atMs || a.counter - b.counter)
      .at(-1);
    return last?.kind === "pin" ? { masterKey: last.masterKey, method: last.method, atMs: last.atMs } : undefined;
  }

  /** Adds a record of this device, stores it, then shares it. Resolves when stored here. */
  async add(body: RecordBody): Promise<void> {
    this.#counter += 1;
    this.#merge([{ ...body, writer: this.#options.deviceId, counter: this.#counter, atMs: this.#timeOf(body) }]);
    await this.#store();
    void this.#share([bucketOf(body)]);
  }

  /** Now, but after all that is known about the same: the clock of another own device may be ahead. Attempts only count. */
  #timeOf(body: RecordBody): number {
    const times = [...this.#records.values()]
      .filter((record) => record.kind !== "attempt" && subjectOf(record) === subjectOf(body))
      .map(({ atMs }) => atMs + 1);
    return Math.max(this.#options.clock.now(), ...(body.kind === "attempt" ? [] : times));
  }

  /** The key under which the buckets are encrypted; kept on this device from now on. */
  async unlock(key: Uint8Array): Promise<void> {
    if (key.length !== SYNC_KEY_BYTES) throw new VerificationError("malformed", "a sync key has 32 bytes");
    const changed = this.#syncKey === undefined || encodeUnpadded(this.#syncKey) !== encodeUnpadded(key);
    this.#syncKey = key;
    await this.#options.storage.set("sync-key", encodeUnpadded(key));
    if (!changed) return;
    await this.pull();
    const used = new Set([...this.#records.values()].map(bucketOf));
    if (used.size > 0) void this.#share([...used]);
  }

  /** Another own device vouches for these counters. */
  confirm(writes: Writes): void {
    this.#begun = undefined;
    void this.#enqueue(async () => {
      await this.#store();
    });
    for (const [type, counters] of Object.entries(writes)) {
      const behind = Object.entries(counters).some(
        ([writer, counter]) => counter > (this.#writes[type]?.[writer] ?? 0),
      );
      if (behind) void this.#pullBucket(type);
    }
  }

  /** Reads every bucket from the server. */
  async pull(): Promise<void> {
    for (let bucket = 0; bucket < BUCKETS; bucket += 1) await this.#pullBucket(typeOf(bucket));
  }

  async #pullBucket(type: string): Promise<void> {
    await this.#enqueue(async () => {
      if (this.#syncKey === undefined) return;
      const content = await this.#options.accountData.read(type);
      if (content !== undefined) await this.receive(type, content, true);
    });
  }

  /** Resolves when everything that was to be read or written has been, or has failed. */
  async flush(): Promise<void> {
    let tail: Promise<void> | undefined;
    while (tail !== this.#tail) {
      tail = this.#tail;
      await tail;
    }
  }

  /** Runs after everything queued before; a failure (no network) leaves what it was about to the next time. */
  async #enqueue(task: () => Promise<void>): Promise<void> {
    this.#tail = this.#tail.then(task).catch(() => undefined);
    await this.#tail;
  }

  /** Takes in a bucket from account data; `fromServer` when it was just read there, not from the client's cache. */
  async receive(type: string, content: Record<string, unknown>, fromServer: boolean): Promise<void> {
    if (this.#syncKey === undefined || !isBucketType(type)) return;
    const bucket = await this.#open(type, content);
    if (bucket === undefined) return;
    const seen = this.#writes[type]?.[bucket.writer] ?? 0;
    if (bucket.counter >= seen) this.#behind.delete(type);
    else await this.#readAgain(type, fromServer);
    const { deviceId } = this.#options;
    const [begun, counter] = [this.#begun, this.#counter];
    const ownLost =
      begun !== undefined &&
      bucket.records.some((own) => own.writer === deviceId && (own.counter <= begun || own.counter > counter));
    if (bucket.writer === deviceId) this.#counter = Math.max(counter, bucket.counter);
    const before = this.#records.size;
    this.#merge(bucket.records);
    (this.#writes[type] ??= {})[bucket.writer] = Math.max(seen, bucket.counter);
    if (ownLost) {
      this.#begun = undefined;
      this.#options.onDoubt("state-lost");
    }
    await this.#store();
    if (this.#records.size !== before) this.#options.onChange();
    if (this.#lacksSome(bucket) && !this.#behind.has(type)) void this.#share([Number.parseInt(type.slice(-1), 16)]);
  }

  /** A bucket is older than known. A server of many parts may not have told all of them of a write: that takes a moment. */
  async #readAgain(type: string, fromServer: boolean): Promise<void> {
    const { clock, onDoubt } = this.#options;
    if (!fromServer) {
      if (!this.#behind.has(type)) await this.#pullBucket(type);
    } else if (this.#behind.delete(type)) onDoubt("state-rolled-back");
    else {
      this.#behind.add(type);
      void clock.sleep(READ_AGAIN_MS, new AbortController().signal).then(async () => {
        await this.#pullBucket(type);
      });
    }
  }

  /** Whether this device knows records that a bucket just read does not hold. */
  #lacksSome({ type, records }: Bucket): boolean {
    const held = new Set(records.map(keyOf));
    return [...this.#records.values()].some((record) => typeOf(bucketOf(record)) === type && !held.has(keyOf(record)));
  }

  #merge(records: readonly StateRecord[]): void {
    for (const record of records) {
      this.#records.set(keyOf(record), record);
      if (record.writer === this.#options.deviceId) this.#counter = Math.max(this.#counter, record.counter);
    }
    this.#records = compact(this.#records, this.#options.clock.now());
  }

  async #store(): Promise<void> {
    const records = [...this.#records.values()];
    const state = { begun: this.#begun, counter: this.#counter, writes: this.#writes, records };
    await this.#options.storage.set("state", JSON.stringify(state));
  }

  /** Writes buckets. Without a key, or without network, the records stay here and go along with the next change. */
  async #share(buckets: readonly number[]): Promise<void> {
    for (const bucket of buckets) {
      await this.#enqueue(async () => {
        await this.#write(bucket);
      });
    }
  }

  async #write(bucket: number): Promise<void> {
    if (this.#syncKey === undefined) return;
    const type = typeOf(bucket);
    const counter = (this.#counter += 1);
    const { deviceId } = this.#options;
    const records = [...this.#records.values()].filter((record) => bucketOf(record) === bucket);
    const content = await this.#seal(type, { counter, records, writer: deviceId });
    await this.#store();
    await this.#options.accountData.write(type, content);
    (this.#writes[type] ??= {})[deviceId] = counter;
    await this.#store();
  }

  async #seal(type: string, value: object): Promise<Record<string, unknown>> {
    const nonce = this.#options.random(NONCE_BYTES);
    const { key, parameters } = await this.#cipher(type, nonce);
    const sealed = await crypto.subtle.encrypt(parameters, key, owned(utf8(JSON.stringify(value))));
    return { ciphertext: encodeUnpadded(new Uint8Array(sealed)), nonce: encodeUnpadded(nonce), v: 1 };
  }

  /** The bucket, or undefined when it is not authentic: then it is the server's word, and worth nothing. */
  async #open(type: string, content: Record<string, unknown>): Promise<Bucket | undefined> {
    const { ciphertext, nonce } = content;
    if (typeof ciphertext !== "string" || typeof nonce !== "string" || ciphertext.length > 2 * MAX_BUCKET_BYTES) {
      return undefined;
    }
    try {
      const { key, parameters } = await this.#cipher(type, decodeUnpadded(nonce));
      const opened = await crypto.subtle.decrypt(parameters, key, owned(decodeUnpadded(ciphertext)));
      return parseBucket(type, fromUtf8(new Uint8Array(opened)));
    } catch {
      return undefined;
    }
  }

  async #cipher(type: string, nonce: Uint8Array): Promise<{ key: CryptoKey; parameters: AesGcmParams }> {
    if (this.#syncKey === undefined) throw new Error("the account state is locked");
    const raw = hkdfSha256(this.#syncKey, new Uint8Array(), utf8(`ckv/state/v1\0${type}`), 32);
    const key = await crypto.subtle.importKey("raw", owned(raw), "AES-GCM", false, ["encrypt", "decrypt"]);
    const additionalData = owned(utf8(`${this.#options.userId}\0${type}`));
    return { key, parameters: { name: "AES-GCM", iv: owned(nonce), additionalData } };
  }
}

interface Bucket {
  readonly type: string;
  readonly writer: string;
  readonly counter: number;
  readonly records: readonly StateRecord[];
}

/** A bucket from its decrypted text. Records of kinds unknown here are left out. Throws `malformed`. */
export function parseBucket(type: string, text: string): Bucket {
  const value = parseJson(text, { maxBytes: MAX_BUCKET_BYTES, maxDepth: 8 }) as unknown as Bucket | null;
  if (typeof value?.writer !== "string" || !Number.isSafeInteger(value.counter) || !Array.isArray(value.records)) {
    throw new VerificationError("malformed", "not a bucket of account state");
  }
  return { type, writer: value.writer, counter: value.counter, records: value.records.filter(isRecord) };
}

/** Records are authentic when they get here; this only keeps out what a newer version of the plugin may write. */
function isRecord(value: StateRecord | null): value is StateRecord {
  if (typeof value?.writer !== "string" || !Number.isSafeInteger(value.counter) || !Number.isSafeInteger(value.atMs)) {
    return false;
  }
  if (value.kind === "warning") return isVerdictCode(value.code);
  return KINDS.has(value.kind);
}

const KINDS: ReadonlySet<string> = new Set<RecordBody["kind"]>([
  "pin",
  "unpin",
  "warning",
  "posted",
  "dismissed",
  "acknowledged",
  "settled",
  "head",
  "attempt",
]);

function keyOf({ writer, counter }: StateRecord): string {
  return `${String(counter)}:${writer}`;
}

/** What a record is about decides its bucket, so that one change rewrites little. */
function bucketOf(record: RecordBody): number {
  const [first = 0] = sha256(utf8(subjectOf(record)));
  return first % BUCKETS;
}

function subjectOf(record: RecordBody): string {
  switch (record.kind) {
    case "pin":
    case "unpin":
    case "attempt":
      return record.userId;
    case "warning":
    case "posted":
    case "dismissed":
      return record.id;
    case "head":
      return record.server;
    case "acknowledged":
    case "settled":
      return "own";
  }
}

function typeOf(bucket: number): string {
  return `${MATRIX_NAMES.state}.${bucket.toString(16)}`;
}

/** Whether an account data type is one of the buckets. */
export function isBucketType(type: string): boolean {
  return /^org\.matrix-ckv\.state\.[0-9a-f]$/.test(type);
}

/** Of what only the newest counts per writer, the newest; attempts for a day; at most 10,000 in all, warnings last. */
function compact(records: Map<string, StateRecord>, nowMs: number): Map<string, StateRecord> {
  const newest = new Map<string, StateRecord>();
  for (const record of records.values()) {
    if (record.kind === "attempt" && record.atMs < nowMs - DAY_MS) continue;
    const slot = slotOf(record);
    const other = newest.get(slot);
    if (other === undefined || other.counter < record.counter) newest.set(slot, record);
  }
  const isWarning = (record: StateRecord): number => Number("id" in record);
  const kept = [...newest.values()].sort((a, b) => isWarning(a) - isWarning(b) || b.atMs - a.atMs);
  return new Map(kept.slice(0, MAX_RECORDS).map((record) => [keyOf(record), record]));
}

function slotOf(record: StateRecord): string {
  switch (record.kind) {
    case "acknowledged":
    case "settled":
      return `${record.kind} ${record.writer}`;
    case "head":
      return `head ${record.server} ${record.writer}`;
    case "pin":
    case "unpin":
      return `pin ${record.userId} ${record.writer}`;
    case "warning":
    case "posted":
    case "dismissed":
      return `${record.kind} ${record.id} ${record.writer}`;
    case "attempt":
      return `attempt ${keyOf(record)}`;
  }
}
