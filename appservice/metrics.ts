/** Prometheus metrics. docs/runbook.md lists them, with the alarms that rest on them. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "@prometheus-io/client";

/** What is read when somebody asks. Times in milliseconds; undefined where there is nothing to tell yet. */
export interface Readings {
  /** The newest published epoch, and the age of the newest committed one. */
  epoch(): number;
  headAgeMs(): number;
  heartbeatMs(): number;
  /** How long no epoch came although one may close. */
  stillMs(): number;
  /** Changes that no published epoch has merged. */
  pending(): number;
  sweepMissed(): number;
  /** Since `/sync` last answered, and since the newest head was posted into the epochs room. */
  feedAgeMs(): number | undefined;
  roomHeadAgeMs(): number | undefined;
  /** Bytes free for the database. */
  diskFree(): number;
  /** Reasons why the service is not ready. */
  notReady(): number;
}

export interface Metrics {
  /** Counts one answer of the API and how long it took. `route` is the pattern, never a path with ids. */
  readonly answered: (route: string, status: number, seconds: number) => void;
  /** Takes the time from when a change was seen until it was published. */
  readonly merged: (seconds: number) => void;
  /** Everything in the text format of Prometheus, with its content type. */
  readonly scrape: () => Promise<{ readonly type: string; readonly text: string }>;
}

const seconds = (ms: number | undefined): number => (ms === undefined ? NaN : ms / 1_000);

/** Answers that one thread gave, and how long they took. */
export class AnswerMetrics {
  readonly #registry = new Registry();
  readonly #answers = new Counter({
    name: "ckv_http_answers_total",
    help: "Answers of the API.",
    labelNames: ["route", "status"],
    registers: [this.#registry],
  });
  readonly #durations = new Histogram({
    name: "ckv_http_seconds",
    help: "Time to answer.",
    labelNames: ["route"],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2],
    registers: [this.#registry],
  });

  /** Counts one answer. */
  readonly answered: Metrics["answered"] = (route, status, time) => {
    this.#answers.inc({ route, status });
    this.#durations.observe({ route }, time);
  };

  /** All that was counted so far, in a form that passes between threads. */
  async read(): Promise<readonly object[]> {
    return await this.#registry.getMetricsAsJSON();
  }
}

/** `ofThreads`: what `AnswerMetrics` of other threads read. */
export function createMetrics(
  readings: Readings,
  ofThreads: () => Promise<readonly (readonly object[])[]> = () => Promise.resolve([]),
): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  gauge("ckv_epoch", "Newest published epoch.", () => readings.epoch());
  gauge("ckv_head_age_seconds", "Age of the newest head.", () => seconds(readings.headAgeMs()));
  gauge("ckv_heartbeat_seconds", "A head comes at least this often.", () => seconds(readings.heartbeatMs()));
  gauge("ckv_sequencer_still_seconds", "No epoch came for this long although one may.", () =>
    seconds(readings.stillMs()),
  );
  gauge("ckv_pending_changes", "Changes that no published epoch has merged.", () => readings.pending());
  gauge("ckv_feed_age_seconds", "Time since /sync last answered.", () => seconds(readings.feedAgeMs()));
  gauge("ckv_room_head_age_seconds", "Time since a head was posted into the epochs room.", () =>
    seconds(readings.roomHeadAgeMs()),
  );
  gauge("ckv_disk_free_bytes", "Bytes free for the database.", () => readings.diskFree());
  gauge("ckv_ready", "1 when /readyz says so.", () => Number(readings.notReady() === 0));
  new Counter({
    name: "ckv_sweep_missed_total",
    help: "Changes that only a sweep found; above 0 the feed has a hole.",
    registers,
    collect(this: Counter) {
      this.reset();
      this.inc(readings.sweepMissed());
    },
  });
  const own = new AnswerMetrics();
  const merges = new Histogram({
    name: "ckv_merge_seconds",
    help: "Time from when a change was seen until it was published.",
    buckets: [0.5, 1, 2, 5, 10, 15, 30, 60, 300, 3_600],
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
    answered: own.answered,
    merged: (time) => {
      merges.observe(time);
    },
    scrape: async () => {
      const answers = Registry.aggregate([await own.read(), ...(await ofThreads())].map((read) => [...read]));
      return { type: registry.contentType, text: (await registry.metrics()) + (await answers.metrics()) };
    },
  };
}
