/**
 * A valid message, changed as the fuzzer says. Bytes in base64 are changed as bytes, so that the fuzzer gets past the form
 * of a message to what the message proves.
 */
import { decodeUnpadded, encodeUnpadded } from "../../shared/encoding.ts";
import { VerificationError } from "../../shared/errors.ts";

const MAX_EDITS = 12;

type Container = unknown[] | { [name: string]: unknown };
interface Place {
  readonly container: Container;
  readonly key: string;
  readonly value: unknown;
}

/** Numbers and positions that the fuzzer chose, front to back; zeros once it is used up. */
export class Choices {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get left(): number {
    return Math.max(0, this.#bytes.length - this.#at);
  }
  u8(): number {
    return this.#bytes[this.#at++] ?? 0;
  }
  u16(): number {
    return this.u8() * 256 + this.u8();
  }
  /** A number from 0 below `end`. */
  below(end: number): number {
    return end <= 1 ? 0 : end <= 256 ? this.u8() % end : this.u16() % end;
  }
  take(count: number): Uint8Array {
    this.#at += count;
    return this.#bytes.slice(this.#at - count, this.#at);
  }
  rest(): Uint8Array {
    return this.take(this.left);
  }
}

/** A copy of a JSON value with up to twelve changes. */
export function edited(value: unknown, choices: Choices): unknown {
  const holder = { value: structuredClone(value) };
  for (let edit = 0; edit < MAX_EDITS && choices.left > 0; edit++) editOnce(holder, choices);
  const text = textOf(holder.value);
  return text === undefined ? null : JSON.parse(text);
}

function editOnce(holder: { value: unknown }, choices: Choices): void {
  const kind = choices.u8();
  const places = placesOf(holder);
  const place = places[choices.below(places.length)];
  if (place === undefined) return;
  const { container, key, value } = place;
  switch (kind % 8) {
    case 0:
    case 1:
    case 2:
      put(container, key, changedValue(value, kind % 8, choices));
      return;
    case 3:
      put(container, key, copyOf(places[choices.below(places.length)]?.value));
      return;
    case 4:
      remove(container, key);
      return;
    case 5:
      put(container, key, ODD_VALUES[choices.below(ODD_VALUES.length)]);
      return;
    case 6:
      if (Array.isArray(container)) container.push(copyOf(value));
      else container[ODD_NAMES[choices.below(ODD_NAMES.length)] ?? ""] = copyOf(value);
      return;
    default:
      if (Array.isArray(value)) value.reverse();
      else put(container, key, changedValue(value, 0, choices));
  }
}

const ODD_VALUES: readonly unknown[] = [null, true, 0, -1, 1.5, 2 ** 53, "", "AA", [], {}, "@x:y", -0, "\ud800"];
const ODD_NAMES = ["__proto__x", "constructor", "extra", "toString", "0", "leaf", "entry", "opening"];

/** A copy, as no value may hold itself; small ones alone, as copies of copies double. */
function copyOf(value: unknown): unknown {
  return (textOf(value)?.length ?? 0) > 4_096 ? null : structuredClone(value);
}

/** JSON of a value; undefined where it has none. */
function textOf(value: unknown): string | undefined {
  return JSON.stringify(value);
}

function put(container: Container, key: string, value: unknown): void {
  if (Array.isArray(container)) container[Number(key)] = value;
  else Object.defineProperty(container, key, { value, writable: true, enumerable: true, configurable: true });
}

function remove(container: Container, key: string): void {
  if (Array.isArray(container)) container.splice(Number(key), 1);
  else Reflect.deleteProperty(container, key);
}

function placesOf(value: unknown): Place[] {
  if (typeof value !== "object" || value === null) return [];
  const container = value as Container;
  return Object.entries(container).flatMap(([key, member]: [string, unknown]) => [
    { container, key, value: member },
    ...placesOf(member),
  ]);
}

function changedValue(value: unknown, kind: number, choices: Choices): unknown {
  if (typeof value === "number") return value + (kind === 0 ? 1 : kind === 1 ? -1 : choices.u16());
  if (typeof value === "boolean") return !value;
  if (typeof value !== "string") return value;
  const bytes = base64Bytes(value);
  return bytes === undefined ? changedText(value, kind, choices) : encodeUnpadded(changedBytes(bytes, kind, choices));
}

function base64Bytes(text: string): Uint8Array | undefined {
  if (text.length < 32) return undefined;
  try {
    return decodeUnpadded(text);
  } catch (error) {
    if (error instanceof VerificationError) return undefined;
    throw error;
  }
}

/** One bit flipped, a piece cut out, or bytes put in. */
export function changedBytes(bytes: Uint8Array, kind: number, choices: Choices): Uint8Array {
  const at = choices.below(bytes.length);
  if (kind === 0) return bytes.length === 0 ? bytes : bytes.with(at, (bytes[at] ?? 0) ^ (1 << choices.below(8)));
  const size = [1, 32, 64, 72][choices.below(4)] ?? 1;
  const before = bytes.slice(0, at);
  if (kind === 1) return Uint8Array.of(...before, ...bytes.slice(at + size));
  return Uint8Array.of(...before, ...bytes.slice(at, at + size), ...bytes.slice(at));
}

function changedText(text: string, kind: number, choices: Choices): string {
  const at = choices.below(text.length);
  if (kind === 0) return text.slice(0, at) + String.fromCharCode(choices.u8()) + text.slice(at + 1);
  if (kind === 1) return text.slice(0, at) + text.slice(at + 1 + choices.below(64));
  const from = choices.below(text.length);
  return text.slice(0, at) + text.slice(from, from + choices.below(64)) + text.slice(at);
}
