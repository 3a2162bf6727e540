/** What all stories of one run share: a Synapse that can lie, its log, the switch before the log, and the time. */
import { setTimeout as delay } from "node:timers/promises";
import { openCheckpoint } from "../../shared/log/checkpoint.ts";
import { parseVkey } from "../../shared/crypto/signed-note.ts";
import { encodeHex } from "../../shared/encoding.ts";
import { parseChangeList, parseEpochChanges } from "../../shared/log/change-list.ts";
import { parseEpochRecord } from "../../shared/log/epoch-record.ts";
import type { EpochRecord } from "../../shared/log/epoch-record.ts";
import { entryTile, parseEntryBundle, tilePath } from "../../shared/log/tiles.ts";
import { readKeys } from "../../appservice/keys-file.ts";
import { indexProver } from "../../appservice/native-vrf.ts";
import { KeyLies } from "./attacks.ts";
import { JumpingClock, startClock } from "./clock.ts";
import type { ClockServer } from "./clock.ts";
import { LogCopy } from "./log-copy.ts";
import { freePort } from "./port.ts";
import { Service } from "./service.ts";
import { Switch } from "./switch.ts";
import { startSynapse } from "./synapse.ts";
import type { Synapse } from "./synapse.ts";

export class World {
  readonly synapse: Synapse;
  readonly service: Service;
  readonly switchboard: Switch;
  readonly lies: KeyLies;
  /** The people's clock. */
  readonly clock: JumpingClock = new JumpingClock();
  /** The clock of the log and of its copies. */
  readonly logClock: ClockServer;

  private constructor(synapse: Synapse, service: Service, switchboard: Switch, logClock: ClockServer) {
    this.synapse = synapse;
    this.service = service;
    this.switchboard = switchboard;
    this.logClock = logClock;
    this.lies = new KeyLies(synapse);
  }

  static async open(): Promise<World> {
    const logClock = await startClock();
    const switchboard = await Switch.open();
    const port = await freePort();
    const service = await Service.init({ homeserverPort: port, serviceUrl: switchboard.url, clockUrl: logClock.url });
    switchboard.connect(service.url);
    const synapse = await startSynapse({
      port,
      registrationPath: service.files.registration,
      extraConfig: { extra_well_known_client_content: { "org.matrix-ckv": service.wellKnown } },
    });
    await service.start();
    return new World(synapse, service, switchboard, logClock);
  }

  /** Lets time go by: first for the log, then, once it has a head of that time, for the people. */
  async advance(ms: number): Promise<void> {
    this.logClock.advance(ms);
    const nowMs = this.logClock.now();
    while ((await this.#newestRecord()).timestampMs < nowMs) await delay(20);
    this.clock.jumpTo(this.logClock.offsetMs);
  }

  /** Size of the newest head of the honest service. */
  async size(): Promise<number> {
    const note = await (await this.#ask("/log/checkpoint")).text();
    return openCheckpoint(note, parseVkey(this.service.wellKnown.log_key)).size;
  }

  /** Whether the histories of all these users have grown in the epochs from `size` on. */
  async haveChangedSince(size: number, userIds: readonly string[]): Promise<boolean> {
    const changed = new Set<string>();
    const end = await this.size();
    for (let epoch = size; epoch < end; epoch++) {
      const changes = parseEpochChanges(await this.#bytes(`/v1/changes/${String(epoch)}`));
      for (const { index } of parseChangeList(changes.list)) changed.add(encodeHex(index));
    }
    const prove = indexProver(readKeys(this.service.files.keys).vrfSeed);
    return userIds.every((userId) => changed.has(encodeHex(prove(userId).index)));
  }

  /** A copy of the log's database and keys as they are now. */
  async copyLog(): Promise<LogCopy> {
    const { data, anchor, keys } = this.service.files;
    const files = { dataDirectory: data, anchorFile: anchor, keysFile: keys };
    return await this.service.suspended(async () => await LogCopy.of(files, this.logClock));
  }

  async #newestRecord(): Promise<EpochRecord> {
    const size = await this.size();
    const tile = entryTile(size - 1, size);
    const bytes = await this.#bytes(`/log/${tilePath(tile)}`);
    const record = parseEntryBundle(bytes, tile.width).at(-1);
    if (record === undefined) throw new Error("the log gives no record");
    return parseEpochRecord(record);
  }

  async #bytes(path: string): Promise<Uint8Array> {
    return new Uint8Array(await (await this.#ask(path)).arrayBuffer());
  }

  async #ask(path: string): Promise<Response> {
    const answer = await fetch(this.service.url + path);
    if (!answer.ok) throw new Error(`${path}: ${String(answer.status)}`);
    return answer;
  }

  async close(): Promise<void> {
    await this.switchboard.close();
    await this.service.close();
    await this.synapse.close();
    await this.logClock.close();
  }
}

let world: Promise<World> | undefined;

/** The world of this run; opened by whoever asks first. */
export async function openWorld(): Promise<World> {
  world ??= World.open();
  return await world;
}

/** Ends the world, if there is one. */
export async function closeWorld(): Promise<void> {
  await (await world)?.close();
  world = undefined;
}
