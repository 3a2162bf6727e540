/** Carries out the attacks of the demo page: Alice's homeserver, and its log, lie to Bob. At most one at a time. */
import { setTimeout as delay } from "node:timers/promises";
import type { Attack } from "../attacks.ts";
import type { SynapseUser } from "../synapse.ts";
import type { World } from "../world.ts";
import type { AttackName } from "./attack-list.ts";

export class Attacker {
  readonly #world: World;
  readonly #alice: SynapseUser;
  readonly #bob: SynapseUser;
  #current: { readonly name: AttackName; readonly attack: Attack } | undefined;

  constructor(world: World, alice: SynapseUser, bob: SynapseUser) {
    this.#world = world;
    this.#alice = alice;
    this.#bob = bob;
  }

  /** The attack that is going on. */
  get current(): AttackName | undefined {
    return this.#current?.name;
  }

  /** Ends what is going on and starts another attack; "stop" starts none. */
  async start(name: AttackName | "stop"): Promise<void> {
    await this.#current?.attack.stop();
    this.#current = undefined;
    if (name !== "stop") this.#current = { name, attack: await this.#begin(name) };
  }

  async #begin(name: AttackName): Promise<Attack> {
    const { lies } = this.#world;
    const readers = [this.#bob.userId];
    switch (name) {
      case "ghost-device":
        return await lies.ghostDevice(this.#alice, readers);
      case "swapped-master-key":
        return await lies.swappedMasterKey(this.#alice, readers);
      case "hidden-device":
        return await lies.hiddenDevice(this.#alice, readers, await this.#deviceOfAlice());
      case "forked-log":
        return await this.#forkLog();
      case "silent-log":
        return this.#answerBob("nobody");
    }
  }

  /** The device in Alice's browser: the only one with keys. */
  async #deviceOfAlice(): Promise<string> {
    const [deviceId] = Object.keys((await this.#world.lies.shownKeys(this.#alice)).devices);
    if (deviceId === undefined) throw new Error("Alice has no device yet");
    return deviceId;
  }

  /** A copy that goes on by itself answers Bob; it has grown past what he has seen before it does. */
  async #forkLog(): Promise<Attack> {
    const seen = await this.#world.size();
    const copy = await this.#world.copyLog();
    await copy.goOn();
    while (copy.size <= seen + 1) await delay(100);
    const attack = this.#answerBob(copy.url);
    return {
      stop: async () => {
        await attack.stop();
        await copy.close();
      },
    };
  }

  #answerBob(to: string): Attack {
    this.#world.switchboard.route(this.#bob.userId, { to });
    return {
      stop: async () => {
        this.#world.switchboard.route(this.#bob.userId, undefined);
        await Promise.resolve();
      },
    };
  }
}
