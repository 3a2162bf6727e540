import { UNCHECKED_ESCALATES_AFTER_MS } from "./parameters.ts";
import type { Evidence } from "./proofs/evidence.ts";

/** How much a code weighs: from a line in the history to portable proof that a log lied. */
export type VerdictClass = "information" | "unchecked" | "notice" | "warning" | "evidence";

/** Told where somebody asks, never by itself. */
const INFORMATION = [
  "unsettled",
  "statement-lapsed",
  "compare-own-unverified",
  "compare-locked",
  "compare-late",
  "compare-second-answer",
  "compare-commit-reused",
  "compare-cancelled",
  "code-malformed",
  "code-other-user",
] as const;

/** Grey: nothing could be confirmed, nobody is accused. */
const UNCHECKED = [
  "quorum-missing",
  "stale",
  "clock",
  "config-unknown",
  "log-not-authoritative",
  "no-log",
  "offline",
  "busy",
  "refused-by-service",
  "first-look",
  "not-enrolled",
  "key-pending",
  "store-behind",
  "identity-missing",
  "promise-pending",
  "promise-invalid",
  "state-lost",
  "state-unconfirmed",
  "state-unstored",
  "client-unsupported",
] as const;

/** Grey, and a warning once a service that answers has kept it up for a day. */
const UNCHECKED_THEN_WARNING = [
  "bad-answer",
  "head-signature",
  "head-origin",
  "heads-unreconciled",
  "record-not-last",
  "record-invalid",
  "index-proof",
  "map-proof",
  "commitment",
  "history-leaf",
  "entry-not-canonical",
  "entry-subject",
  "history-unproven",
] as const;

/** Told once, with its date. */
const NOTICE = [
  "head-withheld",
  "stale-long",
  "config-changed",
  "log-moved",
  "unchecked-long",
  "settle-gap",
  "changed-unchecked",
  "device-unsigned",
  "reset-signed",
  "reset-unsigned",
  "account-closed",
  "statement-off",
] as const;

const WARNING = [
  "quorum-weaker",
  "log-rolled-back",
  "vrf-key",
  "log-gone",
  "log-replaced",
  "log-key-differs",
  "history-flood",
  "settle-overdue",
  "view-split",
  "key-never-logged",
  "store-behind-long",
  "device-key-changed",
  "device-signature-bad",
  "chain-broken",
  "key-reused",
  "device-unreadable",
  "pin-mismatch",
  "entry-refused",
  "statement-missing",
  "statement-replayed",
  "statement-conflict",
  "statement-signature",
  "promise-overdue",
  "own-unknown-version",
  "own-unknown-device",
  "own-device-key-changed",
  "own-identity-replaced",
  "own-signature-lost",
  "own-statement-changed",
  "own-version-hidden",
  "own-vanished",
  "own-key-missing",
  "own-refused",
  "own-not-enrolled",
  "compare-codes-differ",
  "compare-keys-differ",
  "compare-key-changed",
  "compare-log-differs",
  "code-mismatch",
  "state-rolled-back",
] as const;

/** What the log signed contradicts itself; anyone can check it offline. */
const EVIDENCE = [
  "head-fork",
  "time-backwards",
  "labels-shrank",
  "config-fixed-field",
  "leaf-vanished",
  "history-shorter",
  "history-other",
  "settle-vanished",
  "promise-broken",
  "promise-conflict",
] as const;

/** What an auditor finds: the first two are asked again, the others are final. No client raises them. */
const AUDIT = [
  "audit-data-missing",
  "audit-lag",
  "audit-record",
  "audit-gap",
  "audit-time",
  "audit-observed",
  "audit-config",
  "audit-list-hash",
  "audit-order",
  "audit-duplicate",
  "audit-empty-entry",
  "audit-limit",
  "audit-old-leaf",
  "audit-not-new",
  "audit-new-root",
  "audit-labels",
  "audit-log-root",
] as const;

/** Every code that a verdict, a warning or an audit can have. Closed; design: codes of verdicts and warnings. */
export type VerdictCode =
  | (typeof INFORMATION)[number]
  | (typeof UNCHECKED)[number]
  | (typeof UNCHECKED_THEN_WARNING)[number]
  | (typeof NOTICE)[number]
  | (typeof WARNING)[number]
  | (typeof EVIDENCE)[number]
  | (typeof AUDIT)[number];

const CODES_BY_CLASS: Readonly<Record<VerdictClass, readonly VerdictCode[]>> = {
  information: INFORMATION,
  unchecked: [...UNCHECKED, ...UNCHECKED_THEN_WARNING],
  notice: NOTICE,
  warning: WARNING,
  evidence: EVIDENCE,
};

/**
 * A code's class; after how long it becomes a warning, if it does; and its class where the contact is pinned, if it is
 * another one. What else makes a code weigh more or less is known only where it is found.
 */
export interface CodeClass {
  readonly class: VerdictClass;
  readonly escalatesAfterMs?: number;
  readonly whenPinned?: VerdictClass;
}

const WARNING_WHEN_PINNED: ReadonlySet<VerdictCode> = /* @__PURE__ */ new Set<VerdictCode>([
  "changed-unchecked",
  "reset-unsigned",
]);
const ESCALATING: ReadonlySet<VerdictCode> = /* @__PURE__ */ new Set<VerdictCode>(UNCHECKED_THEN_WARNING);

// Marked pure, as the sets above and the list below, so that a bundle that only throws VerdictErrors carries no table.
const CLASSES: ReadonlyMap<VerdictCode, CodeClass> = /* @__PURE__ */ describeAll();

function describeAll(): ReadonlyMap<VerdictCode, CodeClass> {
  const names = Object.keys(CODES_BY_CLASS) as VerdictClass[];
  return new Map(names.flatMap((name) => CODES_BY_CLASS[name].map((code) => [code, describe(name, code)] as const)));
}

function describe(name: VerdictClass, code: VerdictCode): CodeClass {
  return {
    class: name,
    ...(ESCALATING.has(code) ? { escalatesAfterMs: UNCHECKED_ESCALATES_AFTER_MS } : {}),
    ...(WARNING_WHEN_PINNED.has(code) ? { whenPinned: "warning" } : {}),
  };
}

/** All codes, class by class, and then those of auditors. */
export const VERDICT_CODES: readonly VerdictCode[] = /* @__PURE__ */ (() => [...CLASSES.keys(), ...AUDIT])();

/** How much a code weighs that a client may raise. */
export function classOf(code: VerdictCode): CodeClass {
  const found = CLASSES.get(code);
  if (found === undefined) throw new RangeError(`no such code: ${code}`);
  return found;
}

/** Whether a text from outside (state of an account, a warning sent into a room) is a code that a client may raise. */
export function isVerdictCode(text: string): text is VerdictCode {
  return CLASSES.has(text as VerdictCode);
}

/** A step of a check failed: the code says which, and the evidence, where there is any, proves it to others. */
export class VerdictError extends Error {
  readonly code: VerdictCode;
  readonly evidence: Evidence | undefined;

  constructor(
    code: VerdictCode,
    message: string,
    options?: { readonly cause?: unknown; readonly evidence?: Evidence },
  ) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.name = "VerdictError";
    this.code = code;
    this.evidence = options?.evidence;
  }
}
