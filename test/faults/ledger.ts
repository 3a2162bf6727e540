/**
 * What a log has said: every change it acknowledged, every head and answer it gave away. Kept by who tests it, outside of
 * its data, one JSON line for each fact.
 */
import { sha256 } from "../../shared/crypto/hash.ts";
import { canonicalJson, encodeUnpadded, utf8 } from "../../shared/encoding.ts";

/** One thing that a log said, at the moment when it could no longer be taken back. */
export type Fact =
  /** A signed head, before anybody can ask for it. */
  | { readonly said: "head"; readonly note: string }
  /** A head that the room now holds. */
  | { readonly said: "room"; readonly note: string }
  | {
      readonly said: "merged";
      readonly userId: string;
      readonly version: number;
      readonly epoch: number;
      readonly n: number;
    }
  | {
      readonly said: "promised";
      readonly userId: string;
      readonly version: number;
      readonly n: number;
      readonly note: string;
      readonly opening: string;
    }
  | { readonly said: "lookup"; readonly userId: string; readonly answer: string }
  | { readonly said: "marked" | "clearing" | "tracked"; readonly userId: string }
  | { readonly said: "cursor"; readonly name: string; readonly value: number }
  /** The process can't go on, and ends with this status. */
  | { readonly said: "failed"; readonly name: string; readonly message: string; readonly exitCode: number | undefined }
  /** It runs, but signs nothing any more. */
  | { readonly said: "refused"; readonly reason: string }
  | { readonly said: "started"; readonly epoch: number }
  | { readonly said: "done" };

export type FactOf<Said extends Fact["said"]> = Fact & { readonly said: Said };

/** The entry number `n` of a user: small, in canonical form, and like no other. */
export function entryOf(userId: string, n: number): Uint8Array {
  const digest = encodeUnpadded(sha256(utf8(`${userId} ${n}`)));
  return utf8(canonicalJson({ count: n, digest, refused: "too many devices", user_id: userId }));
}

export class Ledger {
  readonly facts: Fact[];

  constructor(facts: readonly Fact[] = []) {
    this.facts = [...facts];
  }

  /** Facts from lines of JSON; a last line that was cut off says nothing. */
  static parse(text: string): Ledger {
    const lines = text.split("\n");
    lines.pop();
    return new Ledger(lines.map((line) => JSON.parse(line) as Fact));
  }

  add(fact: Fact): void {
    this.facts.push(fact);
  }

  addAll(facts: readonly Fact[]): void {
    for (const fact of facts) this.add(fact);
  }

  copy(): Ledger {
    return new Ledger(this.facts);
  }

  of<Said extends Fact["said"]>(said: Said): FactOf<Said>[] {
    return this.facts.filter((fact): fact is FactOf<Said> => fact.said === said);
  }

  /** The newest head that the room holds. */
  get room(): string | undefined {
    return this.of("room").at(-1)?.note;
  }

  /** Users with a mark that nobody tried to clear since. */
  get marked(): ReadonlySet<string> {
    const marked = new Set<string>();
    for (const fact of this.facts) {
      if (fact.said === "marked") marked.add(fact.userId);
      else if (fact.said === "clearing") marked.delete(fact.userId);
    }
    return marked;
  }
}
