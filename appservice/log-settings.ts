/** What the log writer and the start checks need to know of a log. */
import type { NoteKey } from "../shared/crypto/signed-note.ts";
import { parseVkey } from "../shared/crypto/signed-note.ts";
import type { Configuration } from "../shared/directory/configuration.ts";
import { parseConfiguration } from "../shared/directory/configuration.ts";

/** Secret seeds, 32 bytes each. They never leave the process. */
export interface LogKeys {
  readonly logSeed: Uint8Array;
  readonly vrfSeed: Uint8Array;
  readonly promiseSeed: Uint8Array;
}

export interface LogSettings {
  /** Canonical JSON. */
  readonly configurationText: string;
  readonly configuration: Configuration;
  readonly logKey: NoteKey;
}

/** Throws `VerificationError` if the text is no configuration. */
export function readSettings(configurationText: string): LogSettings {
  const configuration = parseConfiguration(configurationText);
  return { configurationText, configuration, logKey: parseVkey(configuration.log_key) };
}
