/** The demo page: Alice and Bob side by side, and a panel from which their homeserver attacks them. */
import { h } from "../../../client-plugin/ui/dom.ts";
import { ATTACKS, ATTACK_NAMES } from "./attack-list.ts";
import type { AttackName } from "./attack-list.ts";

/** What the server of this page says about the demo. */
interface DemoState {
  readonly people: readonly { readonly name: string; readonly url: string }[];
  readonly mergeDelayMs: number;
  readonly slackMs: number;
  readonly attack?: AttackName;
}

const seconds = (ms: number): string => `${String(ms / 1_000)} s`;
const status: HTMLElement = h("p", { class: "status", role: "status" });
/** Per attack: its button, and where stands what should be seen of it while it goes on. */
const cards = new Map<AttackName, { readonly button: HTMLButtonElement; readonly seen: HTMLElement }>();
const stop: HTMLButtonElement = h(
  "button",
  { type: "button", class: "stop", onClick: () => void act("stop") },
  "Stop lying",
);

async function show(): Promise<void> {
  const state = await ask("GET", "/state");
  const people = state.people.map(({ name, url }) => {
    const frame = h("iframe", { src: url, title: `${name}'s chat`, allow: "clipboard-write" });
    return h("section", { class: "person", "aria-label": name }, h("h2", {}, name), frame);
  });
  document.getElementById("page")?.replaceChildren(...people, panel(state));
  draw(state.attack);
}

function panel({ mergeDelayMs, slackMs }: DemoState): HTMLElement {
  const patience =
    `The log of this demo puts a change on record within ${seconds(mergeDelayMs)}, and its clients wait ` +
    `${seconds(slackMs)} more before they accuse anybody. Both are 60 s in earnest.`;
  return h(
    "section",
    { class: "attacker", "aria-labelledby": "attacker" },
    h("h2", { id: "attacker" }, "Be the attacker"),
    status,
    h("ul", {}, ...ATTACK_NAMES.map(card)),
    stop,
    h("p", { class: "small" }, patience),
  );
}

function card(name: AttackName): HTMLElement {
  const { title, does } = ATTACKS[name];
  const button = h("button", { type: "button", onClick: () => void act(name) }, title);
  const seen = h("div", { class: "seen" });
  cards.set(name, { button, seen });
  return h("li", {}, button, h("p", {}, does), seen);
}

/** Shows which attack is going on, and what should be seen of it. */
function draw(current: AttackName | undefined): void {
  for (const [name, { button, seen }] of cards) {
    button.setAttribute("aria-pressed", String(name === current));
    const lines = name === current ? ATTACKS[name].seen : [];
    seen.replaceChildren(...(lines.length === 0 ? [] : [h("h3", {}, "What should be seen"), listOf(lines)]));
  }
  stop.disabled = current === undefined;
  status.textContent =
    current === undefined ? "Everybody is told the truth." : `Bob is lied to: ${ATTACKS[current].title}.`;
}

function listOf(lines: readonly string[]): HTMLElement {
  return h("ol", {}, ...lines.map((line) => h("li", {}, line)));
}

async function act(name: AttackName | "stop"): Promise<void> {
  const buttons = [...cards.values()].map(({ button }) => button);
  for (const button of [...buttons, stop]) button.disabled = true;
  try {
    draw((await ask("POST", `/attack/${name}`)).attack);
  } catch (error) {
    status.textContent = error instanceof Error ? error.message : "That did not work.";
  }
  for (const button of buttons) button.disabled = false;
}

async function ask(method: string, path: string): Promise<DemoState> {
  const response = await fetch(path, { method });
  if (!response.ok) throw new Error(await response.text());
  return (await response.json()) as DemoState;
}

void show();
