/** The demo client: a small chat that loads the plugin. What it needs may stand in the link; see settings.ts. */
import { ClientEvent } from "matrix-js-sdk";
import type { MatrixClient, Room } from "matrix-js-sdk";
import { ContactKeyVerification } from "../index.ts";
import { h } from "../ui/dom.ts";
import { defineElements } from "../ui/elements.ts";
import { Chat } from "./chat.ts";
import { askRecoveryKey, showLogin } from "./login.ts";
import type { LoggedIn } from "./login.ts";
import { chatWith, createChat } from "./rooms.ts";
import { findHomeserver, keepSession, keptSession, logIn, logOut, openClient, setUpIdentity } from "./session.ts";
import { parseSettings } from "./settings.ts";
import type { Settings } from "./settings.ts";

const place = document.getElementById("app");
if (place !== null) {
  run(place, parseSettings(location.hash)).catch((error: unknown) => {
    const reason = error instanceof Error ? error.message : "The client could not start.";
    place.replaceChildren(
      h("main", { class: "login" }, h("h1", {}, "That did not work"), h("p", { role: "alert" }, reason)),
    );
  });
}

async function run(app: HTMLElement, settings: Settings): Promise<void> {
  defineElements();
  const { session, user, password } = (await enter(settings)) ?? (await showLogin(app, settings));
  keepSession(user, session);
  wait(app, "Getting your messages");
  const client = await openClient(session, askRecoveryKey);
  wait(app, "Setting up your digital identity");
  const recoveryKey = await setUpIdentity(client, password === "" ? undefined : password);
  const ckv = new ContactKeyVerification({
    client,
    ...(settings.slackMs === undefined ? {} : { policy: { slackMs: settings.slackMs } }),
  });
  await ckv.start();
  const leave = async (): Promise<void> => {
    ckv.stop();
    await logOut(client, user);
    location.reload();
  };
  const chat = new Chat({ client, ckv, logOut: leave });
  chat.show(app);
  if (recoveryKey !== undefined) tellRecoveryKey(chat, recoveryKey);
  if (settings.turnOn && ckv.ownStatus().state !== "on") await ckv.turnOn();
  if (settings.chat !== undefined) chat.openRoom(await findChat(client, settings.chat, settings.create));
}

/** The session this browser keeps, or a new one with what the link says. */
async function enter({ homeserver, user, password }: Settings): Promise<LoggedIn | undefined> {
  if (homeserver === undefined || user === undefined) return undefined;
  const baseUrl = await findHomeserver(homeserver);
  const kept = keptSession(baseUrl, user);
  if (kept !== undefined) return { session: kept, user, password: password ?? "" };
  return password === undefined ? undefined : { session: await logIn(baseUrl, user, password), user, password };
}

function wait(app: HTMLElement, what: string): void {
  app.replaceChildren(h("main", { class: "login" }, h("p", { role: "status" }, `${what} …`)));
}

function tellRecoveryKey(chat: Chat, recoveryKey: string): void {
  chat.tell(
    "Keep your recovery key",
    h("p", {}, "With it you get back into your digital identity when you have lost all devices. It is shown once."),
    h("p", { class: "mono" }, recoveryKey),
  );
}

/** The chat with a person: made here, or joined as soon as the invitation arrives. */
async function findChat(client: MatrixClient, userId: string, create: boolean): Promise<string> {
  const known = chatWith(client, userId);
  if (known === undefined && create) return createChat(client, userId);
  const room = known ?? (await invitationFrom(client, userId));
  if (room.getMyMembership() === "invite") await client.joinRoom(room.roomId);
  return room.roomId;
}

function invitationFrom(client: MatrixClient, userId: string): Promise<Room> {
  return new Promise((resolve) => {
    const look = (): void => {
      const room = chatWith(client, userId);
      if (room === undefined) return;
      client.off(ClientEvent.Room, look);
      resolve(room);
    };
    client.on(ClientEvent.Room, look);
    look();
  });
}
