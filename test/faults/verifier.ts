/** Holds what a log answers now against everything it ever said. Knows nothing of the service: only `shared/`. */
import { verifyCommitment } from "../../shared/crypto/commitment.ts";
import type { Hash } from "../../shared/crypto/hash.ts";
import { parseVkey } from "../../shared/crypto/signed-note.ts";
import type { NoteKey } from "../../shared/crypto/signed-note.ts";
import { configurationHash, parseConfiguration } from "../../shared/directory/configuration.ts";
import type { Configuration } from "../../shared/directory/configuration.ts";
import { decodeUnpadded, encodeHex, equalBytes, fromUtf8, utf8 } from "../../shared/encoding.ts";
import { VerificationError } from "../../shared/errors.ts";
import { verifyVersion } from "../../shared/history/history.ts";
import type { HistoryHead } from "../../shared/history/history.ts";
import { parseEpochChanges } from "../../shared/log/change-list.ts";
import { openCheckpoint } from "../../shared/log/checkpoint.ts";
import type { Checkpoint } from "../../shared/log/checkpoint.ts";
import { epochLeafHash, parseEpochRecord } from "../../shared/log/epoch-record.ts";
import { entryTile, parseEntryBundle, TILE_WIDTH } from "../../shared/log/tiles.ts";
import type { Tile } from "../../shared/log/tiles.ts";
import { appendToFrontier, emptyFrontier, frontierRoot, LOG_DOMAINS } from "../../shared/merkle/tree.ts";
import { decodePath, parseLookupAnswer } from "../../shared/messages.ts";
import type { HeadPart, LookupAnswer, VersionPart, VersionsAnswer } from "../../shared/messages.ts";
import { DAY_MS } from "../../shared/parameters.ts";
import { auditCheckpoint, auditEpoch, startAudit } from "../../shared/proofs/audit.ts";
import { verifyHead } from "../../shared/proofs/head.ts";
import type { KnownLog, VerifiedHead } from "../../shared/proofs/head.ts";
import { verifyUser } from "../../shared/proofs/lookup.ts";
import type { VerifiedLookup } from "../../shared/proofs/lookup.ts";
import { openPromise } from "../../shared/proofs/promise.ts";
import type { MergePromise } from "../../shared/proofs/promise.ts";
import { VerdictError } from "../../shared/verdict-codes.ts";
import { entryOf } from "./ledger.ts";
import type { Ledger } from "./ledger.ts";

/** Where a log answers: the directory of the service, whatever lies in between. */
export interface LogView {
  checkpoint(): Promise<string>;
  lookup(userId: string): Promise<string>;
  historyVersions(userId: string, from: number, to: number): Promise<VersionsAnswer | undefined>;
  tile(tile: Tile): Promise<Uint8Array | undefined>;
  changes(epoch: number): Promise<Uint8Array | undefined>;
}

export interface Violation {
  readonly kind: "lost" | "second signature" | "wrong answer" | "other";
  readonly what: string;
}

/** What came out: broken words of the log, and questions that it refused to answer. */
export interface Judgement {
  readonly violations: readonly Violation[];
  readonly failedReads: readonly Error[];
}

/** Somebody who is not in any log. */
const STRANGER = "@nobody:example.org";

/** As long as change lists are there for auditors, who begin at a dump later. */
const CHANGES_KEPT_MS = 30 * DAY_MS;

/** `wholeAudit`: replay every epoch as an auditor does. `older`: the log says itself that it lost something. */
export interface VerifyOptions {
  readonly wholeAudit: boolean;
  readonly older: boolean;
}

/** The verifier of one log. Signatures and indices that it has verified once it knows again. */
export class Verifier {
  readonly #configuration: Configuration;
  readonly #configurationText: string;
  readonly #logKey: NoteKey;
  readonly #promiseKey: NoteKey;
  readonly #opened = new Map<string, Checkpoint>();
  readonly #promises = new Map<string, MergePromise>();
  readonly #heads = new Map<string, VerifiedHead>();
  readonly #indices = new Map<string, Hash>();

  constructor(configurationText: string) {
    this.#configurationText = configurationText;
    this.#configuration = parseConfiguration(configurationText);
    this.#logKey = parseVkey(this.#configuration.log_key);
    this.#promiseKey = parseVkey(this.#configuration.promise_key);
  }

