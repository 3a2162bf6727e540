/** The attacks of the demo page, in words: what each does, and what should be seen. server.ts carries them out. */

export const ATTACK_NAMES = [
  "ghost-device",
  "swapped-master-key",
  "hidden-device",
  "forked-log",
  "silent-log",
] as const;
export type AttackName = (typeof ATTACK_NAMES)[number];

export interface AttackWords {
  readonly title: string;
  /** What the homeserver or its log does, to whom. */
  readonly does: string;
  /** What Alice and Bob should see, in order. */
  readonly seen: readonly string[];
}

export const ATTACKS: Readonly<Record<AttackName, AttackWords>> = {
  "ghost-device": {
    title: "Ghost device",
    does: "The homeserver tells Bob, and nobody else, that Alice has one more device. Bob's client will encrypt to it.",
    seen: [
      "Within 2 seconds Bob's badge for Alice turns grey: a key is being looked up.",
      "Send a message as Bob. Within 15 seconds one warning stands in Bob's chat: that key is not on the public record.",
      "Alice sees the notice as a plain message. She is not warned: nothing is wrong with Bob.",
    ],
  },
  "swapped-master-key": {
    title: "Swapped master key",
    does: "The homeserver shows Bob another digital identity for Alice, which has signed her devices and one of its own.",
    seen: [
      "Within 2 seconds Bob's badge for Alice turns grey.",
      "If Bob had verified Alice, he is warned within 15 seconds: this is not the identity he verified.",
      "If he had not, he is warned within 15 seconds of his next message.",
    ],
  },
  "hidden-device": {
    title: "Hidden device",
    does: "The homeserver hides Alice's device from Bob, so that she can no longer read what he writes.",
    seen: [
      "Bob's badge for Alice turns grey: his list of her devices is older than the record.",
      "No warning: the same happens for seconds between two honest servers. It becomes one after a day.",
    ],
  },
  "forked-log": {
    title: "Forked log",
    does: "A copy of the log, with the true signing key, goes on by itself, and from now on answers Bob in the log's place.",
    seen: [
      "For a while all looks well to Bob: each answer of the copy is signed and proven without a flaw.",
      "Wait 15 seconds, then press “Stop lying”: Bob sees the true log again. Within seconds he is warned.",
      "The details hold a proof that convinces anyone: two signed heads that can't both be true.",
    ],
  },
  "silent-log": {
    title: "Silent log",
    does: "The log no longer answers Bob.",
    seen: [
      "At first nothing: what was checked stays checked.",
      "Press “Verify” and “Check now” in Bob's chat: his badge for Alice turns grey.",
      "No warning: a broken network is no attack.",
    ],
  },
};
