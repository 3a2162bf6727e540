/** A log with every kind of record that a database can hold. */
import { signEd25519 } from "../../shared/crypto/ed25519.ts";
import { utf8 } from "../../shared/encoding.ts";
import { OwnLog } from "./own-log.ts";

/** Stopped; its database has users with histories, settling epochs, a promise that waits, an acknowledgement, marks. */
export async function makeFullLog(users: number): Promise<OwnLog> {
  const log = await OwnLog.create();
  const { sequencer, marks } = await log.start();
  const ids = Array.from({ length: users }, (_, i) => `@user${i}:example.org`);
  for (let round = 0; round < 3; round++) {
    const merged = ids
      .slice(0, users >> round)
      .map((userId) => sequencer.submit({ userId, entry: utf8(`{"round":${round}}`), observedMs: log.clock.now() }));
    await log.clock.runUntil(Promise.all(merged));
    log.clock.advance(log.configuration.settle_ms);
  }
  const [first = ""] = ids;
  const root = await sequencer.historyRoot(first, 1);
  if (root === undefined) throw new Error("the first user has no version");
  await sequencer.acknowledge(first, 1, root, signEd25519(new Uint8Array(32), root));
  await marks.addMarks(ids.slice(0, 2));
  await marks.addTracked(first);
  await marks.setCursor("sync", "s1");
  sequencer.submit({ userId: first, entry: utf8(`{"promised":1}`), observedMs: 0 }).catch(() => undefined);
  if ((await sequencer.promise(first)) === undefined) throw new Error("no promise was given");
  await sequencer.close();
  return log;
}
