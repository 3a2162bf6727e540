/** A Matrix client whose crypto store a test fills at will, and a server that passes to-device messages on. */
import { publicKeyOf } from "../../shared/crypto/ed25519.ts";
import { encodeUnpadded } from "../../shared/encoding.ts";
import type {
  ClientLike,
  CryptoLike,
  DeviceLike,
  EventLike,
  MemberLike,
  ReceivedToDevice,
  RoomLike,
  SecretStorageLike,
  ToDeviceBatchLike,
} from "../../client-plugin/matrix.ts";
import { TestUser } from "../support/test-user.ts";

type AnyListener = (...parameters: never[]) => void;

/** What the homeserver keeps: account data, and clients that are logged in. */
export class FakeServer {
  readonly accountData: Map<string, Record<string, unknown>> = new Map();
  readonly clients: FakeClient[] = [];
  /** To-device messages are lost. */
  dropsToDevice = false;
  /** Somebody in the middle, who was given the messages to encrypt anew. */
  relay: (received: ReceivedToDevice, to: FakeClient) => ReceivedToDevice = (received) => received;
  /** Account data is taken, and shown to nobody. */
  withholdsAccountData = false;
}

export interface SentEvent {
  readonly roomId: string;
  readonly type: string;
  readonly content: Record<string, unknown>;
}

export class FakeRoom implements RoomLike {
  readonly roomId: string;
  readonly members: MemberLike[];
  encrypted = true;

  constructor(roomId: string, ...userIds: readonly string[]) {
    this.roomId = roomId;
    this.members = userIds.map((userId) => ({ userId, name: userId, membership: "join" }));
  }
  getMyMembership(): string {
    return "join";
  }
  getMember(userId: string): MemberLike | null {
    return this.members.find((member) => member.userId === userId) ?? null;
  }
  getJoinedMembers(): MemberLike[] {
    return this.getMembersWithMembership("join");
  }
  getMembersWithMembership(membership: string): MemberLike[] {
    return this.members.filter((member) => member.membership === membership);
  }
  hasEncryptionStateEvent(): boolean {
    return this.encrypted;
  }
}

const objects = new Map<string, Record<string, string>>();

/** Keys of a device; made once, since signing takes time. */
export function keysOf(user: TestUser, deviceId: string): Record<string, string> {
  const name = `${user.userId} ${encodeUnpadded(user.deviceSeed(deviceId))} ${deviceId}`;
  const keys = objects.get(name) ?? (user.deviceObject(deviceId)["keys"] as Record<string, string>);
  objects.set(name, keys);
  return keys;
}

export function copyOf(user: TestUser): TestUser {
  const copy = new TestUser(user.userId);
  copy.masterSeed = user.masterSeed;
  copy.selfSigningSeed = user.selfSigningSeed;
  for (const [deviceId, device] of user.devices) copy.devices.set(deviceId, { ...device });
  return copy;
}

/** The host's own copy of the SDK's class. */
class FakeUserId {
  readonly id: string;

  constructor(id: string) {
    this.id = id;
  }
}

export class FakeClient implements ClientLike {
  readonly me: TestUser;
  readonly deviceId: string;
  readonly server: FakeServer;
  /** The crypto store. */
  readonly store: Map<string, TestUser> = new Map();
  /** What the server would answer about keys, where the store has not heard of it yet. */
  readonly served: Map<string, TestUser> = new Map();
  /** Whose keys the SDK was made to ask for. */
  readonly queried: string[] = [];
  readonly rooms: FakeRoom[] = [];
  readonly sent: SentEvent[] = [];
  readonly joined: string[] = [];
  readonly signatures: Record<string, Record<string, object>>[] = [];
  readonly #secrets = new Map<string, string>();
  readonly #listeners = new Map<string, Set<AnyListener>>();
  /** How often secret storage was touched: each touch may ask the user. */
  prompts = 0;
  /** The own private keys are in the SDK's cache. */
  hasPrivateKeys = true;
  readonly http: ClientLike["http"];

