/** What a link to the client may say in its fragment, so that a page can open it for a person. */
export interface Settings {
  readonly homeserver?: string;
  /** User id or local part. */
  readonly user?: string;
  readonly password?: string;
  /** The contact whose chat is opened; it is made, or its invitation accepted, when it is not there yet. */
  readonly chat?: string;
  /** Whether this side makes the chat. */
  readonly create: boolean;
  /** Turns Contact Key Verification on after login. */
  readonly turnOn: boolean;
  /** Slack of the client's policy in milliseconds. */
  readonly slackMs?: number;
}

/** The settings in a fragment such as `#homeserver=…&user=…`; what is missing is asked in the login form. */
export function parseSettings(fragment: string): Settings {
  const members = new URLSearchParams(fragment.replace(/^#/, ""));
  const texts = ["homeserver", "user", "password", "chat"] as const;
  const given = texts.flatMap((name) => {
    const value = members.get(name);
    return value === null ? [] : [[name, value] as const];
  });
  const slackMs = Number(members.get("slack_ms") ?? Number.NaN);
  return {
    ...Object.fromEntries(given),
    create: members.get("create") === "true",
    turnOn: members.get("ckv") === "on",
    ...(Number.isSafeInteger(slackMs) ? { slackMs } : {}),
  };
}
