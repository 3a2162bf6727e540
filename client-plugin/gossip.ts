/**
 * What contacts' and own devices tell each other, Olm-encrypted: the newest heads of both servers' logs, and what the
 * sender is shown about the receiver. Its absence is never an alarm; a claim without proof is nothing.
 * protocol "Auditors, witnesses, gossip".
 */
import { parseVkey } from "../shared/crypto/signed-note.ts";
import { decodeUnpadded, encodeUnpadded, equalBytes } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import { verifyAncestor } from "../shared/history/history.ts";
import type { HistoryHead } from "../shared/history/history.ts";
import { MATRIX_NAMES, parseHeadContent, serverOfUser } from "../shared/messages.ts";
import type { GossipHead, HeadContent, ProvenLeaf } from "../shared/messages.ts";
import { GOSSIP_EVERY_MS } from "../shared/parameters.ts";
import {
  attemptEvidence,
  createLeafEvidence,
  formatEvidence,
  leafConflict,
  openProvenLeaf,
  withoutKnownRoot,
} from "../shared/proofs/evidence.ts";
import { VerdictError } from "../shared/verdict-codes.ts";
import type { Clock } from "./clock.ts";
import { acceptedLeaf } from "./contact-memory.ts";
import type { Standing } from "./contact-memory.ts";
import type { LogView, LogViews } from "./log-view.ts";
import type { ClientLike } from "./matrix.ts";
import { sendToDevices, signedDevices } from "./matrix.ts";
import type { Storage } from "./storage.ts";
import type { Finding } from "./verdict.ts";

export interface GossipOptions {
  readonly client: ClientLike;
  readonly clock: Clock;
  readonly storage: Storage;
  readonly logs: LogViews;
  /** What is accepted here about a user, the own account included, and whether its statement says on. */
  readonly accepted: (userId: string) => Promise<Standing | undefined>;
  readonly agreed: (userId: string) => Promise<void>;
  /** Looks the own account up again. */
  readonly checkOwn: () => Promise<void>;
  readonly raise: (userId: string, findings: readonly Finding[]) => Promise<void>;
}

export class Gossip {
  readonly #options: GossipOptions;

  constructor(options: GossipOptions) {
    this.#options = options;
  }

  /** Tells a user's signed devices, when something changed since the last time, and at most once a day. */
  async tell(userId: string): Promise<void> {
    const { client, clock, storage } = this.#options;
    const name = `gossip:${userId}`;
    const last = JSON.parse((await storage.get(name)) ?? "{}") as { atMs?: number; said?: string };
    if (last.atMs !== undefined && clock.now() - last.atMs < GOSSIP_EVERY_MS) return;
    const content = await this.#content(userId);
    const said = JSON.stringify(content);
    if (content.heads.length === 0 || said === last.said) return;
    await storage.set(name, JSON.stringify({ atMs: clock.now(), said }));
    const to = (await signedDevices(client, userId)).map((deviceId) => ({ userId, deviceId }));
    await sendToDevices(client, MATRIX_NAMES.head, to, { ...content });
  }

  async #content(userId: string): Promise<HeadContent> {
    const servers = new Set([serverOfUser(this.#options.client.getSafeUserId()), serverOfUser(userId)]);
    const heads: GossipHead[] = [];
    for (const server of servers) {
      const view = await this.#options.logs.of(server);
      if (view?.newest === undefined) continue;
      heads.push({ origin: parseVkey(view.logKey).name, log_key: view.logKey, checkpoint: view.newest.checkpoint });
    }
    const accepted = await this.#options.accepted(userId);
    if (accepted === undefined) return { heads };
    const { state, on } = accepted;
    return { heads, about: { size: state.epoch + 1, n: state.n, history_root: state.root, enrolled: true, on } };
  }

  /** A message of type `org.matrix-ckv.head` from a signed device of its sender. */
  async receive(sender: { userId: string; deviceId: string }, value: unknown): Promise<void> {
    let content: HeadContent;
    try {
      content = parseHeadContent(value);
    } catch (error) {
      if (error instanceof VerificationError) return;
      throw error;
    }
    const same = await this.#takeHeads(sender.userId, content.heads);
    if (content.ask !== undefined) await this.#answer(sender, content.ask);
    if (content.proof !== undefined) await this.#checkProof(sender.userId, content.proof);
    const known = content.about === undefined || (await this.#isKnown(content.about));
    const isOwn = sender.userId === this.#options.client.getSafeUserId();
    if (same && known && !isOwn) await this.#options.agreed(sender.userId);
    if (content.about?.history_root !== undefined && !known) await this.#ask(sender, content.about);
  }

  /** Ties the heads to those known here. Returns whether all are of the logs pinned here, that of the sender among them. */
  async #takeHeads(userId: string, heads: readonly GossipHead[]): Promise<boolean> {
    let tied = true;
    const logs = new Set<string>();
    for (const { origin, log_key: logKey, checkpoint } of heads) {
      const server = origin.slice(0, Math.max(0, origin.indexOf("/ckv/")));
      const involved = [serverOfUser(this.#options.client.getSafeUserId()), serverOfUser(userId)];
      const view = involved.includes(server) ? await this.#options.logs.of(server) : undefined;
      if (view === undefined) continue;
      logs.add(server);
      if (view.logKey === logKey) tied = (await this.#takeHead(userId, view, checkpoint)) && tied;
      else {
        tied = false;
        if ((await view.names(logKey)) !== false) continue;
        await this.#raise(userId, { code: "log-key-differs", class: "warning", key: logKey });
      }
    }
    return tied && logs.has(serverOfUser(userId));
  }

  /** Returns whether nothing speaks against the head. */
  async #takeHead(userId: string, view: LogView, checkpoint: string): Promise<boolean> {
    try {
      await view.takeHead(checkpoint);
      return true;
    } catch (error) {
      if (!(error instanceof VerdictError) || error.code !== "head-fork") return false;
      const evidence = error.evidence === undefined ? {} : { evidence: formatEvidence(error.evidence) };
      await this.#raise(userId, { code: "head-fork", class: "evidence", key: "", ...evidence });
      return false;
    }
  }

  async #raise(userId: string, about: Omit<Finding, "sinceMs">): Promise<void> {
    await this.#options.raise(userId, [{ ...about, sinceMs: this.#options.clock.now() }]);
  }

  /** Whether what the contact is shown about this account is what this account knows of itself. */
  async #isKnown(about: NonNullable<HeadContent["about"]>): Promise<boolean> {
    const own = await this.#own(0);
    if (own === undefined) return !about.enrolled;
    return about.n === own.state.n && about.history_root === own.state.root;
  }

  async #ask(to: { userId: string; deviceId: string }, about: NonNullable<HeadContent["about"]>): Promise<void> {
    const { size, n, history_root: root } = about;
    if (root === undefined || n < 1) return;
    await sendToDevices(this.#options.client, MATRIX_NAMES.head, [to], {
      heads: [],
      ask: { size, n, history_root: root },
    });
  }