  constructor(server: FakeServer, me: TestUser, deviceId: string) {
    this.server = server;
    this.me = me;
    this.deviceId = deviceId;
    this.store.set(me.userId, me);
    server.clients.push(this);
    this.http = {
      opts: {},
      authedRequest: async <T>(method: string, path: string, _query?: unknown, body?: Record<string, unknown>) => {
        await Promise.resolve();
        const type = decodeURIComponent(path.split("/").at(-1) ?? "");
        const key = `${this.me.userId} ${type}`;
        if (method === "PUT" && server.withholdsAccountData) return {} as T;
        if (method === "PUT" && body !== undefined) {
          server.accountData.set(key, body);
          for (const client of server.clients) {
            if (client.me.userId === this.me.userId) client.emit("accountData", eventOf(type, this.me.userId, body));
          }
          return {} as T;
        }
        const found = path.includes("account_data") ? server.accountData.get(key) : undefined;
        if (found === undefined) throw Object.assign(new Error("not found"), { errcode: "M_NOT_FOUND" });
        return found as T;
      },
    };
  }

  readonly secretStorage: SecretStorageLike = {
    store: async (name, secret) => {
      this.prompts += 1;
      this.#secrets.set(name, secret ?? "");
      await Promise.resolve();
    },
    get: async (name) => {
      this.prompts += 1;
      return await Promise.resolve(this.#secrets.get(name));
    },
    hasKey: async () => await Promise.resolve(true),
  };

  getSafeUserId(): string {
    return this.me.userId;
  }
  getDeviceId(): string {
    return this.deviceId;
  }
  getHomeserverUrl(): string {
    return "https://example.org";
  }
  getRoom(roomId: string): RoomLike | null {
    return this.rooms.find((room) => room.roomId === roomId) ?? null;
  }
  getRooms(): RoomLike[] {
    return this.rooms;
  }
  async getOpenIdToken(): Promise<object> {
    const token = { access_token: "t", token_type: "Bearer", matrix_server_name: "example.org", expires_in: 3600 };
    return await Promise.resolve(token);
  }
  async getRoomIdForAlias(): Promise<{ room_id: string }> {
    return await Promise.reject<{ room_id: string }>(Object.assign(new Error("not found"), { errcode: "M_NOT_FOUND" }));
  }
  async joinRoom(roomId: string): Promise<unknown> {
    this.joined.push(roomId);
    return await Promise.resolve({});
  }
  async sendEvent(roomId: string, type: string, content: Record<string, unknown>): Promise<{ event_id: string }> {
    this.sent.push({ roomId, type, content });
    this.emit("event", eventOf(type, this.me.userId, content, roomId, "m.room.encrypted"));
    return await Promise.resolve({ event_id: `$${String(this.sent.length)}` });
  }
  async decryptEventIfNeeded(): Promise<void> {
    await Promise.resolve();
  }
  async queueToDevice({ eventType, batch }: ToDeviceBatchLike): Promise<void> {
    await Promise.resolve();
    if (this.server.dropsToDevice) return;
    for (const { userId, deviceId, payload } of batch) {
      const to = this.server.clients.find((client) => client.me.userId === userId && client.deviceId === deviceId);
      const device = keysOf(this.me, this.deviceId);
      const received: ReceivedToDevice = {
        message: {
          type: eventType,
          sender: this.me.userId,
          content: JSON.parse(JSON.stringify(payload)) as Record<string, unknown>,
        },
        encryptionInfo: {
          sender: this.me.userId,
          senderDevice: this.deviceId,
          senderCurve25519KeyBase64: device[`curve25519:${this.deviceId}`] ?? "",
          senderVerified: userId === this.me.userId,
        },
      };
      to?.emit("receivedToDeviceMessage", this.server.relay(received, to));
    }
  }
  async uploadKeySignatures(content: Record<string, Record<string, object>>): Promise<unknown> {
    this.signatures.push(content);
    return await Promise.resolve({});
  }

  on(event: string, listener: AnyListener): unknown {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
    return this;
  }
  off(event: string, listener: AnyListener): unknown {
    this.#listeners.get(event)?.delete(listener);
    return this;
  }
  emit(event: string, ...parameters: unknown[]): void {
    for (const listener of [...(this.#listeners.get(event) ?? [])])
      (listener as (...all: unknown[]) => void)(...parameters);
  }
  listenerCount(): number {
    return [...this.#listeners.values()].reduce((count, listeners) => count + listeners.size, 0);
  }

  /** The crypto store now holds a copy of this user's keys, and the SDK says so. */
  update(user: TestUser): void {
    this.store.set(user.userId, copyOf(user));
    this.emit("crypto.devicesUpdated", [user.userId], false, this);
  }

  /** An own device writes something into a room. */
  write(roomId: string): void {
    this.emit("event", eventOf("m.room.message", this.me.userId, { body: "hi" }, roomId, "m.room.encrypted"));
  }

  getCrypto(): CryptoLike {
    const machine = {
      userId: new FakeUserId(this.me.userId),
      queryKeysForUsers: ([userId]: FakeUserId[]) => userId,
      exportCrossSigningKeys: async () => {
        const keys = {
          masterKey: encodeUnpadded(this.me.masterSeed),
          self_signing_key: encodeUnpadded(this.me.selfSigningSeed),
          userSigningKey: encodeUnpadded(this.me.masterSeed),
        };
        return await Promise.resolve(this.hasPrivateKeys ? keys : undefined);
      },
    };
    const outgoingRequestProcessor = {
      makeOutgoingRequest: async ({ id }: FakeUserId) => {
        await Promise.resolve();
        this.queried.push(id);
        const served = this.served.get(id);
        if (served !== undefined) this.update(served);
      },
    };
    return Object.assign(this.#crypto(), { olmMachine: machine, outgoingRequestProcessor });
  }

  #crypto(): CryptoLike {
    return {
      getUserDeviceInfo: async (userIds) =>
        await Promise.resolve(
          new Map(userIds.filter((id) => this.store.has(id)).map((id) => [id, this.#devices(id)] as const)),
        ),
      getOwnDeviceKeys: async () => {
        const keys = keysOf(this.me, this.deviceId);
        const [ed25519 = "", curve25519 = ""] = [keys[`ed25519:${this.deviceId}`], keys[`curve25519:${this.deviceId}`]];
        return await Promise.resolve({ ed25519, curve25519 });
      },
      getUserCrossSigningKeys: async (userId) => {
        const user = this.store.get(userId);
        if (user === undefined) return await Promise.resolve(null);
        const [master, selfSigning] = [user.masterSeed, user.selfSigningSeed].map((seed) =>
          encodeUnpadded(publicKeyOf(seed)),
        );
        return { master_key: { keys: { m: master ?? "" } }, self_signing_key: { keys: { s: selfSigning ?? "" } } };
      },
      getUserVerificationStatus: async () =>
        await Promise.resolve({ isVerified: () => true, isCrossSigningVerified: () => true }),
      getDeviceVerificationStatus: async (userId, deviceId) => {
        const signedByOwner = this.store.get(userId)?.devices.get(deviceId)?.signedByOwner ?? true;
        return await Promise.resolve({ signedByOwner, crossSigningVerified: signedByOwner });
      },
      isEncryptionEnabledInRoom: async () => await Promise.resolve(true),
      encryptToDeviceMessages: async (eventType, devices, payload) =>
        await Promise.resolve({ eventType, batch: devices.map((device) => ({ ...device, payload })) }),
    };
  }

  #devices(userId: string): Map<string, DeviceLike> {
    const user = this.store.get(userId);
    const devices = [...(user?.devices.keys() ?? [])].map((deviceId) => {
      const keys = user === undefined ? {} : keysOf(user, deviceId);
      return [deviceId, { deviceId, keys: new Map(Object.entries(keys)) }] as const;
    });
    return new Map(devices);
  }
}

function eventOf(
  type: string,
  sender: string,
  content: Record<string, unknown>,
  roomId?: string,
  wireType: string = type,
): EventLike {
  return {
    getId: () => undefined,
    getSender: () => sender,
    getType: () => type,
    getWireType: () => wireType,
    getRoomId: () => roomId,
    getTs: () => 0,
    getContent: () => content,
    getUnsigned: () => ({}),
  };
}
