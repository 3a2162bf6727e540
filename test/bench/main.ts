/**
 * `npm run bench`: what the service can do on this machine, beside what it must and should. Options:
 * `--users 10000` (default 1,000,000), `--seconds 10` per measurement, `--only updates,lookups`.
 */
import { parseArgs } from "node:util";
import { createBigLog } from "./big-log.ts";
import { calibrate } from "./calibration.ts";
import { measureBundles } from "./client/bundles.ts";
import { measureVerify } from "./client/verify.ts";
import { measureWeight } from "./client/weight.ts";
import { measureDisk } from "./disk.ts";
import { measureEnrolments } from "./enrolments.ts";
import { measureLookups } from "./lookups.ts";
import { measureRestart } from "./restart.ts";
import { printTable } from "./table.ts";
import type { Figure } from "./table.ts";
import { measureUpdates } from "./updates.ts";

const { values } = parseArgs({
  options: { users: { type: "string" }, seconds: { type: "string" }, only: { type: "string" } },
});
const users = Number(values.users ?? 1_000_000);
const seconds = Number(values.seconds ?? 10);
const only = values.only?.split(",");

const say = (text: string): void => {
  process.stderr.write(process.stderr.isTTY ? `\r${text.padEnd(79)}` : `${text}\n`);
};

const calibration = calibrate();
const started = performance.now();
const log = await createBigLog(users, (done) => {
  if (done % 50_000 === 0 || done === users) say(`making a log of ${users} users: ${done}`);
});
const loadRate = (users / (performance.now() - started)) * 1_000;

const measurements: readonly (readonly [string, () => Promise<readonly Figure[]>])[] = [
  ["restart", () => measureRestart(log)],
  ["updates", () => measureUpdates(log, users, seconds)],
  ["enrolments", () => measureEnrolments(log, seconds)],
  ["lookups", () => measureLookups(log, users, seconds)],
  ["disk", () => measureDisk(log, users)],
  ["weight", measureWeight],
  ["verify", measureVerify],
  ["bundles", measureBundles],
];
const figures: Figure[] = [{ name: "users loaded", unit: "1/s", measured: loadRate }];
for (const [name, measure] of measurements) {
  if (only?.includes(name) === false) continue;
  say(`measuring ${name}`);
  figures.push(...(await measure()));
}
say("");
log.remove();
printTable(users, calibration, figures);
