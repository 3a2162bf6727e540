/** How long a client takes to verify a lookup, in Node and in Chromium. */
import { join } from "node:path";
import { openBrowser } from "../../support/chromium.ts";
import type { Figure } from "../table.ts";
import { bundle } from "./bundles.ts";
import { timeVisits } from "./visits.ts";
import type { VisitTimes } from "./visits.ts";

const ROUNDS = 40;
/** Before that, the host still compiles. */
const WARM_UP_ROUNDS = 15;

export async function measureVerify(): Promise<Figure[]> {
  timeVisits(WARM_UP_ROUNDS);
  const inNode = timeVisits(ROUNDS);
  return [
    ...rowsOf("Node", inNode, { first: { must: 10, reach: 6.5 }, known: { must: 2, reach: 1.3 } }),
    ...rowsOf("Chromium", await timeInBrowser(), {}),
  ];
}

interface Targets {
  readonly first?: { readonly must: number; readonly reach: number };
  readonly known?: { readonly must: number; readonly reach: number };
}

function rowsOf(host: string, times: VisitTimes, { first, known }: Targets): Figure[] {
  return [
    { name: `verify a lookup, first time, ${host}`, measured: times.firstMs, unit: "ms", atMost: true, ...first },
    { name: `verify a lookup, known contact, ${host}`, measured: times.knownMs, unit: "ms", atMost: true, ...known },
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

async function timeInBrowser(): Promise<VisitTimes> {
  const script = await bundle(`export { timeVisits } from "${join(import.meta.dirname, "visits.ts")}";`);
  const browser = await openBrowser();
  try {
    const page = await browser.newPage();
    const url = `data:text/javascript;base64,${Buffer.from(script).toString("base64")}`;
    return await page.evaluate(
      async ([address, warmUp, rounds]) => {
        const visits = (await import(address)) as { readonly timeVisits: (rounds: number) => VisitTimes };
        visits.timeVisits(warmUp);
        return visits.timeVisits(rounds);
      },
      [url, WARM_UP_ROUNDS, ROUNDS] as const,
    );
  } finally {
    await browser.close();
  }
}
