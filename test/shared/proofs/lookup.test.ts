import assert from "node:assert/strict";
import { VRF_PROOF_BYTES } from "../../../shared/crypto/vrf.ts";
import { cosign, openCosignatures } from "../../../shared/crypto/cosignature.ts";
import { publicKeyOf } from "../../../shared/crypto/ed25519.ts";
import { appendSignature, COSIGNATURE_KEY, formatVkey, noteKeyOf } from "../../../shared/crypto/signed-note.ts";
import { formatConfiguration } from "../../../shared/directory/configuration.ts";
import { decodeUnpadded, encodeUnpadded } from "../../../shared/encoding.ts";
import { checkPolicy, parsePolicy } from "../../../shared/log/policy.ts";
import { epochLeafHash } from "../../../shared/log/epoch-record.ts";
import { LOG_DOMAINS, rootOf } from "../../../shared/merkle/tree.ts";
import { isPowerOfTwo } from "../../../shared/merkle/consistency.ts";
import { decodePath, encodePath } from "../../../shared/messages.ts";
import type { HeadPart, LeafPart, LookupAnswer, UserPart } from "../../../shared/messages.ts";
import { acceptConfiguration, verifyHead } from "../../../shared/proofs/head.ts";
import type { KnownLog, VerifiedHead } from "../../../shared/proofs/head.ts";
import { verifyLookup, verifyUser } from "../../../shared/proofs/lookup.ts";
import type { KnownUser, VerifiedLookup } from "../../../shared/proofs/lookup.ts";
import { verifySettlingRecords } from "../../../shared/proofs/settling.ts";
import { flippedBits, mutatedPaths } from "../../support/mutations.ts";
import { TestLog } from "../../support/test-log.ts";
import { seedOf, TestUser } from "../../support/test-user.ts";
import { assertEvidence, assertVerdict, codeOf } from "../../support/verdicts.ts";
import { without } from "../../support/without.ts";

const ALICE = "@alice:example.org";
const BOB = "@bob:example.org";
const NOBODY = "@nobody:example.org";
const START = 1_000_000;

/** Alice with as many versions as `versions`, Bob with one, an epoch each second. */
function logWith(versions: number, options: ConstructorParameters<typeof TestLog>[0] = {}): TestLog {
  const log = new TestLog({ startMs: START, settleMs: 10_000, ...options });
  log.setEntry(BOB, entryOf(BOB, "B"));
  for (let version = 1; version <= versions; version++) {
    log.setEntry(ALICE, entryOf(ALICE, `A${version}`));
    log.closeEpoch(START + 1_000 * version);
  }
  return log;
}

const entries = new Map<string, Uint8Array>();
function entryOf(userId: string, deviceId: string): Uint8Array {
  const key = `${userId} ${deviceId}`;
  const entry = entries.get(key) ?? new TestUser(userId, deviceId).entry();
  entries.set(key, entry);
  return entry;
}

const nowOf = (log: TestLog): number => log.newest.record.timestampMs;
const headOf = (log: TestLog, newest?: HeadPart, path = decodePath("")): VerifiedHead =>
  verifyHead(log.known(nowOf(log), newest), log.head(), path);
const settlingOf = (log: TestLog, head: VerifiedHead) =>
  verifySettlingRecords(head, log.settlingEpoch(), log.settlingRecords());

/** The whole check of one user with what was accepted before, as a client makes it. */
function check(log: TestLog, userId: string, known: KnownUser = {}, part: UserPart = log.user(userId)): VerifiedLookup {
  const head = headOf(log);
  return verifyUser(head, { settling: settlingOf(log, head), ...known }, userId, part);
}

/** Root of the first `size` epochs where they are a complete tree: what a reader of tiles puts before the path. */
const subtree = (log: TestLog, size: number): Uint8Array[] =>
  isPowerOfTwo(size)
    ? [
        rootOf(
          LOG_DOMAINS,
          log.epochs.slice(0, size).map(({ bytes }) => epochLeafHash(bytes)),
        ),
      ]
    : [];

const seen = (log: TestLog, userId: string = ALICE): Pick<KnownUser, "accepted"> => {
  const { leaf } = check(log, userId);
  assert(leaf !== undefined);
  return { accepted: leaf };
};

