/** The JSON text of a lookup's answer, made by the thousand: `JSON.stringify` would look through each character of it. */
import type { LeafPart, SettlingLeaf, UserPart } from "../shared/messages.ts";

/**
 * JSON in ASCII. One other character, as the dash before each signature of a checkpoint, and all of a text takes two bytes a
 * character, to be counted and turned into UTF-8 when it is sent.
 */
export function asciiJson(value: object | string): string {
  const text = JSON.stringify(value);
  if (!OUTSIDE_ASCII.test(text)) return text;
  const escaped = text.replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
  // What comes from a text of wide characters keeps them wide.
  return Buffer.from(escaped, "latin1").toString("latin1");
}

const OUTSIDE_ASCII = /[^\0-\x7f]/;

/** What `JSON.parse` makes a LookupAnswer of, in ASCII. `headText`: that of its head, the same for all at an epoch. */
export function lookupText(headText: string, { vrf_proof, map_proof, leaf, settling }: UserPart): string {
  const { epoch, map_proof: settlingProof, leaf: settled } = settling;
  return (
    `{"head":${headText},"user":{"vrf_proof":"${vrf_proof}","map_proof":"${map_proof}"` +
    `${leaf === undefined ? "" : leafText(leaf)},"settling":{"epoch":${epoch},"map_proof":"${settlingProof}"` +
    `${settled === undefined ? "" : settlingLeafText(settled)}}}}`
  );
}

/** Numbers and base64 stand as they are; an entry is a JSON text itself, and full of what must be escaped. */
function leafText({ n, history_root, last_leaf_proof, epoch, commitment, opening, entry }: LeafPart): string {
  return (
    `,"leaf":{"n":${n},"history_root":"${history_root}","last_leaf_proof":"${last_leaf_proof}","epoch":${epoch},` +
    `"commitment":"${commitment}"${opening === undefined ? "" : `,"opening":"${opening}"`}` +
    `${entry === undefined ? "" : `,"entry":${asciiJson(entry)}`}}`
  );
}

function settlingLeafText({ n, history_root, consistency }: SettlingLeaf): string {
  return `,"leaf":{"n":${n},"history_root":"${history_root}","consistency":"${consistency}"}`;
}
