import type { Warning } from "../warnings.ts";
import { h, icon } from "./dom.ts";
import { CkvElement } from "./element.ts";
import type { Unsubscribe } from "./element.ts";
import { ownStyleSheet } from "./style.ts";
import { WARNING, formatTime } from "./texts.ts";

export interface WarningSource {
  warnings(): readonly Warning[];
  dismiss(warningId: string): Promise<void>;
  on(event: "warning", listener: (warning: Warning) => void): Unsubscribe;
}

const CSS = `
:host { display: block; }
ul { list-style: none; display: grid; gap: 0.75rem; }
article { border: 1px solid var(--edge); border-inline-start: 5px solid var(--edge); border-radius: var(--radius);
  background: var(--bg); padding: 0.75rem 1rem; display: grid; gap: 0.625rem; }
article.grave { --edge: var(--bad); }
article.notice { --edge: var(--note); }
header { display: flex; gap: 0.625rem; align-items: flex-start; color: var(--edge); }
header h2 { color: var(--text); font-size: 0.9375rem; line-height: 1.35; }
.kind { font-size: 0.75rem; font-weight: 650; letter-spacing: 0.03em; }
.do { background: var(--ground); border-radius: 10px; padding: 0.625rem 0.75rem; }
.do strong { display: block; font-size: 0.8125rem; }
details dl { padding-block: 0.375rem; }
`;
let sheet: CSSStyleSheet | undefined;

/**
 * `<ckv-warning>`: open warnings as cards: who, what, since when, what to do, details. With `warning-id` that one alone
 * (a card in a timeline), with `user-id` those about one person (a banner), else all. Pressing "Compare codes" sends the
 * event `ckv-compare` with the user id as its detail.
 */
export class CkvWarning extends CkvElement<WarningSource> {
  static override readonly observedAttributes: readonly string[] = ["user-id", "name", "warning-id"];

  constructor() {
    super((sheet ??= ownStyleSheet(CSS)));
  }

  protected override start(source: WarningSource): readonly Unsubscribe[] {
    const show = (): void => {
      this.#show(source);
    };
    show();
    return [source.on("warning", show)];
  }

  #show(source: WarningSource): void {
    const warnings = source.warnings().filter((warning) => this.#isMine(warning));
    this.say(warnings.map(({ title }) => title).join(". "));
    const cards = warnings.map((warning) => h("li", {}, this.#card(source, warning)));
    this.draw(cards.length === 0 ? undefined : h("ul", {}, ...cards));
  }

  #isMine({ id, userId }: Warning): boolean {
    const warningId = this.getAttribute("warning-id");
    if (warningId !== null) return id === warningId;
    return this.userId === "" || userId === this.userId;
  }

  #card(source: WarningSource, warning: Warning): HTMLElement {
    const grave = warning.class === "warning" || warning.class === "evidence";
    const kind = WARNING.kinds[warning.class === "evidence" || warning.class === "warning" ? warning.class : "notice"];
    const since = formatTime(warning.sinceMs);
    const heading = `title-${warning.id}`;
    return h(
      "article",
      { class: grave ? "grave" : "notice", "aria-labelledby": heading, "data-code": warning.code },
      h(
        "header",
        {},
        icon(grave ? "triangle" : "info"),
        h("div", {}, h("span", { class: "kind" }, kind), h("h2", { id: heading }, warning.title)),
      ),
      h("p", {}, warning.text),
      h("p", { class: "do" }, h("strong", {}, WARNING.action), warning.action),
      h("p", { class: "row" }, ...this.#buttons(source, warning)),
      h(
        "details",
        { class: "small" },
        h("summary", {}, WARNING.details),
        h(
          "dl",
          {},
          ...[h("dt", {}, WARNING.person), h("dd", {}, warning.userId)],
          ...[h("dt", {}, WARNING.since), h("dd", {}, h("time", { datetime: since.iso }, since.text))],
          ...[h("dt", {}, WARNING.code), h("dd", { class: "mono" }, warning.code)],
        ),
        warning.evidence !== undefined && evidenceLink(warning.code, warning.evidence),
      ),
    );
  }

  #buttons(source: WarningSource, warning: Warning): HTMLElement[] {
    const compare = (): void => {
      this.dispatchEvent(new CustomEvent("ckv-compare", { detail: warning.userId, bubbles: true, composed: true }));
    };
    const dismiss = async (): Promise<void> => {
      await source.dismiss(warning.id);
      this.#show(source);
    };
    const own = warning.code.startsWith("own-");
    return [
      ...(own ? [] : [h("button", { type: "button", onClick: compare }, WARNING.compare)]),
      h("button", { type: "button", onClick: () => void dismiss() }, WARNING.dismiss),
    ];
  }
}

function evidenceLink(code: string, evidence: string): HTMLElement {
  const href = `data:application/json;charset=utf-8,${encodeURIComponent(evidence)}`;
  return h(
    "div",
    { class: "stack" },
    h("p", {}, h("a", { class: "button", href, download: `${code}.json` }, WARNING.evidence)),
    h("p", { class: "muted" }, WARNING.evidenceNote),
  );
}
