import { join } from "node:path";
import { build } from "vite";

const repository = join(import.meta.dirname, "..", "..", "..");
const output = join(repository, ".cache", "demo");

/** Builds the demo client and the demo page. Returns the directories of both. */
export async function buildPages(): Promise<{ readonly client: string; readonly page: string }> {
  const [client, page] = [join(output, "client"), join(output, "page")];
  await buildPage(join(repository, "client-plugin", "demo"), "index.html", client);
  await buildPage(import.meta.dirname, "page.html", page);
  return { client, page };
}

async function buildPage(root: string, input: string, outDir: string): Promise<void> {
  await build({
    configFile: false,
    root,
    base: "./",
    logLevel: "error",
    build: {
      outDir,
      emptyOutDir: true,
      target: "es2022",
      chunkSizeWarningLimit: 4_000,
      rolldownOptions: { input: join(root, input) },
    },
  });
}
