/**
 * Heads announced in a server's epochs room, against the heads its service serves. The room is a cross-check: what is
 * signed there must be of the same log, and its silence means nothing.
 */
import { VerificationError } from "../shared/errors.ts";
import { MATRIX_NAMES, parseEpochContent } from "../shared/messages.ts";
import { VerdictError } from "../shared/verdict-codes.ts";
import type { LogView } from "./log-view.ts";
import type { ClientLike } from "./matrix.ts";

/** Newest events read from the room at a time. */
const READ_EVENTS = 5;

/** Reads the newest announced heads of `#ckv:<server>`; empty when the room can't be read from here. */
async function announcedHeads(client: ClientLike, serverName: string): Promise<string[]> {
  try {
    const { room_id: roomId } = await client.getRoomIdForAlias(`#ckv:${serverName}`);
    const filter = JSON.stringify({ types: [MATRIX_NAMES.epoch] });
    const query = { dir: "b", limit: String(READ_EVENTS), filter };
    const path = `/rooms/${encodeURIComponent(roomId)}/messages`;
    const answer = await client.http.authedRequest<{ chunk?: { content?: unknown }[] }>("GET", path, query);
    // As many as were asked for: the homeserver may send any number.
    return (answer.chunk ?? []).slice(0, READ_EVENTS).flatMap(({ content }) => checkpointOf(content));
  } catch {
    return [];
  }
}

function checkpointOf(content: unknown): string[] {
  try {
    return [parseEpochContent(content).checkpoint];
  } catch (error) {
    if (error instanceof VerificationError) return [];
    throw error;
  }
}

/**
 * Ties the heads in the room to those of the service. Throws `head-fork`; a head not signed by the log's key is somebody
 * else's talk and ignored.
 */
export async function checkRoomHeads(client: ClientLike, serverName: string, view: LogView): Promise<void> {
  for (const note of await announcedHeads(client, serverName)) {
    try {
      await view.takeHead(note);
    } catch (error) {
      if (!(error instanceof VerdictError) || error.code === "head-fork") throw error;
    }
  }
}