  /** The checkpoint of a note that the log's key signed. Throws `VerificationError`. */
  open(note: string): Checkpoint {
    const known = this.#opened.get(note);
    if (known !== undefined) return known;
    const checkpoint = openCheckpoint(note, this.#logKey);
    this.#opened.set(note, checkpoint);
    return checkpoint;
  }

  /** Everything that the log said, against everything that it answers now. */
  async verify(view: LogView, ledger: Ledger, options: VerifyOptions): Promise<Judgement> {
    const check = new Check(this, view, ledger, options);
    await check.run();
    return check;
  }

  /** An answer as a client judges it. Throws `VerificationError`, `VerdictError`. */
  lookup(userId: string, text: string): VerifiedLookup {
    const { head, user }: LookupAnswer = parseLookupAnswer(JSON.parse(text));
    const index = this.#indices.get(userId);
    const verified = verifyUser(this.#head(head), index === undefined ? {} : { index }, userId, user);
    this.#indices.set(userId, verified.index);
    return verified;
  }

  #head(part: HeadPart): VerifiedHead {
    const key = JSON.stringify(part);
    const known = this.#heads.get(key);
    if (known !== undefined) return known;
    const { timestampMs } = parseEpochRecord(decodeUnpadded(part.record));
    const log: KnownLog = {
      logKey: this.#logKey,
      configurations: new Map([[encodeHex(configurationHash(this.#configurationText)), this.#configuration]]),
      cosignatures: () => [],
      nowMs: timestampMs,
    };
    const head = verifyHead(log, part, []);
    this.#heads.set(key, head);
    return head;
  }

  /** A promise that the promise key signed. Throws `VerificationError`. */
  openPromise(note: string): MergePromise {
    const known = this.#promises.get(note);
    if (known !== undefined) return known;
    const promise = openPromise(note, this.#promiseKey);
    this.#promises.set(note, promise);
    return promise;
  }

  get configurationText(): string {
    return this.#configurationText;
  }
}

function ageOf(earlier: Uint8Array, later: Uint8Array): number {
  return parseEpochRecord(later).timestampMs - parseEpochRecord(earlier).timestampMs;
}

class Check implements Judgement {
  readonly violations: Violation[] = [];
  readonly failedReads: Error[] = [];
  readonly #verifier: Verifier;
  readonly #view: LogView;
  readonly #ledger: Ledger;
  readonly #options: VerifyOptions;

  constructor(verifier: Verifier, view: LogView, ledger: Ledger, options: VerifyOptions) {
    this.#verifier = verifier;
    this.#view = view;
    this.#ledger = ledger;
    this.#options = options;
  }

  async run(): Promise<void> {
    const note = await this.#ask(() => this.#view.checkpoint());
    if (note === undefined) return;
    const head = this.#judge("the head", () => this.#verifier.open(note));
    if (head === undefined) return;
    const records = await this.#records(head.size);
    if (records !== undefined) this.#checkHeads([...this.#signed(), note], records, head.size);
    for (const answer of this.#ledger.of("lookup")) {
      this.#judge(`an earlier answer about ${answer.userId}`, () =>
        this.#verifier.lookup(answer.userId, answer.answer),
      );
    }
    const users = new Set([...this.#ledger.of("merged"), ...this.#ledger.of("promised")].map(({ userId }) => userId));
    for (const userId of users) await this.#checkUser(userId);
    await this.#checkStranger();
    if (this.#options.wholeAudit && records !== undefined) await this.#audit(records, note);
  }

  #signed(): string[] {
    return [...this.#ledger.of("head"), ...this.#ledger.of("room")].map(({ note }) => note);
  }

  /** The records of all epochs, as an auditor reads them. */
  async #records(size: number): Promise<readonly Uint8Array[] | undefined> {
    const records: Uint8Array[] = [];
    while (records.length < size) {
      const tile = entryTile(records.length, size);
      const bytes = await this.#ask(() => this.#view.tile(tile));
      if (bytes === undefined) return undefined;
      records.push(...(this.#judge("a tile", () => parseEntryBundle(bytes, tile.width)) ?? []));
      if (records.length % TILE_WIDTH !== 0 && records.length < size) return undefined;
    }
    return records;
  }

  /** Every head that was ever signed is a beginning of this log, and no size has two. */
  #checkHeads(notes: readonly string[], records: readonly Uint8Array[], size: number): void {
    const roots = new Map<number, string>();
    for (const note of new Set(notes)) {
      const head = this.#judge("a signed head", () => this.#verifier.open(note));
      if (head === undefined) continue;
      const root = encodeHex(head.root);
      const other = roots.get(head.size);
      if (other !== undefined && other !== root) this.#report("second signature", `two heads of size ${head.size}`);
      roots.set(head.size, root);
      if (head.size > size && !this.#options.older) this.#report("lost", `a head of ${head.size} epochs, ${size} left`);
    }
    let log = emptyFrontier;
    for (const record of records) {
      log = appendToFrontier(LOG_DOMAINS, log, epochLeafHash(record));
      const signed = roots.get(log.size);
      if (signed !== undefined && signed !== encodeHex(frontierRoot(LOG_DOMAINS, log)))
        this.#report("wrong answer", `the first ${log.size} records do not have the signed root`);
    }
  }

  async #checkUser(userId: string): Promise<void> {
    const text = await this.#ask(() => this.#view.lookup(userId));
    if (text === undefined) return;
    const found = this.#judge(`the answer about ${userId}`, () => this.#verifier.lookup(userId, text));
    if (found === undefined) return;
    const merged = this.#ledger.of("merged").filter((fact) => fact.userId === userId);
    const promised = this.#ledger.of("promised").filter((fact) => fact.userId === userId);
    const newest = Math.max(0, ...merged.map(({ version }) => version), ...promised.map(({ version }) => version));
    const { leaf } = found;
    if (!this.#options.older && (leaf?.n ?? 0) < newest)
      this.#report("lost", `${userId} has ${leaf?.n ?? 0} versions of ${newest}`);
    if (leaf === undefined) return;
    this.#checkEntry(userId, leaf.content?.bytes);
    const versions = await this.#versions(userId, leaf);
    if (versions === undefined) return;
    for (const { version, epoch, n } of merged) {
      const part = versions[version - 1];
      if (part === undefined) continue;
      if (part.epoch !== epoch) this.#report("wrong answer", `version ${version} of ${userId} moved to another epoch`);
      if (part.entry !== fromUtf8(entryOf(userId, n)))
        this.#report("wrong answer", `version ${version} of ${userId} has another entry`);
    }
    for (const { version, n, note, opening } of promised) {
      const part = versions[version - 1];
      if (part === undefined) continue;
      const promise = this.#judge(`the promise for ${userId}`, () => {
        const opened = this.#verifier.openPromise(note);
        const entry = entryOf(userId, n);
        verifyCommitment(opened.commitment, { userId, version, entry, opening: decodeUnpadded(opening) });
        return opened;
      });
      if (promise !== undefined && !equalBytes(promise.commitment, decodeUnpadded(part.commitment)))
        this.#report("lost", `version ${version} of ${userId} is not the promised one`);
    }
  }

  /** All versions of a user, each proven to stand in the history that the lookup proved. */
  async #versions(userId: string, head: HistoryHead): Promise<readonly VersionPart[] | undefined> {
    const versions: VersionPart[] = [];
    while (versions.length < head.n) {
      const from = versions.length + 1;
      const answer = await this.#ask(() => this.#view.historyVersions(userId, from, head.n));
      if (answer === undefined || answer.versions.length === 0) return undefined;
      versions.push(...answer.versions);
    }
    for (const part of versions) {
      this.#judge(`version ${part.version} of ${userId}`, () => {
        const commitment = decodeUnpadded(part.commitment);
        verifyVersion({ version: part.version, epoch: part.epoch, commitment }, decodePath(part.proof), head);
        if (part.entry === undefined || part.opening === undefined)
          throw new VerificationError("malformed", "the content of a version is gone");
        const content = {
          userId,
          version: part.version,
          entry: utf8(part.entry),
          opening: decodeUnpadded(part.opening),
        };
        verifyCommitment(commitment, content);
      });
    }
    return versions;
  }

  /** Also a change that nobody was told of must be one that was handed in. */
  #checkEntry(userId: string, bytes: Uint8Array | undefined): void {
    const document = JSON.parse(bytes === undefined ? "{}" : fromUtf8(bytes)) as { readonly count?: number };
    if (bytes === undefined || !equalBytes(bytes, entryOf(userId, document.count ?? 0)))
      this.#report("wrong answer", `${userId} has an entry that nobody gave it`);
  }

  async #checkStranger(): Promise<void> {
    const text = await this.#ask(() => this.#view.lookup(STRANGER));
    if (text === undefined) return;
    const found = this.#judge("the answer about a stranger", () => this.#verifier.lookup(STRANGER, text));
    if (found?.leaf !== undefined) this.#report("wrong answer", "a stranger is in the log");
  }

  async #audit(records: readonly Uint8Array[], note: string): Promise<void> {
    const last = records.at(-1);
    const [, first] = records;
    if (last === undefined || first === undefined || ageOf(first, last) > CHANGES_KEPT_MS) return;
    let state = startAudit(this.#verifier.configurationText);
    for (const [epoch, record] of records.entries()) {
      const bytes = await this.#ask(() => this.#view.changes(epoch));
      if (bytes === undefined) return;
      const next = this.#judge(`the changes of epoch ${epoch}`, () => {
        const { timestampMs } = parseEpochRecord(record);
        const changes = parseEpochChanges(bytes);
        return auditEpoch(
          state,
          { record, changes, ...(epoch === 0 ? { configuration: this.#verifier.configurationText } : {}) },
          timestampMs,
        );
      });
      if (next === undefined) return;
      state = next;
    }
    this.#judge("the audit", () => auditCheckpoint(state, note));
  }

  /** Asks the log; a question that it refuses is noted, and an answer that is missing is a wrong one. */
  async #ask<T>(question: () => Promise<T | undefined>): Promise<T | undefined> {
    try {
      const answer = await question();
      if (answer === undefined) this.#report("wrong answer", "the log says that it never had what it has shown");
      return answer;
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      this.failedReads.push(error);
      return undefined;
    }
  }

  /** Runs a check of `shared/`; what does not verify is a wrong answer. */
  #judge<T>(what: string, check: () => T): T | undefined {
    try {
      return check();
    } catch (error) {
      if (!(error instanceof VerificationError) && !(error instanceof VerdictError)) throw error;
      this.#report("wrong answer", `${what}: ${error.code}: ${error.message}`);
      return undefined;
    }
  }

  #report(kind: Violation["kind"], what: string): void {
    this.violations.push({ kind, what });
  }
}
