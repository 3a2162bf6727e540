/** The messages of one room, as DOM. Everything in them is somebody else's text and stays text. */
import { EventStatus } from "matrix-js-sdk";
import type { MatrixClient, MatrixEvent, Room } from "matrix-js-sdk";
import { h } from "../ui/dom.ts";
import type { WarningSource } from "../ui/warning.ts";
import { LANGUAGE, formatTime } from "../ui/texts.ts";
import { MATRIX_NAMES } from "../../shared/messages.ts";
import { nameOf } from "./rooms.ts";

const SHOWN = 200;
const CLOCK_TIME = new Intl.DateTimeFormat(LANGUAGE, { timeStyle: "short" });

/** The newest messages, oldest first. */
export function timelineOf(client: MatrixClient, room: Room, ckv: WarningSource): HTMLElement[] {
  const events = [...room.getLiveTimeline().getEvents(), ...room.getPendingEvents()].slice(-SHOWN);
  return events.flatMap((event) => itemOf(client, event, ckv) ?? []);
}

function itemOf(client: MatrixClient, event: MatrixEvent, ckv: WarningSource): HTMLElement | undefined {
  const mine = event.getSender() === client.getSafeUserId();
  if (event.isDecryptionFailure()) return bubble(client, event, mine, "This message can't be decrypted.");
  switch (event.getType()) {
    case "m.room.member":
      return membershipItem(client, event);
    case "m.room.encryption":
      return line("Messages here are end-to-end encrypted.");
    case "m.room.encrypted":
      return bubble(client, event, mine, "…");
    case "m.room.message":
      return mine ? (warningItem(event, ckv) ?? messageItem(client, event, mine)) : messageItem(client, event, mine);
    default:
      return undefined;
  }
}

/** A warning that this account raised itself, and that nobody dismissed. Others' notices are plain text. */
function warningItem(event: MatrixEvent, ckv: WarningSource): HTMLElement | undefined {
  const content: unknown = event.getContent()[MATRIX_NAMES.warning];
  if (typeof content !== "object" || content === null || !("id" in content)) return undefined;
  const warning = ckv.warnings().find(({ id }) => id === content.id);
  if (warning === undefined) return undefined;
  const element = h("ckv-warning", { "warning-id": warning.id });
  element.ckv = ckv;
  return h("li", { class: "warned" }, element);
}

function messageItem(client: MatrixClient, event: MatrixEvent, mine: boolean): HTMLElement | undefined {
  const { body, msgtype } = event.getContent();
  if (typeof body !== "string") return undefined;
  return bubble(client, event, mine, body, msgtype === "m.notice" ? "notice" : "");
}

function bubble(client: MatrixClient, event: MatrixEvent, mine: boolean, text: string, kind = ""): HTMLElement {
  const sender = nameOf(client, event.getSender() ?? "");
  const { text: date, iso } = formatTime(event.getTs());
  const failed = event.status === EventStatus.NOT_SENT;
  return h(
    "li",
    { class: ["message", mine ? "mine" : "theirs", kind, event.status === null ? "" : "sending"].join(" ") },
    h("span", { class: mine ? "unseen" : "sender" }, mine ? "You" : sender),
    h("p", {}, text),
    h("time", { datetime: iso, title: date }, failed ? "Not sent" : CLOCK_TIME.format(event.getTs())),
  );
}

function membershipItem(client: MatrixClient, event: MatrixEvent): HTMLElement | undefined {
  const { membership } = event.getContent();
  const name = nameOf(client, event.getStateKey() ?? "");
  const words: Readonly<Record<string, string>> = { join: "is here", invite: "was invited", leave: "left" };
  const said = typeof membership === "string" ? words[membership] : undefined;
  return said === undefined ? undefined : line(`${name} ${said}.`);
}

function line(text: string): HTMLElement {
  return h("li", { class: "line" }, text);
}
