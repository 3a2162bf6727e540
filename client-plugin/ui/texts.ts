/**
 * Every sentence of the elements, in one place. Words follow MSC4161: "digital identity", "verify", "has been reset".
 * What a warning says comes from wording.ts, since it may also stand in a chat.
 */
import type { VerdictCode } from "../../shared/verdict-codes.ts";

/** Language of the texts, for `lang` attributes and for dates. */
export const LANGUAGE = "en";

/** Badge: one or two words for the eye, one sentence for whoever asks. */
export const BADGE: Readonly<
  Record<"verified" | "consistent" | "unchecked" | "checking" | "warning", readonly [string, (name: string) => string]>
> = {
  verified: ["Verified", (name) => `You and ${name} compared codes, and ${name}'s devices are on the public record.`],
  consistent: ["On record", (name) => `${name}'s devices are on the public record that everyone is shown.`],
  unchecked: ["Not checked", (name) => `${name} can't be checked at the moment.`],
  checking: ["Checking", (name) => `${name}'s keys have changed and are being looked up.`],
  warning: ["Warning", (name) => `Something is wrong with ${name}'s digital identity.`],
};

export const COMPARE = {
  heading: (name: string): string => `Verify ${name}`,
  intro: (name: string): string =>
    `You and ${name} each get an eight-digit code. If the codes are the same, nobody stands between you.`,
  how: "Have them with you, or on a call where you know the face or the voice. Don't send the code in a message.",
  start: "Compare codes",
  requested: (name: string): string => `Waiting for ${name} to accept on one of their devices.`,
  incoming: (name: string): string => `${name} wants to compare codes with you.`,
  accept: "Accept",
  decline: "Decline",
  cancel: "Cancel",
  waiting: "The two devices are agreeing on a code.",
  code: (name: string): string => `Is this the code that ${name} sees?`,
  codeSpoken: (code: string): string => `The code is ${code.split("").join(" ")}.`,
  match: "They match",
  differ: "They differ",
  sign: "Also show them as verified in my other Matrix apps",
  confirming: "Checking once more that nothing changed.",
  failed: "That could not be checked right now. The code is still good: try again in a moment.",
  confirmed: (name: string): string => `You confirmed the code. Waiting for ${name} to do the same.`,
  done: (name: string): string => `You verified ${name}.`,
  again: "Try again",
  publicHeading: (name: string): string => `${name} published a code?`,
  publicIntro: (name: string): string =>
    `Paste the public code that ${name} shows on a website, a card or a profile elsewhere. Your device compares it.`,
  publicLabel: "Public code or matrix: link",
  publicCheck: "Check",
  publicMatches: (name: string): string => `The public code belongs to ${name}. You verified ${name}.`,
} as const;

/** How a comparison ended, where it did not end well. */
export const COMPARE_ENDED: Readonly<Partial<Record<VerdictCode, (name: string) => string>>> = {
  "compare-cancelled": () => "The comparison was cancelled, or answered on another device.",
  "compare-late": () => "Nobody did anything for ten minutes, so the comparison ended.",
  "compare-locked": (name) => `Too many attempts with ${name}. Try again in an hour. Messages are not affected.`,
  "compare-own-unverified": () => "Verify this device from another one of yours first.",
  "compare-second-answer": () => "The other device answered twice, so the comparison ended.",
  "compare-commit-reused": () => "The other device repeated an old message, so the comparison ended.",
  "identity-missing": (name) => `${name} has not set up a digital identity yet.`,
  "compare-codes-differ": (name) =>
    `The codes differ. Someone may stand between you and ${name}. Don't send anything private.`,
  "compare-keys-differ": (name) =>
    `You and ${name} don't see the same digital identities. Someone may stand between you. Don't send anything private.`,
  "compare-key-changed": (name) => `A digital identity changed while you compared. ${name} was not verified.`,
  "compare-log-differs": (name) => `You and ${name} are shown different key logs. ${name} was not verified.`,
};
export const COMPARE_ENDED_OTHERWISE = "The comparison ended.";

/** What is wrong with a public code. */
export const PUBLIC_CODE: Readonly<Partial<Record<VerdictCode, (name: string) => string>>> = {
  "code-malformed": () => "This is not a complete public code. Check that nothing is missing.",
  "code-other-user": (name) => `This link belongs to somebody else, not to ${name}.`,
  "code-mismatch": (name) =>
    `This code does not belong to the ${name} you are shown. If you trust where it came from, don't send anything private.`,
};
export const PUBLIC_CODE_OTHERWISE = "The code could not be checked right now.";

export const WARNING = {
  action: "What to do",
  details: "Details",
  person: "About",
  since: "Since",
  code: "Code",
  evidence: "Save the proof",
  evidenceNote: "The proof convinces others too: matrix-ckv verify-evidence checks it offline.",
  compare: "Compare codes",
  dismiss: "Dismiss",
  kinds: { notice: "Notice", warning: "Warning", evidence: "Warning, with proof" },
} as const;

export const OWN_CODE = {
  heading: "Your public code",
  intro: "Publish it where your homeserver can't change it: your website, your business card, another profile.",
  copy: "Copy the code",
  copied: "Copied",
  link: "Link",
  qr: "QR code with your public code",
  failed: "Your code is not available: this device is not verified yet.",
} as const;

export const HISTORY = {
  heading: (name: string): string => `Key history of ${name}`,
  empty: (name: string): string => `${name} is not on a public record.`,
  failed: "The history can't be read right now.",
  loading: "Reading the history.",
  first: "First entry",
  identity: "Digital identity has been reset",
  added: (device: string): string => `Device added: ${device}`,
  removed: (device: string): string => `Device removed: ${device}`,
  on: "Turned Contact Key Verification on",
  off: "Turned Contact Key Verification off",
  other: "Keys renewed",
  erased: "No longer kept",
  version: (version: number): string => `version ${String(version)}`,
} as const;

/** A point in time for people, with its machine form for `<time>`. */
export function formatTime(atMs: number): { readonly text: string; readonly iso: string } {
  const date = new Date(atMs);
  const text = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "medium", timeStyle: "short" }).format(date);
  return { text, iso: date.toISOString() };
}
