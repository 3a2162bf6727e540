// A real Synapse for the tests, in this order: $CKV_SYNAPSE_CMD; the pinned version from PyPI in a virtual environment;
// Debian's package unpacked beside the system (root only). The answer is written to .cache/synapse.json, which
// test/support/synapse.ts reads: { command: string[], env: {...} }, run as `<command> -c <homeserver.yaml>`.
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  SetUpError,
  answers,
  cache,
  firstThatWorks,
  installDebianPackages,
  readStamp,
  root,
  runQuietly,
  say,
  seconds,
  stampOf,
  writeStamp,
} from "./step.mjs";

const MODULE = ["-m", "synapse.app.homeserver"];
const requirements = join(root, "scripts", "synapse-requirements.txt");
const venv = join(cache, "synapse");
const debianRoot = join(cache, "synapse-debian");

export async function setUpSynapse() {
  const own = process.env.CKV_SYNAPSE_CMD;
  // A virtual environment holds absolute paths, so one that was moved is made again.
  const stamp = own === undefined ? `${root} ${stampOf(requirements)}` : `command ${own}`;
  if (readStamp("synapse") === stamp && existsSync(join(cache, "synapse.json"))) return;
  const started = Date.now();
  rmSync(join(cache, "synapse-template.db"), { force: true });
  const found = await firstThatWorks(
    "Synapse",
    own === undefined ? installations : [{ name: "$CKV_SYNAPSE_CMD", attempt: fromCommand }],
  );
  writeFileSync(join(cache, "synapse.json"), `${JSON.stringify(found, undefined, 2)}\n`);
  writeStamp("synapse", stamp);
  say(`  Synapse is ready after ${seconds(started)} s`);
}

const installations = [
  { name: "PyPI, in a virtual environment", attempt: fromPyPi },
  { name: "Debian's package, unpacked beside the system", attempt: fromDebian },
];

async function fromCommand() {
  const command = process.env.CKV_SYNAPSE_CMD.trim().split(/\s+/);
  if (!(await answers(command[0], [...command.slice(1), "--help"])))
    throw new SetUpError(`does not answer --help: ${command.join(" ")}`);
  return { command, env: {} };
}

async function fromPyPi() {
  say("installing Synapse from PyPI into .cache/synapse (about a minute)");
  rmSync(venv, { recursive: true, force: true });
  mkdirSync(cache, { recursive: true });
  await makeVenv();
  const python = join(venv, "bin", "python");
  await runQuietly("synapse", python, ["-m", "pip", "install", "--only-binary=:all:", "-r", requirements]);
  return { command: [python, ...MODULE], env: {} };
}

/** Debian splits the venv module into a package of its own; as root that package can be fetched. */
async function makeVenv() {
  try {
    await runQuietly("synapse-venv", "python3", ["-m", "venv", venv]);
  } catch (error) {
    await installDebianPackages("python3-venv", ["python3-venv"]).catch(() => {
      throw error;
    });
    await runQuietly("synapse-venv", "python3", ["-m", "venv", "--clear", venv]);
  }
}

/** Nothing is installed: the packages are unpacked into a folder, and its own loader runs its own Python from there. */
async function fromDebian() {
  say("unpacking Debian's Synapse into .cache/synapse-debian (about a minute)");
  await installDebianPackages("mmdebstrap", ["mmdebstrap"]);
  rmSync(debianRoot, { recursive: true, force: true });
  await runQuietly("synapse-debian", "mmdebstrap", [
    "--variant=extract",
    "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
    '--aptopt=Acquire::Check-Valid-Until "false"',
    "--include=matrix-synapse,python3,libc-bin",
    "sid",
    debianRoot,
  ]);
  return { command: debianCommand(), env: debianEnvironment() };
}

function debianCommand() {
  const libraries = libraryFolders();
  const loader = readdirSync(join(debianRoot, "usr", "lib", multiarch())).find((name) => name.startsWith("ld-linux"));
  if (loader === undefined) throw new SetUpError("no loader in the unpacked packages");
  const python = readdirSync(join(debianRoot, "usr", "bin")).find((name) => /^python3\.[0-9]+$/.test(name));
  if (python === undefined) throw new SetUpError("no Python in the unpacked packages");
  const usr = join(debianRoot, "usr");
  return [join(usr, "lib", multiarch(), loader), "--library-path", libraries, join(usr, "bin", python), ...MODULE];
}

function libraryFolders() {
  return join(debianRoot, "usr", "lib", multiarch());
}

function debianEnvironment() {
  return {
    PYTHONHOME: join(debianRoot, "usr"),
    PYTHONPATH: join(debianRoot, "usr", "lib", "python3", "dist-packages"),
  };
}

function multiarch() {
  return process.arch === "arm64" ? "aarch64-linux-gnu" : "x86_64-linux-gnu";
}
