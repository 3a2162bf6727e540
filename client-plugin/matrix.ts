/**
 * What the plugin needs of a Matrix client: a structural type that matrix-js-sdk's `MatrixClient` (41.7 to 43, Rust
 * crypto) satisfies, and the few places that reach into the SDK's internals, each behind a feature check.
 *
 * No value of the SDK is imported: a host may run its own copy, and `instanceof` or enums of another copy mean nothing.
 */
import { MATRIX_NAMES } from "../shared/messages.ts";
import { VerdictError } from "../shared/verdict-codes.ts";

export interface DeviceLike {
  readonly deviceId: string;
  /** `curve25519:<device id>` and `ed25519:<device id>` to unpadded base64. */
  readonly keys: Map<string, string>;
  readonly displayName?: string;
}

export interface CrossSigningKeyLike {
  keys: Record<string, string>;
}

export interface ToDeviceBatchLike {
  eventType: string;
  batch: { userId: string; deviceId: string; payload: Record<string, unknown> }[];
}

export interface CryptoLike {
  getUserDeviceInfo(userIds: string[], downloadUncached?: boolean): Promise<Map<string, Map<string, DeviceLike>>>;
  getOwnDeviceKeys(): Promise<{ ed25519: string; curve25519: string }>;
  /** Since matrix-js-sdk 41.9. */
  getUserCrossSigningKeys?(userId: string): Promise<Partial<Record<string, CrossSigningKeyLike>> | null>;
  getUserVerificationStatus(userId: string): Promise<{ isVerified(): boolean; isCrossSigningVerified(): boolean }>;
  getDeviceVerificationStatus(
    userId: string,
    deviceId: string,
  ): Promise<{ readonly signedByOwner: boolean; readonly crossSigningVerified: boolean } | null>;
  isEncryptionEnabledInRoom(roomId: string): Promise<boolean>;
  encryptToDeviceMessages(
    eventType: string,
    devices: { userId: string; deviceId: string }[],
    payload: Record<string, unknown>,
  ): Promise<ToDeviceBatchLike>;
}

export interface EventLike {
  getId(): string | undefined;
  getSender(): string | undefined;
  getType(): string;
  getWireType(): string;
  getRoomId(): string | undefined;
  getTs(): number;
  getContent(): Record<string, unknown>;
  getUnsigned(): object;
}

export interface MemberLike {
  readonly userId: string;
  readonly name: string;
  readonly membership?: string | undefined;
}

export interface RoomLike {
  readonly roomId: string;
  getMyMembership(): string;
  getMember(userId: string): MemberLike | null;
  getJoinedMembers(): MemberLike[];
  getMembersWithMembership(membership: string): MemberLike[];
  hasEncryptionStateEvent(): boolean;
}

export interface SecretStorageLike {
  store(name: string, secret: string | null, keys?: string[] | null): Promise<void>;
  get(name: string): Promise<string | undefined>;
  hasKey(keyId?: string): Promise<boolean>;
}

export interface ClientLike {
  readonly http: {
    readonly opts: { fetchFn?: typeof globalThis.fetch };
    authedRequest<T>(
      method: string,
      path: string,
      queryParams?: Record<string, string>,
      body?: Record<string, unknown>,
      options?: { prefix?: string },
    ): Promise<T>;
  };
  readonly secretStorage: SecretStorageLike;
  getSafeUserId(): string;
  getDeviceId(): string | null;
  getHomeserverUrl(): string;
  getCrypto(): CryptoLike | undefined;
  getRoom(roomId: string): RoomLike | null;
  getRooms(): RoomLike[];
  getOpenIdToken(): Promise<object>;
  getRoomIdForAlias(alias: string): Promise<{ room_id: string }>;
  joinRoom(roomIdOrAlias: string): Promise<unknown>;
  sendEvent(
    roomId: string,
    eventType: string,
    content: Record<string, unknown>,
    txnId?: string,
  ): Promise<{ event_id: string }>;
  decryptEventIfNeeded(event: EventLike): Promise<void>;
  queueToDevice(batch: ToDeviceBatchLike): Promise<void>;
  uploadKeySignatures(content: Record<string, Record<string, object>>): Promise<unknown>;
  on(event: string, listener: (...parameters: never[]) => void): unknown;
  off(event: string, listener: (...parameters: never[]) => void): unknown;
}

