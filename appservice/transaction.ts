/** What a homeserver pushes, read leniently: a homeserver is another one's program, and what has another form is left out. */

/** One transaction as the homeserver pushed it, checked no further than its outer form. */
export interface Transaction {
  readonly id: string;
  /** Users whose devices or identity changed (MSC3202). */
  readonly changed: readonly string[];
  readonly events: readonly MatrixEvent[];
}

/** The members of a room event this service looks at. */
export interface MatrixEvent {
  readonly type?: unknown;
  readonly room_id?: unknown;
  readonly state_key?: unknown;
  readonly sender?: unknown;
  readonly content?: unknown;
}

/** A JSON object of which nothing is known. */
export type JsonObject = { readonly [name: string]: unknown };

/** The value if it is an object, else an empty one. */
export function object(value: unknown): JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as JsonObject) : {};
}

/** The items of a list, what is no object as an empty one; none if it is no list. */
export function objects(value: unknown): readonly JsonObject[] {
  return Array.isArray(value) ? value.map(object) : [];
}

/** The texts of a list; none if it is no list. */
export function texts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}

/** A transaction from its parsed body. Never throws: what has another form is left out. */
export function parseTransaction(id: string, body: unknown): Transaction {
  const lists = object(object(body)["org.matrix.msc3202.device_lists"]);
  return { id, changed: texts(lists["changed"]), events: objects(object(body)["events"]) };
}
