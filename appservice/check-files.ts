/** Whether the files that a configuration names can be used, before anything is started with them. */
import { existsSync, readFileSync, statSync } from "node:fs";
import type { FileCheck } from "./config.ts";
import { databaseOf } from "./create-log.ts";
import { KeysFileError, readKeys } from "./keys-file.ts";
import { parseRegistration } from "./registration.ts";

const keys: FileCheck = (file) => {
  try {
    readKeys(file);
    return undefined;
  } catch (error) {
    if (error instanceof KeysFileError) return error.message;
    throw error;
  }
};

/** It holds two secrets; the homeserver, which may run as somebody else, reads it by its group. */
const registration: FileCheck = (file) => {
  try {
    if ((statSync(file).mode & 0o007) !== 0) return `others can read ${file}: chmod o= ${file}`;
    parseRegistration(readFileSync(file, "utf8"));
    return undefined;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== undefined) return `${file} cannot be read (${code}); "matrix-ckv init" makes one`;
    // A YAML error quotes the text around it, which here may be secret.
    return message.startsWith("the registration has no") ? `${file}: ${message}` : `${file} is no YAML`;
  }
};

const data: FileCheck = (directory) =>
  existsSync(`${databaseOf(directory)}/CURRENT`)
    ? undefined
    : `there is no log in ${directory}; "matrix-ckv init" makes a new one, "matrix-ckv restore" brings a lost one back`;

const anchor: FileCheck = (file) =>
  existsSync(file)
    ? undefined
    : `${file} is missing, without which nothing is signed: is its disk mounted? It is never made again`;

/** What a start refuses; the store itself tells what is wrong with the others. */
export const NEEDED_TO_START: { readonly keys: FileCheck; readonly registration: FileCheck } = { keys, registration };
/** Everything that can be looked at while the service may be running. */
export const ALL_FILES: typeof NEEDED_TO_START & { readonly data: FileCheck; readonly anchor: FileCheck } = {
  ...NEEDED_TO_START,
  data,
  anchor,
};
