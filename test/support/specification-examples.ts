/**
 * The worked examples of shared/README.md, computed from seeds of one repeated byte. Run as a program it writes them into
 * the specification, each behind its `<!-- example: name -->`; test/shared/specification.test.ts compares.
 */
import { readFile, writeFile } from "node:fs/promises";
import { contactCode, formatContactCode, transcriptHash, commitToNonce } from "../../shared/codes/contact-code.ts";
import { encodePublicCode } from "../../shared/codes/public-code.ts";
import { commit } from "../../shared/crypto/commitment.ts";
import { publicKeyOf, signEd25519 } from "../../shared/crypto/ed25519.ts";
import { ED25519_KEY, formatVkey } from "../../shared/crypto/signed-note.ts";
import { proveVrf, vrfPublicKey } from "../../shared/crypto/vrf.ts";
import { configurationHash, formatConfiguration } from "../../shared/directory/configuration.ts";
import { nextEntry } from "../../shared/directory/entry.ts";
import { canonicalJson, encodeHex, encodeUnpadded, fromUtf8, utf8 } from "../../shared/encoding.ts";
import { appendVersion, historyLeaf } from "../../shared/history/history.ts";
import { changesHash, encodeChangeList } from "../../shared/log/change-list.ts";
import { originOf, signCheckpoint } from "../../shared/log/checkpoint.ts";
import { encodeEpochRecord, epochLeafHash } from "../../shared/log/epoch-record.ts";
import { EMPTY, encodeMapProof } from "../../shared/map/map-proof.ts";
import { PrefixTree } from "../../shared/map/prefix-tree.ts";
import { emptyFrontier, frontierRoot, HISTORY_DOMAINS, LOG_DOMAINS, rootOf } from "../../shared/merkle/tree.ts";
import { signPromise } from "../../shared/proofs/promise.ts";

export const SPECIFICATION: URL = new URL("../../shared/README.md", import.meta.url);

const seed = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);
const [LOG_SEED, VRF_SEED, PROMISE_SEED, MASTER_SEED, DEVICE_SEED] = [seed(1), seed(2), seed(3), seed(4), seed(5)];
const USER = "@alice:example.org";
const ORIGIN = originOf("example.org", 1);
const HOUR_MS = 3_600_000;
const START_MS = 1_800_000_000_000;

function vkey(name: string, seedOfKey: Uint8Array): string {
  return formatVkey({ name, type: ED25519_KEY, publicKey: publicKeyOf(seedOfKey) });
}

function entryOfAlice(): Uint8Array {
  const device = {
    algorithms: ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
    device_id: "PHONE",
    keys: { "curve25519:PHONE": encodeUnpadded(seed(9)), "ed25519:PHONE": encodeUnpadded(publicKeyOf(DEVICE_SEED)) },
    user_id: USER,
  };
  const signature = encodeUnpadded(signEd25519(DEVICE_SEED, utf8(canonicalJson(device))));
  const master = encodeUnpadded(publicKeyOf(MASTER_SEED));
  const keys = {
    masterKey: canonicalJson({ keys: { [`ed25519:${master}`]: master }, usage: ["master"], user_id: USER }),
    devices: new Map([["PHONE", canonicalJson({ ...device, signatures: { [USER]: { "ed25519:PHONE": signature } } })]]),
  };
  const entry = nextEntry(USER, undefined, { kind: "keys", keys });
  if (entry === undefined) throw new RangeError("Alice has keys");
  return entry;
}

const block = (rows: readonly (readonly [string, string])[]): string =>
  rows.map(([name, value]) => `${name.padEnd(20)} ${value}`).join("\n");

