/** A process that merges changes as fast as it can and says what it was told; made to be killed. */
import { startSequencer } from "../../appservice/sequencer.ts";
import { systemClock } from "../../appservice/clock.ts";
import { utf8 } from "../../shared/encoding.ts";

const [, , dataDirectory = "", anchorFile = "", keysFile = "", round = ""] = process.argv;
const signal = new AbortController().signal;
const options = {
  dataDirectory,
  anchorFile,
  keysFile,
  clock: systemClock,
  signal,
  strictStart: false,
  epochDelayMs: 2,
};
const { sequencer } = await startSequencer(options);

const say = (word: string, value: unknown): void => {
  process.stdout.write(`${JSON.stringify([word, value])}\n`);
};

async function submitForever(userId: string): Promise<never> {
  for (let i = 0; ; i++) {
    const entry = utf8(`{"round":"${round}","i":${i},"user_id":"${userId}"}`);
    say("merged", { userId, ...(await sequencer.submit({ userId, entry, observedMs: systemClock.now() })) });
    if (i % 3 !== 0) continue;
    sequencer.submit({ userId, entry: utf8(`{"promised":${i}}`), observedMs: 0 }).catch(() => undefined);
    const promise = await sequencer.promise(userId);
    if (promise !== undefined)
      say("promised", { userId, version: promise.version, opening: promise.opening.toString() });
  }
}

for (let user = 0; user < 8; user++) void submitForever(`@${round}.${user}:example.org`);
for await (const head of sequencer.commits(signal)) say("head", head.checkpoint);
