// node_modules as package-lock.json says: `npm ci` when it is missing or the lock has changed.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { readStamp, root, runQuietly, say, seconds, stampOf, writeStamp } from "./step.mjs";

export async function setUpPackages() {
  const stamp = stampOf(join(root, "package-lock.json"));
  if (existsSync(join(root, "node_modules", ".package-lock.json")) && readStamp("packages") === stamp) return;
  const started = Date.now();
  say("installing the packages of package-lock.json (npm ci)");
  await runQuietly("packages", "npm", ["ci"]);
  writeStamp("packages", stamp);
  say(`  done in ${seconds(started)} s`);
}
