/** Real Matrix clients for tests: matrix-js-sdk with Rust crypto in this process, cross-signing and secret storage. */
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { createClient, EventType, MsgType, Preset, SyncState } from "matrix-js-sdk";
import type { MatrixClient } from "matrix-js-sdk";
import { createClient as createOldestClient } from "matrix-js-sdk-oldest/lib/matrix.js";
import type { CryptoApi, CryptoCallbacks } from "matrix-js-sdk/lib/crypto-api/index.js";
import type { UIAuthCallback } from "matrix-js-sdk/lib/interactive-auth.js";
import { logger } from "matrix-js-sdk/lib/logger.js";
import type { Logger } from "matrix-js-sdk/lib/logger.js";
import type { ClientLike } from "../../client-plugin/index.ts";
import type { Synapse, SynapseUser } from "./synapse.ts";

/** The versions of matrix-js-sdk at both ends of what the plugin runs with. */
export type Sdk = "oldest" | "newest";

/** How long something may take that should take a second or two. */
const PATIENCE_MS = 30_000;
/** How often it is looked for a signature before that is made again: some five seconds. */
const ASKED_BEFORE_AGAIN = 200;
/** Long enough for what Rust has begun when the network stops. */
const REST_MS = 100;

/** A person's device: logged in, syncing, with an identity of its account that has signed it. */
export class OpenClient {
  readonly account: SynapseUser;
  readonly matrix: MatrixClient;
  readonly #synapse: Synapse;
  readonly #network: Network;
  readonly #keyring: Keyring;

  constructor(account: SynapseUser, matrix: MatrixClient, synapse: Synapse, network: Network, keyring: Keyring) {
    this.account = account;
    this.matrix = matrix;
    this.#synapse = synapse;
    this.#network = network;
    this.#keyring = keyring;
  }

  get crypto(): CryptoApi {
    const crypto = this.matrix.getCrypto();
    if (crypto === undefined) throw new Error("the client has no crypto");
    return crypto;
  }

  /** The key of the account's secret storage, as the account's newest device made it. */
  get recoveryKey(): Uint8Array<ArrayBuffer> {
    return this.#keyring.newest();
  }

  /** An encrypted chat with one other user, who is invited. Returns the room id. */
  async createEncryptedChat(userId: string): Promise<string> {
    const encryption = {
      type: EventType.RoomEncryption,
      state_key: "",
      content: { algorithm: "m.megolm.v1.aes-sha2" },
    };
    const { room_id: roomId } = await this.matrix.createRoom({
      preset: Preset.TrustedPrivateChat,
      is_direct: true,
      invite: [userId],
      initial_state: [encryption],
    });
    await this.#knowsEncrypted(roomId);
    return roomId;
  }

  /** Joins an encrypted room; returns once this device knows it as such. */
  async join(roomId: string): Promise<void> {
    await this.matrix.joinRoom(roomId);
    await this.#knowsEncrypted(roomId);
  }

  /** Sends a text, encrypted where the room is. Returns the event id. */
  async send(roomId: string, text: string): Promise<string> {
    return (await this.matrix.sendTextMessage(roomId, text)).event_id;
  }

  /** The texts of a room that this device could read, oldest first. */
  messages(roomId: string): string[] {
    return this.#bodies(roomId, [MsgType.Text, MsgType.Notice]);
  }

  /** The notices among `messages`. */
  notices(roomId: string): string[] {
    return this.#bodies(roomId, [MsgType.Notice]);
  }

  /** Whether this client shows another user as verified. */
  async isVerified(userId: string): Promise<boolean> {
    return (await this.crypto.getUserVerificationStatus(userId)).isCrossSigningVerified();
  }

