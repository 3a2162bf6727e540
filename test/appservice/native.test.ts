/** What the host computes faster is what the core computes. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, it } from "mocha";
import { base64 } from "../../appservice/base64.ts";
import { checkpointSigner } from "../../appservice/checkpoint-signer.ts";
import { commitNatively } from "../../appservice/native-commitment.ts";
import { NATIVE_CHECKS } from "../../appservice/native-ed25519.ts";
import { indexBatchProver, indexProver } from "../../appservice/native-vrf.ts";
import {
  hashBytes,
  hashHistoryLeaf,
  hashHistoryNode,
  hashLeaf,
  hashNode,
  setHashWords,
} from "../../appservice/store/fixed-hash.ts";
import { commit } from "../../shared/crypto/commitment.ts";
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

  it("hashes of nodes and leaves", () => {
    const words = new Int32Array(24);
    for (let i = 0; i < 400; i++) {
      const [left, right] = [randomBytes(32), randomBytes(32)];
      setHashWords(words, 0, left, 0);
      setHashWords(words, 8, right, 0);
      hashNode(words, 0, 8, words, 16);
      same(hashBytes(words, 16), mapNodeHash(left, right));
      same(hashHistoryNode(left, right), nodeHash(HISTORY_DOMAINS, left, right));
      const n = i % 3 === 0 ? 2 ** 52 + i : i;
      const content = Buffer.alloc(72);
      content.set(left, 0);
      content.writeBigUInt64BE(BigInt(n), 32);
      content.set(right, 40);
      hashLeaf(content, 0, words, 16);
      same(hashBytes(words, 16), mapLeafHash({ index: left, n, historyRoot: right }));
      same(hashHistoryLeaf(n, 2 * i, left), historyLeaf({ version: n, epoch: 2 * i, commitment: left }));
    }
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
