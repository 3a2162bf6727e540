/** From committed to published: the readers' snapshot of each epoch, its cosignatures, and who waits for it. */
import { proveConsistency } from "../shared/merkle/consistency.ts";
import { LOG_DOMAINS } from "../shared/merkle/tree.ts";
import type { AnsweringThreads } from "./answering-threads.ts";
import { Bundle } from "./bundle.ts";
import type { EpochMessage, MergedChanges, OpenedLog } from "./sequencer-messages.ts";
import { ShownHead } from "./shown-head.ts";
import { ReaderTops } from "./store/map-top.ts";
import { logHashes } from "./store/log-nodes.ts";
import { encodeHead, parseHead, PUBLISHED_KEY } from "./store/records.ts";
import type { StoredHead } from "./store/records.ts";
import type { Store } from "./store/store.ts";

/** Returns the note with its cosignatures. `consistency`: the path from an older size to the note's. */
export type Cosign = (
  note: string,
  size: number,
  consistency: (oldSize: number) => Promise<readonly Uint8Array[]>,
  signal: AbortSignal,
) => Promise<string>;

/** An epoch that readers may see. */
export interface PublishedHead {
  readonly epoch: number;
  /** Signed note with its cosignatures. */
  readonly checkpoint: string;
  readonly record: Uint8Array;
  /** Canonical JSON whose hash is in the record. */
  readonly configurationText: string;
}

/** Told of the changes that each published epoch merged, in order of epochs. */
export type OnMerged = (merged: MergedChanges, epoch: number) => void;

export interface PublicationParts {
  readonly store: Store;
  /** Threads that answer beside this one; they have got no epoch yet. */
  readonly threads: AnsweringThreads;
  readonly onMerged: OnMerged;
  readonly cosign?: Cosign | undefined;
}

export class Publication {
  /** What this thread answers at. */
  readonly shown: ShownHead;
  /** Resolves when all threads hold the epoch that the log was opened with. */
  readonly held: Promise<void>;
  readonly #parts: PublicationParts;
  readonly #ending = new AbortController();
  readonly #tops = new ReaderTops();
  /** The newest committed epoch, held by its own reference until the next comes. */
  #newest: Bundle;
  #published: PublishedHead | undefined;
  /** What committed epochs merged that are not published, in their order. */
  #unpublished: { readonly merged: MergedChanges; readonly epoch: number }[] = [];
  #onPublished = Promise.withResolvers<undefined>();
  #cosigning: Promise<void> | undefined;
  readonly #failed = Promise.withResolvers<never>();
  readonly #confirmed = Promise.withResolvers<undefined>();
  /** The number under which a head was last made ready. */
  #number = 0;

  /**
   * At start the newest epoch is published at once if it needs no cosignatures, or had them; witnesses are asked again.
   * Nothing may be committed before it is `held`.
   */
  constructor(parts: PublicationParts, opened: OpenedLog) {
    this.#parts = parts;
    this.shown = new ShownHead(parts.threads.shown);
    this.#newest = Bundle.take(parts.store, opened, this.#tops.change(opened.top));
    this.#failed.promise.catch(() => undefined);
    const stored = parts.store.get(PUBLISHED_KEY);
    this.held = this.#start(opened, stored === undefined ? undefined : parseHead(stored));
    this.held.catch((error: unknown) => {
      this.#failed.reject(error);
    });
  }

  /** Never resolves; rejects when cosigning failed for good. */
  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  /**
   * Resolves when every witness has cosigned the head that the log was opened with, so that none has seen a newer one; at
   * once if there are none.
   */
  get confirmed(): Promise<unknown> {
    return this.#confirmed.promise;
  }

  get published(): PublishedHead | undefined {
    return this.#published;
  }

  /** Time of the newest committed epoch. */
  get newestTimestampMs(): number {
    return this.#newest.record.timestampMs;
  }

  get newestEpoch(): number {
    return this.#newest.epoch;
  }

  /** Takes the snapshot of a committed epoch. Once it is `taken`, by all threads, the next may be committed. */
  take(epoch: EpochMessage, taken: () => void): void {
    const before = this.#newest;
    const bundle = Bundle.take(this.#parts.store, epoch, this.#tops.change(epoch.changedTop));
    this.#newest = bundle;
    if (epoch.merged.changes.length > 0) this.#unpublished.push({ merged: epoch.merged, epoch: epoch.epoch });
    before.release();
    const number = this.#parts.cosign === undefined ? this.#prepare(bundle) : undefined;
    const all = this.#parts.threads.take(epoch, epoch.changedTop, number).then(() => {
      taken();
      if (this.#ending.signal.aborted) return;
      if (number !== undefined) this.#show(bundle, number);
      else this.#startCosigning();
    });
    all.catch((error: unknown) => {
      this.#failed.reject(error);
    });
  }

