/** `npm run demo`: a Synapse, its log, and two people in a browser. Prints one URL; Ctrl-C leaves nothing running. */
import { once } from "node:events";
import { SLACK_MIN_MS } from "../../../shared/parameters.ts";
import type { SynapseUser } from "../synapse.ts";
import { World } from "../world.ts";
import { Attacker } from "./attacks.ts";
import { buildPages } from "./build.ts";
import { serveDemo } from "./server.ts";
import type { PagePerson } from "./server.ts";

/** As test/support/service.ts sets it. */
const MERGE_DELAY_MS = 5_000;

/** Ctrl-C before there is anything to end in good order; child processes go with this one. */
const giveUp = (): never => process.exit(130);
process.once("SIGINT", giveUp);

const started = performance.now();
console.log("Building the client, starting Synapse and its log …");
const [pages, world] = await Promise.all([buildPages(), World.open()]);
const [alice, bob] = await Promise.all([register("Alice"), register("Bob")]);
const attacker = new Attacker(world, alice, bob);
const { server, url } = await serveDemo({
  pages,
  people: [personOf("Alice", alice, bob, true), personOf("Bob", bob, alice, false)],
  attacker,
  logUrl: world.switchboard.url,
  mergeDelayMs: MERGE_DELAY_MS,
  slackMs: SLACK_MIN_MS,
});
console.log(
  `Ready after ${((performance.now() - started) / 1_000).toFixed(1)} s. Open this page; Ctrl-C ends it:\n\n  ${url}\n`,
);

process.off("SIGINT", giveUp);
await once(process, "SIGINT");
console.log("Ending …");
await attacker.start("stop");
server.closeAllConnections();
server.close();
await world.close();

async function register(name: string): Promise<SynapseUser> {
  const user = await world.synapse.registerUser(name.toLowerCase());
  const path = `/_matrix/client/v3/profile/${encodeURIComponent(user.userId)}/displayname`;
  const headers = { authorization: `Bearer ${user.accessToken}` };
  const body = JSON.stringify({ displayname: name });
  const answer = await fetch(world.synapse.url + path, { method: "PUT", headers, body });
  if (!answer.ok) throw new Error(`naming ${name}: ${String(answer.status)}`);
  return user;
}

function personOf(name: string, user: SynapseUser, other: SynapseUser, create: boolean): PagePerson {
  const fragment = new URLSearchParams({
    homeserver: world.synapse.url,
    user: name.toLowerCase(),
    password: user.password,
    chat: other.userId,
    create: String(create),
    ckv: "on",
    slack_ms: String(SLACK_MIN_MS),
  });
  return { name, userId: user.userId, fragment: fragment.toString() };
}
