/** How a client asks: several users at once, and in a way that does not show what it knows. */
import assert from "node:assert/strict";
import { systemClock } from "../../client-plugin/clock.ts";
import { LogClient, USERS_PER_LOOKUP } from "../../client-plugin/log-client.ts";
import { LogView } from "../../client-plugin/log-view.ts";
import type { KnownOfUser } from "../../client-plugin/log-view.ts";
import { MemoryStorage } from "../../client-plugin/storage.ts";
import type { LookupAnswer } from "../../shared/messages.ts";
import { TestLog } from "../support/test-log.ts";
import { TestUser } from "../support/test-user.ts";
import { FakeService, Status } from "./fake-service.ts";
import { ALICE } from "./world.ts";

const VERSIONS = 9;
const EPOCHS = 40;

/** A log with one user of many versions, and others. */
function manyVersions(users: readonly string[] = []): FakeService {
  const log = new TestLog({ startMs: Date.now() - EPOCHS * 60_000, heartbeatMs: 60_000, settleMs: 3_600_000 });
  for (const userId of users) log.setEntry(userId, new TestUser(userId, "PHONE").entry());
  for (let epoch = 1; epoch < EPOCHS; epoch++) {
    if (epoch <= VERSIONS) log.setEntry(ALICE, new TestUser(ALICE, `DEVICE${epoch}`).entry());
    log.closeEpoch(Date.now() - (EPOCHS - epoch) * 60_000);
  }
  return new FakeService(log);
}

interface Asked {
  readonly path: string;
  readonly body: Record<string, unknown>;
}

/** A client that has never asked, and what it asks from then on. */
function newcomer(service: FakeService, randomByte = 0): { client: LogClient; view: LogView; asked: Asked[] } {
  const asked: Asked[] = [];
  const fetch: FakeService["fetch"] = async (url, init) => {
    const body = typeof init?.body === "string" ? (JSON.parse(init.body) as Asked["body"]) : {};
    asked.push({ path: new URL(url).pathname.replace(/^\/ckv/, ""), body });
    return await service.fetch(url, init);
  };
  const { service_url } = service.log.configuration;
  const client = new LogClient(service_url, { fetch, clock: systemClock }, async () => await Promise.resolve({}));
  const view = new LogView({
    serverName: "example.org",
    client,
    memory: {
      wellKnown: { service_url, log_key: service.log.vkey, room: "#ckv:example.org" },
      configurations: {},
      pending: [],
    },
    storage: new MemoryStorage(),
    clock: systemClock,
    random: () => Uint8Array.of(randomByte),
    policy: undefined,
    onHead: () => undefined,
    onDoubt: () => undefined,
  });
  return { client, view, asked };
}

