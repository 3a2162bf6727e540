// The published files: JavaScript and declarations in dist/, one file per source.
import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { root, runTool, say } from "./set-up/step.mjs";

const emitted = join(root, ".cache", "tsc");

export async function build() {
  rmSync(join(root, "dist"), { recursive: true, force: true });
  rmSync(emitted, { recursive: true, force: true });
  await runTool("tsc", ["-b", "appservice", "client-plugin"]);
  for (const part of ["shared", "appservice", "client-plugin"]) {
    cpSync(join(emitted, part), join(root, "dist", part), {
      recursive: true,
      filter: (path) => !path.endsWith(".tsbuildinfo") && !path.includes(join("client-plugin", "demo")),
    });
  }
  say("dist/ is written");
}