/** A to-device message as `receivedToDeviceMessage` hands it out. */
export interface ReceivedToDevice {
  readonly message: { readonly type: string; readonly sender: string; readonly content: Record<string, unknown> };
  /** null for a message sent in clear. */
  readonly encryptionInfo: {
    readonly sender: string;
    readonly senderDevice?: string;
    readonly senderCurve25519KeyBase64: string;
    readonly senderVerified: boolean;
  } | null;
}

/** One device as the crypto store holds it; keys are unpadded base64. */
export interface StoreDevice {
  readonly ed25519: string;
  readonly curve25519: string;
  readonly signedByOwner: boolean;
}

/** What encryption uses for one user: the crypto store's view, never a fresh answer of the server. */
export interface StoreKeys {
  /** Whether encryption follows this user's devices; false: nothing is encrypted to them, and the rest is empty. */
  readonly tracked: boolean;
  readonly masterKey?: string | undefined;
  readonly selfSigningKey?: string | undefined;
  readonly devices: ReadonlyMap<string, StoreDevice>;
}

/** Methods of the client or its crypto without which nothing can be checked, or nobody told. */
const NEEDED =
  "queueToDevice uploadKeySignatures getUserDeviceInfo getOwnDeviceKeys getDeviceVerificationStatus encryptToDeviceMessages";

/**
 * Throws `VerdictError("client-unsupported")`, which names what is missing, unless the client has what the plugin can't do
 * without. Whatever else it uses of the SDK has a check where it is used, or fails at once.
 */
export function checkClient(client: ClientLike): void {
  const crypto = cryptoOf(client);
  const missing = NEEDED.split(" ").filter((name) => !(name in crypto || name in client));
  // One of the two tells of identities: `readIdentity`.
  if (!crypto.getUserCrossSigningKeys && !machineOf(crypto)?.getIdentity) missing.push("getUserCrossSigningKeys");
  if (missing.length > 0) throw new VerdictError("client-unsupported", missing.join());
}

/** Returns the client's crypto. Throws `VerdictError("client-unsupported")` when the host did not start it. */
export function cryptoOf(client: ClientLike): CryptoLike {
  const crypto = client.getCrypto();
  if (crypto === undefined) throw new VerdictError("client-unsupported", "initRustCrypto()");
  return crypto;
}

/** Whether a request to the homeserver failed because there is no such thing. */
export function isNotFound(error: unknown): boolean {
  return typeof error === "object" && error !== null && "errcode" in error && error.errcode === "M_NOT_FOUND";
}

/** Reads what the crypto store holds for a user. Downloads nothing: what it does not hold is not used. */
export async function readStore(client: ClientLike, userId: string): Promise<StoreKeys> {
  const crypto = cryptoOf(client);
  const devices = (await crypto.getUserDeviceInfo([userId])).get(userId);
  if (devices === undefined) return { tracked: false, devices: new Map() };
  const read = new Map<string, StoreDevice>();
  for (const [deviceId, device] of devices) {
    const status = await crypto.getDeviceVerificationStatus(userId, deviceId);
    read.set(deviceId, {
      ed25519: device.keys.get(`ed25519:${deviceId}`) ?? "",
      curve25519: device.keys.get(`curve25519:${deviceId}`) ?? "",
      signedByOwner: status?.signedByOwner ?? false,
    });
  }
  return { tracked: true, ...(await readIdentity(crypto, userId)), devices: read };
}

/** Ids of a user's devices in the store that their owner has signed, without this one, sorted. */
export async function signedDevices(client: ClientLike, userId: string): Promise<string[]> {
  const { devices } = await readStore(client, userId);
  const own = userId === client.getSafeUserId() ? client.getDeviceId() : null;
  const signed = [...devices].filter(([deviceId, { signedByOwner }]) => signedByOwner && deviceId !== own);
  return signed.map(([deviceId]) => deviceId).sort();
}

