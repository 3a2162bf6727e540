/**
 * `npm run access`: whether the service betrays if an account exists that does not take part. Asks about accounts of the
 * homeserver that are not enrolled, and about names nobody has, in random order; a classifier that knows only time or size
 * of an answer must do no better than guessing. Options: `--requests 10000` per route (default). Exit code 1 if it can.
 */
import { randomInt } from "node:crypto";
import { Agent, request as httpRequest } from "node:http";
import { parseArgs } from "node:util";
import { ROUTES } from "../../appservice/api-routes.ts";
import { Stage } from "../hammer/stage.ts";
import { areaUnderCurve } from "./classifier.ts";

const { values } = parseArgs({ options: { requests: { type: "string", default: "10000" } } });
const requests = Number(values.requests);
/** Area under the ROC curve of the better of both directions: 0.5 is guessing. */
const AUC_LIMIT = 0.55;
const WARM_UP = 200;
const TAKING_PART = 200;
const NO_LIMITS = { CKV_LIMITS_LOOKUPS_PER_MINUTE: "100000000" };

/** What is asked about one user, by route. */
const QUESTIONS: readonly (readonly [path: string, body: (userId: string) => object])[] = [
  ["/v1/lookup", (user_id) => ({ user_id })],
  ["/v1/lookups", (user_id) => ({ user_ids: [user_id] })],
  ["/v1/refresh", (user_id) => ({ user_id })],
  ["/v1/settled", (user_id) => ({ user_id, epoch: 0 })],
  ["/v1/history/versions", (user_id) => ({ user_id, from: 1, to: 1 })],
  ["/v1/history/consistency", (user_id) => ({ user_id, from: 1, to: 1 })],
];

/** Its user must be the one who asks, so it betrays nobody. */
const OF_OWN_ACCOUNT = "/v1/statement";

interface Answer {
  readonly ms: number;
  readonly bytes: number;
  /** Status and headers, but for those that are judged otherwise. */
  readonly form: string;
}

/** Headers that differ from answer to answer: the time, and the size, which is judged by itself. */
const OF_ITS_OWN = ["date", "content-length"];

const say = (text: string): void => {
  process.stderr.write(`${text}\n`);
};

const judged = [...QUESTIONS.map(([path]) => path), OF_OWN_ACCOUNT];
const unasked = ROUTES.filter(({ path, request }) => namesUsers(request) && !judged.includes(path));
if (unasked.length > 0) throw new Error(`nobody asks ${unasked.map(({ path }) => path).join(", ")}`);
say(`making ${String(requests)} accounts`);
const stage = await Stage.open({ users: TAKING_PART, outsiders: Math.ceil(requests / 2), env: NO_LIMITS });
const agent = new Agent({ keepAlive: true, maxSockets: 1 });
const session = await openSession();
let failed = false;
for (const [path, body] of QUESTIONS) failed = !(await judge(path, body)) || failed;
agent.destroy();
await stage.stop();
stage.remove();
process.exit(failed ? 1 : 0);

function namesUsers(request: unknown): boolean {
  return /"user_ids?"/.test(JSON.stringify(request ?? {}));
}

async function openSession(): Promise<string> {
  const { homeserver, serviceUrl } = stage;
  const asker = encodeURIComponent(`@u0:${homeserver.serverName}`);
  const path = `/_matrix/client/v3/user/${asker}/openid/request_token`;
  const openid_token: unknown = await (await fetch(homeserver.url + path, { method: "POST" })).json();
  const init = { method: "POST", body: JSON.stringify({ openid_token }) };
  return ((await (await fetch(`${serviceUrl}/v1/session`, init)).json()) as { readonly session: string }).session;
}

/** Prints what gives the answers of a route away; says whether nothing does. */
async function judge(path: string, body: (userId: string) => object): Promise<boolean> {
  const method = ROUTES.find((route) => route.path === path)?.method.toUpperCase() ?? "POST";
  const answers = { o: [] as Answer[], n: [] as Answer[] };
  const left = { o: requests / 2, n: requests / 2 };
  for (let i = 0; i < WARM_UP; i++) await ask(method, path, body(`@w${String(i)}:${stage.homeserver.serverName}`));
  while (left.o + left.n > 0) {
    // Who is asked about comes in random order, so that whatever drifts drifts for both.
    const letter = randomInt(left.o + left.n) < left.o ? "o" : "n";
    left[letter] -= 1;
    const userId = `@${letter}${String(left[letter])}:${stage.homeserver.serverName}`;
    answers[letter].push(await ask(method, path, body(userId)));
  }
  const forms = new Set([...answers.o, ...answers.n].map(({ form }) => form));
  const times = areaUnderCurve(
    answers.o.map(({ ms }) => ms),
    answers.n.map(({ ms }) => ms),
  );
  const sizes = areaUnderCurve(
    answers.o.map(({ bytes }) => bytes),
    answers.n.map(({ bytes }) => bytes),
  );
  const holds = forms.size === 1 && times <= AUC_LIMIT && sizes <= AUC_LIMIT;
  const figures = `time ${times.toFixed(3)}  size ${sizes.toFixed(3)}  (${String(AUC_LIMIT)} at most)`;
  const form = forms.size === 1 ? [...forms].join("").slice(0, 3) : `${String(forms.size)} forms of answers`;
  process.stdout.write(`${holds ? "ok  " : "FAIL"}  ${path.padEnd(26)}${figures}  ${form}\n`);
  return holds;
}

function ask(method: string, path: string, body: object): Promise<Answer> {
  const text = JSON.stringify(body);
  const { hostname, port } = new URL(stage.serviceUrl);
  const headers = { authorization: `Bearer ${session}`, "content-length": Buffer.byteLength(text) };
  const startedMs = performance.now();
  return new Promise((resolve, reject) => {
    httpRequest({ agent, hostname, port, method, path, headers }, (response) => {
      let bytes = 0;
      response.on("data", (chunk: Buffer) => (bytes += chunk.length));
      response.on("end", () => {
        const headers = Object.entries(response.headers).filter(([name]) => !OF_ITS_OWN.includes(name));
        const form = `${String(response.statusCode)} ${JSON.stringify(headers)}`;
        resolve({ ms: performance.now() - startedMs, bytes, form });
      });
    })
      .on("error", reject)
      .end(text);
  });
}
