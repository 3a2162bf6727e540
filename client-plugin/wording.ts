/**
 * What people read, per code: who, what, since when, and one thing to do. Words follow MSC4161 ("digital identity",
 * "verify", "has been reset"); no key, hash or code of ours appears, since the text may stand in a chat.
 */
import type { VerdictCode } from "../shared/verdict-codes.ts";

/** What a text may name. `name` is the person (display name or user id), `since` a date in words. */
export interface Facts {
  readonly name: string;
  readonly server: string;
  readonly since: string;
  /** Device ids the fact is about, where it is about devices. */
  readonly devices?: readonly string[];
}

export interface Wording {
  readonly title: string;
  readonly text: string;
  readonly action: string;
}

type Words = (facts: Facts) => Wording;

const MEET = "Compare contact codes with them before you share anything private.";
const ASK_OPERATOR = (server: string): string =>
  `Ask the people who run ${server} about it, over another channel. Until it is explained, treat new devices there with care.`;
const WAIT = "Nothing needs to be done now; it is checked again by itself.";
const OWN_REMOVE =
  "If this was not you, remove the device in your settings, change your password, and tell your contacts.";

function devicesOf(facts: Facts): string {
  const devices = facts.devices ?? [];
  if (devices.length === 0) return "A device";
  return devices.length === 1 ? `The device ${devices[0] ?? ""}` : `The devices ${devices.join(", ")}`;
}

/** The log answered, and its answer does not hold. One text for all of them: the code is in the details. */
const unsoundAnswer: Words = ({ name, server, since }) => ({
  title: `${name} can't be checked`,
  text: `Since ${since}, what the key log of ${server} says about ${name} has not passed the checks. This can be a fault of the server, or an attempt to hide something.`,
  action: ASK_OPERATOR(server),
});

/** The log signed two things that exclude each other. */
const logLied: Words = ({ server, since }) => ({
  title: `The key log of ${server} contradicts itself`,
  text: `On ${since} the key log of ${server} was caught showing different people, or different days, different things. It can no longer be trusted. A proof was saved.`,
  action: ASK_OPERATOR(server),
});

/** The answer takes back something that this account was shown before. */
const takenBack: Words = ({ name, server, since }) => ({
  title: `The record about ${name} was changed afterwards`,
  text: `On ${since} the key log of ${server} took back something it had said about ${name}'s digital identity before. This never happens by itself. A proof was saved.`,
  action: `${MEET} ${ASK_OPERATOR(server)}`,
});

const ownDevice: Words = (facts) => ({
  title: "A device you have not verified is in your account",
  text: `${devicesOf(facts)} was added to your account and nobody verified it from your other devices (${facts.since}). Your contacts' messages may be readable on it.`,
  action: "If it is yours, verify it. If not, remove it in your settings and change your password.",
});

const ownChanged: Words = ({ since }) => ({
  title: "The record about your own account is not what you did",
  text: `On ${since} the public record of your account changed in a way that none of your devices made.`,
  action: OWN_REMOVE,
});

const statementChanged: Words = ({ name, server, since }) => ({
  title: `${name}'s own word about key verification was tampered with`,
  text: `${name} had turned Contact Key Verification on. Since ${since} the server shows that differently, and not in ${name}'s own signed words.`,
  action: `Ask ${name} whether they changed it, and compare contact codes. ${ASK_OPERATOR(server)}`,
});

const entryWrong: Words = (facts) => ({
  title: `${facts.name}'s digital identity is not in order`,
  text: `${devicesOf(facts)} of ${facts.name} does not fit ${facts.name}'s digital identity (${facts.since}).`,
  action: MEET,
});