  /** Hands the sender the proof of what is shown here about it. */
  async #answer(to: { userId: string; deviceId: string }, ask: NonNullable<HeadContent["ask"]>): Promise<void> {
    const accepted = await this.#options.accepted(to.userId);
    if (accepted?.state.n !== ask.n || accepted.state.root !== ask.history_root) return;
    await sendToDevices(this.#options.client, MATRIX_NAMES.head, [to], {
      heads: [],
      proof: { ...accepted.state.proven },
    });
  }

  /** The own account, looked up again if none of this epoch is accepted: only a later one shows what it lacks. */
  async #own(epoch: number): Promise<Standing | undefined> {
    const { client, accepted, checkOwn } = this.#options;
    const userId = client.getSafeUserId();
    const known = await accepted(userId);
    if (known !== undefined && known.state.epoch >= epoch) return known;
    await checkOwn();
    return await accepted(userId);
  }

  /** A proven leaf about this account that contradicts the one shown here: two people are shown different things. */
  async #checkProof(contact: string, proof: ProvenLeaf): Promise<void> {
    const { client, logs } = this.#options;
    const view = await logs.of(serverOfUser(client.getSafeUserId()));
    if (view === undefined) return;
    try {
      const theirs = openProvenLeaf(proof, parseVkey(view.logKey));
      const own = await this.#own(theirs.record.epoch);
      if (own === undefined) return;
      const mine = acceptedLeaf(own.state);
      if (!equalBytes(theirs.index, decodeUnpadded(mine.proven.index))) return;
      const isLater = theirs.record.epoch >= mine.epoch;
      const conflict = isLater ? leafConflict(mine, theirs.leaf) : theirs.leaf && leafConflict(theirs.leaf, mine);
      const [earlier, later] = isLater ? [mine.proven, proof] : [proof, mine.proven];
      // Where the two alone don't exclude each other, the path between them may.
      const path =
        conflict === undefined
          ? await view.historyPath(client.getSafeUserId(), mine.n, theirs.leaf?.n ?? 0)
          : undefined;
      if (path !== undefined && (path.length === 0 || isJoined(mine, theirs.leaf, path))) return;
      const { evidence } = attemptEvidence(() => createLeafEvidence(view.logKey, earlier, later, path));
      const proven =
        evidence === undefined
          ? ({ class: "warning" } as const)
          : ({ class: "evidence", evidence: formatEvidence(evidence) } as const);
      const code = contact === client.getSafeUserId() ? "own-unknown-version" : "view-split";
      await this.#raise(contact, { code, key: encodeUnpadded(mine.root), ...proven });
    } catch (error) {
      if (!(error instanceof VerificationError)) throw error;
    }
  }
}

/** Whether the path shows the shorter history to be the beginning of the longer one. */
function isJoined(mine: HistoryHead, theirs: HistoryHead | undefined, path: readonly Uint8Array[]): boolean {
  if (theirs === undefined) return true;
  const [from, to] = mine.n < theirs.n ? [mine, theirs] : [theirs, mine];
  try {
    verifyAncestor(from, to, withoutKnownRoot(from, path));
    return true;
  } catch (error) {
    if (error instanceof VerificationError) return false;
    throw error;
  }
}