describe("lookup of an honest log", () => {
  it("verifies in every size, first and again, present and absent", () => {
    for (let versions = 1; versions <= 12; versions++) {
      const log = logWith(versions);
      log.checkLog();
      const first = check(log, ALICE);
      assert.equal(first.leaf?.n, versions);
      assert.deepEqual([...(first.leaf.content?.entry.devices.keys() ?? [])], [`A${versions}`]);
      assert.equal(check(log, NOBODY).leaf, undefined);
      const again = check(log, ALICE, { index: first.index, accepted: first.leaf, path: [] });
      assert.equal(again.leaf?.content, first.leaf.content);
    }
  });

  it("verifies after any absence, with one history path", () => {
    const log = logWith(1);
    const known = seen(log);
    for (let version = 2; version <= 30; version++) {
      log.setEntry(ALICE, entryOf(ALICE, `A${version}`));
      log.closeEpoch(START + version * 100_000_000);
    }
    const path = log.historyConsistency(ALICE, 1, 30);
    assert.equal(check(log, ALICE, { ...known, path }).leaf?.n, 30);
  });

  it("takes an older head as a prefix, and asks again", () => {
    const log = logWith(5);
    const known = { ...seen(log) };
    const behind = verifyHead(log.known(nowOf(log), log.head()), log.head(4), log.logConsistency(4, log.size));
    assert.equal(behind.behind, true);
    const path = log.historyConsistency(ALICE, 3, 5);
    assert.equal(verifyUser(behind, { ...known, path }, ALICE, log.user(ALICE, 4)).leaf?.n, 3);
    assert.equal(headOf(log).behind, false);
  });

  it("verifies as one answer", () => {
    const log = logWith(3);
    const verified = verifyLookup(log.known(nowOf(log)), [], {}, ALICE, log.lookup(ALICE));
    assert.equal(verified.leaf?.mergedIn, 3);
  });
});

