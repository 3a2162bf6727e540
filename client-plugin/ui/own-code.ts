import encodeQR from "qr";
import { matrixLink } from "../../shared/codes/public-code.ts";
import { drawing, h, icon } from "./dom.ts";
import { CkvElement } from "./element.ts";
import type { Unsubscribe } from "./element.ts";
import { ownStyleSheet } from "./style.ts";
import { OWN_CODE } from "./texts.ts";

export interface OwnCodeSource {
  publicCode(): Promise<string>;
}

const CSS = `
:host { display: block; }
figure { background: #ffffff; color: #000000; padding: 0.75rem; border-radius: var(--radius); width: min(100%, 15rem);
  border: 1px solid var(--line); }
.qr { display: block; width: 100%; height: auto; fill: #000000; shape-rendering: crispEdges; }
.groups { display: flex; flex-wrap: wrap; gap: 0.25rem 0.75rem; font-size: 1.0625rem; font-weight: 600;
  background: var(--ground); border-radius: var(--radius); padding: 0.75rem; }
`;
let sheet: CSSStyleSheet | undefined;

/** `<ckv-own-code user-id>`: the own public code in groups of four, as QR code and as `matrix:` link. */
export class CkvOwnCode extends CkvElement<OwnCodeSource> {
  constructor() {
    super((sheet ??= ownStyleSheet(CSS)));
  }

  protected override start(source: OwnCodeSource): readonly Unsubscribe[] {
    void this.#load(source);
    return [];
  }

  async #load(source: OwnCodeSource): Promise<void> {
    try {
      this.#show(await source.publicCode());
    } catch {
      // Without a verified identity there is no code; the host has the error.
      this.say(OWN_CODE.failed);
      const note = h("p", { class: "note plain" }, icon("info"), h("span", {}, OWN_CODE.failed));
      this.draw(h("section", { class: "stack" }, h("h2", {}, OWN_CODE.heading), note));
    }
  }

  #show(code: string): void {
    const link = matrixLink(this.userId, code);
    const copy = async (): Promise<void> => {
      await navigator.clipboard.writeText(code);
      this.say(OWN_CODE.copied);
      button.textContent = OWN_CODE.copied;
    };
    const button = h("button", { type: "button", onClick: () => void copy() }, OWN_CODE.copy);
    const groups = code.split(" ").map((group) => h("span", {}, group));
    this.draw(
      h(
        "section",
        { class: "stack" },
        h("h2", {}, OWN_CODE.heading),
        h("p", { class: "muted" }, OWN_CODE.intro),
        h("figure", { role: "img", "aria-label": OWN_CODE.qr }, qrOf(link)),
        h("p", { class: "groups mono", "data-public-code": code }, ...groups),
        h("p", { class: "row" }, button, h("a", { class: "button", href: link }, OWN_CODE.link)),
      ),
    );
  }
}

/** The QR code of a text as one path of unit squares. */
function qrOf(text: string): SVGSVGElement {
  const rows = encodeQR(text, "raw", { ecc: "medium", border: 2 });
  const squares = rows.flatMap((row, y) => row.map((dark, x) => (dark ? `M${String(x)} ${String(y)}h1v1h-1z` : "")));
  return drawing(rows.length, squares.join(""), "qr");
}
