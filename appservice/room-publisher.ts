/** The newest published head into the epochs room: in order, at least once, at the room's own rate. */
import { openCheckpoint, parseCheckpoint, type Checkpoint } from "../shared/log/checkpoint.ts";
import { parseEpochRecord } from "../shared/log/epoch-record.ts";
import { parseNote, type NoteKey } from "../shared/crypto/signed-note.ts";
import { encodeUnpadded, equalBytes, taggedHash } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import { MATRIX_NAMES, parseEpochContent } from "../shared/messages.ts";
import { ROOM_HEAD_EVERY_MS, ROOM_IDLE_HEAD_EVERY_MS } from "../shared/parameters.ts";
import { sha256 } from "../shared/crypto/hash.ts";
import { encodeHex, utf8 } from "../shared/encoding.ts";
import type { Clock } from "./clock.ts";
import { HomeserverError } from "./homeserver-error.ts";
import type { Logger } from "./logger.ts";

const POSTED_CURSOR = "room.posted";
const HEADS_READ = 50;
const NO_CHANGES = taggedHash("ckv/changes/v1", new Uint8Array());

/** An epoch that readers may see. */
export interface PublishedHead {
  readonly epoch: number;
  /** Signed note with its cosignatures. */
  readonly checkpoint: string;
  readonly record: Uint8Array;
  /** Canonical JSON whose hash is in the record. */
  readonly configurationText: string;
}

export interface EpochsRoom {
  newestContents(roomId: string, type: string, limit: number): Promise<readonly object[]>;
  stateEvent(roomId: string, type: string, stateKey: string): Promise<{ readonly [name: string]: unknown } | undefined>;
  sendState(roomId: string, type: string, content: { readonly [name: string]: unknown }): Promise<void>;
  send(
    roomId: string,
    type: string,
    transactionId: string,
    content: { readonly [name: string]: unknown },
  ): Promise<void>;
}

export interface PostedStore {
  getCursor(name: string): Promise<string | undefined>;
  setCursor(name: string, value: string): Promise<void>;
}

/** How often the room gets a head: at most, while there are changes; and without. */
export interface RoomRate {
  readonly everyMs: number;
  readonly idleEveryMs: number;
}
export const ROOM_RATE: RoomRate = { everyMs: ROOM_HEAD_EVERY_MS, idleEveryMs: ROOM_IDLE_HEAD_EVERY_MS };

/**
 * The newest head in the room that the log's key signed, or undefined when there is none. Whatever else stands there
 * (the homeserver can speak as the bot) counts for nothing. Throws HomeserverError.
 */
export async function readRoomHead(
  room: EpochsRoom,
  roomId: string,
  logKey: NoteKey,
): Promise<{ readonly checkpoint: Checkpoint; readonly note: string } | undefined> {
  const contents = await room.newestContents(roomId, MATRIX_NAMES.epoch, HEADS_READ);
  const heads = contents.flatMap((content) => openHead(content, logKey));
  return heads.sort((a, b) => b.checkpoint.size - a.checkpoint.size)[0];
}

function openHead(content: object, logKey: NoteKey): { checkpoint: Checkpoint; note: string }[] {
  try {
    const note = parseEpochContent(content).checkpoint;
    return [{ checkpoint: openCheckpoint(note, logKey), note }];
  } catch (error) {
    if (error instanceof VerificationError) return [];
    throw error;
  }
}

/** Whether the room holds heads of a log with this key's name that another key signed. Throws HomeserverError. */
export async function holdsForeignHead(room: EpochsRoom, roomId: string, logKey: NoteKey): Promise<boolean> {
  const contents = await room.newestContents(roomId, MATRIX_NAMES.epoch, HEADS_READ);
  return contents.some((content) => originIn(content) === logKey.name && openHead(content, logKey).length === 0);
}

function originIn(content: object): string | undefined {
  try {
    return parseCheckpoint(parseNote(parseEpochContent(content).checkpoint).text).origin;
  } catch (error) {
    if (error instanceof VerificationError) return undefined;
    throw error;
  }
}

/** Whether this store has ever posted a head. */
export async function hasPosted(store: PostedStore): Promise<boolean> {
  return (await store.getCursor(POSTED_CURSOR)) !== undefined;
}

export interface PublisherParts {
  readonly room: EpochsRoom;
  readonly roomId: string;
  readonly store: PostedStore;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly rate: RoomRate;
  /** Told when a head was posted, also of the last one before this start. */
  readonly posted: (atMs: number) => void;
}

/**
 * Posts heads until `heads` ends. Consistency covers the epochs between two posts. A post that fails is tried again with
 * the next head; one that did arrive, but whose answer was lost, leaves two events in order, which readers allow.
 */
export async function publishHeads(heads: AsyncIterable<PublishedHead>, parts: PublisherParts): Promise<void> {
  const { store, clock, logger, rate } = parts;
  let postedMs = Number((await store.getCursor(POSTED_CURSOR)) ?? 0);
  if (postedMs > 0) parts.posted(postedMs);
  // What the epochs since the last post held is not known after a start, so the next one is taken as having changes.
  let changed = true;
  for await (const head of heads) {
    changed ||= hasChanges(head.record);
    const isDue = clock.now() - postedMs >= (changed ? rate.everyMs : rate.idleEveryMs);
    if (!isDue && !isFinal(head)) continue;
    try {
      await post(head, parts);
    } catch (error) {
      if (!(error instanceof HomeserverError)) throw error;
      logger.error({ error: error.message, epoch: head.epoch, advice: adviceFor(error) }, "a head was not posted");
      continue;
    }
    postedMs = clock.now();
    parts.posted(postedMs);
    changed = false;
    await store.setCursor(POSTED_CURSOR, String(postedMs));
  }
}

/** Nothing comes after the head that names a successor. */
function isFinal({ configurationText }: PublishedHead): boolean {
  return (JSON.parse(configurationText) as { readonly successor?: unknown }).successor !== undefined;
}

function hasChanges(record: Uint8Array): boolean {
  return !equalBytes(parseEpochRecord(record).changesHash, NO_CHANGES);
}

async function post(head: PublishedHead, { room, roomId }: PublisherParts): Promise<void> {
  const shown = await room.stateEvent(roomId, MATRIX_NAMES.configuration, "");
  if (shown?.["text"] !== head.configurationText) {
    await room.sendState(roomId, MATRIX_NAMES.configuration, { text: head.configurationText });
  }
  const content = { checkpoint: head.checkpoint, record: encodeUnpadded(head.record), epoch: head.epoch };
  await room.send(roomId, MATRIX_NAMES.epoch, transactionId(head), content);
}

/** The same for the same head, so that a repeated post is one event while the homeserver remembers it. */
function transactionId({ epoch, checkpoint }: PublishedHead): string {
  return `ckv-${epoch}-${encodeHex(sha256(utf8(checkpoint)).slice(0, 8))}`;
}

function adviceFor(error: HomeserverError): string {
  return error.status === 403
    ? "the bot may not speak in the epochs room: it must be its creator (room version 12) or have power level 100"
    : "tried again with the next head";
}
