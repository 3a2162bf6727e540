// A real Chromium for the browser tests: $CKV_CHROMIUM, an installed one, else Debian's package (root only). The path is
// written to .cache/chromium.json, which test/support/chromium.ts reads.
import { accessSync, constants, existsSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import {
  SetUpError,
  answers,
  cache,
  firstThatWorks,
  installDebianPackages,
  readStamp,
  say,
  seconds,
  writeStamp,
} from "./step.mjs";

const NAMES = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

export async function setUpChromium() {
  const own = process.env.CKV_CHROMIUM;
  const stamp = readStamp("chromium");
  if (stamp !== undefined && stamp === (own ?? stamp) && existsSync(stamp)) return;
  const started = Date.now();
  const path = await firstThatWorks(
    "Chromium",
    own === undefined ? sources : [{ name: "$CKV_CHROMIUM", attempt: () => usable(own) }],
  );
  writeFileSync(join(cache, "chromium.json"), `${JSON.stringify({ path })}\n`);
  writeStamp("chromium", path);
  say(`  Chromium is ready after ${seconds(started)} s: ${path}`);
}

const sources = [
  { name: `an installed one (${NAMES.join(", ")})`, attempt: installed },
  { name: "Debian's package", attempt: fromDebian },
];

async function usable(path) {
  if (!(await answers(path, ["--version"]))) throw new SetUpError(`does not answer --version: ${path}`);
  return path;
}

function installed() {
  const paths = process.env.PATH.split(delimiter).flatMap((folder) => NAMES.map((name) => join(folder, name)));
  return paths.find(isExecutable);
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

async function fromDebian() {
  say("no Chromium found: installing Debian's package (one to two minutes)");
  try {
    await installDebianPackages("chromium", ["chromium-headless-shell"]);
  } catch {
    await installDebianPackages("chromium", ["chromium"]);
  }
  return installed();
}
