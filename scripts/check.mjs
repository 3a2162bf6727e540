// Everything that judges the sources without running them, two tools at a time; the output of a tool is shown when it fails.
import { spawn } from "node:child_process";
import { SetUpError, root, say, seconds } from "./set-up/step.mjs";

const tools = [
  ["types", "tsc", ["-b", "--pretty"]],
  ["lint", "eslint", [".", "--color"]],
  ["format", "prettier", [".", "--check", "--log-level", "warn", "--cache", "--cache-location", ".cache/prettier"]],
  ["imports", "depcruise", ["appservice", "client-plugin", "shared", "test", "--output-type", "err"]],
  ["unused", "knip", []],
];

export async function check() {
  const waiting = [...tools];
  const failed = [];
  const worker = async () => {
    for (let tool = waiting.shift(); tool !== undefined; tool = waiting.shift())
      if (!(await passes(tool))) failed.push(tool[0]);
  };
  say("check: types, lint, format, imports, unused");
  await Promise.all([worker(), worker()]);
  if (failed.length > 0) throw new SetUpError(`check failed: ${failed.join(", ")}`);
}

function passes([name, command, args]) {
  const started = Date.now();
  const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
  const output = [];
  child.stdout.on("data", (chunk) => output.push(chunk));
  child.stderr.on("data", (chunk) => output.push(chunk));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      console.log(`${code === 0 ? "✔" : "✘"} ${name} (${seconds(started)} s)`);
      if (code !== 0) console.log(Buffer.concat(output).toString().trimEnd());
      resolve(code === 0);
    });
  });
}
