/** Answers of the lookup bench, checked as a client checks them. */
import { verifyCommitment } from "../../shared/crypto/commitment.ts";
import { parseVkey } from "../../shared/crypto/signed-note.ts";
import { configurationHash, formatConfiguration } from "../../shared/directory/configuration.ts";
import { decodeUnpadded, encodeHex, utf8 } from "../../shared/encoding.ts";
import { verifyVersion } from "../../shared/history/history.ts";
import { parseLookupAnswer } from "../../shared/messages.ts";
import type { LeafPart } from "../../shared/messages.ts";
import { verifyHead } from "../../shared/proofs/head.ts";
import type { KnownLog, VerifiedHead } from "../../shared/proofs/head.ts";
import { decodePath } from "../../shared/messages.ts";
import { verifyUser } from "../../shared/proofs/lookup.ts";
import { verifyLeafUnder } from "../../shared/proofs/settling.ts";
import type { OwnLog } from "../support/own-log.ts";
import { hashedIndex } from "./big-log.ts";
import type { LookupLoad } from "./lookup-client.ts";

/**
 * Throws unless each answer proves the newest version of its user. Users of the big log have indices that no VRF made and
 * entries that are no keys: everything else of theirs is checked, and for `enrolled` ones, who are real, all of it.
 */
export function checkSample(log: OwnLog, enrolled: ReadonlySet<string>, sample: LookupLoad["sample"]): void {
  const configurationText = formatConfiguration(log.configuration);
  const known: KnownLog = {
    logKey: parseVkey(log.configuration.log_key),
    configurations: new Map([[encodeHex(configurationHash(configurationText)), log.configuration]]),
    cosignatures: () => [],
    nowMs: Date.now(),
  };
  for (const { userId, text } of sample) {
    const { head: part, user } = parseLookupAnswer(JSON.parse(text));
    const head = verifyHead(known, part, []);
    if (user.leaf === undefined) throw new Error(`${userId} is not in the log`);
    if (enrolled.has(userId)) {
      const { leaf } = verifyUser(head, {}, userId, user);
      if (leaf?.content === undefined) throw new Error(`the answer for ${userId} has no entry`);
    } else checkLoaded(head, userId, user.map_proof, user.leaf);
  }
}

function checkLoaded(head: VerifiedHead, userId: string, mapProof: string, leaf: LeafPart): void {
  const [root, commitment] = [decodeUnpadded(leaf.history_root), decodeUnpadded(leaf.commitment)];
  verifyLeafUnder(head.record, hashedIndex(userId).index, { n: leaf.n, root }, mapProof);
  const version = { version: leaf.n, epoch: leaf.epoch, commitment };
  verifyVersion(version, decodePath(leaf.last_leaf_proof), { n: leaf.n, root });
  const opened = {
    userId,
    version: leaf.n,
    entry: utf8(leaf.entry ?? ""),
    opening: decodeUnpadded(leaf.opening ?? ""),
  };
  verifyCommitment(commitment, opened);
}
