/** Lookups over HTTP of random users, alone and while the log is being written. */
import { createServer } from "node:http";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Worker } from "node:worker_threads";
import type { RunningLog } from "../../appservice/sequencer.ts";
import { decodeUnpadded } from "../../shared/encoding.ts";
import type { LookupAnswer } from "../../shared/messages.ts";
import type { OwnLog } from "../support/own-log.ts";
import { userOf } from "./big-log.ts";
import type { Figure } from "./table.ts";
import { startForBench, submitSteadily } from "./updates.ts";

const CONNECTIONS = 10;
const CLIENT = new URL("./lookup-client.ts", import.meta.url);

interface Load {
  readonly perSecond: number;
  readonly p99Ms: number;
}

export async function measureLookups(log: OwnLog, users: number, seconds: number): Promise<readonly Figure[]> {
  const running = await startForBench(log, 10_000);
  const server = await serve(running);
  const { port } = server.address() as AddressInfo;
  await ask(port, users, 2);
  const inProcess = await askDirectly(running, users);
  const idle = await ask(port, users, seconds);
  const stop = new AbortController();
  const load = submitSteadily(running, users, 1_000, stop.signal);
  const busy = await ask(port, users, seconds);
  stop.abort();
  await load;
  server.close();
  const mapProof = await proofBytes(running, users);
  await running.sequencer.close();
  return [
    { name: "lookups in process", unit: "1/s", measured: inProcess },
    { name: "lookups", unit: "1/s", measured: idle.perSecond, must: 6_000, reach: 12_000 },
    { name: "lookups, p99", unit: "ms", measured: idle.p99Ms, must: 10, reach: 5, atMost: true },
    { name: "lookups with 1,000 updates/s", unit: "1/s", measured: busy.perSecond, must: 4_000, reach: 8_000 },
    { name: "lookups with 1,000 updates/s, p99", unit: "ms", measured: busy.p99Ms, must: 15, reach: 8, atMost: true },
    {
      name: "map proof, mean",
      unit: "bytes",
      measured: mapProof,
      must: 1.02 * (32 * (Math.log2(users) + 0.3) + 5 + 3),
      atMost: true,
    },
  ];
}

/** The lookup route by itself: path is the user's number. */
function serve({ directory }: RunningLog): Promise<Server> {
  const server = createServer((request, response) => {
    void directory.lookup(userOf(Number(request.url?.slice(1)))).then((body) => {
      response.setHeader("content-type", "application/json").end(body);
    });
  });
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      resolve(server);
    });
  });
}

/** Asks from a thread of its own, so that the client does not count as the answering thread. */
function ask(port: number, users: number, seconds: number): Promise<Load> {
  const worker = new Worker(CLIENT, { workerData: { port, users, seconds, connections: CONNECTIONS } });
  return new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
}

async function askDirectly({ directory }: RunningLog, users: number): Promise<number> {
  const [count, started] = [5_000, performance.now()];
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
