import type { VerdictCode } from "../../shared/verdict-codes.ts";
import { reasonOf } from "../wording.ts";
import { h, icon } from "./dom.ts";
import type { IconName } from "./dom.ts";
import { CkvElement } from "./element.ts";
import type { Unsubscribe } from "./element.ts";
import { ownStyleSheet } from "./style.ts";
import { BADGE } from "./texts.ts";

/** What the badge needs to know about a contact. */
export interface BadgeStatus {
  readonly verdict: {
    readonly kind: "verified" | "consistent" | "unchecked" | "warning";
    readonly reason?: VerdictCode;
    readonly code?: VerdictCode;
  };
}

export interface BadgeSource {
  statusOf(userId: string): BadgeStatus;
  on(event: "status", listener: (userId: string) => void): Unsubscribe;
}

type Look = keyof typeof BADGE;

const ICONS: Readonly<Record<Look, IconName>> = {
  verified: "shieldCheck",
  consistent: "record",
  unchecked: "circle",
  checking: "clock",
  warning: "triangle",
};

/** Unchecked for reasons that pass by themselves within minutes. */
const CHECKING: ReadonlySet<VerdictCode> = new Set<VerdictCode>(["key-pending", "promise-pending", "busy"]);

const CSS = `
:host { display: inline-block; vertical-align: middle; }
.badge { display: inline-flex; align-items: center; gap: 0.3em; padding: 0.1em 0.6em 0.1em 0.4em; border-radius: 99px;
  font-size: 0.8125rem; font-weight: 600; line-height: 1.5; border: 1px solid currentColor; white-space: nowrap; }
.verified { color: var(--good); background: var(--good-ground); }
.consistent { color: var(--accent); background: transparent; }
.unchecked, .checking { color: var(--muted); background: var(--ground); border-style: dashed; }
.warning { color: var(--bad); background: var(--bad-ground); }
:host([compact]) .badge { padding: 0.1em; border: 0; background: none; }
:host([compact]) .word { display: none; }
`;
let sheet: CSSStyleSheet | undefined;

/** `<ckv-badge user-id name>`: how sure this device is of a contact, in a word. `compact` leaves only the icon to the eye. */
export class CkvBadge extends CkvElement<BadgeSource> {
  constructor() {
    super((sheet ??= ownStyleSheet(CSS)));
  }

  protected override start(source: BadgeSource): readonly Unsubscribe[] {
    const show = (): void => {
      this.#show(source.statusOf(this.userId));
    };
    show();
    return [
      source.on("status", (userId) => {
        if (userId === this.userId) show();
      }),
    ];
  }

  #show({ verdict }: BadgeStatus): void {
    const look = lookOf(verdict);
    const [word, sentence] = BADGE[look];
    const explained = verdict.reason === undefined ? sentence(this.personName) : reasonOf(verdict.reason);
    this.say(`${this.personName}: ${word}. ${explained}`);
    const text = h("span", { class: "word", "aria-hidden": "true" }, word);
    this.draw(h("span", { class: `badge ${look}`, title: explained, "data-look": look }, icon(ICONS[look]), text));
  }
}

function lookOf(verdict: BadgeStatus["verdict"]): Look {
  if (verdict.kind !== "unchecked") return verdict.kind;
  return verdict.reason !== undefined && CHECKING.has(verdict.reason) ? "checking" : "unchecked";
}
