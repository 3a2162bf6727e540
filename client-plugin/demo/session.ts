/** A Matrix session in the browser: log in, keep it for the next visit, and set up the account's digital identity. */
import {
  ClientEvent,
  MatrixClient,
  MatrixScheduler,
  MemoryStore,
  PendingEventOrdering,
  SyncState,
  createClient,
} from "matrix-js-sdk";
import { decodeRecoveryKey } from "matrix-js-sdk/lib/crypto-api/index.js";
import type { CryptoApi } from "matrix-js-sdk/lib/crypto-api/index.js";
import type { Logger } from "matrix-js-sdk/lib/logger.js";

export interface Session {
  readonly baseUrl: string;
  readonly userId: string;
  readonly deviceId: string;
  readonly accessToken: string;
}

/** The SDK's voice on the console: what went wrong, not what it does all day. */
const silent = (): void => undefined;
const logger: Logger = {
  ...{ trace: silent, debug: silent, info: silent },
  warn: console.warn.bind(console),
  error: console.error.bind(console),
  getChild: () => logger,
};

const DEVICE_NAME = "matrix-ckv demo";

/** Asks a person for the recovery key of their account; undefined: they don't want to give it now. */
export type AskRecoveryKey = () => Promise<string | undefined>;

/** Base URL of a homeserver from what a person types: a URL, or a server name with a well-known file. Throws. */
export async function findHomeserver(typed: string): Promise<string> {
  if (/^https?:\/\//.test(typed)) return typed.replace(/\/+$/, "");
  const response = await fetch(`https://${typed}/.well-known/matrix/client`);
  const wellKnown = (await response.json()) as { "m.homeserver"?: { base_url?: unknown } };
  const baseUrl = wellKnown["m.homeserver"]?.base_url;
  if (typeof baseUrl !== "string") throw new Error(`${typed} does not say where its homeserver is`);
  return baseUrl.replace(/\/+$/, "");
}

/** Logs in with a password on a new device. Throws what the homeserver says. */
export async function logIn(baseUrl: string, user: string, password: string): Promise<Session> {
  const answer = await createClient({ baseUrl, logger }).loginRequest({
    type: "m.login.password",
    identifier: { type: "m.id.user", user },
    password,
    initial_device_display_name: DEVICE_NAME,
  });
  const { user_id: userId, device_id: deviceId, access_token: accessToken } = answer;
  return { baseUrl, userId, deviceId, accessToken };
}

const keptUnder = (baseUrl: string, user: string): string => `matrix-ckv-demo ${baseUrl} ${user}`;

/** The session that this browser keeps for a user as they typed themselves. */
export function keptSession(baseUrl: string, user: string): Session | undefined {
  const text = localStorage.getItem(keptUnder(baseUrl, user));
  return text === null ? undefined : (JSON.parse(text) as Session);
}

export function keepSession(user: string, session: Session): void {
  localStorage.setItem(keptUnder(session.baseUrl, user), JSON.stringify(session));
}

/** Ends the session here and on the server. */
export async function logOut(client: MatrixClient, user: string): Promise<void> {
  localStorage.removeItem(keptUnder(client.getHomeserverUrl(), user));
  await client.logout(true);
  await client.clearStores({
    cryptoDatabasePrefix: databasePrefix(client.getSafeUserId(), client.getDeviceId() ?? ""),
  });
}

/** Every account has databases of its own, so that two can be open in one browser. */
function databasePrefix(userId: string, deviceId: string): string {
  return `matrix-ckv-demo ${userId} ${deviceId}`;
}

/** A syncing client with Rust crypto. The recovery key is asked for at most once, when something needs it. */
export async function openClient(session: Session, ask: AskRecoveryKey): Promise<MatrixClient> {
  let recoveryKey: Uint8Array<ArrayBuffer> | undefined;
  // Not `createClient`, which gives all accounts of a browser one legacy crypto store.
  const client = new MatrixClient({
    ...session,
    logger,
    store: new MemoryStore(),
    scheduler: new MatrixScheduler(),
    // Two accounts in one browser sync with the same URL; a cache would let one of them wait for the other.
    fetchFn: (input, init) => fetch(input, { ...init, cache: "no-store" }),
    cryptoCallbacks: {
      getSecretStorageKey: async ({ keys }) => {
        const keyId = Object.keys(keys)[0];
        const typed = recoveryKey === undefined ? await ask() : undefined;
        if (typed !== undefined) recoveryKey = decodeRecoveryKey(typed);
        return keyId === undefined || recoveryKey === undefined ? null : [keyId, recoveryKey];
      },
      cacheSecretStorageKey: (_keyId, _info, key) => {
        recoveryKey = key;
      },
    },
  });
  await client.initRustCrypto({ cryptoDatabasePrefix: databasePrefix(session.userId, session.deviceId) });
  await client.startClient({ lazyLoadMembers: true, pendingEventOrdering: PendingEventOrdering.Detached });
  await firstSync(client);
  return client;
}

function firstSync(client: MatrixClient): Promise<void> {
  return new Promise((resolve) => {
    const listener = (state: SyncState): void => {
      if (state !== SyncState.Prepared && state !== SyncState.Syncing) return;
      client.off(ClientEvent.Sync, listener);
      resolve();
    };
    client.on(ClientEvent.Sync, listener);
  });
}

/**
 * Makes the digital identity and the secret storage of an account that has none; an account that has one verifies this
 * device with its recovery key. Returns a new recovery key, to be shown to the person once.
 */
export async function setUpIdentity(client: MatrixClient, password: string | undefined): Promise<string | undefined> {
  const crypto = client.getCrypto();
  if (crypto === undefined) throw new Error("this client has no encryption");
  if (await crypto.isCrossSigningReady()) return undefined;
  const exists = await crypto.userHasCrossSigningKeys(client.getSafeUserId(), true);
  if (exists) await crypto.bootstrapCrossSigning({});
  return exists ? undefined : await makeIdentity(client, crypto, password);
}

async function makeIdentity(
  client: MatrixClient,
  crypto: CryptoApi,
  password: string | undefined,
): Promise<string | undefined> {
  const identifier = { type: "m.id.user", user: client.getSafeUserId() };
  await crypto.bootstrapCrossSigning({
    authUploadDeviceSigningKeys: async (upload) => {
      // A first upload needs no password; a server that wants one anyway says so.
      if (password === undefined) await upload(null);
      else await upload({ type: "m.login.password", identifier, password }).catch(() => upload(null));
    },
  });
  let recoveryKey: string | undefined;
  await crypto.bootstrapSecretStorage({
    setupNewSecretStorage: true,
    createSecretStorageKey: async () => {
      const key = await crypto.createRecoveryKeyFromPassphrase();
      recoveryKey = key.encodedPrivateKey;
      return key;
    },
  });
  return recoveryKey;
}
