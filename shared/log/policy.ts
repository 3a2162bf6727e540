/** Whose cosignatures a client demands on a head: C2SP tlog-policy. */
import { parseVkey } from "../crypto/signed-note.ts";
import type { NoteKey } from "../crypto/signed-note.ts";
import { equalBytes } from "../encoding.ts";
import { VerificationError } from "../errors.ts";

/** A witness, or a group of which `threshold` members must agree. */
export type PolicyMember =
  | { readonly kind: "witness"; readonly key: NoteKey }
  | { readonly kind: "group"; readonly threshold: number; readonly members: readonly PolicyMember[] };

/** `quorum` undefined: the policy says `none`. */
export interface Policy {
  readonly logs: readonly NoteKey[];
  readonly witnesses: readonly NoteKey[];
  readonly quorum: PolicyMember | undefined;
}

const MAX_POLICY_LENGTH = 65_536;
const NAME = /^[^\s#]+$/u;

/**
 * A policy from its text: lines `log <vkey> [url]`, `witness <name> <vkey> [url]`, `group <name> <any|all|n> <members>`,
 * and one `quorum <name|none>`; blank lines and lines that begin with # say nothing. Names are defined once, before they
 * are used. Throws `malformed`, or `bad-signature` for a key that is none.
 */
export function parsePolicy(text: string): Policy {
  if (text.length > MAX_POLICY_LENGTH) throw malformed("a policy is too long");
  const parser = new PolicyParser();
  for (const line of text.split("\n")) parser.take(line.trim().split(/[ \t]+/u));
  return parser.finish();
}

class PolicyParser {
  readonly #logs: NoteKey[] = [];
  readonly #witnesses: NoteKey[] = [];
  readonly #members = new Map<string, PolicyMember>();
  /** Undefined until the quorum line was read. */
  #quorum: { readonly member: PolicyMember | undefined } | undefined;

  take([keyword = "", ...words]: readonly string[]): void {
    if (keyword === "" || keyword.startsWith("#")) return;
    if (keyword === "log") this.#logs.push(this.#key(words));
    else if (keyword === "witness") this.#witness(words);
    else if (keyword === "group") this.#group(words);
    else if (keyword === "quorum") this.#setQuorum(words);
    else throw malformed("a policy with an unknown line");
  }

  finish(): Policy {
    if (this.#quorum === undefined) throw malformed("a policy without a quorum");
    return { logs: this.#logs, witnesses: this.#witnesses, quorum: this.#quorum.member };
  }

  #key([vkey, , ...rest]: readonly string[]): NoteKey {
    if (vkey === undefined || rest.length > 0) throw malformed("a policy line of another form");
    return parseVkey(vkey);
  }

  #witness([name = "", ...words]: readonly string[]): void {
    const key = this.#key(words);
    if (this.#witnesses.some((known) => equalBytes(known.publicKey, key.publicKey))) {
      throw malformed("a policy that counts one key twice");
    }
    this.#witnesses.push(key);
    this.#define(name, { kind: "witness", key });
  }

  #group([name = "", count = "", ...names]: readonly string[]): void {
    const members = names.map((member) => this.#member(member));
    if (members.length === 0 || new Set(names).size < names.length) throw malformed("a group without distinct members");
    this.#define(name, { kind: "group", threshold: thresholdOf(count, members.length), members });
  }

  #setQuorum([name = "", ...rest]: readonly string[]): void {
    if (this.#quorum !== undefined || rest.length > 0) throw malformed("a policy with more than one quorum");
    this.#quorum = { member: name === "none" ? undefined : this.#member(name) };
  }

  #define(name: string, member: PolicyMember): void {
    if (!NAME.test(name) || name === "none" || this.#members.has(name))
      throw malformed("a policy with a name used twice");
    this.#members.set(name, member);
  }

  #member(name: string): PolicyMember {
    const member = this.#members.get(name);
    if (member === undefined) throw malformed("a policy with a name that is not defined");
    return member;
  }
}

function thresholdOf(text: string, members: number): number {
  if (text === "any") return 1;
  if (text === "all") return members;
  const threshold = /^[1-9][0-9]{0,3}$/.test(text) ? Number(text) : 0;
  if (threshold < 1 || threshold > members) throw malformed("a group with a threshold it can't meet");
  return threshold;
}

/**
 * Returns the cosigners if they meet the policy's quorum (keys whose cosignatures were verified), else throws
 * `bad-signature`; in a lookup that is the code `quorum-missing`.
 */
export function checkPolicy(policy: Policy, cosigners: readonly NoteKey[]): readonly NoteKey[] {
  if (policy.quorum === undefined || isMet(policy.quorum, cosigners)) return cosigners;
  throw new VerificationError("bad-signature", "too few cosigners");
}

function isMet(member: PolicyMember, cosigners: readonly NoteKey[]): boolean {
  if (member.kind === "group") {
    return member.members.filter((each) => isMet(each, cosigners)).length >= member.threshold;
  }
  const { name, type, publicKey } = member.key;
  return cosigners.some((key) => key.name === name && key.type === type && equalBytes(key.publicKey, publicKey));
}

function malformed(message: string): VerificationError {
  return new VerificationError("malformed", message);
}
