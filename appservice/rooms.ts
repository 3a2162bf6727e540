/** The two rooms of a log: epochs, public, where only the bot speaks; and enrolment, whose members are followed. */
import { MATRIX_NAMES } from "../shared/messages.ts";
import type { Homeserver } from "./homeserver.ts";

const ROOM_VERSION = "12";

export interface Rooms {
  readonly epochs: string;
  readonly members: string;
}

export interface RoomStore {
  getCursor(name: string): Promise<string | undefined>;
  setCursor(name: string, value: string): Promise<void>;
}

/** Localparts of the aliases; the configuration names them with the server. */
export const EPOCHS_ALIAS = "ckv";
export const MEMBERS_ALIAS = "ckv-members";

/**
 * The ids of both rooms; makes those that do not exist yet, and puts the watcher into the enrolment room. A room that an
 * interrupted start has made is found by its alias, which nobody else can claim.
 * Throws HomeserverError; safe to repeat.
 */
export async function openRooms(homeserver: Homeserver, store: RoomStore): Promise<Rooms> {
  const epochs = await openRoom(homeserver, store, EPOCHS_ALIAS, epochsRoom(homeserver.serverName));
  const members = await openRoom(homeserver, store, MEMBERS_ALIAS, membersRoom(homeserver));
  await homeserver.invite(members, homeserver.watcherUserId);
  await homeserver.joinAsWatcher(members);
  return { epochs, members };
}

async function openRoom(
  homeserver: Homeserver,
  store: RoomStore,
  localpart: string,
  options: { readonly [name: string]: unknown },
): Promise<string> {
  const cursor = `room.${localpart}`;
  const known = await store.getCursor(cursor);
  if (known !== undefined) return known;
  const roomId =
    (await homeserver.resolveAlias(`#${localpart}:${homeserver.serverName}`)) ??
    (await homeserver.createRoom({ ...options, room_version: ROOM_VERSION, room_alias_name: localpart }));
  await store.setCursor(cursor, roomId);
  return roomId;
}

const state = (type: string, content: object): object => ({ type, state_key: "", content });

/** Only the creator, who stands above all power levels, may do anything. Matrix specification, room version 12. */
const CREATOR_ONLY = {
  users: {},
  users_default: 0,
  events_default: 100,
  state_default: 100,
  invite: 100,
  kick: 100,
  ban: 100,
  redact: 100,
  events: { "m.room.tombstone": 150 },
};

function epochsRoom(serverName: string): { readonly [name: string]: unknown } {
  return {
    preset: "public_chat",
    visibility: "public",
    name: "Key transparency log",
    topic: `Signed heads of the key transparency log of ${serverName}. Written by a program; nothing to read for people.`,
    creation_content: { type: MATRIX_NAMES.roomType, "m.federate": true },
    initial_state: [
      state("m.room.history_visibility", { history_visibility: "world_readable" }),
      state("m.room.guest_access", { guest_access: "can_join" }),
    ],
    power_level_content_override: CREATOR_ONLY,
  };
}

function membersRoom(homeserver: Homeserver): { readonly [name: string]: unknown } {
  return {
    preset: "private_chat",
    visibility: "private",
    name: "Key transparency members",
    topic: `Whoever is in this room takes part in the key transparency log of ${homeserver.serverName}. Nobody writes here.`,
    creation_content: { type: MATRIX_NAMES.roomType, "m.federate": false },
    initial_state: [
      state("m.room.history_visibility", { history_visibility: "joined" }),
      state("m.room.guest_access", { guest_access: "forbidden" }),
    ],
    power_level_content_override: CREATOR_ONLY,
    invite: [homeserver.watcherUserId],
  };
}
