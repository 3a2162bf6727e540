/**
 * One clock for a whole test: its time runs like the machine's and jumps when the test says so. It serves its offset on
 * loopback, so that child processes follow it too; `followClock` is their end.
 */
import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What both the service and the plugin take as their clock. */
export interface Clock {
  now(): number;
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

/** A clock that is `offsetMs` ahead of the machine's. Sleepers wake when it jumps past their time. */
export class JumpingClock implements Clock {
  #offsetMs: number;
  readonly #sleepers = new Set<() => void>();

  constructor(offsetMs = 0) {
    this.#offsetMs = offsetMs;
  }

  get offsetMs(): number {
    return this.#offsetMs;
  }

  now(): number {
    return Date.now() + this.#offsetMs;
  }

  /** Sets how far ahead of the machine's clock this one is. */
  jumpTo(offsetMs: number): void {
    this.#offsetMs = offsetMs;
    for (const look of this.#sleepers) look();
  }

  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    const wakeMs = this.now() + ms;
    await new Promise<void>((resolve) => {
      let timer: NodeJS.Timeout | undefined;
      const look = (): void => {
        clearTimeout(timer);
        const leftMs = wakeMs - this.now();
        if (leftMs > 0 && !signal.aborted) timer = setTimeout(look, Math.min(leftMs, 2 ** 31 - 1));
        else wake();
      };
      const wake = (): void => {
        this.#sleepers.delete(look);
        signal.removeEventListener("abort", look);
        resolve();
      };
      this.#sleepers.add(look);
      signal.addEventListener("abort", look);
      look();
    });
  }
}

/** A clock that other processes follow at `url`. */
export class ClockServer extends JumpingClock {
  readonly url: string;
  readonly #server: ReturnType<typeof createServer>;
  readonly #followers: Set<ServerResponse>;

  constructor(server: ReturnType<typeof createServer>, followers: Set<ServerResponse>) {
    super();
    this.#server = server;
    this.#followers = followers;
    this.url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  }

  /** Lets time jump ahead, here and in every process that follows. */
  advance(ms: number): void {
    this.jumpTo(this.offsetMs + ms);
    for (const follower of this.#followers) follower.write(`${String(this.offsetMs)}\n`);
  }

  async close(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, "close");
  }
}

/** Starts a clock that shows the machine's time until it is advanced. */
export async function startClock(): Promise<ClockServer> {
  const followers = new Set<ServerResponse>();
  const server = createServer((request, response) => {
    follow(followers, request, response, clock);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const clock = new ClockServer(server, followers);
  return clock;
}

/** Each line of the answer is the offset from then on; the answer never ends. */
function follow(
  followers: Set<ServerResponse>,
  request: IncomingMessage,
  response: ServerResponse,
  clock: Clock & { offsetMs: number },
): void {
  followers.add(response);
  request.once("close", () => followers.delete(response));
  response.write(`${String(clock.offsetMs)}\n`);
}

/** The clock at `url`, in another process. Resolves once it shows that clock's time, and follows it until `signal`. */
export async function followClock(url: string, signal: AbortSignal): Promise<Clock> {
  const clock = new JumpingClock();
  const answer = await fetch(url, { signal });
  if (answer.body === null) throw new Error("the clock server sent nothing");
  const lines = answer.body.pipeThrough(new TextDecoderStream())[Symbol.asyncIterator]();
  const read = async (): Promise<boolean> => {
    const { done, value } = await lines.next();
    const last = value?.trimEnd().split("\n").at(-1);
    if (last !== undefined) clock.jumpTo(Number(last));
    return done !== true;
  };
  await read();
  void followOn(read, signal);
  return clock;
}

async function followOn(read: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
  try {
    while (await read());
  } catch (error) {
    // The clock server ends with its test, which this process does not outlive by much.
    if (!signal.aborted && !(error instanceof TypeError)) throw error;
  }
}
