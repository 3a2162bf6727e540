/** Prometheus metrics, served on a port of their own that is not for the public. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "@prometheus-io/client";
import type { Listener } from "./config.ts";

/** What is read when somebody asks. */
export interface Readings {
  epoch(): number;
  headAgeMs(): number;
  sweepMissed(): number;
  feedAgeMs(): number;
  ready(): boolean;
}

export interface Metrics {
  /** Counts one answer of the API and how long it took. `route` is the pattern, never a path with ids. */
  answered(route: string, status: number, seconds: number): void;
  listen(listener: Listener, signal: AbortSignal): Promise<number>;
}

export function createMetrics(readings: Readings): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  gauge("ckv_epoch", "Newest published epoch.", () => readings.epoch());
  gauge("ckv_head_age_seconds", "Age of the newest published head.", () => readings.headAgeMs() / 1000);
  gauge("ckv_feed_age_seconds", "Time since /sync last answered.", () => readings.feedAgeMs() / 1000);
  gauge("ckv_ready", "1 when /readyz says so.", () => Number(readings.ready()));
  new Counter({
    name: "ckv_sweep_missed_total",
    help: "Changes that only a sweep found; above 0 the feed has a hole.",
    registers,
    collect(this: Counter) {
      this.reset();
      this.inc(readings.sweepMissed());
    },
  });
  const answers = new Counter({
    name: "ckv_http_answers_total",
    help: "Answers of the API.",
    labelNames: ["route", "status"],
    registers,
  });
  const durations = new Histogram({
    name: "ckv_http_seconds",
    help: "Time to answer.",
    labelNames: ["route"],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2],
    registers,
  });

  function gauge(name: string, help: string, read: () => number): void {
    new Gauge({
      name,
      help,
      registers,
      collect(this: Gauge) {
        this.set(read());
      },
    });
  }

  return {
    answered: (route, status, seconds) => {
      answers.inc({ route, status });
      durations.observe({ route }, seconds);
    },
    listen: async (listener, signal) => await listen(registry, listener, signal),
  };
}

async function listen(registry: Registry, { host, port }: Listener, signal: AbortSignal): Promise<number> {
  const server: Server = createServer((request, response) => {
    void answer(registry, request, response);
  });
  server.listen({ host, port, signal });
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

async function answer(registry: Registry, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.url !== "/metrics") {
    response.writeHead(404).end();
    return;
  }
  const text = await registry.metrics();
  response.writeHead(200, { "content-type": registry.contentType }).end(text);
}
