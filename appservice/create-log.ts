/** Makes a new log: the only place where a database or an anchor comes into being. */
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { configurationHash } from "../shared/directory/configuration.ts";
import type { Hash } from "../shared/crypto/hash.ts";
import { utf8 } from "../shared/encoding.ts";
import { changesHash } from "../shared/log/change-list.ts";
import { signCheckpoint } from "../shared/log/checkpoint.ts";
import { encodeEpochRecord, epochLeafHash } from "../shared/log/epoch-record.ts";
import { EMPTY } from "../shared/map/map-proof.ts";
import { emptyFrontier, frontierRoot, LOG_DOMAINS } from "../shared/merkle/tree.ts";
import { readKeys } from "./keys-file.ts";
import { readSettings } from "./log-settings.ts";
import { openAnchor } from "./store/anchor.ts";
import { createLevelStore } from "./store/level-store.ts";
import { appendLeaf } from "./store/log-nodes.ts";
import { MapWriter } from "./store/map-writer.ts";
import {
  configurationKey,
  encodeEpoch,
  encodeHead,
  epochKey,
  HEAD_KEY,
  LAYOUT_KEY,
  proofKey,
} from "./store/records.ts";
import { IntegrityError, type KeyValue, type Store } from "./store/store.ts";

/**
 * The stored form: a number that rises with every change of it, and the first version of matrix-ckv that has it, so that
 * an older version can name what it is missing.
 */
export const LAYOUT = "matrix-ckv 4 since 0.1.0";

export interface Layout {
  readonly number: number;
  readonly since: string;
}

/** Takes a layout apart. Throws `IntegrityError`. */
export function parseLayout(text: string): Layout {
  const [, number, since] = /^matrix-ckv ([1-9][0-9]{0,8}) since ([0-9A-Za-z.+-]{1,40})$/.exec(text) ?? [];
  if (number === undefined || since === undefined) throw new IntegrityError("the layout of the database can't be read");
  return { number: Number(number), since };
}

export interface NewLog {
  readonly dataDirectory: string;
  readonly anchorFile: string;
  readonly keysFile: string;
  readonly configurationText: string;
  readonly nowMs: number;
}

/** Directory of the database below the data directory. */
export function databaseOf(dataDirectory: string): string {
  return `${dataDirectory}/db`;
}

/** The map with which a log begins, and what of it is still to be written. */
export interface FirstMap {
  readonly root: Hash;
  readonly labels: number;
  readonly puts: readonly KeyValue[];
}

/** Writes what comes before the head of a new log; whatever it leaves behind when it fails, nobody takes for a log. */
export type FillLog = (store: Store) => Promise<FirstMap>;

const emptyMap: FillLog = async () => await Promise.resolve({ root: EMPTY, labels: 0, puts: MapWriter.create() });

/**
 * Writes a database with epoch 0 (no changes; the empty map, or the one that `fill` makes) and its anchor. Throws if either
 * is there already, or the configuration is none.
 */
export async function createLog(log: NewLog, fill: FillLog = emptyMap): Promise<void> {
  const { dataDirectory, anchorFile, keysFile, configurationText, nowMs } = log;
  const [{ configuration }, keys] = [readSettings(configurationText), readKeys(keysFile)];
  const anchor = openAnchor(anchorFile);
  if (anchor.read() !== undefined) throw new Error(`${anchorFile} already anchors a log`);
  for (const directory of [dataDirectory, dirname(anchorFile)]) mkdirSync(directory, { recursive: true });
  const configured = configurationHash(configurationText);
  const store = await createLevelStore(databaseOf(dataDirectory));
  const map = await fill(store);
  const record = encodeEpochRecord({
    epoch: 0,
    timestampMs: nowMs,
    labels: map.labels,
    mapRoot: map.root,
    changesHash: changesHash(new Uint8Array()),
    configurationHash: configured,
  });
  const leaves = appendLeaf(emptyFrontier, epochLeafHash(record));
  const checkpoint = { origin: configuration.origin, size: 1, root: frontierRoot(LOG_DOMAINS, leaves.frontier) };
  const note = signCheckpoint(checkpoint, { seed: keys.logSeed });
  await store.commit({
    expect: [{ key: HEAD_KEY, value: undefined }],
    puts: [
      { key: LAYOUT_KEY, value: utf8(LAYOUT) },
      { key: configurationKey(configured), value: utf8(configurationText) },
      { key: epochKey(0), value: encodeEpoch({ record, settlingEpoch: 0 }) },
      { key: HEAD_KEY, value: encodeHead({ epoch: 0, note }) },
      { key: proofKey(0), value: map.root },
      ...leaves.puts,
      ...map.puts,
    ],
  });
  await store.close();
  anchor.replace(undefined, note);
}
