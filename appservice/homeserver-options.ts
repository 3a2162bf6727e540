/** What has to stand in homeserver.yaml: `init` prints it, `doctor` looks for it. */
import { MEMBERS_ALIAS } from "./rooms.ts";

export type Yaml = { readonly [name: string]: unknown };

/** An option that homeserver.yaml must have, or may. */
export interface NeededOption {
  readonly subject: string;
  /** As it is written there. */
  readonly lines: string;
  readonly optional: boolean;
  readonly isSet: (yaml: Yaml) => boolean;
}

export interface ServedLog {
  readonly serverName: string;
  readonly registrationFile: string;
  readonly botLocalpart: string;
}

/** What the homeserver of a log is to be told, in the order in which it stands in homeserver.yaml. */
export function neededOptions({ serverName, registrationFile, botLocalpart }: ServedLog): NeededOption[] {
  const members = `#${MEMBERS_ALIAS}:${serverName}`;
  return [
    {
      subject: "app_service_config_files",
      lines: `app_service_config_files:\n  - ${registrationFile}`,
      optional: false,
      isSet: (yaml) => listOf(yaml["app_service_config_files"]).length > 0,
    },
    {
      subject: "msc3202_transaction_extensions",
      lines: "experimental_features:\n  msc3202_transaction_extensions: true",
      optional: false,
      isSet: (yaml) => mapOf(yaml["experimental_features"])["msc3202_transaction_extensions"] === true,
    },
    {
      subject: "openid resource",
      lines: "listeners:   # on the listener that homeserver.url names\n  - resources: [{ names: [client, openid] }]",
      optional: false,
      isSet: hasOpenId,
    },
    {
      subject: "auto_join_rooms",
      lines: `auto_join_rooms: ["${members}"]\nautocreate_auto_join_rooms: false\nauto_join_mxid_localpart: ${botLocalpart}`,
      optional: true,
      isSet: (yaml) =>
        listOf(yaml["auto_join_rooms"]).includes(members) &&
        yaml["autocreate_auto_join_rooms"] === false &&
        yaml["auto_join_mxid_localpart"] === botLocalpart,
    },
  ];
}

function hasOpenId(yaml: Yaml): boolean {
  const resources = listOf(yaml["listeners"]).flatMap((listener) => listOf(mapOf(listener)["resources"]));
  const names = resources.flatMap((resource) => listOf(mapOf(resource)["names"]));
  return names.includes("openid") || names.includes("federation");
}

/** The lines of those that are optional, or of those that are not. */
export function linesOf(needed: readonly NeededOption[], { optional }: { readonly optional: boolean }): string {
  return needed.flatMap((option) => (option.optional === optional ? [option.lines] : [])).join("\n");
}

/** What is no mapping counts as an empty one. */
export function mapOf(value: unknown): Yaml {
  return typeof value === "object" && value !== null ? (value as Yaml) : {};
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
