/** The file of the secret keys: JSON with three seeds of 32 bytes in base64, readable by its owner alone. */
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { decodeBase64, encodeBase64 } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import type { LogKeys } from "./log-settings.ts";

/** The file cannot be used. Never holds what is in it. */
export class KeysFileError extends Error {
  override readonly name = "KeysFileError";
  readonly exitCode = 78;
}

/** Writes a new keys file; throws when it exists. */
export function writeKeys(file: string, { logSeed, vrfSeed, promiseSeed }: LogKeys): void {
  const seeds = { log_seed: logSeed, vrf_seed: vrfSeed, promise_seed: promiseSeed };
  const texts = Object.fromEntries(Object.entries(seeds).map(([name, seed]) => [name, encodeBase64(seed)]));
  writeFileSync(file, `${JSON.stringify(texts, null, 2)}\n`, { flag: "wx", mode: 0o600, flush: true });
}

/** Throws KeysFileError when the file is missing, readable by others, or incomplete. */
export function readKeys(file: string): LogKeys {
  const texts = readTexts(file);
  const seed = (name: string): Uint8Array => {
    const bytes = decodeSeed(texts[name]);
    if (bytes === undefined)
      throw new KeysFileError(
        `${file} has no ${name} of 32 bytes in base64: put back the keys file that was made with this log`,
      );
    return bytes;
  };
  return { logSeed: seed("log_seed"), vrfSeed: seed("vrf_seed"), promiseSeed: seed("promise_seed") };
}

function readTexts(file: string): { readonly [name: string]: unknown } {
  try {
    if ((statSync(file).mode & 0o077) !== 0) throw new KeysFileError(`others can read ${file}: chmod 600 ${file}`);
    return JSON.parse(readFileSync(file, "utf8")) as { readonly [name: string]: unknown };
  } catch (error) {
    if (error instanceof KeysFileError) throw error;
    // A JSON error quotes the text around it, which here is secret.
    const { code = "no JSON" } = error as NodeJS.ErrnoException;
    throw new KeysFileError(`${file} cannot be read (${code}): put back the keys file that was made with this log`);
  }
}

function decodeSeed(text: unknown): Uint8Array | undefined {
  try {
    const bytes = typeof text === "string" ? decodeBase64(text) : undefined;
    return bytes?.length === 32 ? bytes : undefined;
  } catch (error) {
    if (error instanceof VerificationError) return undefined;
    throw error;
  }
}
