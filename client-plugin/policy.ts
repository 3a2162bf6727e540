/**
 * Which cosignatures this client demands of a head, as a C2SP tlog-policy: `witness` lines name keys, `group` lines say
 * how many of their members count as one, the `quorum` line what is needed. The policy is the client's own; a log's
 * configuration only offers witnesses.
 */
import { parseVkey } from "../shared/crypto/signed-note.ts";
import type { NoteKey } from "../shared/crypto/signed-note.ts";
import { VerificationError } from "../shared/errors.ts";

export interface Policy {
  readonly witnesses: readonly NoteKey[];
  /** How many witnesses the policy names; 0: it demands none. */
  readonly quorum: number;
  /** Whether these keys, each of which cosigned, are enough. */
  isMet(keys: readonly NoteKey[]): boolean;
}

/** Demands nothing. */
export const NO_POLICY: Policy = { witnesses: [], quorum: 0, isMet: () => true };

type Rule = (signed: ReadonlySet<string>) => boolean;

/** Throws `malformed` on any line that is not of the specification, and on names used before they are defined. */
export function parsePolicy(text: string): Policy {
  const witnesses: NoteKey[] = [];
  const rules = new Map<string, Rule>([["none", () => true]]);
  let quorum: Rule | undefined;
  for (const line of text.split("\n")) {
    const [keyword, ...words] = line.replace(/#.*$/, "").trim().split(/\s+/);
    if (keyword === "" || keyword === undefined || keyword === "log") continue;
    if (keyword === "witness") witnesses.push(addWitness(rules, words));
    else if (keyword === "group") addGroup(rules, words);
    else if (keyword === "quorum" && quorum === undefined) quorum = ruleOf(rules, words[0]);
    else throw malformed(`a line that starts with ${keyword}`);
  }
  if (quorum === undefined) throw malformed("no quorum");
  const needed = quorum;
  return {
    witnesses,
    quorum: needed(new Set()) ? 0 : witnesses.length,
    isMet: (keys) => needed(new Set(keys.map(idOf))),
  };
}

function addWitness(rules: Map<string, Rule>, [name, vkey]: readonly string[]): NoteKey {
  const key = parseVkey(vkey ?? "");
  define(rules, name, (signed) => signed.has(idOf(key)));
  return key;
}

function addGroup(rules: Map<string, Rule>, [name, threshold, ...names]: readonly string[]): void {
  const members = names.map((member) => ruleOf(rules, member));
  const needed = threshold === "any" ? 1 : threshold === "all" ? members.length : Number(threshold);
  if (!Number.isInteger(needed) || needed < 1 || needed > members.length) throw malformed("a group's threshold");
  define(rules, name, (signed) => members.filter((member) => member(signed)).length >= needed);
}

function define(rules: Map<string, Rule>, name: string | undefined, rule: Rule): void {
  if (name === undefined || rules.has(name)) throw malformed("a name that is missing or used twice");
  rules.set(name, rule);
}

function ruleOf(rules: ReadonlyMap<string, Rule>, name: string | undefined): Rule {
  const rule = rules.get(name ?? "");
  if (rule === undefined) throw malformed("a name that is not defined");
  return rule;
}

function idOf({ name, keyId }: NoteKey): string {
  return `${name} ${keyId}`;
}

function malformed(problem: string): VerificationError {
  return new VerificationError("malformed", `policy: ${problem}`);
}