async function readIdentity(
  crypto: CryptoLike,
  userId: string,
): Promise<Pick<StoreKeys, "masterKey" | "selfSigningKey">> {
  const keys = crypto.getUserCrossSigningKeys
    ? await crypto.getUserCrossSigningKeys(userId)
    : await identityFromMachine(crypto, userId);
  return { masterKey: onlyKeyOf(keys?.["master_key"]), selfSigningKey: onlyKeyOf(keys?.["self_signing_key"]) };
}

/** The single key of a cross-signing key object, by field: the server names the key id. */
function onlyKeyOf(object: CrossSigningKeyLike | undefined): string | undefined {
  const values = Object.values(object?.keys ?? {});
  return values.length === 1 ? values[0] : undefined;
}

/** The parts of the Rust `OlmMachine` used where the SDK has no public method. TypeScript-private, present at run time. */
interface MachineLike {
  readonly userId?: { constructor: new (id: string) => object };
  exportCrossSigningKeys?(): Promise<Record<string, unknown> | undefined>;
  getIdentity?(userId: object): Promise<{ masterKey: string; selfSigningKey: string } | undefined>;
  updateTrackedUsers?(userIds: object[]): Promise<void>;
  queryKeysForUsers?(userIds: object[]): object;
}

function machineOf(crypto: CryptoLike): MachineLike | undefined {
  const machine: unknown = (crypto as { olmMachine?: unknown }).olmMachine;
  return typeof machine === "object" && machine !== null ? machine : undefined;
}

/** Before 41.9: the identity from the machine. The id object is made by the host's own copy of the WASM package. */
async function identityFromMachine(
  crypto: CryptoLike,
  userId: string,
): Promise<Partial<Record<string, CrossSigningKeyLike>> | null> {
  const machine = machineOf(crypto);
  if (machine?.userId === undefined || machine.getIdentity === undefined) return null;
  const identity = await machine.getIdentity(new machine.userId.constructor(userId));
  if (identity === undefined) return null;
  return {
    master_key: JSON.parse(identity.masterKey) as CrossSigningKeyLike,
    self_signing_key: JSON.parse(identity.selfSigningKey) as CrossSigningKeyLike,
  };
}

/**
 * Makes encryption follow a user's devices, as it would with the first message, and ask for them now, so that what it will
 * use can be checked before. Where the SDK does not expose the machine, that waits for the first message.
 */
export async function fetchKeys(client: ClientLike, userId: string): Promise<void> {
  const crypto = cryptoOf(client);
  const machine = machineOf(crypto);
  if (machine?.userId === undefined) return;
  const { constructor: UserId } = machine.userId;
  await machine.updateTrackedUsers?.([new UserId(userId)]);
  const request = machine.queryKeysForUsers?.([new UserId(userId)]);
  const { outgoingRequestProcessor: processor } = crypto as {
    outgoingRequestProcessor?: { makeOutgoingRequest?(request: object): Promise<void> };
  };
  // A request that fails is the SDK's to repeat.
  if (request !== undefined) await processor?.makeOutgoingRequest?.(request).catch(() => undefined);
}

/** Names of the private cross-signing keys in secret storage (Matrix specification, "Secret storage"). */
export type PrivateKeyName = "master" | "self_signing" | "user_signing";

/**
 * A private cross-signing key without a prompt: 32-byte seed as unpadded base64, undefined where not at hand. The caller
 * drops it after use.
 */
export async function cachedPrivateKey(client: ClientLike, name: PrivateKeyName): Promise<string | undefined> {
  const machine = machineOf(cryptoOf(client));
  if (machine?.exportCrossSigningKeys === undefined) return undefined;
  const keys = await machine.exportCrossSigningKeys();
  const field = { master: "masterKey", self_signing: "self_signing_key", user_signing: "userSigningKey" }[name];
  const key = keys?.[field];
  return typeof key === "string" ? key : undefined;
}

