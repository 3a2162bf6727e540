/** How much a browser loads, as Vite ships it: one minified module, gzip -9. Kilobytes of 1,000 bytes. */
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "vite";
import type { Figure } from "../table.ts";

const ROOT = join(import.meta.dirname, "..", "..", "..");

/** All that a client needs to judge an answer, from its text to a verdict with evidence. */
const VERIFY_ONLY = `
  export { verifyLookup } from "${ROOT}/shared/proofs/lookup.ts";
  export { acceptConfiguration } from "${ROOT}/shared/proofs/head.ts";
  export { verifySettlingRecords } from "${ROOT}/shared/proofs/settling.ts";
  export { parseLookupAnswer, parseSettlingRecords } from "${ROOT}/shared/messages.ts";
`;
const PLUGIN = `export * from "${ROOT}/client-plugin/index.ts";`;

export async function measureBundles(): Promise<Figure[]> {
  return [
    {
      name: "browser bundle, verify only",
      measured: await gzipKb(VERIFY_ONLY),
      unit: "kB gzip",
      atMost: true,
      must: 25,
      reach: 16,
    },
    {
      name: "browser bundle, plugin without UI",
      measured: await gzipKb(PLUGIN),
      unit: "kB gzip",
      atMost: true,
      must: 60,
      reach: 40,
    },
  ];
}

async function gzipKb(source: string): Promise<number> {
  return gzipSync(await bundle(source), { level: 9 }).length / 1_000;
}

/** The text of the one module that Vite makes of `source`. */
export async function bundle(source: string): Promise<string> {
  const entry = "virtual:entry";
  const built = await build({
    root: ROOT,
    configFile: false,
    logLevel: "error",
    plugins: [
      {
        name: "entry",
        resolveId: (id) => (id === entry ? `\0${entry}` : undefined),
        load: (id) => (id === `\0${entry}` ? source : undefined),
      },
    ],
    build: {
      write: false,
      target: "es2022",
      modulePreload: false,
      rolldownOptions: { input: entry, preserveEntrySignatures: "strict", output: { codeSplitting: false } },
    },
  });
  if (Array.isArray(built) || !("output" in built)) throw new Error("Vite built something else than one module");
  return built.output[0].code;
}
