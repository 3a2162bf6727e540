import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { chromium } from "playwright-core";
import type { Browser } from "playwright-core";

/** A real Chromium without a window: $CKV_CHROMIUM, or the one that set-up found. The caller closes it. */
export async function openBrowser(): Promise<Browser> {
  // The sandbox needs user namespaces, which containers rarely grant; only pages of these tests are opened.
  return await chromium.launch({ executablePath: await executablePath(), args: ["--no-sandbox"] });
}

async function executablePath(): Promise<string> {
  const own = process.env["CKV_CHROMIUM"];
  if (own !== undefined) return own;
  const found = join(import.meta.dirname, "..", "..", ".cache", "chromium.json");
  if (!existsSync(found)) throw new Error("no Chromium here yet: `npm run set-up` gets one");
  return (JSON.parse(await readFile(found, "utf8")) as { readonly path: string }).path;
}
