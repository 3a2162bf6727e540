/** What all elements share: a shadow root with one live region, the plugin as a property, and when to draw again. */
import { h } from "./dom.ts";
import { styleSheet } from "./style.ts";
import { LANGUAGE } from "./texts.ts";

/** Takes back a subscription. */
export type Unsubscribe = () => void;

/**
 * Base of the elements. `Source` is the part of ContactKeyVerification that the element uses; the host sets it as the
 * property `ckv`. Attributes: `user-id`, and `name` for how the person is called here.
 */
export abstract class CkvElement<Source> extends HTMLElement {
  static readonly observedAttributes: readonly string[] = ["user-id", "name"];
  /** Where the element draws. */
  protected readonly content: HTMLElement;
  readonly #status: HTMLElement;
  #source: Source | undefined;
  #unsubscribe: readonly Unsubscribe[] = [];

  constructor(sheet?: CSSStyleSheet) {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = sheet === undefined ? [styleSheet()] : [styleSheet(), sheet];
    this.#status = h("div", { role: "status", class: "unseen" });
    this.content = h("div", { class: "container", lang: LANGUAGE });
    root.append(this.content, h("div", { lang: LANGUAGE }, this.#status));
  }

  get ckv(): Source | undefined {
    return this.#source;
  }

  set ckv(source: Source | undefined) {
    this.#source = source;
    this.#restart();
  }

  /** The contact the element is about. */
  get userId(): string {
    return this.getAttribute("user-id") ?? "";
  }

  /** How the contact is called: the attribute `name`, else the user id. */
  get personName(): string {
    const name = this.getAttribute("name") ?? "";
    return name === "" ? this.userId : name;
  }

  connectedCallback(): void {
    this.#restart();
  }

  disconnectedCallback(): void {
    this.#stop();
  }

  attributeChangedCallback(): void {
    this.#restart();
  }

  /** Listens to the plugin and draws for the first time. */
  protected abstract start(source: Source): readonly Unsubscribe[];

  /** Says a sentence to screen readers, once. */
  protected say(sentence: string): void {
    if (this.#status.textContent !== sentence) this.#status.textContent = sentence;
  }

  /** Replaces what is drawn. A focus that would be lost goes to the first heading, or the first control. */
  protected draw(...children: readonly (Node | string | undefined)[]): void {
    const hadFocus = this.shadowRoot?.activeElement !== null;
    this.content.replaceChildren(...children.filter((child) => child !== undefined));
    if (hadFocus) this.content.querySelector<HTMLElement>("[tabindex], button, input, summary, a")?.focus();
  }

  #restart(): void {
    this.#stop();
    if (!this.isConnected || this.#source === undefined) return;
    this.#unsubscribe = this.start(this.#source);
  }

  #stop(): void {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#unsubscribe = [];
  }
}

/** Defines an element once, also when two copies of this module are loaded. */
export function define(name: string, element: CustomElementConstructor): void {
  if (customElements.get(name) === undefined) customElements.define(name, element);
}
