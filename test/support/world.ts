/** What all stories of one run share: a Synapse that can lie, its log, the switch before the log, and the time. */
import { KeyLies } from "./attacks.ts";
import { JumpingClock, startClock } from "./clock.ts";
import type { ClockServer } from "./clock.ts";
import { startService } from "./service.ts";
import type { Service } from "./service.ts";
import { READER_HEADER, Switch } from "./switch.ts";
import type { Synapse } from "./synapse.ts";

export class World {
  readonly synapse: Synapse;
  readonly service: Service;
  readonly switchboard: Switch;
  readonly lies: KeyLies;
  /** The people's clock. */
  readonly clock: JumpingClock = new JumpingClock();
  /** The clock of the log and of whoever copies it. */
  readonly logClock: ClockServer;

  constructor(service: Service, synapse: Synapse, switchboard: Switch, logClock: ClockServer) {
    this.service = service;
    this.synapse = synapse;
    this.switchboard = switchboard;
    this.logClock = logClock;
    this.lies = new KeyLies(synapse);
  }
}
