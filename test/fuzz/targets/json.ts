import assert from "node:assert/strict";
import { canonicalJson, jsonValueOf, parseJson, parseJsonSource, utf8 } from "../../../shared/encoding.ts";
import type { JsonSource } from "../../../shared/encoding.ts";
import type { FuzzTarget } from "../target.ts";
import { seedsOf, textOf, unlessRefused } from "../target.ts";

const LIMITS = { maxBytes: 65_536, maxDepth: 512 };

/**
 * Our parser takes exactly what the host's takes, with the same values, and every place it names is the exact text of the
 * value there. What also keeps the rules of canonical JSON survives being written and read again.
 */
export const target: FuzzTarget = {
  seeds: () =>
    seedsOf(
      '{"a":[1,-2,0,true,false,null,"x\\u00e9\\n\\ud83d\\ude00"],"__proto__":{"toString":1},"":{}}',
      ' [ 1.5e3 , -0 , 9007199254740993 , "\\ud800" , {"a":1,"a":2} ] ',
      '{"constructor":{"prototype":{"polluted":1}},"\\u005f_proto__":[]}',
      '"\\"\\\\\\/\\b\\f\\r\\t"',
    ),
  run(input) {
    const text = textOf(input);
    const source = unlessRefused(() => parseJsonSource(text, LIMITS), "malformed");
    const host = parsedByHost(text);
    if (source === undefined) {
      assert(host === undefined || deeperThan(host.value, LIMITS.maxDepth), "refused, though it is JSON");
      return;
    }
    assert(host !== undefined, "taken, though it is no JSON");
    checkPlaces(text, source);
    const value = unlessRefused(() => jsonValueOf(source), "malformed");
    if (value === undefined) return;
    const canonical = canonicalJson(value);
    assert.deepEqual(JSON.parse(canonical), host.value);
    assert.equal(canonicalJson(parseJson(canonical, LIMITS)), canonical);
    assert(utf8(canonical).length <= utf8(text).length, "the canonical form is the shortest");
  },
};

function parsedByHost(text: string): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
}

function deeperThan(value: unknown, depth: number): boolean {
  if (typeof value !== "object" || value === null) return false;
  return depth === 0 || Object.values(value).some((member) => deeperThan(member, depth - 1));
}

function checkPlaces(text: string, source: JsonSource): void {
  const slice = text.slice(source.start, source.end);
  assert.equal(slice, slice.trim());
  if (source.kind === "scalar") assert.deepEqual(JSON.parse(slice), source.value);
  else if (source.kind === "array") for (const item of source.items) checkPlaces(text, item);
  else {
    for (const { key, start, end, value } of source.members) {
      assert.deepEqual(Object.keys(JSON.parse(`{${text.slice(start, end)}}`) as object), [key]);
      checkPlaces(text, value);
    }
  }
}
