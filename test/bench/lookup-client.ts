/**
 * Process of the lookup bench: some connections, each asking again as soon as it has its answer. Plain sockets and requests
 * put together from parts, because on two cores what the client costs the service can't have.
 */
import { connect } from "node:net";
import { userOf } from "./big-log.ts";
import { quantilesOf } from "./rate.ts";
import type { Rate } from "./rate.ts";

export interface LookupJob {
  readonly port: number;
  /** Session tokens, each of a user of its own. */
  readonly sessions: readonly string[];
  /** Who is asked about: mostly one of the first `users` of the big log, now and then one of `enrolled`. */
  readonly users: number;
  readonly enrolled: readonly string[];
  readonly seconds: number;
  readonly connections: number;
}

export interface LookupLoad extends Rate {
  readonly answers: number;
  /** Some of the answers, as they came. */
  readonly sample: readonly { readonly userId: string; readonly text: string }[];
}

const ENROLLED_EVERY = 100;
const SAMPLE_EVERY = 50;
const MAX_SAMPLE = 200;
const HEAD_END = "\r\n\r\n";

function pick<Item>(items: readonly Item[]): Item {
  const item = items[Math.floor(Math.random() * items.length)];
  if (item === undefined) throw new RangeError("nothing to pick from");
  return item;
}

class Load {
  readonly #job: LookupJob;
  readonly #times: number[] = [];
  readonly #sample: { readonly userId: string; readonly text: string }[] = [];
  #endsMs = 0;
  #asked = 0;

  constructor(job: LookupJob) {
    this.#job = job;
  }

  async run(): Promise<LookupLoad> {
    const startedMs = performance.now();
    this.#endsMs = startedMs + this.#job.seconds * 1_000;
    await Promise.all(Array.from({ length: this.#job.connections }, () => this.#connection()));
    const elapsedS = (performance.now() - startedMs) / 1_000;
    const answers = this.#times.length;
    return { answers, perSecond: answers / elapsedS, ...quantilesOf(this.#times), sample: this.#sample };
  }

  /** Rejects with the answer at the first that is not 200. */
  #connection(): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = connect(this.#job.port, "127.0.0.1");
      let [userId, askedMs, received] = ["", 0, ""];
      const ask = (): void => {
        if (performance.now() >= this.#endsMs) {
          socket.end();
          resolve();
          return;
        }
        userId = this.#nextUser();
        askedMs = performance.now();
        socket.write(requestFor(userId, pick(this.#job.sessions)), "latin1");
      };
      socket.setNoDelay(true).setEncoding("latin1");
      socket.on("connect", ask).on("error", reject);
      socket.on("data", (text: string) => {
        received += text;
        const body = bodyOf(received);
        if (body === undefined) return;
        this.#times.push(performance.now() - askedMs);
        if (!received.startsWith("HTTP/1.1 200 ")) {
          socket.destroy(new Error(`a lookup failed: ${received}`));
          return;
        }
        if (this.#times.length % SAMPLE_EVERY === 0 && this.#sample.length < MAX_SAMPLE) {
          this.#sample.push({ userId, text: Buffer.from(body, "latin1").toString("utf8") });
        }
        received = "";
        ask();
      });
    });
  }

  #nextUser(): string {
    const { users, enrolled } = this.#job;
    this.#asked += 1;
    // A number that has nothing in common with the sampling, so that either kind is in the sample.
    const isEnrolled = enrolled.length > 0 && this.#asked % (ENROLLED_EVERY + 1) === 0;
    return isEnrolled ? pick(enrolled) : userOf(Math.floor(Math.random() * users));
  }
}

function requestFor(userId: string, session: string): string {
  const body = `{"user_id":"${userId}"}`;
  return (
    `POST /v1/lookup HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${session}\r\n` +
    `content-type: application/json\r\ncontent-length: ${body.length}${HEAD_END}${body}`
  );
}

/** The body, once all of it is there. */
function bodyOf(received: string): string | undefined {
  const headEnd = received.indexOf(HEAD_END);
  if (headEnd < 0) return undefined;
  const length = /\r\ncontent-length: (\d+)\r\n/i.exec(received.slice(0, headEnd + 2))?.[1];
  if (length === undefined) throw new Error(`an answer without length: ${received}`);
  const body = received.slice(headEnd + HEAD_END.length);
  return body.length < Number(length) ? undefined : body;
}

process.once("message", (job: LookupJob) => {
  void new Load(job).run().then((load) => process.send?.(load));
});
