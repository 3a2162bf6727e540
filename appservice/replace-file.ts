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
