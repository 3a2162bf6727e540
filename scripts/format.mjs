// Writes what `check` would otherwise complain about, where a tool can.
import { runTool } from "./set-up/step.mjs";

export async function format() {
  await runTool("prettier", [".", "--write", "--log-level", "warn"]);
}
