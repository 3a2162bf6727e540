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
  readonly devices?: readonly string[] | undefined;
}

export interface Wording {
  readonly title: string;
  readonly text: string;
  readonly action: string;
}

/** The three parts of a wording. `{name}`, `{server}`, `{since}` and `{devices}` stand for the facts of those names. */
type Words = readonly [title: string, text: string, action: string];

const MEET = "Compare contact codes with them before you share anything private.";
const ASK =
  "Ask the people who run {server} about it, over another channel. Until it is explained, treat new devices there with care.";
const WAIT = "Nothing needs to be done now; it is checked again by itself.";
const OWN_REMOVE =
  "If this was not you, remove the device in your settings, change your password, and tell your contacts.";

/** The log answered, and its answer does not hold. One text for all of them: the code is in the details. */
const unsoundAnswer: Words = [
  "{name} can't be checked",
  "Since {since}, what the key log of {server} says about {name} has not passed the checks. This can be a fault of the server, or an attempt to hide something.",
  ASK,
];

/** The log signed two things that exclude each other. */
const logLied: Words = [
  "The key log of {server} contradicts itself",
  "On {since} the key log of {server} was caught showing different people, or different days, different things. It can no longer be trusted. A proof was saved.",
  ASK,
];

/** The answer takes back something that this account was shown before. */
const takenBack: Words = [
  "The record about {name} was changed afterwards",
  "On {since} the key log of {server} took back something it had said about {name}'s digital identity before. This never happens by itself. A proof was saved.",
  `${MEET} ${ASK}`,
];

const ownDevice: Words = [
  "A device you have not verified is in your account",
  "{devices} was added to your account and nobody verified it from your other devices ({since}). Your contacts' messages may be readable on it.",
  "If it is yours, verify it. If not, remove it in your settings and change your password.",
];

const ownChanged: Words = [
  "The record about your own account is not what you did",
  "On {since} the public record of your account changed in a way that none of your devices made.",
  OWN_REMOVE,
];

const statementChanged: Words = [
  "{name}'s own word about key verification was tampered with",
  "{name} had turned Contact Key Verification on. Since {since} the server shows that differently, and not in {name}'s own signed words.",
  `Ask {name} whether they changed it, and compare contact codes. ${ASK}`,
];

const entryWrong: Words = [
  "{name}'s digital identity is not in order",
  "{devices} of {name} does not fit {name}'s digital identity ({since}).",
  MEET,
];

/** Different codes, or different keys before any code was shown: the same for people. */
const identitiesDiffer: Words = [
  "Your contact codes with {name} differ",
  "On {since} a comparison with {name} showed that your apps were given different digital identities. Someone may be between the two of you.",
  "Don't send anything private. Try once more, over another channel than Matrix.",
];

