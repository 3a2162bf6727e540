/**
 * A story: people with real clients on a real Synapse, something that happens to them, and what each of them was told
 * in the end, no less and no more. All stories of one run share one Synapse and one log; each has people of its own.
 */
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { ContactKeyVerification } from "../../client-plugin/index.ts";
import type { CompareSession } from "../../client-plugin/compare.ts";
import type { Warning } from "../../client-plugin/warnings.ts";
import { MINUTE_MS } from "../../shared/parameters.ts";
import { LyingLog } from "./lying-log.ts";
import type { Parity } from "./lying-log.ts";
import type { KeyLies } from "./attacks.ts";
import { openClient } from "./client.ts";
import type { OpenClient, Sdk } from "./client.ts";
import type { LogCopy } from "./log-copy.ts";
import { READER_HEADER } from "./switch.ts";
import type { SynapseUser } from "./synapse.ts";
import { closeWorld, openWorld } from "./world.ts";
import type { World } from "./world.ts";

/** A story that takes longer has hung. */
const STORY_TIMEOUT_MS = 3 * MINUTE_MS;
/** What is left of that for telling what went wrong, and closing. */
const STORY_MARGIN_MS = 20_000;
/** How long something may take that should take seconds. */
const PATIENCE_MS = 40_000;
/** Slack of the stories' clients. */
const SLACK_MS = 5_000;
/** Merge delay of the log and slack, and a little: after this nothing is pending any more. */
const ALL_DUE_MS = 12_000;

/** Logs the host knows beforehand, by server name. */
type Pins = Readonly<Record<string, { readonly service_url: string; readonly log_key: string }>>;

/** Facts about the log as such: whoever is checked first when they come out is named in them. */
const ABOUT_THE_LOG: ReadonlySet<string> = new Set(["head-fork", "head-withheld", "log-rolled-back", "stale-long"]);

/**
 * What each person was told over the whole story: `<class> <code> about <name, or the log>`; a person not named was told
 * nothing.
 */
export type Told = Readonly<Record<string, readonly string[]>>;

after("end of the shared world", async function () {
  this.timeout(STORY_TIMEOUT_MS);
  await closeWorld();
});

/** Tells a story as one test. It ends when nothing is pending any more; then what people were told is compared. */
export function story(title: string, tell: (scene: Scene) => Promise<Told>): void {
  describe(title, () => {
    it("tells each side what is true, and nothing else", async function () {
      this.timeout(STORY_TIMEOUT_MS);
      const scene = new Scene(await openWorld());
      try {
        const expected = await Promise.race([tell(scene), outOfPatience(scene.signal)]);
        await scene.settle();
        assert.deepEqual(scene.told(), sorted(expected));
        assert.equal(
          await scene.world.service.metric("ckv_sweep_missed_total"),
          0,
          "the sweep found what the feed missed",
        );
      } catch (error) {
        scene.report();
        throw error;
      } finally {
        await scene.close();
      }
    });
  });
}

/** Rejects a little before the story's time is over, while there is time to say how far it came. */
async function outOfPatience(signal: AbortSignal): Promise<never> {
  await delay(STORY_TIMEOUT_MS - STORY_MARGIN_MS, undefined, { signal });
  return assert.fail("the story does not end");
}

function sorted(told: Told): Told {
  const lists = Object.entries(told).filter(([, list]) => list.length > 0);
  return Object.fromEntries(lists.sort().map(([name, list]) => [name, [...list].sort()]));
}

/** The people of one story and the world around them. */
export class Scene {
  readonly world: World;
  readonly #people: Person[] = [];
  /** What has to be closed after the people have left. */
  readonly #closing: (() => Promise<void> | void)[] = [];
  readonly #end = new AbortController();
  readonly #startedMs: number = performance.now();
  readonly #steps: string[] = [];

  constructor(world: World) {
    this.world = world;
  }

  /** New people, each with an account, one device, and Contact Key Verification turned on. */
  async people<Names extends readonly string[]>(...names: Names): Promise<{ [Name in keyof Names]: Person }> {
    return await this.peopleWith({}, ...names);
  }

