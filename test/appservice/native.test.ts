/** What the host computes faster is what the core computes. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, it } from "mocha";
import { base64 } from "../../appservice/base64.ts";
import { checkpointSigner } from "../../appservice/checkpoint-signer.ts";
import { commitNatively } from "../../appservice/native-commitment.ts";
import { NATIVE_CHECKS } from "../../appservice/native-ed25519.ts";
import { indexBatchProver, indexProver } from "../../appservice/native-vrf.ts";
import { hashBytes, hashHistoryLeaf, hashHistoryNode, setHashWords } from "../../appservice/store/fixed-hash.ts";
import { compareHash, MapHashes, writeHash } from "../../appservice/store/map-hashes.ts";
import { commit } from "../../shared/crypto/commitment.ts";
import type { Hash } from "../../shared/crypto/hash.ts";
import { ED25519_CHECKS, publicKeyOf, signEd25519 } from "../../shared/crypto/ed25519.ts";
import type { Ed25519Checks } from "../../shared/crypto/ed25519.ts";
import { ED25519_KEY, noteKeyOf } from "../../shared/crypto/signed-note.ts";
import { signCheckpoint } from "../../shared/log/checkpoint.ts";
import { ORIGIN } from "../support/own-log.ts";
import { proveVrf } from "../../shared/crypto/vrf.ts";
import type { VrfProof } from "../../shared/crypto/vrf.ts";
import { decodeHex, encodeUnpadded, utf8 } from "../../shared/encoding.ts";
import { historyLeaf } from "../../shared/history/history.ts";
import { mapLeafHash, mapNodeHash } from "../../shared/map/map-proof.ts";
import { HISTORY_DOMAINS, nodeHash } from "../../shared/merkle/tree.ts";

import { frozenVectors, itWithVectors } from "../support/vectors.ts";

/** What stands where nothing was written. */
const NONE: Hash = new Uint8Array(32);