describe("lookups of many users", () => {
  const users = Array.from({ length: 2 * USERS_PER_LOOKUP + 20 }, (_, i) => `@user${i}:example.org`);
  const service = manyVersions(users.slice(0, 30));
  const honest = users.map((userId) => service.log.lookup(userId));
  const countOf = (asked: readonly Asked[], path: string): number => asked.filter((each) => each.path === path).length;

  beforeEach(() => {
    service.lies.clear();
    service.down = false;
  });

  it("go together while one is on its way, and each gets its own answer", async () => {
    const { client, asked } = newcomer(service);
    const answers = await Promise.all(users.map(async (userId) => await client.lookup(userId)));
    assert.deepEqual(answers.map(plain), honest.map(plain));
    assert.deepEqual([countOf(asked, "/v1/lookup"), countOf(asked, "/v1/lookups")], [1, 3]);
    const sizes = asked.flatMap(({ body }) => (Array.isArray(body["user_ids"]) ? [body["user_ids"].length] : []));
    assert.deepEqual(sizes, [USERS_PER_LOOKUP, USERS_PER_LOOKUP, users.length - 1 - 2 * USERS_PER_LOOKUP]);
  });

  for (const [name, lie] of [
    [
      "is refused",
      () => {
        throw new Status(404);
      },
    ],
    ["can't be read", () => ({ head: 1 })],
    [
      "leaves somebody out",
      (body: Record<string, unknown>) => {
        const [first = ""] = body["user_ids"] as string[];
        const { head, user } = service.log.lookup(first);
        return { head, settling_epoch: user.settling.epoch, users: { [first]: user } };
      },
    ],
  ] as const) {
    it(`go one by one where an answer about many ${name}: nobody is spoilt by another`, async () => {
      service.lies.set("/v1/lookups", lie);
      const { client } = newcomer(service);
      const answers = await Promise.all(users.slice(0, 7).map(async (userId) => await client.lookup(userId)));
      assert.deepEqual(answers.map(plain), honest.slice(0, 7).map(plain));
    });
  }

  it("are refused to those alone whose own answer is", async () => {
    service.lies.set("/v1/lookups", () => ({}));
    service.lies.set("/v1/lookup", ({ user_id: userId }) => {
      if (userId === users[3]) throw new Status(404);
      return service.log.lookup(String(userId));
    });
    const { client } = newcomer(service);
    const answers = await Promise.allSettled(users.slice(0, 7).map(async (userId) => await client.lookup(userId)));
    assert.deepEqual(
      answers.map(({ status }) => status),
      users.slice(0, 7).map((_, i) => (i === 3 ? "rejected" : "fulfilled")),
    );
  });

  it("become fewer where so many can't be answered, and more again", async () => {
    service.lies.set("/v1/lookups", () => {
      throw new Status(504);
    });
    const { client, asked } = newcomer(service);
    const failed = await Promise.allSettled(users.map(async (userId) => await client.lookup(userId)));
    // One was on its way alone; whoever waited behind those who got no answer need not wait for the same.
    assert.equal(failed.filter(({ status }) => status === "fulfilled").length, 1);
    assert.equal(countOf(asked, "/v1/lookups"), 1);
    service.lies.clear();
    asked.length = 0;
    const answers = await Promise.all(users.map(async (userId) => await client.lookup(userId)));
    assert.deepEqual(answers.map(plain), honest.map(plain));
    const sizes = asked.flatMap(({ body }) => (Array.isArray(body["user_ids"]) ? [body["user_ids"].length] : []));
    assert.deepEqual(sizes.slice(0, 3), [25, 50, USERS_PER_LOOKUP]);
  });

  it("all fail when nobody answers, and work again later", async () => {
    const { client } = newcomer(service);
    service.down = true;
    const answers = await Promise.allSettled(users.slice(0, 5).map(async (userId) => await client.lookup(userId)));
    assert.ok(answers.every(({ status }) => status === "rejected"));
    service.down = false;
    assert.deepEqual(plain(await client.lookup(users[0]!)), plain(honest[0]!));
  });
});

/** Objects of parsers have no prototype. */
function plain(answer: LookupAnswer): unknown {
  return JSON.parse(JSON.stringify(answer));
}

describe("a client without state", () => {
  const service = manyVersions();

  /** From where the paths of the history and of the log are asked for. */
  const earlier = async (randomByte: number, known?: KnownOfUser): Promise<{ from: unknown; tiles: string[] }> => {
    const { view, asked } = newcomer(service, randomByte);
    const { leaf } = await view.lookup(ALICE, known);
    assert.equal(leaf?.n, VERSIONS);
    const from = asked.find(({ path }) => path === "/v1/history/consistency")?.body["from"];
    return { from, tiles: asked.map(({ path }) => path).filter((path) => /^\/log\/tile\/[0-9]/.test(path)) };
  };

  it("asks for earlier points of history and log, as one does who knows some", async () => {
    const points = new Set<unknown>();
    for (let byte = 0; byte < 256; byte += 5) {
      const { from, tiles } = await earlier(byte, {});
      assert.ok(typeof from === "number" && from >= 1 && from < VERSIONS, `${byte}: ${String(from)}`);
      assert.ok(tiles.length > 0);
      points.add(from);
    }
    assert.ok(points.size >= 5, `${points.size} different points`);
  });

  it("sends nothing about itself in a lookup", async () => {
    for (const known of [{}, undefined]) {
      const { view, asked } = newcomer(service, 7);
      await view.lookup(ALICE, known);
      const bodies = asked.filter(({ path }) => path === "/v1/lookup").map(({ body }) => body);
      assert.deepEqual(bodies, [{ user_id: ALICE }]);
    }
  });

  it("asks for no history where it follows nobody's", async () => {
    assert.equal((await earlier(7)).from, undefined);
  });
});