  /** The same; who is named in `sdks` has a client with that SDK. */
  async peopleWith<Names extends readonly string[]>(
    sdks: Readonly<Record<string, Sdk>>,
    ...names: Names
  ): Promise<{ [Name in keyof Names]: Person }> {
    const open = async (name: string): Promise<Person> =>
      await this.join(name, await openClient(this.world.synapse, name, sdks[name]));
    const people = await Promise.all(names.map(open));
    this.step("devices are open");
    await Promise.all(people.map(async (person) => await person.ckv.turnOn()));
    this.step("key verification is on");
    return people as { [Name in keyof Names]: Person };
  }

  /** An encrypted chat of two, in which each has heard the other. Returns the room id. */
  async chat(one: Person, other: Person): Promise<string> {
    const roomId = await one.client.createEncryptedChat(other.userId);
    await other.client.join(roomId);
    await one.says("hello", roomId);
    await other.hears("hello", roomId);
    await other.says("hello to you", roomId);
    await one.hears("hello to you", roomId);
    this.step(`${one.name} and ${other.name} chat`);
    return roomId;
  }

  /** Lets time go by: first for the log, then, once it has a head of that time, for the people. */
  async advance(ms: number): Promise<void> {
    await this.world.advance(ms);
    this.step(`${String(ms / 1000)} s went by`);
  }

  /** Another device of a person, signed by their identity, running the plugin. It counts as the same person. */
  async anotherDevice(person: Person): Promise<Person> {
    return await this.join(person.name, await person.client.anotherDevice());
  }

  /** A device of an account that was opened elsewhere. `pins`: the log it believes in, if not the world's. */
  async join(name: string, client: OpenClient, pins?: Pins): Promise<Person> {
    const person = new Person(this.world, name, client, pins);
    this.#people.push(person);
    person.onStep = (what) => {
      this.step(`${name} ${what}`);
    };
    await person.ckv.start();
    return person;
  }

  /** Aborted when the story is over. */
  get signal(): AbortSignal {
    return this.#end.signal;
  }

  /** Notes how far the story has come, to be shown when it goes wrong. */
  step(what: string): void {
    const atS = (performance.now() - this.#startedMs) / 1000;
    this.#steps.push(`${atS.toFixed(1)} s: ${what}`);
  }

  /** The homeserver's lies about keys. */
  get lies(): KeyLies {
    return this.world.lies;
  }

  /** A copy of the log's database and keys, as they are now. It has to be told what to do. */
  async copyOfTheLog(): Promise<LogCopy> {
    const copy = await this.world.copyLog();
    this.#closing.push(async () => {
      await copy.close();
    });
    return copy;
  }

  /** From now on a person is answered by this log; `paths`: only when they ask for these. */
  show(log: { readonly url: string }, { userId }: Person, paths?: RegExp): void {
    this.world.switchboard.route(userId, { to: log.url, ...(paths === undefined ? {} : { paths }) });
  }

  /** Waits until the log has grown by two epochs. */
  async logGrows(): Promise<void> {
    const size = await this.world.size();
    await until(
      async () => (await this.world.size()) >= size + 2,
      () => `the log grows beyond ${String(size)}`,
    );
  }

  /** A log that can lie to everybody, and two people who believe in it, one shown its even epochs and one the odd. */
  async lyingLog(even: string, odd: string): Promise<{ log: LyingLog; people: [Person, Person] }> {
    const { synapse, switchboard, logClock } = this.world;
    const log = await LyingLog.open(synapse.serverName, switchboard.url, logClock);
    this.#closing.push(() => {
      log.close();
    });
    const pins = { [synapse.serverName]: log.wellKnown(switchboard.url) };
    const open = async (name: string, parity: Parity): Promise<Person> => {
      const client = await openClient(synapse, name);
      const { userId } = client.account;
      switchboard.route(userId, { to: log.urlFor(parity), paths: /^(?!\/v1\/enrolment)/ });
      log.observe(userId, await this.lies.keysAnswer(client.account));
      const person = await this.join(name, client, pins);
      await person.ckv.turnOn();
      return person;
    };
    return { log, people: await Promise.all([open(even, 0), open(odd, 1)]) };
  }

  /** Nothing pending any more: all delays have passed, everybody has checked everybody again. */
  async settle(): Promise<void> {
    await this.advance(ALL_DUE_MS);
    await this.#checkAll();
    await this.advance(ALL_DUE_MS);
    await this.#checkAll();
  }

  async #checkAll(): Promise<void> {
    const userIds = new Set(this.#people.map(({ userId }) => userId));
    for (const person of this.#people.filter(({ running }) => running)) {
      for (const userId of userIds) await this.#inTime(person, userId);
    }
  }

  async #inTime(person: Person, userId: string): Promise<void> {
    const hung = delay(PATIENCE_MS, "hung", { signal: this.signal, ref: false });
    const done = person.ckv.refresh(userId);
    assert.notEqual(await Promise.race([done, hung]), "hung", `${person.name} never finishes checking ${userId}`);
  }

  told(): Told {
    const told: Record<string, string[]> = {};
    for (const person of this.#people) {
      const lines = person.warnings.map((warning) => this.#lineOf(warning));
      told[person.name] = [...new Set([...(told[person.name] ?? []), ...lines])];
    }
    return sorted(told);
  }

  #lineOf({ class: weight, code, userId }: Warning): string {
    const about = this.#people.find((person) => person.userId === userId)?.name ?? userId;
    return `${weight} ${code} about ${ABOUT_THE_LOG.has(code) ? "the log" : about}`;
  }

  /** Prints what each person was told and shown, for a story that went wrong. */
  report(): void {
    for (const step of this.#steps) console.error(step);
    for (const { name, userId, verdicts, warnings, problems } of this.#people) {
      console.error(`${name} (${userId}) was told: ${warnings.map((warning) => this.#lineOf(warning)).join(", ")}`);
      for (const [about, shown] of verdicts) console.error(`  about ${about}: ${shown.join(" > ")}`);
      for (const problem of problems) console.error(`  problem: ${problem}`);
    }
  }

  async close(): Promise<void> {
    this.#end.abort();
    await Promise.all(
      this.#people.map(async (person) => {
        await person.leave();
      }),
    );
    for (const { userId } of this.#people) this.world.switchboard.route(userId, undefined);
    await this.lies.stop();
    for (const close of this.#closing) await close();
  }
}

