import { closeSync, fsyncSync, openSync, renameSync, writeFileSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { dirname } from "node:path";

/** Replaces a file so that after a crash it holds the old text or the new, and the new once this resolves. */
export async function replaceFile(file: string, text: string): Promise<void> {
  const staged = `${file}.new`;
  const handle = await open(staged, "w", 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(staged, file);
  const directory = await open(dirname(file), "r");
  await directory.sync().finally(() => directory.close());
}

/** The same, at once. */
export function replaceFileSync(file: string, text: string): void {
  const staged = `${file}.new`;
  writeFileSync(staged, text, { mode: 0o600, flush: true });
  renameSync(staged, file);
  const directory = openSync(dirname(file), "r");
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}
