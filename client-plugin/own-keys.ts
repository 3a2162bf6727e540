/**
 * What this account says about itself in the log: enrolment, and the signed statement that key verification is on or off.
 * The statement is signed by the master key: with the private key the SDK has at hand, or, after a user's own action,
 * with the one from secret storage.
 */
import { continuesMessage, statementMessage, unsignedStatement } from "../shared/directory/statement.ts";
import type { StatementTerms } from "../shared/directory/statement.ts";
import { canonicalJson, decodeUnpadded, encodeUnpadded, equalBytes, utf8 } from "../shared/encoding.ts";
import type { Statement } from "../shared/messages.ts";
import { MATRIX_NAMES } from "../shared/messages.ts";
import { serverOfUser } from "../shared/messages.ts";
import type { Clock } from "./clock.ts";
import { ServiceFailure } from "./log-client.ts";
import type { LogView, LogViews, Looked } from "./log-view.ts";
import type { ClientLike } from "./matrix.ts";
import { cachedPrivateKey, readStore, storedPrivateKey } from "./matrix.ts";
import { openPrivateKey } from "./private-key.ts";
import type { PrivateKey } from "./private-key.ts";
import { masterOf } from "./seen-keys.ts";

export interface OwnKeysOptions {
  readonly client: ClientLike;
  readonly clock: Clock;
  readonly logs: LogViews;
  readonly signal: AbortSignal;
}

/** How long turning on waits for the log to hold the account, and for the statement, beyond the merge delay. */
const WAIT_MS = 120_000;
const POLL_MS = 1_000;

/** Turns key verification on and off for the own account. */
export class OwnKeys {
  readonly #options: OwnKeysOptions;

  constructor(options: OwnKeysOptions) {
    this.#options = options;
  }

  /** Enrols, waits for version 1, says "on". Throws when the server has no log, or the log does not answer in time. */
  async turnOn(): Promise<void> {
    const view = await this.#view();
    const { room_id: roomId } = await view.service.enrol();
    await this.#options.client.joinRoom(roomId);
    const looked = await this.#until(view, ({ leaf }) => leaf?.content?.entry.masterKey !== undefined);
    await this.#state(view, looked, "on");
  }

  /** Says "off"; the account stays in the log. */
  async turnOff(): Promise<void> {
    const view = await this.#view();
    await this.#state(view, await view.lookup(this.#options.client.getSafeUserId()), "off");
  }

  /**
   * Runs the host's reset of the identity, then has the old master key give its word for the new one, in a statement that
   * says what the last one said. Returns false where that can't be: the account has said nothing in the log yet, or the
   * old private key is not at hand. Throws before the reset where the log can't be asked, what the reset throws, and
   * after it where the log does not take the statement up in time.
   */
  async reset(reset: () => Promise<unknown>): Promise<boolean> {
    const { client } = this.#options;
    const userId = client.getSafeUserId();
    const view = await this.#view();
    const before = (await view.lookup(userId)).leaf?.content?.entry.statement;
    const { masterKey: oldKey = "" } = await readStore(client, userId);
    const old = await this.#privateMaster(oldKey).catch(() => undefined);
    await reset();
    const { masterKey = "" } = await readStore(client, userId);
    if (old === undefined || before?.master_key !== oldKey || masterKey === oldKey) return false;
    const looked = await this.#until(view, ({ leaf }) => masterOf(leaf?.content?.entry) === masterKey);
    const newKey = decodeUnpadded(masterKey);
    const word = await old.sign(continuesMessage({ userId, oldKey: old.publicKey, newKey }));
    const continues = { master_key: oldKey, signature: encodeUnpadded(word) };
    await this.#state(view, looked, before.ckv, continues);
    return true;
  }

