import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "mocha";
import { systemClock } from "../../appservice/clock.ts";
import { fsck } from "../../appservice/fsck.ts";
import type { RunningLog } from "../../appservice/sequencer.ts";
import type { EpochRecord } from "../../shared/log/epoch-record.ts";
import { vrfOutput } from "../../shared/crypto/vrf.ts";
import { parseEpochRecord } from "../../shared/log/epoch-record.ts";
import { sha256 } from "../../shared/crypto/hash.ts";
import type { Hash } from "../../shared/crypto/hash.ts";
import { commit } from "../../shared/crypto/commitment.ts";
import { ED25519_KEY, formatVkey, parseVkey } from "../../shared/crypto/signed-note.ts";
import { configurationHash, formatConfiguration, parseConfiguration } from "../../shared/directory/configuration.ts";
import { closedEntry } from "../../shared/directory/entry.ts";
import { decodeUnpadded, encodeHex, equalBytes, fromUtf8, utf8 } from "../../shared/encoding.ts";
import { verifyAncestor, verifyVersion } from "../../shared/history/history.ts";
import { parseEpochChanges } from "../../shared/log/change-list.ts";
import { openCheckpoint } from "../../shared/log/checkpoint.ts";
import {
  hashTile,
  hashReaderFromTiles,
  parseEntryBundle,
  tilePath,
  tilesForConsistency,
} from "../../shared/log/tiles.ts";
import { parseMapProof, verifyMapProof } from "../../shared/map/map-proof.ts";
import { proveConsistency, verifyConsistency } from "../../shared/merkle/consistency.ts";
import { LOG_DOMAINS } from "../../shared/merkle/tree.ts";
import { parseLookupAnswer, parseSettledAnswer } from "../../shared/messages.ts";
import type { LookupAnswer } from "../../shared/messages.ts";
import { auditCheckpoint, auditEpoch, startAudit } from "../../shared/proofs/audit.ts";
import type { AuditState } from "../../shared/proofs/audit.ts";
import { verifyHead } from "../../shared/proofs/head.ts";
import type { KnownLog, VerifiedHead } from "../../shared/proofs/head.ts";
import { verifyUser } from "../../shared/proofs/lookup.ts";
import { openPromise } from "../../shared/proofs/promise.ts";
import { verifySettlingRecords } from "../../shared/proofs/settling.ts";
import { OwnLog } from "../support/own-log.ts";

const entryOf = (userId: string, content: number): Uint8Array =>
  utf8(`{"devices":{},"n":${content},"user_id":"${userId}"}`);

/** Splits concatenated hashes. */
function pathOf(text: string): Hash[] {
  const bytes = decodeUnpadded(text);
  return Array.from({ length: bytes.length / 32 }, (_, i) => bytes.subarray(32 * i, 32 * i + 32));
}