describe("lookup: the head", () => {
  const log = logWith(6);
  const known = (change: Partial<KnownLog> = {}): KnownLog => ({ ...log.known(nowOf(log)), ...change });
  const refuse = (part: HeadPart, code: Parameters<typeof assertVerdict>[1], name?: string, by = known()): void => {
    assertVerdict(() => verifyHead(by, part, []), code, name);
  };

  it("is signed by the pinned key, with the origin of the log", () => {
    const other = logWith(2, { number: 2 });
    refuse(other.head(), "head-origin");
    refuse(
      log.head(),
      "head-signature",
      "other key of that name",
      known({ logKey: { ...other.logKey, name: log.origin } }),
    );
    refuse({ ...log.head(), checkpoint: "x" }, "bad-answer");
    refuse({ ...log.head(), checkpoint: log.head().checkpoint.replace("\n7\n", "\n8\n") }, "head-signature");
  });

  it("has the record as its last leaf", () => {
    refuse({ ...log.head(), record: log.head(4).record }, "record-not-last", "older record under a fresh head");
    refuse(
      { ...log.head(), record: log.head(4).record, record_proof: log.provenRecord(3).record_proof },
      "record-not-last",
    );
    const lying = logWith(6);
    lying.closeEpoch(START + 8_000, { epoch: 5 });
    assertVerdict(() => headOf(lying), "record-invalid");
    for (const { name, value } of mutatedPaths(decodePath(log.head().record_proof), 9)) {
      refuse({ ...log.head(), record_proof: encodePath(value) }, "record-not-last", name);
    }
    for (const { name, value } of flippedBits(decodeUnpadded(log.head().record), 3)) {
      const code = codeOf(() => verifyHead(known(), { ...log.head(), record: encodeUnpadded(value) }, []));
      assert(code === "record-not-last" || code === "record-invalid", name);
    }
  });

  it("continues the newest known head", () => {
    for (let size = 1; size < log.size; size++) {
      verifyHead(known({ newest: log.head(size) }), log.head(), log.logConsistency(size, log.size));
      verifyHead(known({ newest: log.head() }), log.head(size), log.logConsistency(size, log.size));
      const none = () => verifyHead(known({ newest: log.head(size) }), log.head(), []);
      assertVerdict(none, "heads-unreconciled", `no path from ${size}`);
    }
  });

  it("forks: E1 for one size, E2 where the tiles show it", () => {
    const fork = logWith(6).fork();
    const twin = logWith(6);
    fork.setEntry(ALICE, entryOf(ALICE, "GHOST"));
    fork.closeEpoch(START + 7_500);
    twin.closeEpoch(START + 7_000);
    const one = () => verifyHead(twin.known(nowOf(fork), twin.head()), fork.head(), []);
    assertEvidence(one, "head-fork", "E1");
    for (let later = 0; later < 4; later++) {
      fork.closeEpoch(START + 8_000 + 1_000 * later);
      const [from, to] = [twin.size, fork.size];
      const two = () => verifyHead(twin.known(nowOf(fork), twin.head()), fork.head(), fork.logConsistency(from, to));
      if (isPowerOfTwo(from)) assertVerdict(two, "heads-unreconciled");
      else assertEvidence(two, "head-fork", "E2");
      const full = [...subtree(fork, from), ...fork.logConsistency(from, to)];
      assertEvidence(() => verifyHead(twin.known(nowOf(fork), twin.head()), fork.head(), full), "head-fork", "E2");
      const honest = [...subtree(fork, from), ...fork.logConsistency(from, to)];
      verifyHead(fork.known(nowOf(fork), fork.head(from)), fork.head(), honest);
      twin.closeEpoch(START + 8_100 + 1_000 * later);
      fork.closeEpoch(START + 8_200 + 1_000 * later);
    }
  });

  it("keeps time and labels in order, with evidence", () => {
    const lying = logWith(4);
    const before = lying.head();
    const size = lying.size;
    lying.closeEpoch(START + 3_500);
    const path = (): ReturnType<TestLog["logConsistency"]> => lying.logConsistency(size, lying.size);
    assertEvidence(() => headOf(lying, before, path()), "time-backwards", "E7");
    lying.closeEpoch(START + 9_000, { labels: 0 });
    assertEvidence(() => headOf(lying, before, path()), "labels-shrank", "E7");
  });

  it("is stale, and the clock is suspected before the log", () => {
    const { heartbeat_ms } = log.configuration;
    const at = (ms: number) => verifyHead(known({ nowMs: nowOf(log) + ms }), log.head(), []);
    assert.equal(at(3 * heartbeat_ms + 300_000).stale, false);
    assert.equal(at(3 * heartbeat_ms + 300_001).stale, true);
    assert.equal(at(-60_000).stale, false);
    assertVerdict(() => at(-60_001), "clock");
    assertVerdict(() => at(-86_400_000), "clock");
  });

  it("has a configuration that is known, and one that may follow", () => {
    refuse(log.head(), "config-unknown", undefined, known({ configurations: new Map() }));
    const changing = logWith(2);
    const previous = { text: changing.configurationText, proven: changing.head() };
    const accept = (text: string) => acceptConfiguration(changing.logKey, previous, { text, proven: changing.head() });
    assert.deepEqual({ ...accept(changing.configurationText) }, { ...changing.configuration });
    changing.reconfigure({ service_url: "https://elsewhere.example" });
    assertVerdict(() => accept(changing.configurationText), "bad-answer", "not the one of the record");
    changing.closeEpoch(START + 20_000);
    assert.equal(accept(changing.configurationText).service_url, "https://elsewhere.example");
    for (const change of [
      { settle_ms: 20_000 },
      { merge_delay_ms: 61_000 },
      { vrf_key: new TestLog({ number: 2 }).configuration.vrf_key },
    ]) {
      const lying = changing.fork();
      lying.reconfigure(change);
      lying.closeEpoch(START + 30_000);
      const next = { text: lying.configurationText, proven: lying.head() };
      assertEvidence(() => acceptConfiguration(lying.logKey, previous, next), "config-fixed-field", "E8");
    }
  });

  it("refuses VRF keys of small order as vrf-key, other log keys as log-key-differs", () => {
    const weak = logWith(1);
    weak.configurationText = formatConfiguration({
      ...weak.configuration,
      vrf_key: encodeUnpadded(new Uint8Array(32).with(0, 1)),
    });
    weak.closeEpoch(START + 5_000);
    const next = { text: weak.configurationText, proven: weak.head() };
    assertVerdict(() => acceptConfiguration(weak.logKey, undefined, next), "vrf-key");
    const own = { text: log.configurationText, proven: log.head() };
    assertVerdict(() => acceptConfiguration(new TestLog({ number: 2 }).logKey, undefined, own), "log-key-differs");
  });

  it("meets the client's own policy", () => {
    const seed = seedOf("witness");
    const key = noteKeyOf({ name: "witness.example", type: COSIGNATURE_KEY, publicKey: publicKeyOf(seed) });
    const policy = parsePolicy(`# ours\nlog ${log.vkey}\nwitness w ${formatVkey(key)}\ngroup g all w\nquorum g\n`);
    const cosignatures = (note: string) => {
      const found = openCosignatures(note, policy.witnesses);
      checkPolicy(
        policy,
        found.map((each) => each.key),
      );
      return found;
    };
    refuse(log.head(), "quorum-missing", undefined, known({ cosignatures }));
    const sign = (timestampS: number): HeadPart => ({
      ...log.head(),
      checkpoint: appendSignature(
        log.head().checkpoint,
        cosign(log.head().checkpoint, { name: key.name, seed, timestampS }),
      ),
    });
    const timestampS = Math.floor(nowOf(log) / 1_000);
    assert.equal(verifyHead(known({ cosignatures }), sign(timestampS), []).cosignatures.length, 1);
    refuse(sign(timestampS + 301), "clock", "witness ahead", known({ cosignatures }));
    const bad = {
      ...sign(timestampS),
      checkpoint: sign(timestampS).checkpoint.replace(/.{6}==\n$|.{6}\n$/, "AAAAAA\n"),
    };
    assert(["quorum-missing", "bad-answer"].includes(codeOf(() => verifyHead(known({ cosignatures }), bad, [])) ?? ""));
  });
});