/** A person: one device with a Matrix client and the plugin, and a record of all they were told. */
export class Person {
  readonly name: string;
  readonly client: OpenClient;
  readonly ckv: ContactKeyVerification;
  /** Every warning ever raised here, also those since dismissed. */
  readonly warnings: Warning[] = [];
  /** Every verdict ever shown, per user id, without repetitions. */
  readonly verdicts: Map<string, string[]> = new Map<string, string[]>();
  /** What the plugin reported about itself, to be shown when the story goes wrong. */
  readonly problems: string[] = [];
  /** Whether the network reaches anything but the homeserver's sync. */
  online = true;
  running = true;
  /** Told of each thing this person waited for and got. */
  onStep: (what: string) => void = () => undefined;
  readonly #incoming: CompareSession[] = [];

  constructor(world: World, name: string, client: OpenClient, pins: Pins = {}) {
    this.name = name;
    this.client = client;
    this.ckv = new ContactKeyVerification({
      client: client.matrix,
      clock: world.clock,
      policy: { slackMs: SLACK_MS },
      pins,
      log: (message, error) => this.problems.push(`${message}: ${String(error)}`),
      fetch: async (input, init) => {
        if (!this.online) throw new TypeError("no network");
        const headers = new Headers(init?.headers);
        headers.set(READER_HEADER, client.account.userId);
        return await fetch(input, { ...init, headers });
      },
    });
    this.ckv.on("warning", (warning) => this.warnings.push(warning));
    this.ckv.on("compare", (session) => this.#incoming.push(session));
    this.ckv.on("status", (userId) => {
      this.#note(userId);
    });
  }

  get userId(): string {
    return this.client.account.userId;
  }

  get account(): SynapseUser {
    return this.client.account;
  }

  /** What the badge says about another person: `<kind> <ground, reason or code>`. */
  verdictOn(other: { readonly userId: string }): string {
    const { verdict } = this.ckv.statusOf(other.userId);
    switch (verdict.kind) {
      case "verified":
        return "verified";
      case "consistent":
        return `consistent ${verdict.ground}`;
      case "unchecked":
        return `unchecked ${verdict.reason}`;
      case "warning":
        return `warning ${verdict.code}`;
    }
  }

  /** Waits until the badge of another person says this. */
  async sees(other: { readonly userId: string }, expected: string | RegExp): Promise<void> {
    const matches = (verdict: string): boolean =>
      typeof expected === "string" ? verdict === expected : expected.test(verdict);
    await until(
      () => matches(this.verdictOn(other)),
      () => `${this.name} sees ${String(expected)} about ${other.userId}, not ${this.verdictOn(other)}`,
    );
    this.onStep(`sees ${String(expected)}`);
  }

  hasBeenTold(code: string): boolean {
    return this.warnings.some((warning) => warning.code === code);
  }

  /** Waits until this person has been told this, and returns it. */
  async isWarned(code: string): Promise<Warning> {
    const find = (): Warning | undefined => this.warnings.find((warning) => warning.code === code);
    const told = (): string => this.warnings.map((warning) => warning.code).join(", ");
    await until(
      () => find() !== undefined,
      () => `${this.name} is warned of ${code}; so far: ${told()}`,
    );
    this.onStep(`is warned of ${code}`);
    const warning = find();
    assert.ok(warning);
    return warning;
  }

  async says(text: string, roomId: string): Promise<void> {
    await this.client.send(roomId, text);
  }

  /** Waits until a message with this text has been decrypted here. */
  async hears(text: string, roomId: string): Promise<void> {
    await until(
      () => this.client.messages(roomId).includes(text),
      () => `${this.name} hears "${text}"`,
    );
    this.onStep(`hears "${text}"`);
  }

  /** Waits until encryption here uses this device of another person. */
  async seesDevice(other: { readonly userId: string }, deviceId: string): Promise<void> {
    await until(
      async () => await this.#holds(other.userId, deviceId),
      () => `${this.name} sees the device ${deviceId}`,
    );
    this.onStep(`sees the device ${deviceId}`);
  }

  async seesNoDevice(other: { readonly userId: string }, deviceId: string): Promise<void> {
    await until(
      async () => !(await this.#holds(other.userId, deviceId)),
      () => `${this.name} sees no device ${deviceId}`,
    );
  }

  async #holds(userId: string, deviceId: string): Promise<boolean> {
    return (await this.client.crypto.getUserDeviceInfo([userId])).get(userId)?.has(deviceId) === true;
  }

  /** Waits until the contact has asked to compare codes. */
  async isAskedToCompare(by: Person): Promise<CompareSession> {
    const find = (): CompareSession | undefined =>
      this.#incoming.find(
        ({ userId, role, state }) => userId === by.userId && role === "responder" && state === "incoming",
      );
    await until(
      () => find() !== undefined,
      () => `${this.name} is asked by ${by.name} to compare codes`,
    );
    const session = find();
    assert.ok(session);
    return session;
  }

