import assert from "node:assert/strict";
import { HomeserverError } from "../../appservice/homeserver-error.ts";
import { hasPosted, holdsForeignHead, publishHeads, readRoomHead } from "../../appservice/room-publisher.ts";
import type { PublishedHead } from "../../appservice/room-publisher.ts";
import { publicKeyOf } from "../../shared/crypto/ed25519.ts";
import { ED25519_KEY, noteKeyOf } from "../../shared/crypto/signed-note.ts";
import { decodeUnpadded, encodeUnpadded } from "../../shared/encoding.ts";
import { signCheckpoint } from "../../shared/log/checkpoint.ts";
import { MATRIX_NAMES } from "../../shared/messages.ts";
import { ManualClock } from "../support/own-log.ts";
import { TestLog } from "../support/test-log.ts";
import { TestUser } from "../support/test-user.ts";

const RATE = { everyMs: 60_000, idleEveryMs: 600_000 };

describe("room-publisher", () => {
  let log: TestLog;
  let clock: ManualClock;
  let failing: HomeserverError | undefined;
  let sent: { readonly type: string; readonly transactionId?: string; readonly content: { [name: string]: unknown } }[];
  const cursors = new Map<string, string>();
  const quiet = { error: () => undefined, warn: () => undefined, info: () => undefined, debug: () => undefined };
  const store = {
    getCursor: async (name: string) => await Promise.resolve(cursors.get(name)),
    setCursor: async (name: string, value: string) => {
      cursors.set(name, value);
      await Promise.resolve();
    },
  };
  const room = {
    newestContents: async () => await Promise.resolve(sent.toReversed().map(({ content }) => content)),
    stateEvent: async (_room: string, type: string) =>
      await Promise.resolve(sent.findLast((event) => event.type === type)?.content),
    sendState: async (_room: string, type: string, content: { readonly [name: string]: unknown }) => {
      sent.push({ type, content });
      await Promise.resolve();
    },
    send: async (_room: string, type: string, transactionId: string, content: { readonly [name: string]: unknown }) => {
      await Promise.resolve();
      if (failing !== undefined) throw failing;
      sent.push({ type, transactionId, content });
    },
  };

  beforeEach(() => {
    log = new TestLog();
    clock = new ManualClock();
    [sent, failing] = [[], undefined];
    cursors.clear();
  });

  function head(configurationText = log.configurationText): PublishedHead {
    const { checkpoint, record } = log.head();
    return { epoch: log.size - 1, checkpoint, record: decodeUnpadded(record), configurationText };
  }

  /** Closes an epoch every `everyMs`, `count` times; those in `changing` with a change. */
  async function* heads(
    count: number,
    everyMs: number,
    changing: readonly number[] = [],
  ): AsyncIterable<PublishedHead> {
    for (let step = 0; step < count; step++) {
      clock.advance(everyMs);
      const user = `@user${step}:example.org`;
      if (changing.includes(step)) log.setEntry(user, new TestUser(user, "D").entry());
      log.closeEpoch(clock.now());
      await Promise.resolve();
      yield head();
    }
  }

  const posted: number[] = [];
  const publish = async (source: AsyncIterable<PublishedHead>): Promise<void> => {
    posted.length = 0;
    const tell = (atMs: number): void => void posted.push(atMs);
    await publishHeads(source, { room, roomId: "!epochs", store, clock, logger: quiet, rate: RATE, posted: tell });
  };
  const epochs = (): unknown[] =>
    sent.filter(({ type }) => type === MATRIX_NAMES.epoch).map(({ content }) => content["epoch"]);

  it("posts the configuration before the first head, and not again", async () => {
    await publish(heads(30, 60_000));
    assert.deepEqual([posted.length, posted.at(-1)], [epochs().length, Number(await store.getCursor("room.posted"))]);
    assert.deepEqual(
      sent.slice(0, 2).map(({ type }) => type),
      [MATRIX_NAMES.configuration, MATRIX_NAMES.epoch],
    );
    assert.equal(sent.filter(({ type }) => type === MATRIX_NAMES.configuration).length, 1);
  });

  it("posts every ten minutes without changes, every minute with", async () => {
    const first = log.size;
    await publish(heads(40, 30_000));
    assert.deepEqual(epochs(), [first, first + 20]);
    const second = log.size;
    await publish(heads(8, 30_000, [0, 1, 2, 3, 4, 5, 6, 7]));
    assert.deepEqual(epochs().slice(2), [second, second + 2, second + 4, second + 6]);
  });

  it("does not forget a change that came between two posts", async () => {
    const first = log.size;
    await publish(heads(6, 30_000, [1]));
    assert.deepEqual(epochs(), [first, first + 2]);
  });

  it("goes on with the next head when one was refused, and keeps the order", async () => {
    failing = new HomeserverError("forbidden", 403, "M_FORBIDDEN");
    await publish(heads(2, 60_000));
    assert.deepEqual([epochs(), await hasPosted(store)], [[], false]);
    failing = undefined;
    const next = log.size;
    await publish(heads(1, 60_000));
    assert.deepEqual([epochs(), await hasPosted(store)], [[next], true]);
  });

  it("gives the same head the same transaction", async () => {
    await publish(heads(1, 60_000));
    cursors.clear();
    const again = head();
    await publish(
      (async function* () {
        await Promise.resolve();
        yield again;
      })(),
    );
    const [one, two] = sent.filter(({ type }) => type === MATRIX_NAMES.epoch);
    assert.ok(one?.transactionId !== undefined);
    assert.equal(one.transactionId, two?.transactionId);
  });

  it("posts the head that names a successor at once: no other follows it", async () => {
    await publish(heads(1, 60_000));
    const { origin, vkey } = new TestLog({ number: 2 });
    log.reconfigure({ successor: { origin, log_key: vkey } });
    const final = log.size;
    await publish(heads(1, 1_000));
    assert.deepEqual(epochs().at(-1), final);
  });

  it("tells heads of a log of the same name under another key", async () => {
    const { origin } = log;
    await publish(heads(1, 60_000));
    const other = noteKeyOf({ name: origin, type: ED25519_KEY, publicKey: publicKeyOf(log.promiseSeed) });
    assert.equal(await holdsForeignHead(room, "!epochs", log.logKey), false);
    assert.equal(await holdsForeignHead(room, "!epochs", other), true);
    const elsewhere = noteKeyOf({ name: "example.org/ckv/2", type: ED25519_KEY, publicKey: other.publicKey });
    assert.equal(await holdsForeignHead(room, "!epochs", elsewhere), false);
  });

  it("reads the newest head that the log's key signed, whatever else stands there", async () => {
    assert.equal(await readRoomHead(room, "!epochs", log.logKey), undefined);
    await publish(heads(2, 60_000));
    const { size } = log;
    const { record } = log.head();
    const forged = { origin: log.origin, size: 50, root: new Uint8Array(32) };
    const checkpoint = signCheckpoint(forged, { seed: log.promiseSeed });
    sent.push({ type: MATRIX_NAMES.epoch, content: { checkpoint, record, epoch: 49 } });
    sent.push({ type: MATRIX_NAMES.epoch, content: { checkpoint: 5 } });
    sent.push({
      type: MATRIX_NAMES.epoch,
      content: { checkpoint: "x", record: encodeUnpadded(new Uint8Array(121)), epoch: 1 },
    });
    assert.equal((await readRoomHead(room, "!epochs", log.logKey))?.checkpoint.size, size - 1);
  });
});
