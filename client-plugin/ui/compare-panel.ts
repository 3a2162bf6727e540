import { formatContactCode } from "../../shared/codes/contact-code.ts";
import { VerdictError } from "../../shared/verdict-codes.ts";
import type { CompareSession } from "../compare.ts";
import { h, icon } from "./dom.ts";
import type { Child, IconName } from "./dom.ts";
import { CkvElement } from "./element.ts";
import type { Unsubscribe } from "./element.ts";
import { COMPARE, COMPARE_ENDED, COMPARE_ENDED_OTHERWISE, PUBLIC_CODE, PUBLIC_CODE_OTHERWISE } from "./texts.ts";

export type PanelSession = Pick<
  CompareSession,
  "userId" | "state" | "code" | "endedWith" | "on" | "accept" | "confirm" | "differ" | "cancel"
>;

export interface CompareSource {
  compare(userId: string): Promise<PanelSession>;
  /** The running session with a contact, if any. */
  sessionWith(userId: string): PanelSession | undefined;
  markVerified(userId: string, publicCode: string): Promise<void>;
  on(event: "compare", listener: (session: PanelSession) => void): Unsubscribe;
}

/** `<ckv-compare user-id name>`: compares contact codes with one contact, or checks a published code. */
export class CkvCompare extends CkvElement<CompareSource> {
  #source: CompareSource | undefined;
  #session: PanelSession | undefined;
  #unfollow: Unsubscribe | undefined;

