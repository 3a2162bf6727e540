/** What a proven entry says by itself and against the one accepted before: steps 9 and 10, as far as the log knows. */
import type { Device, Entry, UnreadableObject } from "../directory/entry.ts";
import { compareStatements } from "../directory/statement.ts";
import type { Stated } from "../directory/statement.ts";
import { equalBytes } from "../encoding.ts";
import type { VerdictCode } from "../verdict-codes.ts";

/** `last`: the entry accepted before, `pin`: the raw master key a person compared; each absent where there is none. */
export interface EntryQuestion {
  readonly entry: Entry;
  readonly last?: Entry;
  readonly pin?: Uint8Array;
}

/** Codes in the order of the steps, each once; none when there is nothing to tell. Never throws. */
export function entryCodes({ entry, last, pin }: EntryQuestion): readonly VerdictCode[] {
  if (entry.kind === "closed") return ["account-closed"];
  const devices = [...entry.devices];
  const isUnreadable = [entry.masterKey, entry.selfSigningKey, ...entry.devices.values()].some(
    (object) => object?.kind === "unreadable",
  );
  const codes: readonly (readonly [VerdictCode, boolean])[] = [
    ["entry-refused", entry.kind === "refused"],
    ["pin-mismatch", pin !== undefined && !isKey(entry, pin)],
    ["identity-missing", entry.masterKey === undefined],
    ["chain-broken", entry.selfSigningKey?.kind === "key" && !entry.selfSigningKey.signedByMaster],
    ["device-unreadable", isUnreadable],
    ["device-key-changed", devices.some(([id, device]) => keysChanged(last?.devices.get(id), device))],
    ["device-unsigned", devices.some(([, device]) => device.kind === "device" && !device.signedByOwner)],
  ];
  const told = codes.flatMap(([code, holds]) => (holds ? [code] : []));
  return [...told, ...compareStatements(last && stated(last), stated(entry))];
}

function isKey({ masterKey }: Entry, pin: Uint8Array): boolean {
  return masterKey?.kind === "key" && equalBytes(masterKey.key, pin);
}

function keysChanged(before: Device | UnreadableObject | undefined, now: Device | UnreadableObject): boolean {
  if (before?.kind !== "device" || now.kind !== "device") return false;
  return !equalBytes(before.ed25519, now.ed25519) || !equalBytes(before.curve25519, now.curve25519);
}

function stated({ userId, masterKey, statement }: Entry): Stated {
  return { userId, masterKey: masterKey?.kind === "key" ? masterKey.key : undefined, statement };
}
