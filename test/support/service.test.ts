import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { openCheckpoint } from "../../shared/log/checkpoint.ts";
import { parseVkey } from "../../shared/crypto/signed-note.ts";
import { HOUR_MS } from "../../shared/parameters.ts";
import { startClock } from "./clock.ts";
import type { ClockServer } from "./clock.ts";
import { freePort } from "./port.ts";
import { Service } from "./service.ts";
import { startSynapse } from "./synapse.ts";
import type { Synapse } from "./synapse.ts";

describe("support/service", function () {
  this.timeout(120_000);
  let clock: ClockServer;
  let service: Service;
  let synapse: Synapse;

  before(async () => {
    const port = await freePort();
    clock = await startClock();
    service = await Service.init({ homeserverPort: port, clockUrl: clock.url });
    synapse = await startSynapse({
      port,
      registrationPath: service.files.registration,
      extraConfig: { extra_well_known_client_content: { "org.matrix-ckv": service.wellKnown } },
    });
    await service.start();
  });
  after(async () => {
    await service.close();
    await synapse.close();
    await clock.close();
  });

  it("serves heads under the key that the homeserver publishes", async () => {
    assert.ok((await headSize(service)) >= 1);
  });

  it("follows the clock of the test", async () => {
    const before = await headSize(service);
    clock.advance(HOUR_MS);
    // Two epochs may have been on their way to disk, dated before.
    while ((await headSize(service)) <= before + 2) await delay(100);
    assert.ok((await service.metric("ckv_head_age_seconds")) < 60);
  });

  it("comes back after it was killed, with the head it had or a later one", async () => {
    const before = await headSize(service);
    await service.kill("SIGKILL");
    await assert.rejects(headSize(service), TypeError);
    await service.start();
    assert.ok((await headSize(service)) >= before);
  });
});

async function headSize(service: Service): Promise<number> {
  const note = await (await fetch(`${service.url}/log/checkpoint`)).text();
  return openCheckpoint(note, parseVkey(service.wellKnown.log_key)).size;
}