/**
 * The same from secret storage: the host may ask the user for the recovery key, and throws where it gets none. Only after
 * a user's own action.
 */
export async function storedPrivateKey(client: ClientLike, name: PrivateKeyName): Promise<string | undefined> {
  return await client.secretStorage.get(`m.cross_signing.${name}`);
}

/** Own cross-signing public keys and device keys as the store holds them. */
export async function readOwn(client: ClientLike): Promise<{ deviceId: string; deviceKey: string; keys: StoreKeys }> {
  const deviceKeys = await cryptoOf(client).getOwnDeviceKeys();
  return {
    deviceId: client.getDeviceId() ?? "",
    deviceKey: deviceKeys.ed25519,
    keys: await readStore(client, client.getSafeUserId()),
  };
}

/** Sends a custom message, Olm-encrypted, to devices. Unknown devices are skipped by the SDK. */
export async function sendToDevices(
  client: ClientLike,
  type: string,
  devices: { userId: string; deviceId: string }[],
  content: Record<string, unknown>,
): Promise<void> {
  if (devices.length === 0) return;
  await client.queueToDevice(await cryptoOf(client).encryptToDeviceMessages(type, devices, content));
}

/** Called with the text of each `/keys/query` answer the SDK itself received. */
export type KeysQueryListener = (text: string) => void;

/** Answers larger than this are not inspected (characters). */
const TAP_MAX_CHARACTERS = 16_777_216;

/**
 * Listens to the `/keys/query` answers the SDK receives: the very bytes its crypto consumes. Returns the function that
 * restores the client's own fetch.
 */
export function tapKeysQuery(client: ClientLike, listener: KeysQueryListener): () => void {
  const options = client.http.opts;
  const original = options.fetchFn;
  const tapped: typeof globalThis.fetch = async (input, init) => {
    const response = await (original ?? globalThis.fetch)(input, init);
    if (response.ok && isKeysQuery(input)) void report(response.clone(), listener);
    return response;
  };
  options.fetchFn = tapped;
  return () => {
    if (options.fetchFn !== tapped) return;
    if (original === undefined) delete options.fetchFn;
    else options.fetchFn = original;
  };
}

function isKeysQuery(input: string | URL | Request): boolean {
  const url = typeof input === "string" ? input : input instanceof URL ? input.href : input.url;
  return /\/_matrix\/client\/[a-z0-9]+\/keys\/query(\?|$)/.test(url);
}

async function report(response: Response, listener: KeysQueryListener): Promise<void> {
  try {
    const text = await response.text();
    if (text.length <= TAP_MAX_CHARACTERS) listener(text);
  } catch {
    // A body the network cut off is the SDK's failure to report, not ours.
  }
}

/** Parts of the SDK that make a local-only event; all public, none needed for anything else. */
interface LocalEcho {
  getEventMapper?(): (event: object) => { status: string | null };
}
interface LocalTimeline {
  getUnfilteredTimelineSet?(): {
    findEventById(eventId: string): object | undefined;
    addLiveEvent(event: object, options: { addToState: boolean }): void;
  };
}

/**
 * Puts a notice into this device's timeline only, once. It is gone after a reload. Id and status are those of a local echo,
 * so that no host sends a receipt for it; past the room, which would count everything before it as read.
 */
export function markLocally(client: ClientLike, room: RoomLike, body: string, warning: Record<string, unknown>): void {
  const mapper = (client as LocalEcho).getEventMapper?.();
  const timeline = (room as LocalTimeline).getUnfilteredTimelineSet?.();
  const eventId = `~ckv-${String(warning["id"])}`;
  if (mapper === undefined || timeline === undefined || timeline.findEventById(eventId) !== undefined) return;
  const event = mapper({
    type: "m.room.message",
    room_id: room.roomId,
    sender: client.getSafeUserId(),
    event_id: eventId,
    origin_server_ts: warning["since_ms"],
    content: { msgtype: "m.notice", body, [MATRIX_NAMES.warning]: warning },
  });
  event.status = "sent";
  timeline.addLiveEvent(event, { addToState: false });
}
