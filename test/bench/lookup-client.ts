/** Thread of the lookup bench: some connections, each asking again as soon as it has its answer. */
import { Agent, get } from "node:http";
import { parentPort, workerData } from "node:worker_threads";

const { port, users, seconds, connections } = workerData as {
  readonly [name in "port" | "users" | "seconds" | "connections"]: number;
};
const agent = new Agent({ keepAlive: true, maxSockets: connections });
const times: number[] = [];
const started = performance.now();
const ends = started + seconds * 1_000;

function ask(): Promise<void> {
  const path = `/${Math.floor(Math.random() * users)}`;
  return new Promise((resolve, reject) => {
    get({ agent, host: "127.0.0.1", port, path }, (response) => {
      response.on("end", resolve).resume();
    }).on("error", reject);
  });
}

async function askInTurn(): Promise<void> {
  while (performance.now() < ends) {
    const asked = performance.now();
    await ask();
    times.push(performance.now() - asked);
  }
}

await Promise.all(Array.from({ length: connections }, askInTurn));
const elapsed = performance.now() - started;
agent.destroy();
times.sort((a, b) => a - b);
parentPort?.postMessage({
  perSecond: (times.length / elapsed) * 1_000,
  p99Ms: times[Math.floor(times.length * 0.99)] ?? 0,
});
