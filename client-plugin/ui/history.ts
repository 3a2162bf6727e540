import type { HistoryItem } from "../history.ts";
import { h, icon } from "./dom.ts";
import type { IconName } from "./dom.ts";
import { CkvElement } from "./element.ts";
import type { Unsubscribe } from "./element.ts";
import { ownStyleSheet } from "./style.ts";
import { HISTORY, formatTime } from "./texts.ts";

export type HistoryLine = Omit<HistoryItem, "epoch">;

export interface HistorySource {
  historyOf(userId: string): Promise<readonly HistoryLine[]>;
  on(event: "status", listener: (userId: string) => void): Unsubscribe;
}

const CSS = `
:host { display: block; }
ol { list-style: none; display: grid; }
li:not(:last-child)::before { content: ""; position: absolute; inset-block: 0.75rem -0.75rem; inset-inline-start: 0.9375rem;
  width: 2px; background: var(--line); }
li { display: grid; grid-template-columns: 2rem 1fr; gap: 0.75rem; padding-block: 0.5rem; position: relative; }
.dot { width: 2rem; height: 2rem; border-radius: 50%; display: grid; place-items: center; background: var(--bg); z-index: 1;
  border: 2px solid var(--line); color: var(--muted); }
.dot.reset { border-color: var(--note); color: var(--note); background: var(--note-ground); }
.what { font-weight: 600; overflow-wrap: anywhere; }
`;
let sheet: CSSStyleSheet | undefined;

/** `<ckv-history user-id name>`: what happened to a contact's keys, newest first. */
export class CkvHistory extends CkvElement<HistorySource> {
  constructor() {
    super((sheet ??= ownStyleSheet(CSS)));
  }

  protected override start(source: HistorySource): readonly Unsubscribe[] {
    this.#frame(h("p", { class: "muted" }, HISTORY.loading));
    void this.#load(source);
    return [
      source.on("status", (userId) => {
        if (userId === this.userId) void this.#load(source);
      }),
    ];
  }

  async #load(source: HistorySource): Promise<void> {
    const { userId } = this;
    try {
      const lines = await source.historyOf(userId);
      if (userId === this.userId) this.#show(lines);
    } catch {
      // Unreadable now; the host has the error.
      this.say(HISTORY.failed);
      this.#frame(h("p", { class: "muted" }, HISTORY.failed));
    }
  }

  #show(lines: readonly HistoryLine[]): void {
    const newestFirst = [...lines].sort((a, b) => b.version - a.version);
    const list = h("ol", {}, ...newestFirst.map((line, at) => itemOf(line, newestFirst[at + 1])));
    this.#frame(lines.length === 0 ? h("p", { class: "muted" }, HISTORY.empty(this.personName)) : list);
  }

  #frame(body: HTMLElement): void {
    this.draw(h("section", { class: "stack" }, h("h2", {}, HISTORY.heading(this.personName)), body));
  }
}

function itemOf(line: HistoryLine, before: HistoryLine | undefined): HTMLElement {
  const time = formatTime(line.timestampMs);
  const what = eventsOf(line, before).map((event) => h("p", { class: "what" }, event));
  const when = h("time", { datetime: time.iso }, time.text);
  return h(
    "li",
    { "data-version": String(line.version) },
    h("span", { class: line.identityChanged ? "dot reset" : "dot" }, icon(iconOf(line))),
    h("div", {}, ...what, h("p", { class: "muted small" }, when, ` · ${HISTORY.version(line.version)}`)),
  );
}

function iconOf({ identityChanged, version }: HistoryLine): IconName {
  if (version === 1) return "record";
  return identityChanged ? "triangle" : "key";
}

function eventsOf(line: HistoryLine, before: HistoryLine | undefined): string[] {
  if (line.erased) return [HISTORY.erased];
  const said = line.statement === before?.statement ? undefined : line.statement;
  const events = [
    ...(line.version === 1 ? [HISTORY.first] : line.identityChanged ? [HISTORY.identity] : []),
    ...line.added.map(HISTORY.added),
    ...line.removed.map(HISTORY.removed),
    ...(said === undefined ? [] : [said === "on" ? HISTORY.on : HISTORY.off]),
  ];
  return events.length === 0 ? [HISTORY.other] : events;
}
