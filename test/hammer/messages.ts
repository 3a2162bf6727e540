/** What the processes of the hammer tell each other. */

/** What the clients' process is started with, as JSON. */
export interface ClientsStart {
  readonly serverName: string;
  readonly serviceUrl: string;
  readonly logKey: string;
  /** Where OpenID tokens are had. */
  readonly homeserverUrl: string;
  readonly users: number;
  readonly readers: number;
  readonly thinkMs: number;
}

/** A key that somebody now has. */
export interface Change {
  readonly userId: string;
  readonly deviceId: string;
  readonly atMs: number;
}

export type ToClients =
  | { readonly kind: "changed"; readonly changes: readonly Change[] }
  /** Readers end; the rest of the changes is still waited for. */
  | { readonly kind: "finish" };

/** Counts and times since the last such message. Times in milliseconds. */
export interface Tally {
  readonly kind: "tally";
  readonly verified: { readonly [kind: string]: number };
  readonly lookupMs: readonly number[];
  readonly mergeMs: readonly number[];
  /** Answers that say "not now": 429 and 503. */
  readonly busy: number;
  /** Proofs that did not verify, and everything else that should not have happened. */
  readonly failures: readonly string[];
  readonly errors: readonly string[];
  /** Changes that no verified answer has shown yet. */
  readonly outstanding: number;
  readonly size: number;
}
export type FromClients =
  | Tally
  /** How many of the users are in the log. */
  | { readonly kind: "preparing"; readonly present: number }
  | { readonly kind: "ready" }
  | { readonly kind: "finished" };

export interface AttackerStart {
  readonly serverName: string;
  readonly serviceUrl: string;
  readonly appserviceUrl: string;
  readonly homeserverUrl: string;
  readonly users: number;
}

/** Attacks since the last such message: how many of each kind were refused as they should be, and what was not. */
export interface AttackTally {
  readonly kind: "attacks";
  readonly refused: { readonly [attack: string]: number };
  readonly errors: readonly string[];
}