/** Each example's text by its name, as it stands in the specification. */
export function specificationExamples(): ReadonlyMap<string, string> {
  const entry = entryOfAlice();
  const opening = seed(6);
  const commitment = commit({ userId: USER, version: 1, entry, opening });
  const { proof, index } = proveVrf(VRF_SEED, utf8(USER));
  const historyRoot = frontierRoot(HISTORY_DOMAINS, appendVersion(emptyFrontier, { version: 1, epoch: 1, commitment }));
  const map = new PrefixTree();
  map.set(index, 1, historyRoot);
  map.set(seed(0x55), 3, seed(7));
  const configuration = formatConfiguration({
    format_version: 1,
    origin: ORIGIN,
    log_key: vkey(ORIGIN, LOG_SEED),
    vrf_key: encodeUnpadded(vrfPublicKey(VRF_SEED)),
    vrf_suite: "ECVRF-EDWARDS25519-SHA512-TAI",
    settle_ms: 6 * HOUR_MS,
    merge_delay_ms: 60_000,
    heartbeat_ms: 60_000,
    promise_key: vkey(`${ORIGIN}/promise`, PROMISE_SEED),
    service_url: "https://ckv.example.org",
    rooms: { epochs: "#ckv:example.org", members: "#ckv-members:example.org" },
    witnesses: [],
    auditors: [],
  });
  const list = encodeChangeList([{ index, old: emptyFrontier, commitments: [commitment] }]);
  const shared = { configurationHash: configurationHash(configuration) };
  const records = [
    {
      ...shared,
      epoch: 0,
      timestampMs: START_MS,
      labels: 0,
      mapRoot: EMPTY,
      changesHash: changesHash(new Uint8Array()),
    },
    { ...shared, epoch: 1, timestampMs: START_MS + 1000, labels: 2, mapRoot: map.root, changesHash: changesHash(list) },
  ].map(encodeEpochRecord);
  const root = rootOf(LOG_DOMAINS, records.map(epochLeafHash));
  const promise = { index, version: 1, commitment, receivedMs: START_MS, mergeByMs: START_MS + 60_000 };
  return new Map([
    ["checkpoint", signCheckpoint({ origin: ORIGIN, size: 2, root }, { seed: LOG_SEED }).trimEnd()],
    ["entry", fromUtf8(entry)],
    [
      "vrf",
      block([
        ["alpha", USER],
        ["vrf key", encodeHex(vrfPublicKey(VRF_SEED))],
        ["proof", encodeHex(proof)],
        ["index", encodeHex(index)],
      ]),
    ],
    [
      "commitment",
      block([
        ["opening", encodeHex(opening)],
        ["version", "1"],
        ["commitment", encodeHex(commitment)],
      ]),
    ],
    [
      "history",
      block([
        ["leaf of version 1", encodeHex(historyLeaf({ version: 1, epoch: 1, commitment }))],
        ["root of (1)", encodeHex(historyRoot)],
      ]),
    ],
    [
      "map",
      block([
        ["other leaf", `${encodeHex(seed(0x55))}, n = 3, root ${encodeHex(seed(7))}`],
        ["map root", encodeHex(map.root)],
        ["proof for @alice", encodeHex(encodeMapProof(map.prove(index)))],
      ]),
    ],
    ["epoch-record", block(records.map((record, epoch) => [`record ${epoch}`, encodeHex(record)]))],
    [
      "changes",
      block([
        ["change list", encodeHex(list)],
        ["changes_hash", encodeHex(changesHash(list))],
      ]),
    ],
    ["promise", signPromise(promise, { origin: ORIGIN, seed: PROMISE_SEED }).trimEnd()],
    ["configuration", `${configuration}\n\n${block([["configuration_hash", encodeHex(shared.configurationHash)]])}`],
    ["contact-code", contactCodeExample()],
    ["public-code", encodePublicCode(USER, publicKeyOf(MASTER_SEED))],
  ]);
}

function contactCodeExample(): string {
  const logVkey = vkey(ORIGIN, LOG_SEED);
  const party = (
    userId: string,
    deviceId: string,
    byte: number,
  ): Parameters<typeof transcriptHash>[0]["initiator"] => ({
    userId,
    deviceId,
    deviceKey: seed(byte),
    masterKey: seed(byte + 1),
    logVkey,
  });
  const [initiator, responder] = [party(USER, "PHONE", 0x10), party("@bob:example.org", "LAPTOP", 0x20)];
  const transcript = transcriptHash({ session: seed(0x30), initiator, responder });
  const [nonceA, nonceB] = [seed(0x40), seed(0x41)];
  return block([
    ["session", "30 repeated; both logs are the one of this document"],
    ["@alice:example.org", "device PHONE, device key 10 repeated, master key 11 repeated, R_A 40 repeated"],
    ["@bob:example.org", "device LAPTOP, device key 20 repeated, master key 21 repeated, R_B 41 repeated"],
    ["SHA-256(T)", encodeHex(transcript)],
    ["c", encodeHex(commitToNonce(transcript, nonceA))],
    ["code", formatContactCode(contactCode(transcript, nonceA, nonceB))],
  ]);
}

const PLACE = /<!-- example: ([a-z-]+) -->\n(?:```\n[^]*?\n```\n)?/g;

/** The specification's text with each example in its place. Throws `RangeError` for a place without an example. */
export function withExamples(text: string): string {
  const examples = specificationExamples();
  return text.replace(PLACE, (_, name: string) => {
    const example = examples.get(name);
    if (example === undefined) throw new RangeError(`no example named ${name}`);
    return `<!-- example: ${name} -->\n\`\`\`\n${example}\n\`\`\`\n`;
  });
}

if (import.meta.main) await writeFile(SPECIFICATION, withExamples(await readFile(SPECIFICATION, "utf8")));