describe("native", () => {
  const same = (a: Uint8Array, b: Uint8Array): void => {
    assert.equal(Buffer.from(a).toString("hex"), Buffer.from(b).toString("hex"));
  };

  it("VRF proofs and indices, one and many at once", () => {
    for (const count of [1, 1, 2, 16, 41]) {
      const seed = randomBytes(32);
      const userIds = Array.from({ length: count }, (_, i) => `@user${i}:example.org`);
      const [proveOne, proveMany] = [indexProver(seed), indexBatchProver(seed)];
      const proofs = proveMany(userIds);
      assert.equal(proofs.length, count);
      for (const [i, userId] of userIds.entries()) {
        const core = proveVrf(seed, utf8(userId));
        for (const { proof, index } of [proveOne(userId), proofs[i] as VrfProof]) {
          same(proof, core.proof);
          same(index, core.index);
        }
      }
    }
    assert.deepEqual(indexBatchProver(randomBytes(32))([]), []);
  });

  const says = (check: () => void): string => {
    try {
      check();
      return "accepted";
    } catch (error) {
      return (error as { readonly code: string }).code;
    }
  };

  /** What both say of a signature and of its key. */
  function judged(key: Uint8Array, message: Uint8Array, signature: Uint8Array): string {
    const verify = ({ checkPublicKey, verify: check }: Ed25519Checks): readonly string[] => [
      says(() => {
        check(key, message, signature);
      }),
      says(() => checkPublicKey(key)),
    ];
    const core = verify(ED25519_CHECKS);
    assert.deepEqual(verify(NATIVE_CHECKS), core, Buffer.from([...key, ...signature]).toString("hex"));
    return core[0] ?? "";
  }

  function judgeAll(vectors: unknown): Set<string> {
    const cases = vectors as readonly { readonly key: string; readonly sig: string; readonly msg: string }[];
    return new Set(cases.map(({ key, sig, msg }) => judged(decodeHex(key), utf8(msg), decodeHex(sig))));
  }

  it("signatures: the special cases of the frozen vectors", () => {
    judgeAll(frozenVectors("ed25519-cctv-sample.json"));
  });
  itWithVectors("signatures: all 914 special cases", "ed25519-cctv.json", (vectors) => {
    assert.deepEqual([...judgeAll(vectors)].sort(), ["accepted", "bad-signature"]);
  });

  it("signatures: flipped bits and wrong lengths", () => {
    const [seed, message] = [randomBytes(32), randomBytes(100)];
    const [key, signature] = [publicKeyOf(seed), signEd25519(seed, message)];
    assert.equal(judged(key, message, signature), "accepted");
    for (let bit = 0; bit < 512; bit += 11) {
      const [otherKey, otherSignature] = [Uint8Array.from(key), Uint8Array.from(signature)];
      otherKey[(bit >> 3) % 32] = (otherKey[(bit >> 3) % 32] ?? 0) ^ (1 << (bit & 7));
      otherSignature[bit >> 3] = (otherSignature[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      judged(otherKey, message, signature);
      assert.equal(judged(key, message, otherSignature), "bad-signature");
    }
    for (const length of [0, 31, 63]) {
      judged(key.slice(0, length % 32), message, signature);
      assert.equal(judged(key, message, signature.slice(0, length)), "bad-signature");
    }
    judged(Uint8Array.from([...key, 0]), message, signature);
    judged(key, message, Uint8Array.from([...signature, 0]));
  });

  it("hashes of histories", () => {
    for (let i = 0; i < 400; i++) {
      const [left, right] = [randomBytes(32), randomBytes(32)];
      same(hashHistoryNode(left, right), nodeHash(HISTORY_DOMAINS, left, right));
      const version = i % 3 === 0 ? 2 ** 52 + i : i;
      same(hashHistoryLeaf(version, 2 * i, left), historyLeaf({ version, epoch: 2 * i, commitment: left }));
    }
  });

  it("hashes of nodes and leaves of the map, four at once or fewer", () => {
    for (let count = 1; count <= 23; count++) {
      const hashes = new MapHashes(writeHash);
      const [inputs, out] = [new Int32Array(16 * count), new Int32Array(16 * count)];
      const expected: Hash[] = [];
      for (let i = 0; i < count; i++) {
        const [left, right] = [randomBytes(32), randomBytes(32)];
        setHashWords(inputs, 16 * i, left, 0);
        setHashWords(inputs, 16 * i + 8, right, 0);
        const n = i % 3 === 0 ? 2 ** 52 + i : i;
        const content = Buffer.alloc(80, 0xff);
        content.set(left, 4);
        content.writeBigUInt64BE(BigInt(n), 36);
        content.set(right, 44);
        hashes.addNode(inputs, 16 * i, 16 * i + 8, out, 16 * i);
        if (i % 2 === 0) hashes.addLeaf(content, 4, out, 16 * i + 8);
        expected.push(
          mapNodeHash(left, right),
          i % 2 === 0 ? mapLeafHash({ index: left, n, historyRoot: right }) : NONE,
        );
      }
      hashes.finish();
      expected.forEach((hash, i) => {
        same(hashBytes(out, 8 * i), hash);
      });
    }
  });

  it("refuses a hash that is another, whatever bit of it or of what it is over differs", () => {
    const words = new Int32Array(24);
    setHashWords(words, 0, randomBytes(32), 0);
    setHashWords(words, 8, randomBytes(32), 0);
    const write = new MapHashes(writeHash);
    write.addNode(words, 0, 8, words, 16);
    write.finish();
    const compare = (): void => {
      const hashes = new MapHashes(compareHash);
      hashes.addNode(words, 0, 8, words, 16);
      hashes.finish();
    };
    compare();
    for (let bit = 0; bit < 32 * words.length; bit++) {
      words[bit >> 5]! ^= 1 << (bit & 31);
      assert.throws(compare, { name: "IntegrityError" });
      words[bit >> 5]! ^= 1 << (bit & 31);
    }
    compare();
  });

  it("commitments", () => {
    for (const length of [0, 1, 55, 56, 1_000, 5_000, 65_536]) {
      const opened = {
        userId: "@ü:example.org",
        version: 2 ** 33 + length,
        entry: randomBytes(length),
        opening: randomBytes(32),
      };
      same(commitNatively(opened), commit(opened));
    }
  });

  it("signed checkpoints", () => {
    for (let size = 1; size < 20; size++) {
      const [seed, checkpoint] = [randomBytes(32), { origin: ORIGIN, size, root: randomBytes(32) }];
      const logKey = noteKeyOf({ name: ORIGIN, type: ED25519_KEY, publicKey: publicKeyOf(seed) });
      assert.equal(checkpointSigner(logKey, seed)(checkpoint), signCheckpoint(checkpoint, { seed }));
    }
  });

  it("base64", () => {
    for (let length = 0; length < 100; length++) {
      const bytes = randomBytes(length + 3).subarray(3);
      assert.equal(base64(bytes), encodeUnpadded(bytes));
    }
  });
});