async function reached({ sequencer }: RunningLog, epoch: number): Promise<void> {
  for await (const head of sequencer.commits(new AbortController().signal)) if (head.epoch >= epoch) return;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Everything that a reader and an auditor can check of a log, checked after each epoch. */
class Inspector {
  readonly log: OwnLog;
  running: RunningLog;
  /** Entries of each user in order of version, as they were submitted. */
  readonly entries = new Map<string, Uint8Array[]>();
  /** What the map had at each settling epoch: version and root by user. */
  readonly settled = new Map<number, Map<string, { n: number; root: Hash }>>();
  audit: AuditState;

  constructor(log: OwnLog, running: RunningLog) {
    this.log = log;
    this.running = running;
    this.audit = startAudit(formatConfiguration(log.configuration));
  }

  known(): KnownLog {
    const { configuration, clock } = this.log;
    return {
      logKey: parseVkey(configuration.log_key),
      configurations: new Map([[encodeHex(configurationHash(formatConfiguration(configuration))), configuration]]),
      cosignatures: () => [],
      nowMs: clock.now(),
    };
  }

  /** Submits to these users and closes one epoch `ms` later. */
  async closeEpoch(userIds: readonly string[], ms: number): Promise<void> {
    const { sequencer } = this.running;
    const before = sequencer.status().epoch;
    this.log.clock.advance(ms);
    await this.log.clock.runUntil(Promise.all(userIds.map((userId) => this.submit(userId))));
    await this.log.clock.runUntil(reached(this.running, before + 1));
  }

  async submit(userId: string): Promise<{ version: number; epoch: number }> {
    const entries = this.entries.get(userId) ?? [];
    this.entries.set(userId, entries);
    const [entry, version] = [entryOf(userId, entries.length), entries.length + 1];
    entries.push(entry);
    const merged = await this.running.sequencer.submit({ userId, entry, observedMs: this.log.clock.now() });
    assert.equal(merged.version, version);
    return merged;
  }

  async check(userIds: readonly string[]): Promise<void> {
    const { directory } = this.running;
    const anybody = JSON.parse(await directory.lookup("@x:example.org")) as LookupAnswer;
    const head = verifyHead(this.known(), anybody.head, []);
    await this.#checkAudit(head);
    await this.#checkTiles(head);
    for (const userId of userIds) await this.#checkUser(head, userId);
    const settlingEpoch = anybody.user.settling.epoch;
    if (settlingEpoch === head.record.epoch) await this.#keepSettled(settlingEpoch, userIds);
    for (const [epoch, leaves] of this.settled) await this.#checkSettled(head, epoch, leaves, userIds);
  }

  async #checkAudit(head: VerifiedHead): Promise<void> {
    const { directory } = this.running;
    for (let epoch = (this.audit.record?.epoch ?? -1) + 1; epoch <= head.record.epoch; epoch++) {
      const tile = hashTile(0, Math.floor(epoch / 256), head.checkpoint.size);
      const bundle = await directory.tile({ ...tile, level: "entries" });
      const record = parseEntryBundle(bundle!, tile.width)[epoch % 256]!;
      const changes = parseEpochChanges((await directory.changes(epoch))!);
      this.audit = auditEpoch(this.audit, { record, changes }, this.log.clock.now());
    }
    auditCheckpoint(this.audit, await directory.checkpoint());
  }

  async #checkTiles({ checkpoint: { size, root } }: VerifiedHead): Promise<void> {
    const { directory } = this.running;
    for (let size1 = 1; size1 <= size; size1 += 7) {
      const tiles = new Map<string, Uint8Array>();
      for (const tile of tilesForConsistency(size1, size)) tiles.set(tilePath(tile), (await directory.tile(tile))!);
      const path = proveConsistency(LOG_DOMAINS, hashReaderFromTiles(tiles, size), size1, size);
      const older = await directory.tile(hashTile(0, 0, size1));
      const root1 = size1 === 1 ? older! : undefined;
      if (root1 !== undefined) verifyConsistency(LOG_DOMAINS, { size1, root1, size2: size, root2: root, path });
    }
  }

  async #checkUser(head: VerifiedHead, userId: string): Promise<void> {
    const { directory } = this.running;
    const text = await directory.lookup(userId);
    const { head: part, users } = await directory.lookups([userId]);
    assert.deepEqual(JSON.parse(text), { head: part, user: users[userId] });
    assert.equal(Buffer.byteLength(text), text.length, "wide characters");
    const answer: LookupAnswer = parseLookupAnswer(JSON.parse(text));
    const records = await directory.settlingRecords(answer.user.settling.epoch, head.checkpoint.size);
    const settling = verifySettlingRecords(head, answer.user.settling.epoch, records!);
    // An entry of these tests is no entry of Matrix keys: its commitment is checked here, its content elsewhere.
    const { leaf } = answer.user;
    const opened = leaf && { ...leaf, commitment: leaf.commitment };
    if (opened) {
      const entry = utf8(opened.entry!);
      const opening = decodeUnpadded(opened.opening!);
      const commitment = commit({ userId, version: opened.n, entry, opening });
      assert(equalBytes(commitment, decodeUnpadded(opened.commitment)));
      assert.deepEqual(entry, this.entries.get(userId)!.at(-1));
      delete (leaf as { entry?: string }).entry;
      delete (leaf as { opening?: string }).opening;
    }
    const verified = verifyUser(head, { settling }, userId, answer.user);
    assert.equal(verified.leaf?.n ?? 0, this.entries.get(userId)?.length ?? 0);
    if (leaf) await this.#checkHistory(userId, { n: leaf.n, root: decodeUnpadded(leaf.history_root) });
  }

  async #checkHistory(userId: string, head: { n: number; root: Hash }): Promise<void> {
    const { directory } = this.running;
    const { n, versions } = (await directory.historyVersions(userId, 1, head.n))!;
    assert.equal(n, head.n);
    assert.equal(versions.length, Math.min(head.n, 50));
    for (const { version, epoch, commitment, entry, opening, proof } of versions) {
      verifyVersion({ version, epoch, commitment: decodeUnpadded(commitment) }, pathOf(proof), head);
      const content = { userId, version, entry: utf8(entry!), opening: decodeUnpadded(opening!) };
      assert(equalBytes(commit(content), decodeUnpadded(commitment)));
      assert.deepEqual(utf8(entry!), this.entries.get(userId)![version - 1]);
    }
    assert.equal(await directory.historyConsistency(userId, 1, n + 1), undefined);
  }

  async #keepSettled(epoch: number, userIds: readonly string[]): Promise<void> {
    const leaves = new Map<string, { n: number; root: Hash }>();
    for (const userId of userIds) {
      const { leaf } = (JSON.parse(await this.running.directory.lookup(userId)) as LookupAnswer).user;
      if (leaf) leaves.set(userId, { n: leaf.n, root: decodeUnpadded(leaf.history_root) });
    }
    this.settled.set(epoch, leaves);
  }

  async #checkSettled(
    head: VerifiedHead,
    epoch: number,
    leaves: ReadonlyMap<string, { n: number; root: Hash }>,
    userIds: readonly string[],
  ): Promise<void> {
    const { directory } = this.running;
    const record: EpochRecord = verifySettlingRecords(
      head,
      epoch,
      (await directory.settlingRecords(epoch, head.checkpoint.size))!,
    ).record;
    for (const userId of userIds) {
      const answer = parseSettledAnswer((await directory.settled(userId, epoch))!);
      const index = await this.#index(userId);
      const expected = leaves.get(userId);
      assert.equal(answer.leaf?.n, expected?.n);
      const leaf = expected && { n: expected.n, historyRoot: expected.root };
      assert.deepEqual(verifyMapProof(parseMapProof(decodeUnpadded(answer.map_proof)), index, leaf), record.mapRoot);
      if (expected === undefined) continue;
      const now = (JSON.parse(await directory.lookup(userId)) as LookupAnswer).user.leaf!;
      const to = { n: now.n, root: decodeUnpadded(now.history_root) };
      verifyAncestor(expected, to, pathOf(answer.leaf!.consistency));
    }
  }

  async #index(userId: string): Promise<Hash> {
    const { vrf_proof } = (JSON.parse(await this.running.directory.lookup(userId)) as LookupAnswer).user;
    return vrfOutput(decodeUnpadded(vrf_proof)).slice(0, 32);
  }
}