describe("lookup: the user", () => {
  const log = logWith(6);
  const bobs = log.user(BOB);
  const part = log.user(ALICE);
  const leaf = part.leaf!;
  const head = headOf(log);
  const settling = settlingOf(log, head);
  const ask = (changed: Partial<UserPart>, known: KnownUser = {}) =>
    verifyUser(head, { settling, ...known }, ALICE, { ...part, ...changed });
  const askLeaf = (changed: Partial<LeafPart>) => ask({ leaf: { ...leaf, ...changed } });

  it("is of this log's server", () => {
    assertVerdict(() => verifyUser(head, {}, "@alice:example.com", part), "log-not-authoritative");
    assertVerdict(() => verifyUser(head, {}, "@alice:sub.example.org", part), "log-not-authoritative");
  });

  it("has the index of the id that was asked for", () => {
    assertVerdict(() => ask({ vrf_proof: bobs.vrf_proof }), "index-proof");
    assertVerdict(() => verifyUser(head, {}, BOB, part), "index-proof", "the answer about Alice for Bob");
    const { index } = ask({});
    assertVerdict(() => ask({ vrf_proof: bobs.vrf_proof }, { index }), "index-proof", "known contact");
    for (const { name, value } of flippedBits(decodeUnpadded(part.vrf_proof), 23)) {
      assertVerdict(() => ask({ vrf_proof: encodeUnpadded(value) }), "index-proof", name);
    }
    assert.equal(decodeUnpadded(part.vrf_proof).length, VRF_PROOF_BYTES);
  });

  it("has its leaf in the map", () => {
    assertVerdict(() => ask({ map_proof: bobs.map_proof, leaf }), "map-proof", "another user's proof");
    assertVerdict(() => ask({ leaf: { ...leaf, n: 5 } }), "map-proof", "n minus 1");
    assertVerdict(() => askLeaf({ history_root: bobs.leaf!.history_root }), "map-proof");
    const absent = without(part, "leaf");
    assertVerdict(() => verifyUser(head, {}, ALICE, absent), "map-proof", "presence as absence");
    assertVerdict(
      () => ask({ map_proof: log.user(ALICE, 5).map_proof, leaf: log.user(ALICE, 5).leaf! }),
      "map-proof",
      "another epoch",
    );
    for (const { name, value } of flippedBits(decodeUnpadded(part.map_proof), 5)) {
      const code = codeOf(() => ask({ map_proof: encodeUnpadded(value) }));
      assert(code === "map-proof" || code === "bad-answer", name);
    }
    assertVerdict(() => ask({ map_proof: `${part.map_proof}AAAA` }), "bad-answer", "left over");
  });

  it("has its last version as the last leaf of its history", () => {
    assertVerdict(() => askLeaf({ epoch: leaf.epoch - 1 }), "history-leaf");
    const fifth = log.versions(ALICE, 5, 5).versions[0]!;
    assertVerdict(() => askLeaf({ ...fifth, last_leaf_proof: fifth.proof }), "history-leaf", "another position");
    for (const { name, value } of mutatedPaths(decodePath(leaf.last_leaf_proof), 5)) {
      assertVerdict(() => askLeaf({ last_leaf_proof: encodePath(value) }), "history-leaf", name);
    }
    for (const { name, value } of flippedBits(decodeUnpadded(leaf.commitment), 3)) {
      assertVerdict(() => askLeaf({ commitment: encodeUnpadded(value) }), "history-leaf", name);
    }
  });

  it("opens to the entry that was committed to", () => {
    assertVerdict(() => askLeaf({ entry: bobs.leaf!.entry! }), "commitment", "another user's entry");
    assertVerdict(() => askLeaf({ entry: log.user(ALICE, 5).leaf!.entry! }), "commitment", "another version");
    assertVerdict(() => askLeaf({ opening: bobs.leaf!.opening! }), "commitment", "another opening");
    for (const bytes of [31, 33]) {
      assertVerdict(() => askLeaf({ opening: encodeUnpadded(new Uint8Array(bytes)) }), "bad-answer", `${bytes} bytes`);
    }
    for (const { name, value } of flippedBits(decodeUnpadded(leaf.opening!), 7)) {
      assertVerdict(() => askLeaf({ opening: encodeUnpadded(value) }), "commitment", name);
    }
  });

  it("is canonical and about this user, even where the log committed to something else", () => {
    const lying = logWith(1);
    lying.setEntry(ALICE, entryOf(BOB, "B"));
    lying.closeEpoch(START + 5_000);
    assertVerdict(() => check(lying, ALICE), "entry-subject");
    lying.setEntry(ALICE, Uint8Array.of(...entryOf(ALICE, "A1"), 0x20));
    lying.closeEpoch(START + 6_000);
    assertVerdict(() => check(lying, ALICE), "entry-not-canonical");
  });

  it("may be erased: then there is no content, and all else is proven", () => {
    const erased = without(leaf, "opening", "entry");
    const verified = ask({ leaf: erased });
    assert.equal(verified.leaf?.content, undefined);
    assert.equal(verified.leaf?.n, 6);
  });

  it("does not hold for the same epoch of another log", () => {
    const other = logWith(6, { number: 2 });
    const foreign: LookupAnswer = { head: log.head(), user: other.user(ALICE) };
    assertVerdict(() => verifyLookup(log.known(nowOf(log)), [], {}, ALICE, foreign), "index-proof");
  });
});

