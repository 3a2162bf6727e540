/** What a check says about one user: about one exact set of keys at one head. protocol "Verdicts". */
import type { VerdictClass, VerdictCode } from "../shared/verdict-codes.ts";

/** Why keys that nobody compared in person are still believed. */
export type Ground = "quorum" | "own-history" | "contact";

export type Verdict =
  | { readonly kind: "verified"; readonly method: "code" | "public-code"; readonly atMs: number }
  | { readonly kind: "consistent"; readonly ground: Ground }
  | { readonly kind: "unchecked"; readonly reason: VerdictCode }
  | { readonly kind: "warning"; readonly code: VerdictCode; readonly sinceMs: number; readonly evidence?: string };

/** Something a check found out, to be told at most once. */
export interface Finding {
  readonly code: VerdictCode;
  readonly class: VerdictClass;
  /** Tells two findings of one code apart: a key, a version, an epoch. */
  readonly key: string;
  readonly sinceMs: number;
  readonly devices?: readonly string[];
  /** Evidence file as JSON text. */
  readonly evidence?: string;
}

export function unchecked(reason: VerdictCode): Verdict {
  return { kind: "unchecked", reason };
}
