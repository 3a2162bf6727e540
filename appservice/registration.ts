/** The appservice registration: what the homeserver must know of this service. Narrow on purpose; never `@.*`. */
import { LineCounter, parseDocument } from "yaml";
import { strangeKeyAt } from "./yaml-keys.ts";

/** Localpart of the user that speaks in the rooms. */
export const BOT_LOCALPART = "ckv";
/** Localpart of the user whose `/sync` is the durable feed: homeservers refuse `/sync` to the sender itself. */
export const WATCHER_LOCALPART = "_ckv_watch";

export interface Registration {
  readonly id: string;
  /** Where the homeserver reaches the appservice listener. */
  readonly url: string;
  readonly asToken: string;
  readonly hsToken: string;
  readonly senderLocalpart: string;
}

/**
 * The registration file with its comments. `serverName` limits the namespaces to this homeserver.
 * Application Service API of the Matrix specification, "Registration"; MSC3202 for the pushed device lists.
 */
export function formatRegistration(registration: Registration, serverName: string): string {
  const server = serverName.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return `# Registration of matrix-ckv. List this file under app_service_config_files in homeserver.yaml and restart Synapse.
# It also needs, in homeserver.yaml:
#   experimental_features: { msc3202_transaction_extensions: true }
#   a client listener whose resources contain openid:  resources: [{ names: [client, openid] }]

# Unique on this homeserver; never change it.
id: ${registration.id}
# Where the homeserver reaches listeners.appservice of config.yaml; without trailing slash.
url: ${registration.url}
# Secrets: this service to the homeserver, and the homeserver to this service.
as_token: "${registration.asToken}"
hs_token: "${registration.hsToken}"
# The user that publishes epochs.
sender_localpart: ${registration.senderLocalpart}
rate_limited: false
# No typing notifications, receipts or presence.
receive_ephemeral: false
# Device-list changes in transactions: a hint that makes the log prompt. /sync is the record.
org.matrix.msc3202: true
namespaces:
  users:
    # The watcher. Never widen this: with it, the as_token could act as any user it matches.
    - exclusive: true
      regex: '@_ckv_.*:${server}$'
  aliases:
    # Nobody else can claim the log's rooms.
    - exclusive: true
      regex: '#ckv(-members)?:${server}$'
  rooms: []
`;
}

/** Reads what this service needs of a registration file. Throws an Error that names the line or the missing member, never a value. */
export function parseRegistration(source: string): Registration {
  const value = valueOf(source);
  const member = (name: string): string => {
    const found = value?.[name];
    if (typeof found !== "string" || found === "") throw new Error(`the registration has no ${name}`);
    return found;
  };
  return {
    id: member("id"),
    url: member("url"),
    asToken: member("as_token"),
    hsToken: member("hs_token"),
    senderLocalpart: member("sender_localpart"),
  };
}

/** The messages of the YAML parser quote the file, which holds secrets. */
function valueOf(source: string): { readonly [name: string]: unknown } | null {
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines, prettyErrors: false, logLevel: "error" });
  const problemAt = document.errors[0]?.pos[0] ?? strangeKeyAt(document);
  if (problemAt !== undefined) {
    throw new Error(`the registration can't be read (line ${String(lines.linePos(problemAt).line)})`);
  }
  try {
    return document.toJS() as { readonly [name: string]: unknown } | null;
  } catch {
    throw new Error("the registration can't be read: leave out references (&, *)");
  }
}