  /** A further device of the account, which the recovery key makes one of its own. */
  async anotherDevice(): Promise<OpenClient> {
    const client = await open(this.#synapse, await this.#synapse.logIn(this.account), this.#keyring);
    // The private keys are taken from secret storage only where the public ones are known already.
    await client.crypto.userHasCrossSigningKeys(undefined, true);
    await client.crypto.bootstrapCrossSigning({});
    await client.#isSignedByOwner();
    return client;
  }

  /** Gives the account a new identity, which signs this device alone, and a new secret storage. */
  async resetIdentity(): Promise<void> {
    await this.#setUpIdentity(true);
  }

  /** A new device of somebody who has lost all others and the recovery key: the account gets a new identity. */
  async startAgain(): Promise<OpenClient> {
    const client = await open(this.#synapse, await this.#synapse.logIn(this.account), new Keyring());
    // An answer with the old identity that arrives during the reset would take the new private keys away again.
    const { userId } = this.account;
    await eventually(
      `${userId} knows the lost identity`,
      async () => await client.crypto.userHasCrossSigningKeys(userId),
    );
    await client.#setUpIdentity(true);
    return client;
  }

  /** Makes an identity and a secret storage for an account that has neither. */
  async setUpIdentity(): Promise<void> {
    await this.#setUpIdentity(false);
  }

  /** From now on the homeserver never says that somebody's devices have changed. */
  loseDeviceChanges(): void {
    this.#network.losesDeviceChanges = true;
  }

  /** Stops the client without a trace on the homeserver. */
  async close(): Promise<void> {
    await this.#network.stop();
    this.matrix.stopClient();
  }

  async #setUpIdentity(again: boolean): Promise<void> {
    await this.crypto.bootstrapSecretStorage({
      createSecretStorageKey: async () => await this.crypto.createRecoveryKeyFromPassphrase(),
      setupNewSecretStorage: again,
    });
    await this.crypto.bootstrapCrossSigning({
      setupNewCrossSigning: again,
      authUploadDeviceSigningKeys: withPassword(this.account),
    });
    await this.#isSignedByOwner();
  }

  async #isSignedByOwner(): Promise<void> {
    const { userId, deviceId } = this.account;
    let asked = 0;
    await eventually(`${userId} signs ${deviceId}`, async () => {
      const status = await this.crypto.getDeviceVerificationStatus(userId, deviceId);
      if (status?.signedByOwner === true) return true;
      asked += 1;
      // Seen once in some thousand: the signature that the SDK has made does not come back. It is made again, as a person would.
      if (asked % ASKED_BEFORE_AGAIN === 0) await this.crypto.crossSignDevice(deviceId);
      return false;
    });
  }

  async #knowsEncrypted(roomId: string): Promise<void> {
    const { userId } = this.account;
    await eventually(`${userId} is in the encrypted room ${roomId}`, async () => {
      const joined = this.matrix.getRoom(roomId)?.getMyMembership() === "join";
      return joined && (await this.crypto.isEncryptionEnabledInRoom(roomId));
    });
  }

  #bodies(roomId: string, types: readonly string[]): string[] {
    const events = this.matrix.getRoom(roomId)?.getLiveTimeline().getEvents() ?? [];
    const contents = events.filter((event) => event.getType() === "m.room.message").map((event) => event.getContent());
    return contents.filter(({ msgtype }) => types.includes(String(msgtype))).map(({ body }) => String(body));
  }
}

/** A new account with one device. `name` is the start of its localpart; further clients may have the same. */
export async function openClient(synapse: Synapse, name: string, sdk: Sdk = "newest"): Promise<OpenClient> {
  const account = await synapse.registerUser(`${name.toLowerCase()}-${randomBytes(4).toString("hex")}`);
  const client = await open(synapse, account, new Keyring(), sdk);
  await client.setUpIdentity();
  return client;
}

async function open(
  synapse: Synapse,
  account: SynapseUser,
  keyring: Keyring,
  sdk: Sdk = "newest",
): Promise<OpenClient> {
  const network = new Network();
  const matrix = create[sdk]({
    baseUrl: synapse.url,
    userId: account.userId,
    deviceId: account.deviceId,
    accessToken: account.accessToken,
    cryptoCallbacks: keyring.callbacks,
    fetchFn: network.fetch,
    logger: silence,
  });
  await matrix.initRustCrypto({ useIndexedDB: false });
  await matrix.startClient({ initialSyncLimit: 50 });
  await eventually(`${account.userId} syncs`, () => matrix.getSyncState() === SyncState.Syncing);
  return new OpenClient(account, matrix, synapse, network, keyring);
}