  protected override start(source: CompareSource): readonly Unsubscribe[] {
    this.#source = source;
    this.#follow(source.sessionWith(this.userId));
    const unsubscribe = source.on("compare", (session) => {
      if (session.userId === this.userId) this.#follow(session);
    });
    return [unsubscribe, () => this.#unfollow?.()];
  }

  #follow(session: PanelSession | undefined): void {
    this.#unfollow?.();
    this.#session = session;
    this.#unfollow = session?.on(() => {
      this.#show();
    });
    this.#show();
  }

  #show(problem?: string): void {
    const { personName: name } = this;
    const heading = h("h2", { tabindex: "-1" }, COMPARE.heading(name));
    this.draw(h("section", { class: "stack" }, heading, ...this.#body(problem)));
  }

  #body(problem: string | undefined): Child[] {
    const name = this.personName;
    switch (this.#session?.state) {
      case undefined:
        return this.#idle(problem);
      case "requested":
        return [this.#waiting(COMPARE.requested(name)), this.#row(this.#cancelButton(COMPARE.cancel))];
      case "incoming":
        return this.#incoming(this.#session, problem);
      case "waiting":
        return [this.#waiting(COMPARE.waiting), this.#row(this.#cancelButton(COMPARE.cancel))];
      case "code":
        return this.#code(this.#session, problem);
      case "confirmed":
        return [this.#note("good", "shieldCheck", COMPARE.confirmed(name))];
      case "done":
        return [this.#note("good", "shieldCheck", COMPARE.done(name))];
      case "ended":
        return this.#ended(this.#session);
    }
  }

  #idle(problem: string | undefined): Child[] {
    this.say(problem ?? "");
    return [
      h("p", {}, COMPARE.intro(this.personName)),
      h("p", { class: "muted small" }, COMPARE.how),
      problem !== undefined && this.#note("plain", "info", problem),
      this.#row(this.#startButton(COMPARE.start)),
      this.#publicCode(),
    ];
  }

  #incoming(session: PanelSession, problem: string | undefined): Child[] {
    const accept = this.#button("primary", COMPARE.accept, () => session.accept());
    return [
      this.#note("plain", "key", problem ?? COMPARE.incoming(this.personName)),
      h("p", { class: "muted small" }, COMPARE.how),
      this.#row(accept, this.#cancelButton(COMPARE.decline)),
    ];
  }

  #code(session: PanelSession, problem: string | undefined): Child[] {
    const question = COMPARE.code(this.personName);
    const code = session.code ?? "";
    const sign = h("input", { type: "checkbox", checked: true });
    const match = this.#button("primary", COMPARE.match, async () => {
      this.say(COMPARE.confirming);
      await session.confirm({ sign: sign.checked });
    });
    const differ = this.#button("danger", COMPARE.differ, () => {
      session.differ();
    });
    this.say(problem ?? `${COMPARE.codeSpoken(code)} ${question}`);
    return [
      h("p", {}, question),
      h("p", { class: "code", "aria-hidden": "true", "data-code": code }, formatContactCode(code)),
      h("p", { class: "unseen" }, COMPARE.codeSpoken(code)),
      h("p", { class: "muted small" }, COMPARE.how),
      problem !== undefined && this.#note("plain", "info", problem),
      h("label", { class: "check small" }, sign, h("span", {}, COMPARE.sign)),
      this.#row(match, differ),
    ];
  }

  #ended(session: PanelSession): Child[] {
    const { endedWith } = session;
    const told = endedWith === undefined ? undefined : COMPARE_ENDED[endedWith];
    const sentence = told?.(this.personName) ?? COMPARE_ENDED_OTHERWISE;
    const grave = endedWith?.endsWith("-differ") === true || endedWith?.endsWith("-differs") === true;
    const serious = grave || endedWith === "compare-key-changed";
    const note = this.#note(serious ? "bad" : "plain", serious ? "triangle" : "info", sentence);
    return [note, this.#row(this.#startButton(COMPARE.again))];
  }

  #publicCode(): HTMLElement {
    const name = this.personName;
    const input = h("input", { type: "text", id: "public-code", autocomplete: "off", spellcheck: "false" });
    const answer = h("div", { role: "status" });
    const check = async (event: Event): Promise<void> => {
      event.preventDefault();
      const [kind, sentence] = await this.#checkPublicCode(input.value);
      answer.replaceChildren(this.#note(kind, kind === "good" ? "shieldCheck" : "info", sentence));
    };
    return h(
      "details",
      {},
      h("summary", {}, COMPARE.publicHeading(name)),
      h(
        "form",
        { class: "stack", onSubmit: (event) => void check(event) },
        h("p", { class: "muted small" }, COMPARE.publicIntro(name)),
        h("label", { for: "public-code" }, COMPARE.publicLabel),
        input,
        this.#row(h("button", { type: "submit" }, COMPARE.publicCheck)),
        answer,
      ),
    );
  }

  async #checkPublicCode(text: string): Promise<["good" | "bad" | "plain", string]> {
    const name = this.personName;
    try {
      await this.#source?.markVerified(this.userId, text);
      return ["good", COMPARE.publicMatches(name)];
    } catch (error) {
      const code = error instanceof VerdictError ? error.code : undefined;
      const told = code === undefined ? undefined : PUBLIC_CODE[code];
      return [code === "code-mismatch" ? "bad" : "plain", told?.(name) ?? PUBLIC_CODE_OTHERWISE];
    }
  }

  #startButton(text: string): HTMLElement {
    return this.#button("primary", text, async () => {
      const session = await this.#source?.compare(this.userId);
      if (session !== this.#session) this.#follow(session);
    });
  }

  #cancelButton(text: string): HTMLElement {
    return this.#button("", text, () => this.#session?.cancel());
  }

  /** A button that can't be pressed twice, and says so when what it does fails. */
  #button(className: string, text: string, act: () => unknown): HTMLElement {
    const button = h("button", { type: "button", class: className, onClick: () => void press() }, text);
    const press = async (): Promise<void> => {
      button.disabled = true;
      try {
        await act();
      } catch {
        // The host has the error; a person can only try again.
        this.#show(COMPARE.failed);
      }
    };
    return button;
  }

  #waiting(sentence: string): HTMLElement {
    this.say(sentence);
    return h("p", { class: "note plain" }, icon("clock"), h("span", { class: "dots" }, sentence));
  }

  #note(kind: "good" | "bad" | "plain", name: IconName, sentence: string): HTMLElement {
    this.say(sentence);
    return h("p", { class: `note ${kind}` }, icon(name), h("span", {}, sentence));
  }

  #row(...children: readonly Child[]): HTMLElement {
    return h("div", { class: "row" }, ...children);
  }
}
