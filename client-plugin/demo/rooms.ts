/** What the chat asks of the client about rooms: which there are, with whom, and how to make one. */
import type { MatrixClient, Room } from "matrix-js-sdk";
import { Preset } from "matrix-js-sdk";

/** Rooms to show: joined and invited ones, the newest message first; the log's own rooms are no chats. */
export function chatRooms(client: MatrixClient): Room[] {
  return client
    .getVisibleRooms()
    .filter((room) => ["join", "invite"].includes(room.getMyMembership()) && !isOfLog(room))
    .sort((a, b) => b.getLastActiveTimestamp() - a.getLastActiveTimestamp());
}

function isOfLog(room: Room): boolean {
  const alias = room.getCanonicalAlias() ?? "";
  return room.getType() === "org.matrix-ckv.log" || /^#ckv(-members)?:/.test(alias);
}

/** The other person of a chat of two, also while one of them is only invited. */
export function partnerOf(client: MatrixClient, room: Room): string | undefined {
  const members = [...room.getMembersWithMembership("join"), ...room.getMembersWithMembership("invite")];
  const inviter = room.getDMInviter();
  if (inviter !== undefined) return inviter;
  const [partner] = members.filter(({ userId }) => userId !== client.getSafeUserId());
  return members.length === 2 ? partner?.userId : undefined;
}

export function chatWith(client: MatrixClient, userId: string): Room | undefined {
  return chatRooms(client).find((room) => partnerOf(client, room) === userId);
}

/** Makes an encrypted chat of two and returns its room id. */
export async function createChat(client: MatrixClient, userId: string): Promise<string> {
  const { room_id: roomId } = await client.createRoom({
    preset: Preset.TrustedPrivateChat,
    invite: [userId],
    is_direct: true,
    initial_state: [
      { type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } },
      { type: "m.room.history_visibility", state_key: "", content: { history_visibility: "invited" } },
    ],
  });
  return roomId;
}

/** How a person calls themselves in a room with this account; else their user id. */
export function nameOf(client: MatrixClient, userId: string): string {
  const names = client.getVisibleRooms().map((room) => room.getMember(userId)?.rawDisplayName);
  return names.find((name) => name !== undefined && name !== "") ?? userId;
}
