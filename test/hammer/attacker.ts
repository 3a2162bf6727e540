/**
 * Process of the attacker: everything a stranger, or somebody with an account, can throw at the three ports. Each attack
 * knows what a sound service answers; anything else is reported.
 */
import { randomBytes, randomInt } from "node:crypto";
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { ROUTES } from "../../appservice/api-routes.ts";
import type { AttackerStart, AttackTally } from "./messages.ts";

const PAUSE_MS = 100;
const TALLY_EVERY_MS = 1_000;
const REQUEST_LIMIT_MS = 45_000;
/** A connection that sends nothing more is cut by then. */
const CUT_WITHIN_MS = 45_000;
const IDLE_SOCKETS = 200;
const FLOOD = 300;

const start = JSON.parse(process.argv[2] ?? "") as AttackerStart;
const api = new URL(start.serviceUrl);
const end = new AbortController();
let refused: { [attack: string]: number } = {};
let errors: string[] = [];

function expect(attack: string, seen: unknown, ...allowed: readonly unknown[]): void {
  if (allowed.includes(seen)) refused[attack] = (refused[attack] ?? 0) + 1;
  else errors.push(`${attack}: ${String(seen)}, not ${allowed.join(" or ")}`);
}

async function openIdToken(userId: string): Promise<{ readonly [name: string]: unknown }> {
  const path = `/_matrix/client/v3/user/${encodeURIComponent(userId)}/openid/request_token`;
  const response = await fetch(start.homeserverUrl + path, { method: "POST" });
  return (await response.json()) as { readonly [name: string]: unknown };
}

/** Status of an answer, or "cut" when the service ended the connection. Each attack comes from some other address. */
async function ask(path: string, init: RequestInit = {}): Promise<number | "cut"> {
  const headers = new Headers(init.headers);
  headers.set("x-forwarded-for", `10.9.${String(randomInt(256))}.${String(randomInt(256))}`);
  try {
    const signal = AbortSignal.timeout(REQUEST_LIMIT_MS);
    const response = await fetch(start.serviceUrl + path, { ...init, headers, signal });
    await response.arrayBuffer();
    return response.status;
  } catch (error) {
    if (error instanceof DOMException && error.name === "TimeoutError") throw error;
    return "cut";
  }
}

const post = async (path: string, body: BodyInit, token?: string): Promise<number | "cut"> =>
  await ask(path, { method: "POST", body, headers: token === undefined ? {} : { authorization: `Bearer ${token}` } });

async function openSession(userId: string): Promise<string> {
  const body = JSON.stringify({ openid_token: await openIdToken(userId) });
  const headers = { "x-forwarded-for": `10.8.0.${String(randomInt(256))}` };
  const response = await fetch(`${start.serviceUrl}/v1/session`, { method: "POST", body, headers });
  return ((await response.json()) as { readonly session: string }).session;
}

const someUser = (): string => `@u${String(randomInt(start.users))}:${start.serverName}`;
const lookup = (userId: string): string => JSON.stringify({ user_id: userId });
/** One account of the attacker's own, honestly come by. */
const session = await openSession(`@mallory:${start.serverName}`);

/** A raw connection on which `send` writes; resolves with the first line of the answer, or "cut". */
async function raw(send: (write: (text: string) => void) => Promise<void>, port = Number(api.port)): Promise<string> {
  return await new Promise((resolve, reject) => {
    const socket = connect(port, api.hostname);
    const late = setTimeout(() => {
      socket.destroy();
      reject(new Error(`still open after ${String(CUT_WITHIN_MS)} ms`));
    }, CUT_WITHIN_MS);
    let answer = "";
    socket.on("data", (data) => (answer += data.toString("latin1")));
    socket.on("error", () => undefined);
    socket.on("close", () => {
      clearTimeout(late);
      resolve(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1] ?? "cut");
    });
    socket.once("connect", () => {
      void send((text) => {
        if (!socket.destroyed) socket.write(text);
      });
    });
  });
}

const HEADERS = `POST /v1/lookup HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${session}\r\n`;