/** Does not compile unless the plugin takes the oldest SDK's client as it is. */
const createOldest: (...options: Parameters<typeof createOldestClient>) => ClientLike = createOldestClient;
/** What is used of the SDK here is the same in both, though a compiler takes classes with private members for strangers. */
const create: { readonly [Name in Sdk]: typeof createClient } = {
  oldest: createOldest as unknown as typeof createClient,
  newest: createClient,
};

/** The keys of an account's secret storage, as its person would keep them. */
class Keyring {
  readonly #keys = new Map<string, Uint8Array<ArrayBuffer>>();

  readonly callbacks: CryptoCallbacks = {
    cacheSecretStorageKey: (keyId, _info, key) => {
      this.#keys.set(keyId, key);
    },
    getSecretStorageKey: async ({ keys }) => {
      const keyId = Object.keys(keys).findLast((id) => this.#keys.has(id));
      const key = keyId === undefined ? undefined : this.#keys.get(keyId);
      return await Promise.resolve(keyId === undefined || key === undefined ? null : [keyId, key]);
    },
  };

  newest(): Uint8Array<ArrayBuffer> {
    const key = [...this.#keys.values()].at(-1);
    if (key === undefined) throw new Error("the account has no secret storage");
    return key;
  }
}

/**
 * The way from a client to its homeserver, which can be cut. A client that is stopped while answers are under way hands
 * them to Rust objects that are gone ("null pointer passed to rust"), so the answers stop first: a promise that nobody
 * will settle holds nothing up.
 */
class Network {
  readonly #cut = new AbortController();
  /** News of changed device lists does not come through. */
  losesDeviceChanges = false;

  readonly fetch: typeof globalThis.fetch = async (input, init) => {
    const signals = [this.#cut.signal, init?.signal].filter((signal) => signal !== undefined && signal !== null);
    try {
      const answer = await globalThis.fetch(input, { ...init, signal: AbortSignal.any(signals) });
      if (this.#cut.signal.aborted) return await never();
      return this.losesDeviceChanges && isSync(input) ? await withoutDeviceChanges(answer) : answer;
    } catch (error) {
      if (this.#cut.signal.aborted) return await never();
      throw error;
    }
  };

  async stop(): Promise<void> {
    this.#cut.abort();
    await delay(REST_MS);
  }
}

function isSync(input: string | URL | Request): boolean {
  return new URL(input instanceof Request ? input.url : input).pathname.endsWith("/sync");
}

async function withoutDeviceChanges(answer: Response): Promise<Response> {
  const sync = (await answer.json()) as object;
  return new Response(JSON.stringify({ ...sync, device_lists: {} }), answer);
}

async function never(): Promise<never> {
  return await new Promise<never>(() => undefined);
}

/** User-interactive authentication by password, for homeservers that ask for it (every identity but the first). */
function withPassword({ userId, password }: SynapseUser): UIAuthCallback<void> {
  return async (makeRequest) => {
    try {
      await makeRequest(null);
    } catch (error) {
      const { session } = (error as { readonly data?: { readonly session?: string } }).data ?? {};
      if (session === undefined) throw error;
      await makeRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: userId },
        password,
        session,
      });
    }
  };
}

/** Polls until `condition` holds; fails with the sentence that should have become true. */
async function eventually(sentence: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`expected that ${sentence}`);
    await delay(20);
  }
}

const silence: Logger = {
  getChild: () => silence,
  trace: () => undefined,
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** Some parts of the SDK log past the logger of their client, to one of the SDK's own and its children. */
// eslint-disable-next-line @typescript-eslint/no-deprecated -- deprecated for logging; there is no other way to silence it
const ownLogger = logger as unknown as { methodFactory: () => () => void; rebuild: () => void };
ownLogger.methodFactory = () => () => undefined;
ownLogger.rebuild();
