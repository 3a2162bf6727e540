import { isScalar, visit, type Document } from "yaml";

/**
 * Where the first key of a document stands that is a list, a map or an alias; undefined if there is none. Nobody means such
 * keys, and to make text of nested ones takes time and memory that double with each level.
 */
export function strangeKeyAt(document: Document): number | undefined {
  let found: number | undefined;
  visit(document, {
    Pair: (_, { key }) => {
      if (isScalar(key) || key === null) return undefined;
      found = (key as { readonly range?: readonly number[] | null }).range?.[0] ?? 0;
      return visit.BREAK;
    },
  });
  return found;
}
