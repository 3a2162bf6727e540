/** Carries out the attacks of the demo page: Alice's homeserver, and its log, lie to Bob. At most one at a time. */
import { setTimeout as delay } from "node:timers/promises";
import type { Attack } from "../attacks.ts";
import type { SynapseUser } from "../synapse.ts";
import type { World } from "../world.ts";
import type { AttackName } from "./attack-list.ts";

/** The log closes an epoch a second; after this both branches of a forked one have gone on. */
const GROWTH_MS = 2_500;

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
        return await this.#silenceLog();
    }
  }

  /** The device in Alice's browser: the only one with keys. */
  async #deviceOfAlice(): Promise<string> {
    const [deviceId] = Object.keys((await this.#world.lies.shownKeys(this.#alice)).devices);
    if (deviceId === undefined) throw new Error("Alice has no device yet");
    return deviceId;
  }

  /** Bob sees the true log go on, and is then answered by a copy that has gone on by itself. */
  async #forkLog(): Promise<Attack> {
    const { switchboard } = this.#world;
    const copy = await this.#world.copyLog();
    await copy.goOn();
    await delay(GROWTH_MS);
    await this.#look();
    const seen = await this.#world.size();
    while (copy.size <= seen + 1) await delay(100);
    switchboard.route(this.#bob.userId, { to: copy.url });
    await this.#look();
    return {
      stop: async () => {
        switchboard.route(this.#bob.userId, undefined);
        await copy.close();
        await this.#look();
      },
    };
  }

  async #silenceLog(): Promise<Attack> {
    const { switchboard } = this.#world;
    switchboard.route(this.#bob.userId, { to: "nobody" });
    await this.#look();
    return {
      stop: async () => {
        switchboard.route(this.#bob.userId, undefined);
        await this.#look();
      },
    };
  }

  /** Makes Bob's client check Alice now: a renamed device is a changed list of devices. */
  async #look(): Promise<void> {
    const { accessToken, deviceId } = this.#alice;
    const path = `${this.#world.synapse.url}/_matrix/client/v3/devices/${encodeURIComponent(deviceId)}`;
    const body = JSON.stringify({ display_name: `Alice's ${String(performance.now())}` });
    const answer = await fetch(path, { method: "PUT", headers: { authorization: `Bearer ${accessToken}` }, body });
    if (!answer.ok) throw new Error(`renaming a device: ${String(answer.status)}`);
  }
}
