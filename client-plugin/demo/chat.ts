/** The chat: rooms on one side, messages in the middle, and a panel about the person one writes to. */
import { ClientEvent, MatrixEventEvent, RoomEvent, RoomMemberEvent } from "matrix-js-sdk";
import type { MatrixClient, Room } from "matrix-js-sdk";
import type { ContactKeyVerification } from "../index.ts";
import { h } from "../ui/dom.ts";
import type { Child } from "../ui/dom.ts";
import { chatRooms, createChat, nameOf, partnerOf } from "./rooms.ts";
import { timelineOf } from "./timeline.ts";

const TABS = { verify: "Verify", history: "Key history", own: "My code" } as const;
type Tab = keyof typeof TABS;

export interface ChatOptions {
  readonly client: MatrixClient;
  readonly ckv: ContactKeyVerification;
  readonly logOut: () => Promise<void>;
}

export class Chat {
  readonly #client: MatrixClient;
  readonly #ckv: ContactKeyVerification;
  readonly #logOut: () => Promise<void>;
  readonly #rooms: HTMLElement = h("nav", { class: "rooms", "aria-label": "Chats" });
  readonly #main: HTMLElement = h("main", { class: "chat" });
  readonly #panel: HTMLElement = h("aside", { class: "panel", "aria-label": "Contact Key Verification", hidden: true });
  readonly #notices: HTMLElement = h("div", { class: "notices" });
  readonly #messages: HTMLElement = h("ol");
  readonly #list: HTMLElement = h(
    "div",
    { class: "timeline", role: "log", "aria-label": "Messages", tabindex: "0" },
    this.#messages,
  );
  readonly #composer: HTMLElement = this.#makeComposer();
  #roomId: string | undefined;
  #tab: Tab = "verify";
  #drawing = false;
  /** Whether the newest message is in view, and stays there. */
  #atEnd = true;

  constructor({ client, ckv, logOut }: ChatOptions) {
    this.#client = client;
    this.#ckv = ckv;
    this.#logOut = logOut;
    const redraw = (): void => {
      this.#redraw();
    };
    client.on(ClientEvent.Room, redraw);
    client.on(RoomEvent.Timeline, redraw);
    client.on(RoomEvent.LocalEchoUpdated, redraw);
    client.on(RoomEvent.MyMembership, redraw);
    client.on(RoomMemberEvent.Membership, redraw);
    client.on(MatrixEventEvent.Decrypted, redraw);
    ckv.on("warning", redraw);
    ckv.on("own", () => {
      this.#drawNotices();
    });
    ckv.on("compare", ({ userId, state }) => {
      if (state === "incoming") this.#openPanel("verify", userId);
    });
  }

  /** Shows the chat in `place`. */
  show(place: HTMLElement): void {
    this.#list.addEventListener("scroll", () => {
      this.#atEnd = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 80;
    });
    new ResizeObserver(() => {
      this.#keepEnd();
    }).observe(this.#list);
    place.replaceChildren(this.#notices, h("div", { class: "app" }, this.#rooms, this.#main, this.#panel));
    document.addEventListener("ckv-compare", (event) => {
      if (event instanceof CustomEvent && typeof event.detail === "string") {
        this.#openPanel("verify", event.detail);
      }
    });
    this.#drawNotices();
    this.#drawRooms();
    this.#drawMain();
  }

  openRoom(roomId: string): void {
    this.#roomId = roomId;
    if (!this.#panel.hidden) this.#drawPanel();
    this.#drawRooms();
    this.#drawMain();
  }

  /** Says something to the person above everything else, folded up, until they have read it. */
  tell(title: string, ...children: readonly Child[]): void {
    const close = this.#button("OK", "", () => {
      note.remove();
    });
    const note = h("div", { class: "told" }, h("details", {}, h("summary", {}, title), ...children), close);
    this.#notices.append(note);
  }

  get #room(): Room | undefined {
    return this.#roomId === undefined ? undefined : (this.#client.getRoom(this.#roomId) ?? undefined);
  }

  get #partner(): string | undefined {
    return this.#room === undefined ? undefined : partnerOf(this.#client, this.#room);
  }

  /** Once per frame at most, however many events there are. */
  #redraw(): void {
    if (this.#drawing) return;
    this.#drawing = true;
    setTimeout(() => {
      this.#drawing = false;
      this.#drawRooms();
      this.#drawMain();
    }, 50);
  }

  #drawNotices(): void {
    const own =
      this.#notices.querySelector("ckv-warning") ?? h("ckv-warning", { "user-id": this.#client.getSafeUserId() });
    own.ckv = this.#ckv;
    this.#notices.prepend(own);
  }

  #drawRooms(): void {
    const rooms = chatRooms(this.#client).map((room) => h("li", {}, this.#roomButton(room)));
    const create = async (event: Event): Promise<void> => {
      event.preventDefault();
      const userId = input.value.trim();
      if (userId !== "") this.openRoom(await createChat(this.#client, userId));
    };
    const input = h("input", { id: "new-chat", type: "text", placeholder: "@name:server", spellcheck: "false" });
    const typed = this.#rooms.querySelector<HTMLInputElement>("#new-chat");
    if (typed !== null && typed === document.activeElement) return;
    const ownId = this.#client.getSafeUserId();
    this.#rooms.replaceChildren(
      h(
        "header",
        {},
        h("h1", {}, "Chats"),
        h("p", { class: "muted small", title: ownId }, nameOf(this.#client, ownId)),
      ),
      h("ul", {}, ...rooms),
      h(
        "form",
        { onSubmit: (event) => void create(event) },
        h("label", { for: "new-chat" }, h("span", {}, "New chat with"), input),
        h("button", { type: "submit" }, "Start"),
      ),
      h("footer", {}, h("button", { type: "button", onClick: () => void this.#logOut() }, "Log out")),
    );
  }

  #roomButton(room: Room): HTMLElement {
    const current = room.roomId === this.#roomId;
    const partner = partnerOf(this.#client, room);
    const invited = room.getMyMembership() === "invite";
    const button = h(
      "button",
      {
        type: "button",
        "aria-current": current ? "true" : undefined,
        onClick: () => {
          this.openRoom(room.roomId);
        },
      },
      h("span", { class: "name" }, partner === undefined ? room.name : nameOf(this.#client, partner)),
      invited && h("span", { class: "muted small" }, "Invitation"),
    );
    if (partner !== undefined) button.append(this.#badge(partner, true));
    return button;
  }

  #badge(userId: string, compact: boolean): HTMLElement {
    const badge = h("ckv-badge", { "user-id": userId, name: nameOf(this.#client, userId), compact });
    badge.ckv = this.#ckv;
    return badge;
  }

  #drawMain(): void {
    const room = this.#room;
    document.body.classList.toggle("in-room", room !== undefined);
    if (room === undefined) this.#main.replaceChildren(h("p", { class: "empty muted" }, "Choose a chat."));
    else if (room.getMyMembership() === "invite")
      this.#main.replaceChildren(this.#header(room), this.#invitation(room));
    else this.#drawRoom(room);
  }

  /** Leaves the composer alone, in which somebody may be writing, and a header that says the same. */
  #drawRoom(room: Room): void {
    const header = this.#header(room);
    const [shown, list, composer] = this.#main.children;
    if (list !== this.#list || composer !== this.#composer) {
      this.#main.replaceChildren(header, this.#list, this.#composer);
    } else if (shown?.textContent !== header.textContent) {
      shown?.replaceWith(header);
    }
    this.#drawTimeline(room);
  }

  #header(room: Room): HTMLElement {
    const partner = partnerOf(this.#client, room);
    const back = this.#button("Back", "back", () => {
      this.#leaveRoom();
    });
    if (partner === undefined) return h("header", {}, back, h("h1", {}, room.name));
    const verify = this.#button("Verify", "", () => {
      this.#openPanel(this.#tab);
    });
    return h("header", {}, back, h("h1", {}, nameOf(this.#client, partner)), this.#badge(partner, false), verify);
  }

  #button(text: string, className: string, onClick: () => void): HTMLButtonElement {
    return h("button", { type: "button", class: className, onClick }, text);
  }

  #leaveRoom(): void {
    this.#roomId = undefined;
    this.#panel.hidden = true;
    this.#drawRooms();
    this.#drawMain();
  }

  #invitation(room: Room): HTMLElement {
    const join = async (): Promise<void> => {
      await this.#client.joinRoom(room.roomId);
      this.#drawMain();
    };
    return h(
      "div",
      { class: "empty" },
      h("p", {}, `${nameOf(this.#client, this.#partner ?? "")} invites you to a chat.`),
      h("button", { type: "button", class: "primary", onClick: () => void join() }, "Accept"),
    );
  }

  #makeComposer(): HTMLElement {
    const input = h("input", { id: "message", type: "text", autocomplete: "off", placeholder: "Write a message" });
    const send = (event: Event): void => {
      event.preventDefault();
      const [text, roomId] = [input.value.trim(), this.#roomId];
      input.value = "";
      if (text === "" || roomId === undefined) return;
      // A message that could not be sent stays in the timeline and says so.
      this.#client.sendTextMessage(roomId, text).catch(() => {
        this.#redraw();
      });
    };
    return h(
      "form",
      { class: "composer", onSubmit: send },
      h("label", { for: "message", class: "unseen" }, "Message"),
      input,
      h("button", { type: "submit", class: "primary" }, "Send"),
    );
  }

  #drawTimeline(room: Room): void {
    this.#messages.replaceChildren(...timelineOf(this.#client, room, this.#ckv));
    this.#keepEnd();
  }

  #keepEnd(): void {
    if (this.#atEnd) this.#list.scrollTop = this.#list.scrollHeight;
  }

  /** Opens the panel about the person of the open chat, or of the chat with `userId`. */
  #openPanel(tab: Tab, userId?: string): void {
    const room =
      userId === undefined ? undefined : chatRooms(this.#client).find((r) => partnerOf(this.#client, r) === userId);
    if (room !== undefined && room.roomId !== this.#roomId) this.openRoom(room.roomId);
    this.#tab = tab;
    this.#panel.hidden = false;
    this.#drawPanel();
  }

  #drawPanel(): void {
    const tabs = Object.entries(TABS).map(([tab, title]) => {
      const choose = (): void => {
        this.#openPanel(tab as Tab);
      };
      return h("button", { type: "button", "aria-pressed": String(tab === this.#tab), onClick: choose }, title);
    });
    const close = h(
      "button",
      {
        type: "button",
        class: "close",
        onClick: () => {
          this.#panel.hidden = true;
        },
      },
      "Close",
    );
    this.#panel.replaceChildren(h("header", {}, ...tabs, close), this.#panelBody());
  }

  #panelBody(): HTMLElement {
    const userId = this.#tab === "own" ? this.#client.getSafeUserId() : (this.#partner ?? "");
    const attributes = { "user-id": userId, name: nameOf(this.#client, userId) };
    const name = { verify: "ckv-compare", history: "ckv-history", own: "ckv-own-code" } as const;
    const element = h(name[this.#tab], attributes);
    element.ckv = this.#ckv;
    return h("div", { class: "about" }, element, this.#tab === "own" ? this.#switch() : this.#checkNow(userId));
  }

  #checkNow(userId: string): HTMLElement {
    const button = this.#button("Check now", "", () => {
      button.disabled = true;
      void this.#ckv.refresh(userId).then(() => {
        button.disabled = false;
      });
    });
    return h("section", { class: "switch" }, h("p", {}, "Keys are checked by themselves when they change."), button);
  }

  /** Contact Key Verification of the own account, on or off. */
  #switch(): HTMLElement {
    const on = this.#ckv.ownStatus().state === "on";
    const toggle = async (): Promise<void> => {
      button.disabled = true;
      if (on) await this.#ckv.turnOff();
      else await this.#ckv.turnOn();
      this.#drawPanel();
    };
    const button = h("button", { type: "button", onClick: () => void toggle() }, on ? "Turn off" : "Turn on");
    const state = on
      ? "Contact Key Verification is on for your account."
      : "Contact Key Verification is off for your account.";
    return h("section", { class: "switch" }, h("p", {}, state), button);
  }
}
