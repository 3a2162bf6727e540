// A Node that strips types: the one that runs this if it is new enough, else the pinned one from npm in .cache/node.
import { copyFileSync, mkdirSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import {
  SetUpError,
  cache,
  prependPath,
  readStamp,
  root,
  runQuietly,
  say,
  seconds,
  stampOf,
  writeStamp,
} from "./step.mjs";

const MINIMUM = [22, 18];
const lockFolder = join(root, "scripts", "node");

export async function setUpNode() {
  prependPath(join(root, "node_modules", ".bin"));
  if (isNewEnough(process.versions.node)) {
    prependPath(dirname(process.execPath));
    return;
  }
  if (process.platform !== "linux" || !["x64", "arm64"].includes(process.arch)) {
    throw new SetUpError(`Node ${MINIMUM.join(".")} or newer is needed; this is ${process.versions.node}`);
  }
  await installNode();
  prependPath(join(cache, "node", "bin"));
}

function isNewEnough(version) {
  const [major, minor] = version.split(".").map(Number);
  return major > MINIMUM[0] || (major === MINIMUM[0] && minor >= MINIMUM[1]);
}

async function installNode() {
  const stamp = stampOf(join(lockFolder, "package-lock.json"));
  if (readStamp("node") === stamp) return;
  const started = Date.now();
  say(
    `Node ${process.versions.node} is older than ${MINIMUM.join(".")}: getting a newer one from npm into .cache/node`,
  );
  const folder = join(cache, "node");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const file of ["package.json", "package-lock.json", ".npmrc"])
    copyFileSync(join(lockFolder, file), join(folder, file));
  await runQuietly("node", "npm", ["ci"], { cwd: folder });
  symlinkSync(join("node_modules", `node-linux-${process.arch}`, "bin"), join(folder, "bin"));
  writeStamp("node", stamp);
  say(`  done in ${seconds(started)} s`);
}