const WORDS: Partial<Record<VerdictCode, Words>> = {
  "key-never-logged": [
    "Someone else may be able to read messages to {name}",
    "{server} gave this app a key for {name} that is not in the public record ({since}). {devices} may belong to someone else.",
    `Ask {name} over another channel whether they have a new device. ${MEET}`,
  ],
  "pin-mismatch": [
    "{name}'s digital identity is not the one you verified",
    "You verified {name}. Since {since} the server shows another digital identity for them.",
    "Don't send anything private. Ask {name} whether they reset it, then compare contact codes again.",
  ],
  "reset-unsigned": [
    "{name}'s digital identity has been reset",
    "On {since} {name}'s digital identity has been reset. People do this when they lose all their devices; someone else could also have done it.",
    "Ask {name} over another channel, then compare contact codes again.",
  ],
  "reset-signed": [
    "{name} reset their digital identity",
    "On {since} {name} reset their digital identity and confirmed it with the old one.",
    "If you had verified them, compare contact codes again when you next meet.",
  ],
  "changed-unchecked": [
    "{name}'s devices changed and could not be checked",
    "On {since} this app got other keys for {name} than before, and the key log of {server} did not confirm them.",
    "Wait with private messages until it can be checked, or compare contact codes with {name}.",
  ],
  "store-behind-long": [
    "You are shown an old list of {name}'s devices",
    "Since {since} the server shows this app an older list of {name}'s devices than the one in the public record. A device {name} removed may still get your messages.",
    "Ask {name} which devices they use. Signing out and in again fetches the list anew.",
  ],
  "device-unsigned": [
    "{name} has a device they have not verified",
    "{devices} is in {name}'s account since {since}, and {name} has not confirmed it from another device.",
    "Ask {name} whether it is theirs.",
  ],
  "device-key-changed": entryWrong,
  "device-signature-bad": entryWrong,
  "chain-broken": entryWrong,
  "key-reused": entryWrong,
  "device-unreadable": entryWrong,
  "entry-refused": [
    "{name}'s list of devices is too long to be checked",
    "Since {since} {name}'s account shows so many devices that the public record refused the list.",
    MEET,
  ],
  "account-closed": [
    "{name}'s account was closed",
    "On {since} the people who run {server} marked {name}'s account as closed.",
    "Don't write to it any more.",
  ],
  "statement-off": [
    "{name} turned Contact Key Verification off",
    "On {since} {name} turned Contact Key Verification off themselves. Changes of their devices are no longer watched by {name}.",
    "If it surprises you, ask {name}.",
  ],
  "statement-missing": statementChanged,
  "statement-replayed": statementChanged,
  "statement-conflict": statementChanged,
  "statement-signature": statementChanged,
  "history-flood": [
    "Far too many changes of {name}'s digital identity",
    "Since {since} the key log of {server} holds more changes for {name} than a person can make. Something may be hidden among them.",
    ASK,
  ],
  "history-shorter": takenBack,
  "history-other": takenBack,
  "leaf-vanished": takenBack,
  "settle-vanished": takenBack,
  "view-split": [
    "You and {name} are shown different things",
    "On {since} it turned out that {server} shows you another record about one of you than it shows {name}.",
    `${MEET} ${ASK}`,
  ],
  "head-fork": logLied,
  "time-backwards": logLied,
  "labels-shrank": logLied,
  "config-fixed-field": logLied,
  "promise-broken": [
    "{server} broke a signed promise about {name}",
    "{server} promised to put a change of {name}'s devices on the public record, and did not ({since}). A proof was saved.",
    `${MEET} ${ASK}`,
  ],
  "promise-conflict": logLied,
  "promise-overdue": [
    "A promised entry about {name} is late",
    "{server} promised to put a change of {name}'s devices on the public record by {since}, and has not.",
    ASK,
  ],
  "settle-overdue": [
    "The key log of {server} holds something back",
    "Since {since} the key log of {server} answers but leaves out the part that shows everybody gets the same answer.",
    ASK,
  ],
  "settle-gap": [
    "A gap in what could be checked about {server}",
    "You were away so long that part of the record of {server} from before {since} is no longer kept.",
    "Compare contact codes with the people who matter most to you.",
  ],
  "head-withheld": [
    "The key log of {server} is behind",
    "Since {since} the key log of {server} shows an older state than one seen before.",
    WAIT,
  ],
  "log-rolled-back": [
    "The key log of {server} was set back",
    "Since {since} the key log of {server} lacks entries that it had before. A backup may have been restored, or something is to be undone.",
    ASK,
  ],
  "stale-long": [
    "The key log of {server} stands still",
    "Since {since} the key log of {server} answers but shows nothing new.",
    ASK,
  ],
  "unchecked-long": [
    "{name} could not be checked for a week",
    "Since {since} nothing about {name} could be checked against the public record.",
    "See whether your network blocks it.",
  ],
  "quorum-weaker": [
    "Fewer independent witnesses for {server}",
    "Since {since} fewer independent parties vouch for the key log of {server} than before.",
    ASK,
  ],
  "config-changed": [
    "The key log of {server} changed its settings",
    "On {since} the key log of {server} announced other settings.",
    WAIT,
  ],
  "log-moved": [
    "The key log of {server} moved",
    "On {since} the key log of {server} was closed properly and continued by a new one.",
    WAIT,
  ],
  "log-replaced": [
    "The key log of {server} was replaced",
    "On {since} the key log of {server} ended without notice and another one took its place. What it said before can no longer be compared.",
    ASK,
  ],
  "log-gone": [
    "The key log of {server} is gone",
    "{server} had a public key log. Since {since} it says it has none.",
    ASK,
  ],
  "log-key-differs": [
    "Another key log is shown for {server}",
    "Since {since} {server} names another key log than the one known to you. Someone may be showing you a log of their own.",
    ASK,
  ],
  "vrf-key": [
    "The key log of {server} can't be used",
    "The settings of the key log of {server} are not valid ({since}).",
    ASK,
  ],
  "own-unknown-device": ownDevice,
  "own-device-key-changed": ownChanged,
  "own-identity-replaced": [
    "Your digital identity has been replaced",
    "On {since} the server started to show another digital identity for you, which this device did not make.",
    "If you did not reset it yourself, someone is impersonating you: change your password and tell your contacts over another channel.",
  ],
  "own-unknown-version": [
    "Your devices are shown different records",
    "Since {since} the key log of {server} no longer shows your account as it does on another device.",
    ASK,
  ],
  "own-signature-lost": ownChanged,
  "own-statement-changed": ownChanged,
  "own-version-hidden": ownChanged,
  "own-vanished": [
    "Your account vanished from the public record",
    "Since {since} the key log of {server} no longer shows your account as it did before.",
    ASK,
  ],
  "own-key-missing": [
    "This device is missing in the public record",
    "Since {since} the key log of {server} does not list a key that you use. Your contacts may be shown another list of your devices.",
    ASK,
  ],
  "own-refused": [
    "Your list of devices is too long to be recorded",
    "Since {since} your account shows so many devices that the public record refused the list.",
    OWN_REMOVE,
  ],
  "own-not-enrolled": [
    "Your account is not on the public record",
    "You turned Contact Key Verification on, but since {since} the key log of {server} does not list you.",
    `Turn it off and on again. ${ASK}`,
  ],
  "compare-codes-differ": identitiesDiffer,
  "compare-keys-differ": identitiesDiffer,
  "compare-key-changed": [
    "{name}'s digital identity changed while you compared",
    "On {since}, between showing the code and your confirmation, another digital identity appeared for {name}. Nothing was verified.",
    "Compare contact codes again.",
  ],
  "compare-log-differs": [
    "You and {name} are shown different key logs",
    "On {since} a comparison with {name} showed that your apps were pointed to different key logs.",
    "Ask the people who run your servers.",
  ],
  "code-mismatch": [
    "The public code does not belong to this {name}",
    "On {since} the public code you entered for {name} was found to belong to another digital identity than the one the server shows.",
    "Check where you got the code from; if it is genuine, don't send anything private.",
  ],
  "state-rolled-back": [
    "Your server set back what your devices share",
    "On {since} the server showed an old copy of what your devices remember about verified people. Nothing was lost on this device.",
    "Check on your other devices that the people you verified are still marked as verified.",
  ],
};

/** The text of a code. Codes that only ever grey something, and escalated ones, share the text of an unsound answer. */
export function wordingOf(code: VerdictCode, facts: Facts): Wording {
  const said: Readonly<Record<string, unknown>> = { ...facts, devices: devicesOf(facts) };
  const fill = (words: string): string => words.replace(/\{(\w+)\}/g, (_, fact: string) => String(said[fact]));
  const [title, text, action] = WORDS[code] ?? unsoundAnswer;
  return { title: fill(title), text: fill(text), action: fill(action) };
}

function devicesOf({ devices = [] }: Facts): string {
  if (devices.length === 0) return "A device";
  return `The ${devices.length === 1 ? "device" : "devices"} ${devices.join(", ")}`;
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
  "state-unstored": "This device can't store what it remembers, so it protects less after a restart.",
  "state-unconfirmed": "Waiting for one of your other devices to confirm what your devices share.",
  "client-unsupported": "This app's version of matrix-js-sdk is not one that keys can be checked with.",
  "promise-invalid": "The key log's promise could not be accepted.",
};

/** One sentence for a grey badge. */
export function reasonOf(code: VerdictCode): string {
  return REASONS[code] ?? "The key log's answer did not pass the checks. It is asked again.";
}
