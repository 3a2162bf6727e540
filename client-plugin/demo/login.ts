import { ConnectionError, MatrixError } from "matrix-js-sdk";
import { h } from "../ui/dom.ts";
import { findHomeserver, logIn } from "./session.ts";
import type { Session } from "./session.ts";
import type { Settings } from "./settings.ts";

export interface LoggedIn {
  readonly session: Session;
  /** The user as they typed themselves. */
  readonly user: string;
  readonly password: string;
}

/** Shows the login form in `place` until somebody has logged in. */
export function showLogin(place: HTMLElement, settings: Settings): Promise<LoggedIn> {
  return new Promise((resolve) => {
    const homeserver = field("homeserver", "Homeserver", "text", settings.homeserver ?? "");
    const user = field("user", "User name", "text", settings.user ?? "");
    const password = field("password", "Password", "password", "");
    const problem = h("p", { role: "alert", class: "problem" });
    const button = h("button", { type: "submit", class: "primary" }, "Log in");
    const submit = async (): Promise<void> => {
      button.disabled = true;
      problem.textContent = "";
      try {
        const baseUrl = await findHomeserver(homeserver.input.value.trim());
        const session = await logIn(baseUrl, user.input.value.trim(), password.input.value);
        resolve({ session, user: user.input.value.trim(), password: password.input.value });
      } catch (error) {
        problem.textContent = sentenceOf(error);
        button.disabled = false;
      }
    };
    const onSubmit = (event: Event): void => {
      event.preventDefault();
      void submit();
    };
    place.replaceChildren(
      h(
        "main",
        { class: "login" },
        h("h1", {}, "Log in to Matrix"),
        h("p", { class: "muted" }, "A small client that checks who you are really writing to."),
        h("form", { onSubmit }, homeserver.label, user.label, password.label, problem, button),
      ),
    );
  });
}

/** Why a login failed, for the person who tried. */
function sentenceOf(error: unknown): string {
  const told: unknown = error instanceof MatrixError ? error.data.error : undefined;
  if (typeof told === "string") return told;
  return error instanceof ConnectionError || error instanceof TypeError
    ? "The homeserver can't be reached. Is its name right?"
    : "That did not work.";
}

function field(id: string, text: string, type: string, value: string): { label: HTMLElement; input: HTMLInputElement } {
  const autocomplete = { homeserver: "url", user: "username", password: "current-password" }[id] ?? "off";
  const input = h("input", { id, type, autocomplete, required: true, spellcheck: "false" });
  input.value = value;
  return { label: h("label", { for: id }, h("span", {}, text), input), input };
}

/** Asks for the recovery key in a dialog; undefined when the person closes it. */
export function askRecoveryKey(): Promise<string | undefined> {
  return new Promise((resolve) => {
    const input = h("input", { id: "recovery", type: "password", autocomplete: "off", spellcheck: "false" });
    const dialog = h(
      "dialog",
      { "aria-labelledby": "recovery-title" },
      h(
        "form",
        { method: "dialog" },
        h("h2", { id: "recovery-title" }, "Recovery key"),
        h("p", {}, "Your account has a digital identity. Its recovery key lets this device use it."),
        h("label", { for: "recovery" }, h("span", {}, "Recovery key"), input),
        h(
          "p",
          { class: "row" },
          h("button", { type: "submit", class: "primary", value: "use" }, "Use it"),
          h("button", { type: "submit", value: "" }, "Not now"),
        ),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "use" && input.value !== "" ? input.value.trim() : undefined);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