const WORDS: Partial<Record<VerdictCode, Words>> = {
  "key-never-logged": (facts) => ({
    title: `Someone else may be able to read messages to ${facts.name}`,
    text: `${facts.server} gave this app a key for ${facts.name} that is not in the public record (${facts.since}). ${devicesOf(facts)} may belong to someone else.`,
    action: `Ask ${facts.name} over another channel whether they have a new device. ${MEET}`,
  }),
  "pin-mismatch": ({ name, since }) => ({
    title: `${name}'s digital identity is not the one you verified`,
    text: `You verified ${name}. Since ${since} the server shows another digital identity for them.`,
    action: `Don't send anything private. Ask ${name} whether they reset it, then compare contact codes again.`,
  }),
  "reset-unsigned": ({ name, since }) => ({
    title: `${name}'s digital identity has been reset`,
    text: `On ${since} ${name}'s digital identity has been reset. People do this when they lose all their devices; someone else could also have done it.`,
    action: `Ask ${name} over another channel, then compare contact codes again.`,
  }),
  "reset-signed": ({ name, since }) => ({
    title: `${name} reset their digital identity`,
    text: `On ${since} ${name} reset their digital identity and confirmed it with the old one.`,
    action: "If you had verified them, compare contact codes again when you next meet.",
  }),
  "changed-unchecked": ({ name, server, since }) => ({
    title: `${name}'s devices changed and can't be checked now`,
    text: `Since ${since} this app has other keys for ${name} than before, and the key log of ${server} can't be asked.`,
    action: `Wait with private messages until it can be checked, or compare contact codes with ${name}.`,
  }),
  "store-behind-long": ({ name, since }) => ({
    title: `You are shown an old list of ${name}'s devices`,
    text: `Since ${since} the server shows this app an older list of ${name}'s devices than the one in the public record. A device ${name} removed may still get your messages.`,
    action: `Ask ${name} which devices they use. Signing out and in again fetches the list anew.`,
  }),
  "device-unsigned": (facts) => ({
    title: `${facts.name} has a device they have not verified`,
    text: `${devicesOf(facts)} is in ${facts.name}'s account since ${facts.since}, and ${facts.name} has not confirmed it from another device.`,
    action: `Ask ${facts.name} whether it is theirs.`,
  }),
  "device-key-changed": entryWrong,
  "device-signature-bad": entryWrong,
  "chain-broken": entryWrong,
  "key-reused": entryWrong,
  "device-unreadable": entryWrong,
  "entry-refused": ({ name, since }) => ({
    title: `${name}'s list of devices is too long to be checked`,
    text: `Since ${since} ${name}'s account shows so many devices that the public record refused the list.`,
    action: MEET,
  }),
  "account-closed": ({ name, server, since }) => ({
    title: `${name}'s account was closed`,
    text: `On ${since} the people who run ${server} marked ${name}'s account as closed.`,
    action: "Don't write to it any more.",
  }),
  "statement-off": ({ name, since }) => ({
    title: `${name} turned Contact Key Verification off`,
    text: `On ${since} ${name} turned Contact Key Verification off themselves. Changes of their devices are no longer watched by ${name}.`,
    action: `Nothing needs to be done; if it surprises you, ask ${name}.`,
  }),
  "statement-missing": statementChanged,
  "statement-replayed": statementChanged,
  "statement-conflict": statementChanged,
  "statement-signature": statementChanged,
  "history-flood": ({ name, server, since }) => ({
    title: `Far too many changes of ${name}'s digital identity`,
    text: `Since ${since} the key log of ${server} holds more changes for ${name} than a person can make. Something may be hidden among them.`,
    action: ASK_OPERATOR(server),
  }),
  "history-shorter": takenBack,
  "history-other": takenBack,
  "leaf-vanished": takenBack,
  "settle-vanished": takenBack,
  "view-split": ({ name, server, since }) => ({
    title: `You and ${name} are shown different things`,
    text: `On ${since} it turned out that ${server} shows you another record about one of you than it shows ${name}.`,
    action: `${MEET} ${ASK_OPERATOR(server)}`,
  }),
  "head-fork": logLied,
  "time-backwards": logLied,
  "labels-shrank": logLied,
  "config-fixed-field": logLied,
  "promise-broken": ({ name, server, since }) => ({
    title: `${server} broke a signed promise about ${name}`,
    text: `${server} promised to put a change of ${name}'s devices on the public record, and did not (${since}). A proof was saved.`,
    action: `${MEET} ${ASK_OPERATOR(server)}`,
  }),
  "promise-conflict": logLied,
  "promise-overdue": ({ name, server, since }) => ({
    title: `A promised entry about ${name} is late`,
    text: `${server} promised to put a change of ${name}'s devices on the public record by ${since}, and has not.`,
    action: ASK_OPERATOR(server),
  }),
  "settle-overdue": ({ server, since }) => ({
    title: `The key log of ${server} holds something back`,
    text: `Since ${since} the key log of ${server} answers but leaves out the part that shows everybody gets the same answer.`,
    action: ASK_OPERATOR(server),
  }),
  "settle-gap": ({ server, since }) => ({
    title: `A gap in what could be checked about ${server}`,
    text: `You were away so long that part of the record of ${server} from before ${since} is no longer kept.`,
    action: "Compare contact codes with the people who matter most to you.",
  }),
  "head-withheld": ({ server, since }) => ({
    title: `The key log of ${server} is behind`,
    text: `Since ${since} the key log of ${server} shows an older state than one seen before.`,
    action: WAIT,
  }),
  "log-rolled-back": ({ server, since }) => ({
    title: `The key log of ${server} was set back`,
    text: `Since ${since} the key log of ${server} lacks entries that it had before. A backup may have been restored, or something is to be undone.`,
    action: ASK_OPERATOR(server),
  }),
  "stale-long": ({ server, since }) => ({
    title: `The key log of ${server} stands still`,
    text: `Since ${since} the key log of ${server} answers but shows nothing new.`,
    action: ASK_OPERATOR(server),
  }),
  "unchecked-long": ({ name, since }) => ({
    title: `${name} could not be checked for a week`,
    text: `Since ${since} nothing about ${name} could be checked against the public record.`,
    action: "See whether your network blocks it.",
  }),
  "quorum-weaker": ({ server, since }) => ({
    title: `Fewer independent witnesses for ${server}`,
    text: `Since ${since} fewer independent parties vouch for the key log of ${server} than before.`,
    action: ASK_OPERATOR(server),
  }),
  "config-changed": ({ server, since }) => ({
    title: `The key log of ${server} changed its settings`,
    text: `On ${since} the key log of ${server} announced other settings, within what the rules allow.`,
    action: WAIT,
  }),
  "log-moved": ({ server, since }) => ({
    title: `The key log of ${server} moved`,
    text: `On ${since} the key log of ${server} was closed properly and continued by a new one.`,
    action: WAIT,
  }),
  "log-replaced": ({ server, since }) => ({
    title: `The key log of ${server} was replaced`,
    text: `On ${since} the key log of ${server} ended without notice and another one took its place. What it said before can no longer be compared.`,
    action: ASK_OPERATOR(server),
  }),
  "log-gone": ({ server, since }) => ({
    title: `The key log of ${server} is gone`,
    text: `${server} had a public key log. Since ${since} it says it has none.`,
    action: ASK_OPERATOR(server),
  }),
  "log-key-differs": ({ server, since }) => ({
    title: `Another key log is shown for ${server}`,
    text: `Since ${since} ${server} names another key log than the one known to you. Someone may be showing you a log of their own.`,
    action: ASK_OPERATOR(server),
  }),
  "vrf-key": ({ server, since }) => ({
    title: `The key log of ${server} can't be used`,
    text: `The settings of the key log of ${server} are not valid (${since}).`,
    action: ASK_OPERATOR(server),
  }),
  "own-unknown-device": ownDevice,
  "own-device-key-changed": ownChanged,
  "own-identity-replaced": ({ since }) => ({
    title: "Your digital identity has been replaced",
    text: `On ${since} the server started to show another digital identity for you, which this device did not make.`,
    action:
      "If you did not reset it yourself, someone is impersonating you: change your password and tell your contacts over another channel.",
  }),
  "own-unknown-version": ownChanged,
  "own-signature-lost": ownChanged,
  "own-statement-changed": ownChanged,
  "own-version-hidden": ownChanged,
  "own-vanished": ({ server, since }) => ({
    title: "Your account vanished from the public record",
    text: `Since ${since} the key log of ${server} no longer shows your account as it did before.`,
    action: ASK_OPERATOR(server),
  }),
  "own-key-missing": ({ server, since }) => ({
    title: "This device is missing in the public record",
    text: `Since ${since} the key log of ${server} does not list a key that you use. Your contacts may be shown another list of your devices.`,
    action: ASK_OPERATOR(server),
  }),
  "own-refused": ({ since }) => ({
    title: "Your list of devices is too long to be recorded",
    text: `Since ${since} your account shows so many devices that the public record refused the list. If you don't have that many, someone else added them.`,
    action: OWN_REMOVE,
  }),
  "own-not-enrolled": ({ server, since }) => ({
    title: "Your account is not on the public record",
    text: `You turned Contact Key Verification on, but since ${since} the key log of ${server} does not list you.`,
    action: `Turn it off and on again. ${ASK_OPERATOR(server)}`,
  }),
  "compare-codes-differ": ({ name, since }) => ({
    title: `The contact codes differ`,
    text: `On ${since} you compared codes with ${name}, and they were not the same. Someone may be between the two of you.`,
    action: "Don't send anything private. Try once more, over another channel than Matrix.",
  }),
  "compare-keys-differ": ({ name, since }) => ({
    title: `You and ${name} don't see the same digital identities`,
    text: `On ${since} a comparison with ${name} showed that your apps were given different digital identities. Someone may be between the two of you.`,
    action: "Don't send anything private. Try once more, over another channel than Matrix.",
  }),
  "compare-key-changed": ({ name, since }) => ({
    title: `${name}'s digital identity changed while you compared`,
    text: `On ${since}, between showing the code and your confirmation, another digital identity appeared for ${name}. Nothing was verified.`,
    action: "Compare contact codes again.",
  }),
  "compare-log-differs": ({ name, since }) => ({
    title: `You and ${name} are shown different key logs`,
    text: `On ${since} a comparison with ${name} showed that your apps were pointed to different key logs.`,
    action: "Ask the people who run your servers.",
  }),
  "code-mismatch": ({ name, since }) => ({
    title: `The public code does not belong to this ${name}`,
    text: `On ${since} the public code you entered for ${name} was found to belong to another digital identity than the one the server shows.`,
    action: "Check where you got the code from; if it is genuine, don't send anything private.",
  }),
  "state-rolled-back": ({ since }) => ({
    title: "Your server set back what your devices share",
    text: `On ${since} the server showed an old copy of what your devices remember about verified people. Nothing was lost on this device.`,
    action: "Check on your other devices that the people you verified are still marked as verified.",
  }),
};