/** By name; each is one attack. The first argument of `expect` groups them in the report. */
const ATTACKS: { readonly [name: string]: () => Promise<void> } = {
  "replayed OpenID token": async () => {
    const body = JSON.stringify({ openid_token: await openIdToken(`@replay:${start.serverName}`) });
    expect("replayed OpenID token", await post("/v1/session", body), 200);
    expect("replayed OpenID token", await post("/v1/session", body), 401);
  },
  "invented OpenID token": async () => {
    const token = await openIdToken(someUser());
    const foreign = { ...token, matrix_server_name: "evil.example" };
    const unknown = { ...token, access_token: randomBytes(16).toString("hex") };
    expect(
      "OpenID token of a foreign server",
      await post("/v1/session", JSON.stringify({ openid_token: foreign })),
      403,
    );
    expect("invented OpenID token", await post("/v1/session", JSON.stringify({ openid_token: unknown })), 401);
  },
  "invented session": async () => {
    const token = randomBytes(32).toString("base64url");
    expect("invented session", await post("/v1/lookup", lookup(someUser()), token), 401);
    expect("no session", await post("/v1/lookup", lookup(someUser())), 401);
  },
  "malformed bodies": async () => {
    const bodies = [
      "",
      "{",
      "null",
      "[]",
      "1e999",
      `{"user_id":1}`,
      `{"user_id":"@a:b","user_id":"@c:d"}`,
      "[".repeat(50_000),
    ];
    bodies.push(
      `{"__proto__":{"user_id":"@a:b"}}`,
      `{"user_id":"@a:b","more":true}`,
      `{"user_id":"${"a".repeat(300)}"}`,
    );
    for (const route of ROUTES) {
      if (route.request === undefined || route.path === "/v1/session") continue;
      const body = bodies[randomInt(bodies.length)] ?? "";
      const init = { method: route.method.toUpperCase(), body, headers: { authorization: `Bearer ${session}` } };
      expect("malformed body", await ask(route.path, init), 400);
    }
  },
  "random bytes": async () => {
    expect(
      "random bytes as body",
      await post("/v1/lookup", new Uint8Array(randomBytes(randomInt(1, 4_096))), session),
      400,
    );
  },
  "wrong paths": async () => {
    const paths: [string, number][] = [
      ["/v1/changes/99999999", 404],
      ["/v1/changes/-1", 400],
      ["/v1/settling/1?size=99999999", 404],
      ["/log/tile/0/x999/999", 404],
      ["/log/tile/../../keys.json", 404],
      ["/log/tile/0/%2e%2e%2f%2e%2e", 400],
      ["/v1/configuration/zz", 400],
      ["/operator/close", 404],
      ["/metrics", 404],
    ];
    for (const [path, status] of paths) expect("wrong path", await ask(path), status);
  },
  "too much at once": async () => {
    const user_ids = Array.from({ length: 501 }, (_, i) => `@u${String(i)}:${start.serverName}`);
    expect("501 users in one question", await post("/v1/lookups", JSON.stringify({ user_ids }), session), 400);
    const range = { user_id: someUser(), from: 1, to: 1_000_000 };
    expect("a range without end", await post("/v1/history/versions", JSON.stringify(range), session), 400, 404);
  },
  "oversize body": async () => {
    const body = new Uint8Array(4_000_000).fill(0x61);
    expect("oversize body", await post("/v1/lookup", body, session), 413, "cut");
  },
  "foreign lookups": async () => {
    for (const userId of ["@a:evil.example", `@nobody${String(randomInt(1e6))}:${start.serverName}`])
      expect("lookup of somebody who is not there", await post("/v1/lookup", lookup(userId), session), 200);
  },
  flood: async () => {
    const body = JSON.stringify({ user_ids: Array.from({ length: 100 }, someUser) });
    const answers = await Promise.all(Array.from({ length: FLOOD }, () => post("/v1/lookups", body, flooder)));
    const limited = answers.filter((status) => status === 429).length;
    // 3,000 questions a minute: at most 30 of these are answered.
    expect("flood beyond the limit", limited >= FLOOD - 31, true);
    for (const status of answers) expect("flood", status, 200, 429);
    await delay(5_000);
  },
  "slow headers": async () => {
    const answer = await raw(async (write) => {
      write("POST /v1/lookup HTTP/1.1\r\n");
      for (let i = 0; i < 60 && !end.signal.aborted; i++) {
        await delay(1_000);
        write(`x-${String(i)}: y\r\n`);
      }
    });
    expect("slow headers", answer, "408", "cut");
  },
  "slow body": async () => {
    const answer = await raw(async (write) => {
      write(`${HEADERS}content-length: 100000\r\n\r\n`);
      for (let i = 0; i < 60 && !end.signal.aborted; i++) {
        await delay(1_000);
        write("a");
      }
    });
    expect("slow body", answer, "408", "cut");
  },
  "endless body": async () => {
    const answer = await raw(async (write) => {
      write(`${HEADERS}transfer-encoding: chunked\r\n\r\n`);
      for (let i = 0; i < 60 && !end.signal.aborted; i++) {
        await delay(100);
        write(`10000\r\n${"a".repeat(0x10000)}\r\n`);
      }
    });
    expect("endless body", answer, "413", "cut");
  },
  "no HTTP": async () => {
    const answer = await raw(async (write) => {
      await Promise.resolve();
      write(randomBytes(2_000).toString("latin1"));
    });
    expect("no HTTP", answer, "400", "cut");
  },
  "two lengths": async () => {
    const answer = await raw(async (write) => {
      await Promise.resolve();
      write(`${HEADERS}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}0\r\n\r\n`);
    });
    expect("two lengths", answer, "400", "cut");
  },
  "idle sockets": async () => {
    const sockets = Array.from({ length: IDLE_SOCKETS }, () => connect(Number(api.port), api.hostname));
    for (const socket of sockets) socket.on("error", () => undefined);
    await delay(3_000);
    expect("answer beside idle sockets", await ask("/healthz"), 200);
    for (const socket of sockets) socket.destroy();
  },
  "forged transactions": async () => {
    const body = JSON.stringify({ events: [], "org.matrix.msc3202.device_lists": { changed: [someUser()] } });
    const push = async (headers: Record<string, string>, query = ""): Promise<number> =>
      (await fetch(`${start.appserviceUrl}/_matrix/app/v1/transactions/1${query}`, { method: "PUT", body, headers }))
        .status;
    const type = { "content-type": "application/json" };
    expect("transaction without a token", await push(type), 401);
    expect("transaction with a wrong token", await push({ ...type, authorization: "Bearer wrong" }), 403);
    expect("transaction with a token in the query", await push(type, "?access_token=wrong"), 401);
  },
  "other methods": async () => {
    for (const method of ["DELETE", "PATCH", "TRACEX"])
      expect("other method", await ask("/v1/lookup", { method }), 404, 400, "cut");
    expect("preflight", await ask("/v1/lookup", { method: "OPTIONS" }), 204);
  },
};

const flooder = await openSession(`@flooder:${start.serverName}`);

/** Slow attacks run beside the others, each one again as soon as it has ended. */
const SLOW: ReadonlySet<string> = new Set(["slow headers", "slow body", "endless body", "idle sockets", "flood"]);

async function attack(names: readonly string[]): Promise<void> {
  while (!end.signal.aborted) {
    for (const name of names) {
      await attackOnce(name);
      await delay(PAUSE_MS);
    }
  }
}

async function attackOnce(name: string): Promise<void> {
  try {
    await ATTACKS[name]?.();
  } catch (error) {
    errors.push(`${name}: ${error instanceof Error ? `${error.name} ${error.message}` : String(error)}`);
  }
}

function tell(): void {
  const tally: AttackTally = { kind: "attacks", refused, errors };
  [refused, errors] = [{}, []];
  process.send?.(tally);
}

process.once("disconnect", () => process.exit());
process.once("message", () => {
  end.abort();
  tell();
  process.exit();
});
setInterval(tell, TALLY_EVERY_MS);
const names = Object.keys(ATTACKS);
const quick = names.filter((name) => !SLOW.has(name));
await Promise.all([
  attack(quick),
  ...[...SLOW].map(async (name) => {
    await attack([name]);
  }),
]);