  async leave(): Promise<void> {
    if (!this.running) return;
    this.running = false;
    this.ckv.stop();
    await this.client.close();
  }

  #note(userId: string): void {
    const seen = this.verdicts.get(userId) ?? [];
    const verdict = this.verdictOn({ userId });
    if (seen.at(-1) !== verdict) seen.push(verdict);
    this.verdicts.set(userId, seen);
  }
}

/** Two people read each other the code, up to where both see it. */
export async function readCodes(one: Person, other: Person): Promise<[CompareSession, CompareSession]> {
  const asked = await one.ckv.compare(other.userId);
  assert.notEqual(asked.state, "ended", `the comparison ends with ${String(asked.endedWith)}`);
  const answered = await other.isAskedToCompare(one);
  await answered.accept();
  for (const session of [asked, answered]) {
    await until(
      () => session.state === "code",
      () => `a code is shown; the session is ${session.state}`,
    );
  }
  assert.match(asked.code ?? "", /^[0-9]{8}$/);
  assert.equal(asked.code, answered.code);
  return [asked, answered];
}

/** Two people verify each other by contact code, until both badges are green. */
export async function verifyEachOther(one: Person, other: Person): Promise<void> {
  const sessions = await readCodes(one, other);
  for (const session of sessions) await session.confirm();
  for (const session of sessions)
    await until(
      () => session.state === "done",
      () => `the session is ${session.state}`,
    );
  await Promise.all([one.sees(other, "verified"), other.sees(one, "verified")]);
}

/** Polls until `condition` holds; fails with the sentence that should have become true. */
export async function until(condition: () => boolean | Promise<boolean>, sentence: () => string): Promise<void> {
  const endMs = performance.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (performance.now() > endMs) assert.fail(`expected that ${sentence()}`);
    await delay(50);
  }
}
