// Runs one task of package.json: sets up what it needs (each step cached in .cache/), then runs it on a Node new enough
// to strip types. Plain JavaScript without dependencies, because it starts on whatever Node the machine has (20 or newer).
import { check } from "./check.mjs";
import { format } from "./format.mjs";
import { build } from "./build.mjs";
import { SetUpError, runTool } from "./set-up/step.mjs";
import { setUpChromium } from "./set-up/chromium.mjs";
import { setUpNode } from "./set-up/node.mjs";
import { setUpPackages } from "./set-up/packages.mjs";
import { setUpStrace } from "./set-up/strace.mjs";
import { setUpSynapse } from "./set-up/synapse.mjs";

const toolchain = [setUpNode, setUpPackages];
const everything = [...toolchain, setUpSynapse, setUpChromium];

/** Every task: what it needs, then what it does with the arguments after its name. */
const tasks = {
  "set-up": { needs: everything, steps: [] },
  check: { needs: toolchain, steps: [check] },
  format: { needs: toolchain, steps: [format] },
  build: { needs: toolchain, steps: [build] },
  mocha: { needs: everything, steps: [mocha] },
  test: { needs: everything, steps: [check, () => mocha([])] },
  demo: {
    needs: [...toolchain, setUpSynapse],
    steps: [(args) => runTool("node", ["test/support/demo/start.ts", ...args])],
  },
  fuzz: { needs: toolchain, steps: [(args) => runTool("node", ["test/fuzz/main.ts", ...args])] },
  faults: { needs: [...toolchain, setUpStrace], steps: [(args) => runTool("node", ["test/faults/main.ts", ...args])] },
  access: { needs: toolchain, steps: [(args) => runTool("node", ["test/access/main.ts", ...args])] },
  hammer: { needs: toolchain, steps: [(args) => runTool("node", ["test/hammer/main.ts", ...args])] },
  bench: {
    needs: everything,
    steps: [(args) => runTool("node", ["--no-memory-reducer", "test/bench/main.ts", ...args])],
  },
};

/** All tests, unless the arguments name files. */
function mocha(args) {
  const files = args.some((arg) => arg.endsWith(".ts")) ? [] : ["test/**/*.test.ts"];
  return runTool("mocha", [...args, ...files]);
}

async function main([name, ...args]) {
  const task = tasks[name];
  if (task === undefined) throw new SetUpError(`no such task: ${name}; there are: ${Object.keys(tasks).join(", ")}`);
  for (const setUp of task.needs) await setUp();
  const failures = [];
  for (const step of task.steps) await step(args).catch((error) => failures.push(error));
  if (failures.length > 0) throw worst(failures);
}

/** A bug before a failed step; failed steps in one message. */
function worst(failures) {
  const bug = failures.find((error) => !(error instanceof SetUpError));
  return bug ?? new SetUpError(failures.map(({ message }) => message).join("; "));
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error instanceof SetUpError ? `\n✘ ${error.message}` : error);
  process.exitCode = 1;
});
