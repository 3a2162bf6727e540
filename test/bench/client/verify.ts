/** How long a client takes to verify a lookup, in Node and in Chromium. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Browser } from "playwright-core";
import { openBrowser } from "../../support/chromium.ts";
import type { Figure } from "../table.ts";
import { bundle } from "./bundles.ts";
import { median } from "./median.ts";
import { timeVisits } from "./visits.ts";
import type { VisitTimes } from "./visits.ts";

const ROUNDS = 60;
/** Before that, the host still compiles; what that costs is a figure of its own. */
const WARM_UP_ROUNDS = 15;
const COLD_ROUNDS = 7;

const VISITS = join(import.meta.dirname, "visits.ts");

export async function measureVerify(): Promise<Figure[]> {
  timeVisits(WARM_UP_ROUNDS);
  const inNode = timeVisits(ROUNDS);
  const targets = { first: { must: 10, reach: 6.5 }, known: { must: 2, reach: 1.3 } };
  const inBrowser = await timeInBrowser();
  return [
    ...rowsOf("Node", inNode, await timeColdProcess(), targets),
    ...rowsOf("Chromium", inBrowser.warm, inBrowser.coldMs, {}),
  ];
}

/** One fresh process each. */
async function timeColdProcess(): Promise<number> {
  const script = `const { timeColdVisit } = await import(process.argv[1]); console.log(timeColdVisit())`;
  const times: number[] = [];
  while (times.length < COLD_ROUNDS) {
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script, VISITS]);
    times.push(Number(stdout));
  }
  return median(times);
}

interface Targets {
  readonly first?: { readonly must: number; readonly reach: number };
  readonly known?: { readonly must: number; readonly reach: number };
}

function rowsOf(host: string, times: VisitTimes, coldMs: number, { first, known }: Targets): Figure[] {
  return [
    { name: `verify a lookup, first time, ${host}`, measured: times.firstMs, unit: "ms", atMost: true, ...first },
    { name: `verify a lookup, known contact, ${host}`, measured: times.knownMs, unit: "ms", atMost: true, ...known },
    { name: `the first of all in a fresh process, ${host}`, measured: coldMs, unit: "ms", atMost: true },
    {
      name: `the same with 3 cosigners, first time, ${host}`,
      measured: times.firstCosignedMs,
      unit: "ms",
      atMost: true,
    },
    {
      name: `the same with 3 cosigners, known contact, ${host}`,
      measured: times.knownCosignedMs,
      unit: "ms",
      atMost: true,
    },
    { name: `for scale: noble multiplies one point, ${host}`, measured: times.yardstickMs, unit: "ms", atMost: true },
  ];
}

interface BrowserTimes {
  readonly warm: VisitTimes;
  readonly coldMs: number;
}

async function timeInBrowser(): Promise<BrowserTimes> {
  const script = await bundle(`export { timeColdVisit, timeVisits } from "${VISITS}";`);
  const url = `data:text/javascript;base64,${Buffer.from(script).toString("base64")}`;
  const times: number[] = [];
  while (times.length < COLD_ROUNDS) {
    const coldMs = await withBrowser((browser) => timeColdPage(browser, url));
    times.push(coldMs);
  }
  return { warm: await withBrowser((browser) => timeWarmPage(browser, url)), coldMs: median(times) };
}

async function withBrowser<T>(task: (browser: Browser) => Promise<T>): Promise<T> {
  const browser = await openBrowser();
  try {
    return await task(browser);
  } finally {
    await browser.close();
  }
}

async function timeColdPage(browser: Browser, url: string): Promise<number> {
  const page = await browser.newPage();
  return page.evaluate(async (address) => {
    const visits = (await import(address)) as { readonly timeColdVisit: () => number };
    return visits.timeColdVisit();
  }, url);
}

async function timeWarmPage(browser: Browser, url: string): Promise<VisitTimes> {
  const page = await browser.newPage();
  return page.evaluate(
    async ([address, warmUp, rounds]) => {
      const visits = (await import(address)) as { readonly timeVisits: (rounds: number) => VisitTimes };
      visits.timeVisits(warmUp);
      return visits.timeVisits(rounds);
    },
    [url, WARM_UP_ROUNDS, ROUNDS] as const,
  );
}
