/** A user's past for people: what each version of the log changed, and when. */
import type { Entry } from "../shared/directory/entry.ts";
import { encodeUnpadded } from "../shared/encoding.ts";
import { VERSIONS_PER_PAGE } from "./log-client.ts";
import type { LogView, VerifiedVersion } from "./log-view.ts";
import { masterOf } from "./seen-keys.ts";

export interface HistoryItem {
  readonly version: number;
  readonly epoch: number;
  /** When the version was merged. */
  readonly timestampMs: number;
  /** Ids of devices that came and went with this version. */
  readonly added: readonly string[];
  readonly removed: readonly string[];
  /** The digital identity is another one than in the version before. */
  readonly identityChanged: boolean;
  /** What the owner's signed statement says in this version. */
  readonly statement?: "on" | "off";
  /** The content was erased from the log. */
  readonly erased: boolean;
}

/** Versions shown at most. */
const MAX_VERSIONS = 200;

/** The newest versions of a user, newest first, every one proven. */
export async function readHistory(view: LogView, userId: string): Promise<HistoryItem[]> {
  const looked = await view.lookup(userId);
  const n = looked.leaf?.n ?? 0;
  const lowest = Math.max(1, n - MAX_VERSIONS + 1);
  const versions: VerifiedVersion[] = [];
  for (let from = lowest; from <= n; from += VERSIONS_PER_PAGE) {
    versions.push(...(await view.versions(looked, from, Math.min(n, from + VERSIONS_PER_PAGE - 1))));
  }
  const records = await view.recordsAt(
    looked,
    versions.map(({ epoch }) => epoch),
  );
  const items = versions.map((version, at) =>
    describe(version, versions[at - 1], records.get(version.epoch)?.timestampMs ?? 0),
  );
  return items.reverse();
}

function describe(version: VerifiedVersion, before: VerifiedVersion | undefined, timestampMs: number): HistoryItem {
  const [now, then] = [version.entry, before?.entry];
  const [held, had] = [devicesOf(now), devicesOf(then)];
  const statement = now?.statement?.ckv;
  return {
    version: version.version,
    epoch: version.epoch,
    timestampMs,
    added: [...held.keys()].filter((id) => had.get(id) !== held.get(id)),
    removed: [...had.keys()].filter((id) => had.get(id) !== held.get(id)),
    identityChanged: now !== undefined && then !== undefined && masterOf(now) !== masterOf(then),
    ...(statement === undefined ? {} : { statement }),
    erased: now === undefined,
  };
}

/** Device ids with their keys as text. */
function devicesOf(entry: Entry | undefined): Map<string, string> {
  const devices = new Map<string, string>();
  for (const [deviceId, device] of entry?.devices ?? []) {
    devices.set(deviceId, device.kind === "device" ? encodeUnpadded(device.ed25519) : encodeUnpadded(device.digest));
  }
  return devices;
}
