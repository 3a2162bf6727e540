/** How clients find the log: a member of `/.well-known/matrix/client`. shared/README.md, "Discovery and names". */
import { publicKeyOf } from "../shared/crypto/ed25519.ts";
import { ED25519_KEY, formatVkey } from "../shared/crypto/signed-note.ts";
import { serverOfOrigin } from "../shared/log/checkpoint.ts";
import { MATRIX_NAMES } from "../shared/messages.ts";
import type { WellKnown } from "../shared/messages.ts";
import type { LogKeys } from "./log-settings.ts";
import { EPOCHS_ALIAS } from "./rooms.ts";

/** The member for the log of this origin. */
export function wellKnownOf(origin: string, serviceUrl: string, { logSeed }: LogKeys): WellKnown {
  const serverName = serverOfOrigin(origin);
  const key = { name: origin, type: ED25519_KEY, publicKey: publicKeyOf(logSeed) };
  return { service_url: serviceUrl, room: `#${EPOCHS_ALIAS}:${serverName}`, log_key: formatVkey(key) };
}

/** The lines that make Synapse serve it. */
export function wellKnownLines({ service_url, room, log_key }: WellKnown): string {
  return `extra_well_known_client_content:
  ${MATRIX_NAMES.wellKnown}:
    service_url: ${JSON.stringify(service_url)}
    room: ${JSON.stringify(room)}
    log_key: ${JSON.stringify(log_key)}`;
}