/** The text of a code. Codes that only ever grey something, and escalated ones, share the text of an unsound answer. */
export function wordingOf(code: VerdictCode, facts: Facts): Wording {
  return (WORDS[code] ?? unsoundAnswer)(facts);
}

const REASONS: Partial<Record<VerdictCode, string>> = {
  offline: "The key log can't be reached. Nothing is known to be wrong.",
  busy: "The key log is busy. It is asked again soon.",
  "refused-by-service": "The key log refused to answer.",
  "first-look": "Seen for the first time. Compare contact codes to be sure.",
  "no-log": "Their server keeps no public key log.",
  "not-enrolled": "They are not on the public record of their server.",
  "key-pending": "A new key is being looked up in the public record.",
  "store-behind": "The server's list of their devices is being brought up to date.",
  "promise-pending": "A new key is about to be put on the public record.",
  "identity-missing": "They have not set up a digital identity yet.",
  stale: "The key log shows nothing new at the moment.",
  clock: "The clock of this device may be wrong.",
  "quorum-missing": "Not enough independent witnesses vouch for the key log yet.",
  "log-not-authoritative": "The key log that answered is not the one of their server.",
  "config-unknown": "The settings of the key log can't be read.",
  "state-lost": "What this device remembered was lost.",
  "state-unconfirmed": "Waiting for one of your other devices to confirm what your devices share.",
  "promise-invalid": "The key log's promise could not be accepted.",
};

/** One sentence for a grey badge. */
export function reasonOf(code: VerdictCode): string {
  return REASONS[code] ?? "The key log's answer did not pass the checks. It is asked again.";
}
