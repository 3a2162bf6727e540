/**
 * A process that opens a database, makes the kernel refuse its writes, and prints what the store did then: one JSON line.
 * Node ignores SIGXFSZ, so that a file that grows beyond the limit is a write error.
 */
import { execFileSync } from "node:child_process";
import { openLevelStore } from "../../appservice/store/level-store.ts";
import { utf8 } from "../../shared/encoding.ts";

const [, , directory = ""] = process.argv;
const store = await openLevelStore(directory);
const limitFiles = (bytes: string): void => {
  execFileSync("prlimit", [`--pid=${process.pid}`, `--fsize=${bytes}:unlimited`]);
};
const commit = async (key: string): Promise<void> => {
  await store.commit({ puts: [{ key: utf8(key), value: new Uint8Array(100_000) }] });
};

await commit("confirmed");
const early = store.snapshot();
limitFiles("150000");
const write = commit("unknown");
const behind = commit("behind");
const failures = await Promise.all([write, behind].map(nameOfFailure));
limitFiles("unlimited");
for (const use of [
  (): unknown => commit("later"),
  (): unknown => store.commit({}),
  (): unknown => store.get(utf8("confirmed")),
  (): unknown => store.range(utf8("a"), utf8("z"), 10),
  (): unknown => store.snapshot(),
])
  failures.push(await nameOfFailure(use));
await early.close();
await store.close();
process.stdout.write(`${JSON.stringify(failures)}\n`);

async function nameOfFailure(use: Promise<void> | (() => unknown)): Promise<string> {
  try {
    await (typeof use === "function" ? use() : use);
    return "none";
  } catch (error) {
    return (error as Error).name;
  }
}