  /** Resolves when an epoch from this one on is published. */
  async reached(epoch: number): Promise<void> {
    while ((this.#published?.epoch ?? -1) < epoch) await this.#onPublished.promise;
  }

  /** The published head, and every newer one; those that a slow reader would see late are left out. */
  async *heads(signal: AbortSignal): AsyncGenerator<PublishedHead> {
    let last: PublishedHead | undefined;
    while (!signal.aborted) {
      const next = this.#onPublished.promise;
      if (this.#published !== undefined && this.#published !== last) {
        last = this.#published;
        yield last;
      } else await settledOrAborted(next, signal);
    }
  }

  async close(): Promise<void> {
    this.#ending.abort(new Error("the log is closed"));
    await this.#cosigning;
    this.#newest.release();
    this.shown.close();
  }

  /** `cosigned`: the newest head that had its cosignatures. */
  async #start(opened: OpenedLog, cosigned: StoredHead | undefined): Promise<void> {
    const { threads, cosign } = this.#parts;
    if (cosign === undefined) {
      // No other thread answers before it holds this epoch, so nobody can have seen an older one.
      const number = this.#prepare(this.#newest);
      this.#show(this.#newest, number);
      this.#confirmed.resolve(undefined);
      await threads.take(opened, opened.top, number);
      return;
    }
    // What the threads are told they do in order: none of it needs to be waited for.
    const told = [threads.take(opened, opened.top, undefined)];
    if (cosigned?.epoch === this.#newest.epoch) {
      const bundle = this.#newest.withNote(cosigned.note);
      const number = this.#prepare(bundle);
      this.#show(bundle, number);
      bundle.release();
      threads.keep();
      told.push(threads.prepare(number, cosigned.note));
    }
    this.#startCosigning();
    await Promise.all(told);
  }

  #startCosigning(): void {
    this.#cosigning ??= this.#cosignNewest().then(
      () => {
        this.#cosigning = undefined;
        if (this.#published?.epoch !== this.#newest.epoch && !this.#ending.signal.aborted) this.#startCosigning();
      },
      (error: unknown) => {
        if (!this.#ending.signal.aborted) this.#failed.reject(error);
      },
    );
  }

  /** Witnesses are asked about the newest head only: what was signed while they were busy is left out. */
  async #cosignNewest(): Promise<void> {
    const bundle = this.#newest.retain();
    this.#parts.threads.keep();
    try {
      const size = bundle.epoch + 1;
      const consistency = (oldSize: number): Promise<readonly Uint8Array[]> =>
        Promise.resolve(proveConsistency(LOG_DOMAINS, logHashes(bundle.reads), oldSize, size));
      const note = (await this.#parts.cosign?.(bundle.note, size, consistency, this.#ending.signal)) ?? bundle.note;
      await this.#parts.store.commit({
        puts: [{ key: PUBLISHED_KEY, value: encodeHead({ epoch: bundle.epoch, note }) }],
      });
      await this.#publishCosigned(bundle, note);
      // Only now, so that whoever is told that the service is ready is also answered.
      this.#confirmed.resolve(undefined);
    } finally {
      bundle.release();
    }
  }

  /** Of the epoch that the threads were last told to keep. */
  async #publishCosigned(bundle: Bundle, note: string): Promise<void> {
    const cosigned = bundle.withNote(note);
    const number = this.#prepare(cosigned);
    await this.#parts.threads.prepare(number, note);
    this.#show(cosigned, number);
    cosigned.release();
  }

  #prepare(bundle: Bundle): number {
    this.#number += 1;
    this.shown.prepare(this.#number, bundle);
    return this.#number;
  }

  #show(bundle: Bundle, number: number): void {
    this.shown.show(number);
    const { epoch, note: checkpoint, recordBytes: record, configurationText } = bundle;
    this.#published = { epoch, checkpoint, record, configurationText };
    const published = this.#unpublished.filter((merged) => merged.epoch <= epoch);
    this.#unpublished = this.#unpublished.filter((merged) => merged.epoch > epoch);
    for (const merged of published) this.#parts.onMerged(merged.merged, merged.epoch);
    const { resolve } = this.#onPublished;
    this.#onPublished = Promise.withResolvers<undefined>();
    resolve(undefined);
  }
}

/** Leaves nothing behind on the signal, which lives longer. */
function settledOrAborted(promise: Promise<unknown>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      signal.removeEventListener("abort", done);
      resolve();
    };
    signal.addEventListener("abort", done);
    promise.then(done, done);
  });
}
