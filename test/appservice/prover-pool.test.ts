/** Indices proven beside the sequencer. */
import assert from "node:assert/strict";
import { ProverPool } from "../../appservice/prover-pool.ts";

describe("a pool of provers", () => {
  it("tells all who wait when a thread fails, those too whose question it has", async () => {
    // Without a seed its threads end as soon as they begin, which is after they were asked.
    const pool = new ProverPool(undefined as never);
    const asked = Array.from({ length: 40 }, (_, i) => pool.prove(`@user${i}:example.org`));
    const answers = await Promise.allSettled(asked);
    assert.ok(answers.every(({ status }) => status === "rejected"));
    await assert.rejects(pool.prove("@later:example.org"));
    await pool.close();
  });
});
