/** What a client does at its first look at a contact and at each one after it, and how long it takes. Runs in browsers, too. */
import { ed25519 } from "@noble/curves/ed25519.js";
import { openCosignatures } from "../../../shared/crypto/cosignature.ts";
import { configurationHash } from "../../../shared/directory/configuration.ts";
import type { Configuration } from "../../../shared/directory/configuration.ts";
import { encodeHex } from "../../../shared/encoding.ts";
import { parseLookupAnswer, parseSettlingRecords } from "../../../shared/messages.ts";
import type { HeadPart } from "../../../shared/messages.ts";
import { acceptConfiguration, verifyHead } from "../../../shared/proofs/head.ts";
import type { KnownLog } from "../../../shared/proofs/head.ts";
import { verifyUser } from "../../../shared/proofs/lookup.ts";
import type { KnownUser, VerifiedLookup } from "../../../shared/proofs/lookup.ts";
import { verifySettlingRecords } from "../../../shared/proofs/settling.ts";
import type { VerifiedSettling } from "../../../shared/proofs/settling.ts";
import { median } from "./median.ts";
import { bigLog } from "./invented-log.ts";
import type { BigLog, Visit } from "./invented-log.ts";

const VISITS_BEFORE = 10;

/** Medians in milliseconds. */
export interface VisitTimes {
  readonly firstMs: number;
  readonly firstCosignedMs: number;
  readonly knownMs: number;
  readonly knownCosignedMs: number;
  /** One multiplication of a point by noble in the same run: what this machine is worth at this moment. */
  readonly yardstickMs: number;
}

interface Looked {
  readonly lookup: VerifiedLookup;
  readonly settling: VerifiedSettling;
  readonly head: HeadPart;
}

function knownLog(log: BigLog, visit: Visit, configuration: Configuration, isCosigned: boolean): KnownLog {
  return {
    logKey: log.logKey,
    configurations: new Map([[encodeHex(configurationHash(log.configuration)), configuration]]),
    cosignatures: (note) => (isCosigned ? openCosignatures(note, log.cosigners) : []),
    nowMs: visit.nowMs,
  };
}

/** Nothing is known: configuration, head, settling epoch, index, both map proofs, history, entry with its signatures. */
function lookFirst(log: BigLog, isCosigned: boolean): Looked {
  const { head: part, user } = parseLookupAnswer(JSON.parse(log.first.answer));
  const configuration = acceptConfiguration(log.logKey, undefined, { text: log.configuration, proven: part });
  const head = verifyHead(knownLog(log, log.first, configuration, isCosigned), part, []);
  const settling = verifySettlingRecords(head, log.settlingEpoch, parseSettlingRecords(JSON.parse(log.first.settling)));
  return { lookup: verifyUser(head, { settling }, log.userId, user), settling, head: part };
}

/** A new head; index, settling epoch, leaf and entry are known. */
function lookAgain(log: BigLog, before: Looked, isCosigned: boolean): VerifiedLookup {
  const { head: part, user } = parseLookupAnswer(JSON.parse(log.next.answer));
  const { head: known, index, leaf } = before.lookup;
  const newest = { ...knownLog(log, log.next, known.configuration, isCosigned), newest: before.head };
  const head = verifyHead(newest, part, log.path);
  const accepted: Pick<KnownUser, "accepted"> = leaf === undefined ? {} : { accepted: leaf };
  return verifyUser(head, { index, settling: before.settling, ...accepted }, log.userId, user);
}

/**
 * The very first verification of a process, in milliseconds: nothing is compiled. Only the making of the log ran before.
 * @public Called by name in processes and pages of its own.
 */
export function timeColdVisit(): number {
  const log = bigLog("cold");
  return timed(() => lookFirst(log, false)).ms;
}

/** `rounds` logs that nothing here has seen before, each looked at once and again. */
export function timeVisits(rounds: number): VisitTimes {
  const scalar = 2n ** 252n - 12_345n;
  const times = Array.from({ length: rounds }, () => {
    const log = bigLog(`log ${Math.random()}`);
    const cosigned = bigLog(`log ${Math.random()}`);
    const first = timed(() => lookFirst(log, false));
    const firstCosigned = timed(() => lookFirst(cosigned, true));
    // All keys of the log have their tables by then, as after the first minutes of a client's life.
    for (let visit = 0; visit < VISITS_BEFORE; visit++) lookAgain(log, first.result, true);
    const known = timed(() => lookAgain(log, first.result, false));
    const knownCosigned = timed(() => lookAgain(log, first.result, true));
    const point = ed25519.Point.fromBytes(log.logKey.publicKey);
    const yardstickMs = timed(() => point.multiplyUnsafe(scalar)).ms;
    return {
      firstMs: first.ms,
      firstCosignedMs: firstCosigned.ms,
      knownMs: known.ms,
      knownCosignedMs: knownCosigned.ms,
      yardstickMs,
    };
  });
  const middle = (name: keyof VisitTimes): number => median(times.map((each) => each[name]));
  return {
    firstMs: middle("firstMs"),
    firstCosignedMs: middle("firstCosignedMs"),
    knownMs: middle("knownMs"),
    knownCosignedMs: middle("knownCosignedMs"),
    yardstickMs: middle("yardstickMs"),
  };
}

function timed<T>(task: () => T): { readonly result: T; readonly ms: number } {
  const start = performance.now();
  const result = task();
  return { result, ms: performance.now() - start };
}