describe("sequencer", () => {
  let log: OwnLog;
  let running: RunningLog;
  beforeEach(async () => {
    log = await OwnLog.create();
    running = await log.start();
  });
  afterEach(async () => {
    await running.sequencer.close();
    log.remove();
  });
  const userId = "@a:example.org";
  const submit = (content: number, who = userId): Promise<{ version: number; epoch: number }> =>
    running.sequencer.submit({ userId: who, entry: entryOf(who, content), observedMs: log.clock.now() });
  const merge = (content: number, who = userId): Promise<{ version: number; epoch: number }> =>
    log.clock.runUntil(submit(content, who));

  it("answers as a naive log would: every proof, every epoch, over restarts", async function () {
    this.timeout(120_000);
    const inspector = new Inspector(log, running);
    const userIds = Array.from({ length: 25 }, (_, i) => `@user${i}:example.org`);
    for (let round = 0; round < 24; round++) {
      const roll = sha256(utf8(`${round}`));
      await inspector.closeEpoch(
        round % 9 === 4 ? [] : userIds.filter((_, i) => roll[i]! < 60),
        1_000 + 50 * roll[31]!,
      );
      if (round % 4 === 3) await inspector.check(userIds);
      if (round % 8 !== 7) continue;
      await running.sequencer.close();
      running = inspector.running = await log.start();
    }
    await inspector.check([...userIds, "@nobody:example.org"]);
  });

  it("answers soundly at every moment while epochs close as fast as they can", async function () {
    this.timeout(60_000);
    const busy = await OwnLog.create({}, Date.now() - 60_000);
    const { sequencer, directory } = await busy.start({ clock: systemClock, maxChanges: 20, epochDelayMs: 1 });
    const ends = Date.now() + 2_500;
    const userAt = (i: number): string => `@busy${i % 700}:example.org`;
    const write = async (from: number): Promise<void> => {
      for (let i = from; Date.now() < ends; i += 61) {
        const who = userAt(i);
        await sequencer.submit({ userId: who, entry: entryOf(who, i), observedMs: Date.now() });
      }
    };
    const seen = new Set<number>();
    const read = async (from: number): Promise<void> => {
      for (let i = from; Date.now() < ends; i += 13) {
        const { head, user } = JSON.parse(await directory.lookup(userAt(i))) as LookupAnswer;
        const { mapRoot, epoch } = parseEpochRecord(decodeUnpadded(head.record));
        const index = vrfOutput(decodeUnpadded(user.vrf_proof)).slice(0, 32);
        const leaf = user.leaf && { n: user.leaf.n, historyRoot: decodeUnpadded(user.leaf.history_root) };
        assert.deepEqual(verifyMapProof(parseMapProof(decodeUnpadded(user.map_proof)), index, leaf), mapRoot);
        seen.add(epoch);
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    await Promise.all([...Array.from({ length: 60 }, (_, i) => write(i)), read(1), read(2)]);
    assert(seen.size > 3, `${seen.size} epochs seen`);
    await sequencer.close();
    assert(await fsck(busy, () => undefined));
    busy.remove();
  });

  it("gives every change a version of its own, at most eight per epoch", async () => {
    const merged = await log.clock.runUntil(Promise.all(Array.from({ length: 19 }, (_, i) => submit(i))));
    assert.deepEqual(
      merged.map(({ version }) => version),
      merged.map((_, i) => i + 1),
    );
    const first = merged[0]!.epoch;
    assert.deepEqual(
      merged.map(({ epoch }) => epoch - first),
      merged.map((_, i) => Math.floor(i / 8)),
    );
  });

  it("merges at most a hundred versions on one day, and the rest on the next", async () => {
    await log.clock.runUntil(Promise.all(Array.from({ length: 100 }, (_, i) => submit(i))));
    const late = submit(100);
    assert.equal(await running.sequencer.promise(userId), undefined, "no promise beyond the limit");
    const { epoch } = running.sequencer.status();
    log.clock.advance(60_000);
    await log.clock.runUntil(reached(running, epoch + 1));
    assert.equal(running.sequencer.status().pending, 1);
    log.clock.advance(86_400_000);
    assert.equal((await log.clock.runUntil(late)).version, 101);
  });

  it("takes an entry that is already the newest as that version", async () => {
    assert.deepEqual(await merge(1), await merge(1));
  });

  it("keeps a promise over a crash, under the same version and opening", async () => {
    const lost = submit(1);
    const promised = await running.sequencer.promise(userId);
    assert(promised);
    assert.deepEqual(await running.sequencer.promise(userId), promised, "one promise per change");
    const { version, commitment, mergeByMs, receivedMs } = openPromise(
      promised.note,
      parseVkey(log.configuration.promise_key),
    );
    assert.equal(mergeByMs - receivedMs, log.configuration.merge_delay_ms);
    const opened = commit({ userId, version, entry: promised.entry, opening: promised.opening });
    assert.deepEqual(opened, commitment);
    lost.catch(() => undefined);
    await running.sequencer.close();
    await assert.rejects(lost);
    running = await log.start();
    await log.clock.runUntil(reached(running, 1));
    const answer = JSON.parse(await running.directory.lookup(userId)) as LookupAnswer;
    assert.deepEqual(decodeUnpadded(answer.user.leaf!.commitment), commitment);
    assert.equal(await running.sequencer.promise(userId), undefined, "nothing is pending");
  });

  it("closes an empty epoch after a heartbeat, with a later time", async () => {
    await log.clock.runUntil(reached(running, 1));
    const { timestampMs } = running.sequencer.status();
    await log.clock.runUntil(reached(running, 2));
    const ms = running.sequencer.status().timestampMs - timestampMs;
    assert(ms >= 60_000 && ms < 61_000, `${ms} ms`);
  });

  it("erases what is acknowledged and old enough, and every proof stays", async () => {
    await merge(1);
    await merge(2);
    const { n, history_root } = (JSON.parse(await running.directory.lookup(userId)) as LookupAnswer).user.leaf!;
    await assert.rejects(running.sequencer.eraseVersions(userId, [1]), /not acknowledged/);
    await assert.rejects(running.sequencer.acknowledge(userId, 1, decodeUnpadded(history_root), new Uint8Array(64)));
    await running.sequencer.acknowledge(userId, n, decodeUnpadded(history_root), new Uint8Array(64));
    await assert.rejects(running.sequencer.eraseVersions(userId, [1]), /30 days/);
    log.clock.advance(31 * 86_400_000);
    await log.clock.runUntil(running.sequencer.closeAccount(userId));
    await running.sequencer.eraseVersions(userId, [1, 2]);
    await merge(1, "@b:example.org");
    const { versions } = (await running.directory.historyVersions(userId, 1, 3))!;
    assert.deepEqual(
      versions.map(({ entry }) => entry),
      [undefined, undefined, fromUtf8(closedEntry(userId))],
    );
    const leaf = (JSON.parse(await running.directory.lookup(userId)) as LookupAnswer).user.leaf!;
    const head = { n: leaf.n, root: decodeUnpadded(leaf.history_root) };
    for (const { version, epoch, commitment, proof } of versions) {
      verifyVersion({ version, epoch, commitment: decodeUnpadded(commitment) }, pathOf(proof), head);
    }
  });

  it("goes on with a history whose newest version was erased", async () => {
    await log.clock.runUntil(running.sequencer.closeAccount(userId));
    log.clock.advance(31 * 86_400_000);
    // Old enough is what a head of today shows to be old.
    await log.clock.runUntil(reached(running, running.sequencer.status().epoch + 1));
    await running.sequencer.eraseVersions(userId, [1]);
    assert.equal(await running.sequencer.newestEntry(userId), undefined);
    assert.equal((await merge(5)).version, 2);
    const { versions } = (await running.directory.historyVersions(userId, 1, 2))!;
    assert.deepEqual(
      versions.map(({ entry }) => entry !== undefined),
      [false, true],
    );
  });

  it("ends a log with an epoch that names its successor, and signs nothing more", async () => {
    await log.clock.runUntil(reached(running, 1));
    log.clock.advance(1_000);
    const successor = { origin: "example.org/ckv/2", log_key: "" };
    const publicKey = parseVkey(log.configuration.log_key).publicKey;
    successor.log_key = formatVkey({ name: successor.origin, type: ED25519_KEY, publicKey });
    await running.sequencer.closeLog(successor);
    const last = parseConfiguration((await running.directory.configuration())!);
    assert.deepEqual({ ...last.successor }, successor);
    const { epoch } = running.sequencer.status();
    await running.sequencer.close();
    running = await log.start();
    assert.match(running.sequencer.status().reason ?? "", /closed/);
    log.clock.advance(120_000);
    assert.equal(running.sequencer.status().epoch, epoch);
    assert.equal(await running.sequencer.promise(userId), undefined);
  });

  it("publishes only what was cosigned, and leaves out what was signed meanwhile", async () => {
    await running.sequencer.close();
    const asked: number[] = [];
    let release = (): void => undefined;
    running = await log.start({
      cosign: async (note, size) => {
        asked.push(size);
        if (asked.length <= 2) await new Promise<void>((resolve) => (release = resolve));
        return note;
      },
    });
    await assert.rejects(running.directory.lookup(userId), { code: "not-ready" });
    const merges: Promise<unknown>[] = [];
    for (const content of [1, 2]) {
      const { timestampMs } = running.sequencer.status();
      merges.push(submit(content));
      await running.sequencer.newestEntry(userId);
      await log.clock.runUntil(until(() => running.sequencer.status().timestampMs > timestampMs));
    }
    assert.deepEqual(asked, [1], "the witness is asked about one head at a time");
    release();
    await until(() => asked.length === 2);
    release();
    await log.clock.runUntil(Promise.all(merges));
    const checkpoint = openCheckpoint(await running.directory.checkpoint(), parseVkey(log.configuration.log_key));
    assert(checkpoint.size >= asked[1]!);
    assert(asked[1]! >= 3, "what was signed meanwhile is left out");
  });
});
