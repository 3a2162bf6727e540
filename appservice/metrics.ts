/** Prometheus metrics. README.md lists them. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "@prometheus-io/client";

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
  readonly answered: (route: string, status: number, seconds: number) => void;
  /** Everything in the text format of Prometheus, with its content type. */
  readonly scrape: () => Promise<{ readonly type: string; readonly text: string }>;
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
    scrape: async () => ({ type: registry.contentType, text: await registry.metrics() }),
  };
}