describe("lookup: what was seen before", () => {
  it("gone: leaf-vanished; shorter: history-shorter; same length, other: history-other", () => {
    const log = logWith(5);
    const known = seen(log);
    const gone = log.fork();
    gone.forget(ALICE);
    gone.closeEpoch(START + 6_000);
    assertEvidence(() => check(gone, ALICE, known), "leaf-vanished", "E3");
    const shorter = log.fork();
    shorter.forge(
      ALICE,
      [1, 2, 3, 4].map((i) => entryOf(ALICE, `A${i}`)),
    );
    shorter.closeEpoch(START + 6_000);
    assertEvidence(() => check(shorter, ALICE, known), "history-shorter", "E3");
    const other = log.fork();
    other.forge(
      ALICE,
      [1, 2, 3, 4, 9].map((i) => entryOf(ALICE, `A${i}`)),
    );
    other.closeEpoch(START + 6_000);
    assertEvidence(() => check(other, ALICE, known), "history-other", "E3");
  });

  it("longer with another past: E4 from the service's own proof, history-unproven without", () => {
    const log = logWith(5);
    const known = seen(log);
    const other = log.fork();
    other.forge(
      ALICE,
      [1, 2, 3, 4, 9, 10].map((i) => entryOf(ALICE, `A${i}`)),
    );
    other.closeEpoch(START + 6_000);
    const path = other.historyConsistency(ALICE, 5, 6);
    const evidence = assertEvidence(() => check(other, ALICE, { ...known, path }), "history-other", "E4");
    assert.equal(evidence.kind, "E4");
    assertVerdict(() => check(other, ALICE, known), "history-unproven");
    for (const { name, value } of mutatedPaths(path, 17)) {
      const code = codeOf(() => check(other, ALICE, { ...known, path: value }));
      assert(code === "history-unproven", name);
    }
  });

  it("refuses every mutated history path", () => {
    const log = logWith(7);
    const early = logWith(3);
    const known = seen(early);
    const path = log.historyConsistency(ALICE, 3, 7);
    check(log, ALICE, { ...known, path });
    for (const { name, value } of mutatedPaths(path, 17)) {
      assertVerdict(() => check(log, ALICE, { ...known, path: value }), "history-unproven", name);
    }
  });

  it("floods: more than 100 versions a day", () => {
    const log = logWith(1);
    const known = seen(log);
    const lying = log.fork();
    const many = Array.from({ length: 101 }, () => entryOf(ALICE, "A2"));
    for (const entry of many) lying.setEntry(ALICE, entry);
    for (let epoch = 0; epoch < 13; epoch++) lying.closeEpoch(START + 6_000 + epoch);
    const path = lying.historyConsistency(ALICE, 1, 102);
    assertVerdict(() => check(lying, ALICE, { ...known, path }), "history-flood");
    lying.closeEpoch(START + 86_400_000);
    check(lying, ALICE, { ...known, path });
  });
});
