/** Lookups of random users over the real API, alone and while the log is being written. */
import type { RunningLog } from "../../appservice/sequencer.ts";
import { decodeUnpadded } from "../../shared/encoding.ts";
import type { LookupAnswer } from "../../shared/messages.ts";
import type { OwnLog } from "../support/own-log.ts";
import { TestUser } from "../support/test-user.ts";
import { userOf } from "./big-log.ts";
import { checkSample } from "./lookup-check.ts";
import type { LookupLoad } from "./lookup-client.ts";
import { ask, askForConstant, serveLookups } from "./lookup-service.ts";
import { latencies } from "./rate.ts";
import type { Figure } from "./table.ts";
import { startForBench, submitSteadily } from "./updates.ts";

const ENROLLED = 100;
const WARM_UP_S = 5;
const AT_REST_WITHIN_MS = 60_000;

export async function measureLookups(log: OwnLog, users: number, seconds: number): Promise<readonly Figure[]> {
  const running = await startForBench(log, 10_000);
  const enrolled = await enrol(running);
  const service = await serveLookups(running);
  const askFor = (s: number): Promise<LookupLoad> => ask({ ...service, users, enrolled, seconds: s });
  await atRest();
  const warm = await askFor(WARM_UP_S);
  const inProcess = await askDirectly(running, users);
  const before = process.cpuUsage();
  const idle = await askFor(seconds);
  const { user, system } = process.cpuUsage(before);
  const stop = new AbortController();
  const updates = submitSteadily(running, users, 1_000, stop.signal);
  const busy = await askFor(seconds);
  stop.abort();
  await updates;
  service.close();
  const mapProof = await proofBytes(running, users);
  const constant = await askForConstant(await running.directory.lookup(userOf(0)), Math.min(seconds, 4));
  await running.sequencer.close();
  for (const { sample } of [warm, idle, busy]) checkSample(log, new Set(enrolled), sample);
  return [
    { name: "lookups in process", unit: "1/s", measured: inProcess },
    { name: "lookups", unit: "1/s", measured: idle.perSecond, must: 6_000, reach: 12_000 },
    ...latencies("lookups", idle, { must: 10, reach: 5 }),
    { name: "processor time of a lookup", unit: "us", measured: (user + system) / idle.answers },
    { name: "lookups with 1,000 updates/s", unit: "1/s", measured: busy.perSecond, must: 4_000, reach: 8_000 },
    ...latencies("lookups with 1,000 updates/s", busy, { must: 15, reach: 8 }),
    { name: "the lookups' client on a constant answer", unit: "1/s", measured: constant.perSecond },
    {
      name: "map proof, mean",
      unit: "bytes",
      measured: mapProof,
      must: 1.02 * (32 * (Math.log2(users) + 0.3) + 5 + 3),
      atMost: true,
    },
  ];
}

/** Waits until the database has put in order what earlier measurements wrote: the writer is to be idle. */
async function atRest(): Promise<void> {
  const everyMs = 500;
  for (let waited = 0; waited < AT_REST_WITHIN_MS; waited += everyMs) {
    const before = process.cpuUsage();
    await new Promise((resolve) => setTimeout(resolve, everyMs));
    const { user, system } = process.cpuUsage(before);
    if ((user + system) / 1_000 < everyMs / 20) return;
  }
}

/** Users with keys and proofs of their own, beside those of the big log. */
async function enrol({ sequencer }: RunningLog): Promise<readonly string[]> {
  const people = Array.from(
    { length: ENROLLED },
    (_, i) => new TestUser(`@enrolled${i}:example.org`, "PHONE", "LAPTOP"),
  );
  const enrolled = people.map(async (person) => {
    await sequencer.submit({ userId: person.userId, entry: person.entry(), observedMs: Date.now() });
    return person.userId;
  });
  return await Promise.all(enrolled);
}

async function askDirectly({ directory }: RunningLog, users: number): Promise<number> {
  const [count, started] = [20_000, performance.now()];
  for (let i = 0; i < count; i++) await directory.lookup(userOf(Math.floor(Math.random() * users)));
  return (count / (performance.now() - started)) * 1_000;
}

async function proofBytes({ directory }: RunningLog, users: number): Promise<number> {
  const count = 500;
  let bytes = 0;
  for (let i = 0; i < count; i++) {
    const answer = JSON.parse(await directory.lookup(userOf(Math.floor(Math.random() * users)))) as LookupAnswer;
    bytes += decodeUnpadded(answer.user.map_proof).length;
  }
  return bytes / count;
}