  async #view(): Promise<LogView> {
    const view = await this.#options.logs.of(serverOfUser(this.#options.client.getSafeUserId()));
    if (view === undefined) throw new Error("this homeserver keeps no key log");
    return view;
  }

  /** Says it, unless the newest entry says so already, and waits until the log holds it. */
  async #state(
    view: LogView,
    looked: Looked,
    ckv: "on" | "off",
    continues?: StatementTerms["continues"],
  ): Promise<void> {
    const current = looked.leaf?.content?.entry.statement;
    if (current?.ckv === ckv) return;
    if (looked.leaf === undefined) throw new Error("the account is not in the log");
    const masterKey = await this.#masterKey(looked);
    const terms: StatementTerms = {
      ckv,
      counter: current?.master_key === encodeUnpadded(masterKey) ? current.counter + 1 : 1,
      since: { n: looked.leaf.n, root: looked.leaf.root },
      userId: looked.userId,
      continues,
    };
    await view.service.putStatement(await this.#sign(masterKey, terms));
    await this.#until(view, ({ leaf }) => leaf?.content?.entry.statement?.ckv === ckv);
  }

  /** The own master key: the store's, which must be the log's, or we would sign for somebody else's. */
  async #masterKey(looked: Looked): Promise<Uint8Array> {
    const store = await readStore(this.#options.client, looked.userId);
    const logged = looked.leaf?.content?.entry.masterKey;
    if (store.masterKey === undefined) throw new Error("set up your digital identity first");
    const own = decodeUnpadded(store.masterKey);
    if (logged?.kind !== "key" || !equalBytes(logged.key, own)) {
      throw new Error("the log does not hold your digital identity yet; try again in a minute");
    }
    return own;
  }

  async #sign(masterKey: Uint8Array, terms: StatementTerms): Promise<Statement> {
    const key = await this.#privateMaster(encodeUnpadded(masterKey));
    if (key === undefined) {
      throw new Error("your identity's private key is not at hand: unlock secret storage, or use a verified device");
    }
    const unsigned = unsignedStatement(masterKey, terms);
    return { ...unsigned, signature: encodeUnpadded(await key.sign(statementMessage(unsigned))) };
  }

  /** The private half of this master key, from the SDK or, where the user unlocks it, from secret storage. */
  async #privateMaster(masterKey: string): Promise<PrivateKey | undefined> {
    for (const read of [cachedPrivateKey, storedPrivateKey]) {
      const seed = await read(this.#options.client, "master");
      const key = seed === undefined ? undefined : await openPrivateKey(seed);
      if (key !== undefined && encodeUnpadded(key.publicKey) === masterKey) return key;
    }
    return undefined;
  }

  /** Looks the own account up until it is as wanted. */
  async #until(view: LogView, wanted: (looked: Looked) => boolean): Promise<Looked> {
    const { client, clock, signal } = this.#options;
    const endMs = clock.now() + WAIT_MS;
    const userId = client.getSafeUserId();
    for (;;) {
      const looked = await view.lookup(userId);
      if (wanted(looked)) return looked;
      if (clock.now() >= endMs || signal.aborted) throw new Error("the log did not take up the change in time");
      await refreshQuietly(view, userId);
      await clock.sleep(POLL_MS, signal);
    }
  }
}

/** Asks the log to look at the homeserver now; it does so by itself, too, so a refusal is nothing. */
async function refreshQuietly(view: LogView, userId: string): Promise<void> {
  try {
    await view.service.refresh(userId);
  } catch (error) {
    if (!(error instanceof ServiceFailure)) throw error;
  }
}

/**
 * Tells the log that this account has seen its own history up to here, so that older content may be erased. Only with a
 * self-signing key that is at hand without asking; without one nothing is said.
 */
export async function acknowledge(
  client: ClientLike,
  view: LogView,
  version: number,
  historyRoot: Uint8Array,
): Promise<void> {
  const seed = await cachedPrivateKey(client, "self_signing");
  if (seed === undefined) return;
  const message = canonicalJson({
    history_root: encodeUnpadded(historyRoot),
    purpose: MATRIX_NAMES.acknowledgementPurpose,
    user_id: client.getSafeUserId(),
    version,
  });
  const key = await openPrivateKey(seed);
  await view.service.acknowledge(version, historyRoot, encodeUnpadded(await key.sign(utf8(message))));
}

/**
 * Signs a contact's master key with the own user-signing key, so that every client of this account shows the contact as
 * verified. Returns false where the private key is not at hand without asking and `mayAsk` is false.
 */
export async function signContact(
  client: ClientLike,
  userId: string,
  masterKey: string,
  mayAsk: boolean,
): Promise<boolean> {
  const seed =
    (await cachedPrivateKey(client, "user_signing")) ??
    (mayAsk ? await storedPrivateKey(client, "user_signing") : undefined);
  if (seed === undefined) return false;
  const key = await openPrivateKey(seed);
  const signed = { keys: { [`ed25519:${masterKey}`]: masterKey }, usage: ["master"], user_id: userId };
  const signature = encodeUnpadded(await key.sign(utf8(canonicalJson(signed))));
  const keyId = `ed25519:${encodeUnpadded(key.publicKey)}`;
  const object = { ...signed, signatures: { [client.getSafeUserId()]: { [keyId]: signature } } };
  await client.uploadKeySignatures({ [userId]: { [masterKey]: object } });
  return true;
}
