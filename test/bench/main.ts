/**
 * `npm run bench`: what the service can do on this machine, beside what it must and should. Options:
 * `--users 10000` (default 100000,1000000: a column each), `--seconds 10` per measurement, `--only updates,lookups`, `--fresh` to make the log
 * anew instead of from a copy of the one that an earlier run left in .cache/bench.
 */
import { parseArgs } from "node:util";
import { bigLog } from "./big-log.ts";
import { calibrate } from "./calibration.ts";
import { measureBounds } from "./client/bounds.ts";
import { measureBundles } from "./client/bundles.ts";
import { measureVerify } from "./client/verify.ts";
import { measureWeight } from "./client/weight.ts";
import type { OwnLog } from "../support/own-log.ts";
import { measureDisk } from "./disk.ts";
import { measureEnrolments } from "./enrolments.ts";
import { measureLookups } from "./lookups.ts";
import { measureRestart } from "./restart.ts";
import { printTable } from "./table.ts";
import type { Column, Figure } from "./table.ts";
import { measureUpdates } from "./updates.ts";

const { values } = parseArgs({
  options: {
    users: { type: "string" },
    seconds: { type: "string" },
    only: { type: "string" },
    fresh: { type: "boolean", default: false },
  },
});
const sizes = (values.users ?? "100000,1000000").split(",").map(Number);
const seconds = Number(values.seconds ?? 10);
const only = values.only?.split(",");

const say = (text: string): void => {
  process.stderr.write(process.stderr.isTTY ? `\r${text.padEnd(79)}` : `${text}\n`);
};

/** Figures of a log, in this order: each leaves it a little larger. */
const ofLog: readonly (readonly [string, (log: OwnLog, users: number) => Promise<readonly Figure[]>])[] = [
  ["restart", measureRestart],
  ["updates", (log, users) => measureUpdates(log, users, seconds)],
  ["enrolments", (log) => measureEnrolments(log, seconds)],
  ["lookups", (log, users) => measureLookups(log, users, seconds)],
  ["disk", measureDisk],
];
const ofClient: readonly (readonly [string, () => Promise<readonly Figure[]>])[] = [
  ["weight", measureWeight],
  ["verify", measureVerify],
  ["bounds", measureBounds],
  ["bundles", measureBundles],
];
const wanted = ([name]: readonly [string, unknown]): boolean => only?.includes(name) !== false;

/** The figures of a log of `users` users. */
async function measureLog(users: number): Promise<readonly Figure[]> {
  const figures: Figure[] = [];
  const { log, perSecond } = await bigLog(users, values.fresh, (done) => {
    if (done % 50_000 === 0 || done === users) say(`making a log of ${users} users: ${done}`);
  });
  if (perSecond !== undefined) figures.push({ name: "users loaded", unit: "1/s", measured: perSecond });
  for (const [name, measure] of ofLog.filter(wanted)) {
    say(`measuring ${name} at ${users} users`);
    figures.push(...(await measure(log, users)));
  }
  log.remove();
  return figures;
}

const calibration = calibrate();
const columns: Column[] = [];
if (ofLog.some(wanted)) for (const users of sizes) columns.push({ users, figures: await measureLog(users) });
const figures: Figure[] = [];
for (const [name, measure] of ofClient.filter(wanted)) {
  say(`measuring ${name}`);
  figures.push(...(await measure()));
}
columns.push({ users: undefined, figures });
say("");
printTable(calibration, columns);
